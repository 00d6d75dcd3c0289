"""What the conversions of single columns share: lanes in, one array and its changes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.core.profile import Lane
from migration_assets.core.types import PgType

Lanes = Mapping[Lane, pa.Array]
"""The lanes of one column in one batch that hold any value."""

Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Change:
    """Values that the conversion could not keep, for the ledger.

    Attributes:
        rule: the rule that changed them.
        rows: their rows in the batch.
        before, after: one rendered value per row.
    """

    rule: str
    rows: Rows
    before: list[str | None]
    after: list[str | None]

    def without(self, gone: Mask) -> Change:
        """The change of the rows that are not ``gone``."""
        kept = np.flatnonzero(~gone[self.rows]).tolist()
        return Change(
            self.rule,
            self.rows[kept],
            [self.before[place] for place in kept],
            [self.after[place] for place in kept],
        )


@dataclass(frozen=True)
class Converted:
    """One column in the form of the plan."""

    array: pa.Array
    changes: tuple[Change, ...] = ()


class UnfitError(Exception):
    """Values that the planned type can not hold; the same lanes without them may be converted.

    Attributes:
        rows: all rows of the batch whose value is wrong in this way, at least one.
        reason: what is wrong with them, continuing "the value ...".
    """

    def __init__(self, rows: Rows, reason: str) -> None:
        super().__init__(reason)
        self.rows = rows
        self.reason = reason


Convert = Callable[[Lanes, PgType], Converted]


def converted_lanes(
    lanes: Lanes, kind: PgType, by_lane: Mapping[Lane, Convert | None]
) -> Converted:
    """Convert each lane by its own function and lay the results over each other.

    Args:
        lanes: at least one lane, no two of them with a value in one row.
        kind: the planned type.
        by_lane: how each lane is converted; None or no entry where the type has no place for it.

    Raises:
        UnfitError: a lane has a value and the type has no place for it.
    """
    parts = []
    for lane, array in lanes.items():
        convert = by_lane.get(lane)
        if convert is None:
            raise UnfitError(where(array.is_valid()), f"is {_WORDS[lane]}")
        parts.append(convert({lane: array}, kind))
    array = parts[0].array if len(parts) == 1 else pc.coalesce(*(part.array for part in parts))
    return Converted(array, tuple(change for part in parts for change in part.changes))


def only(lanes: Lanes) -> pa.Array:
    """The one lane there is."""
    (array,) = lanes.values()
    return array


def where(mask: pa.Array) -> Rows:
    """The true rows of a mask; NULL is not true."""
    return np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False))


def require(ok: pa.Array, reason: str) -> None:
    """Raise UnfitError for the rows that are false; NULL rows are fine."""
    if not pc.all(ok, min_count=0).as_py():
        raise UnfitError(where(pc.invert(ok)), reason)


def misfits(array: pa.Array, fits: Callable[[pa.Array], bool]) -> Rows:
    """The rows that do not fit, where only whole arrays can be asked; found by halving."""
    found: list[int] = []
    waiting = [(0, len(array))]
    while waiting:
        start, stop = waiting.pop()
        if fits(array.slice(start, stop - start)):
            continue
        if stop - start == 1:
            found.append(start)
        else:
            middle = (start + stop) // 2
            waiting += [(start, middle), (middle, stop)]
    return np.array(sorted(found), np.intp)


def without(lanes: Lanes, rows: Rows) -> Lanes:
    """The same lanes with NULL in some rows; those that are left without a value are gone."""
    mask = pa.array(mask_of(rows, len(next(iter(lanes.values())))))
    emptied = {
        lane: pc.if_else(mask, pa.scalar(None, array.type), array) for lane, array in lanes.items()
    }
    return {lane: array for lane, array in emptied.items() if array.null_count < len(array)}


def mask_of(rows: Rows, length: int) -> Mask:
    """A mask of ``length`` that is true in ``rows``."""
    mask = np.zeros(length, np.bool_)
    mask[rows] = True
    return mask


def with_validity(values: npt.NDArray[np.generic], like: pa.Array, kind: pa.DataType) -> pa.Array:
    """Lay a numpy block under the NULLs of ``like``, without a copy."""
    bitmap = like.is_valid().buffers()[1] if like.null_count else None
    return pa.Array.from_buffers(
        kind, len(like), [bitmap, pa.py_buffer(np.ascontiguousarray(values))]
    )


def negative_zeros(reals: pa.Array) -> Rows:
    """The rows of a real lane that hold -0.0."""
    values = reals.to_numpy(zero_copy_only=False)
    zero = values == 0
    if not zero.any():
        return np.zeros(0, np.intp)
    # A NULL's slot may hold anything.
    valid = reals.is_valid().to_numpy(zero_copy_only=False)
    return np.flatnonzero(zero & np.signbit(values) & valid)


def negative_zero_change(reals: pa.Array) -> tuple[Change, ...]:
    """Declare the -0.0 values of a real lane that become 0."""
    rows = negative_zeros(reals)
    if len(rows) == 0:
        return ()
    return (Change("negative_zero", rows, ["-0.0"] * len(rows), ["0"] * len(rows)),)


_WORDS = {
    Lane.INT: "an integer",
    Lane.REAL: "a real number",
    Lane.TEXT: "a text",
    Lane.BLOB: "a blob",
}
