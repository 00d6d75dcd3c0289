"""What naive times mean in a time zone, and which of them mean two instants or none.

A zone's changes of offset come from ``zoneinfo``, which takes the machine's zone data or, where
there is none, the ``tzdata`` package. They are looked for year by year, as the values need them;
everything after that is arithmetic on whole arrays. The way back is Arrow's own, where the machine
has zone data (Arrow knows no other), so that a fault here can not pass unseen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_SECOND = 1_000_000
_YEAR = 31_556_952 * _SECOND
_STEP = 24 * 3600
"""Seconds between two looks at a zone's offset: no zone has changed it twice within a day."""
_FIRST, _LAST = 2, 9998
"""Years that ``zoneinfo`` answers for at every instant; beyond them nothing changes."""
_ARROW_ENDS = 67 * 365 * 86_400 * _SECOND
"""Arrow follows no rule beyond the listed changes of zone data, which end with 2037."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Instants:
    """Naive times as instants.

    Attributes:
        earlier: microseconds since 1970 UTC. Of a time that means two instants the earlier one; a
            time that does not exist moves forward by the gap, as with ``fold=0`` in Python.
        later: the same, but the later one of two.
        ambiguous: which times mean two instants, as clocks are set back.
        nonexistent: which times mean none, as clocks are set forward.
    """

    earlier: Ints
    later: Ints
    ambiguous: Bools
    nonexistent: Bools


class Zone:
    """The changes of one time zone's offset.

    Args:
        name: in the IANA time zone database, such as ``Europe/Berlin``.

    Raises:
        zoneinfo.ZoneInfoNotFoundError: there is no such zone.
        ValueError: it can not be the name of one.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._zone = ZoneInfo(name)
        self._years: dict[int, list[tuple[int, int]]] = {}
        self._changes = np.zeros(0, np.int64)
        self._offsets = np.zeros(1, np.int64)

    def instants(self, naive: Ints) -> Instants:
        """Find what naive times mean.

        Args:
            naive: microseconds since 1970-01-01 00:00 on the zone's clocks.
        """
        changes, offsets = self._table(naive)
        before, after = offsets[:-1], offsets[1:]
        # On the zone's clocks a change lies between these two, in which times are missing or twice.
        from_, until = changes + np.minimum(before, after), changes + np.maximum(before, after)
        place = np.searchsorted(until, naive, side="right")
        last = np.append(from_, np.iinfo(np.int64).max)
        trouble = naive >= last[place]
        back = np.append(after < before, False)[place]
        next_ = np.append(after, 0)[place]
        earlier = naive - offsets[place]
        ambiguous = trouble & back
        return Instants(
            earlier=earlier,
            later=np.where(ambiguous, naive - next_, earlier),
            ambiguous=ambiguous,
            nonexistent=trouble & ~back,
        )

    def clock(self, instants: pa.Array) -> pa.Array:
        """What the zone's clocks show at some instants: ``timestamp[us]`` without a zone.

        Args:
            instants: ``timestamp[us, UTC]`` without a null.
        """
        values = np.asarray(instants.view(pa.int64()))
        late = values >= _ARROW_ENDS
        if not late.any():
            try:
                return pc.local_timestamp(instants.view(pa.timestamp("us", self.name)))
            except pa.ArrowInvalid:
                late[:] = True  # the machine has no zone data of its own
        elif not late.all():
            shown = np.empty_like(values)
            for part in (late, ~late):
                clock = self.clock(instants.filter(pa.array(part)))
                shown[part] = np.asarray(clock.view(pa.int64()))
            return pa.array(shown).view(pa.timestamp("us"))
        changes, offsets = self._table(values)
        shown = values + offsets[np.searchsorted(changes, values, side="right")]
        return pa.array(shown).view(pa.timestamp("us"))

    def _table(self, values: Ints) -> tuple[Ints, Ints]:
        """The instants of changes, and the offsets before and after each.

        Whole for all years that ``values`` so far lie in and those beside them.
        """
        missing = {
            min(max(int(year) + beside, _FIRST), _LAST)
            for year in np.unique(values // _YEAR + 1970)
            for beside in (-1, 0, 1)
        } - self._years.keys()
        if missing:
            self._years.update((year, self._changes_in(year)) for year in missing)
            found = [change for _, year in sorted(self._years.items()) for change in year]
            self._changes = np.array([at for at, _ in found], np.int64) * _SECOND
            offsets = [found[0][1], *(offset for _, offset in found)]
            self._offsets = np.array(offsets, np.int64) * _SECOND
        return self._changes, self._offsets

    def _changes_in(self, year: int) -> list[tuple[int, int]]:
        """(second since 1970, offset in seconds from then on) of each change in one year.

        The year's beginning stands as a change as well, for the year before may not be known.
        """
        at, stop = _seconds(year), _seconds(year + 1)
        offset = self._offset(at)
        found = [(at, offset)]
        while at < stop:
            step = min(at + _STEP, stop)
            there = self._offset(step)
            if there != offset:
                low, high = at, step
                while high - low > 1:
                    middle = (low + high) // 2
                    low, high = (middle, high) if self._offset(middle) == offset else (low, middle)
                found.append((high, there))
                offset = there
            at = step
        return found

    def _offset(self, second: int) -> int:
        """Seconds east of UTC at an instant."""
        instant = (_EPOCH + timedelta(seconds=second)).astimezone(self._zone)
        offset = instant.utcoffset()
        return int(offset.total_seconds()) if offset is not None else 0


def _seconds(year: int) -> int:
    """The first second of a year, since 1970."""
    return int((datetime(year, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds())
