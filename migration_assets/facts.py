"""Facts of Arrow columns, and where they disagree with what the source's own engine says.

Two comparisons make the proof of an extract: the engine's facts against the lanes that were read,
and these lanes against the columns that were written. Every line names table and column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.convert import lanes_of
from migration_assets.convert.column import Mask
from migration_assets.core.catalog import Table
from migration_assets.core.plan import ColumnPlan, Conversion, TablePlan
from migration_assets.core.profile import Lane
from migration_assets.core.results import ColumnFacts
from migration_assets.core.sensitive import MASK
from migration_assets.sources.base import SourceFacts

LaneFacts = dict[str, dict[Lane, ColumnFacts]]
"""Source column -> lane -> facts of that lane; lanes without values are absent."""


class FactsCollector:
    """Collects the facts of one column, batch by batch."""

    def __init__(self) -> None:
        self._values = 0
        self._low: int | None = None
        self._high: int | None = None
        self._extremes: tuple[Any, Any] | None = None
        self._bytes: int | None = None

    def add(self, array: pa.Array) -> None:
        """Take in the column of one batch."""
        values = len(array) - array.null_count
        self._values += values
        if values == 0:
            return
        kind = array.type
        if pa.types.is_integer(kind):
            self._add_sums(array)
            self._add_extremes(array)
        elif pa.types.is_boolean(kind):
            self._low = (self._low or 0) + array.true_count
        elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            self._add_extremes(array)
        elif kind in (pa.string(), pa.binary()):
            self._bytes = (self._bytes or 0) + _bytes_of(array)

    def _add_sums(self, array: pa.Array) -> None:
        values = pc.fill_null(array, 0).to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
        self._low = (self._low or 0) + int((values & 0xFFFFFFFF).sum())
        self._high = (self._high or 0) + int((values >> 32).sum())

    def _add_extremes(self, array: pa.Array) -> None:
        both = pc.min_max(array)
        self._widen(both["min"].as_py(), both["max"].as_py())

    def _widen(self, low: Any, high: Any) -> None:
        if self._extremes is not None:
            low, high = min(self._extremes[0], low), max(self._extremes[1], high)
        self._extremes = (low, high)

    def merge(self, other: FactsCollector) -> None:
        """Take in what another collector has taken in."""
        self._values += other._values
        for name in ("_low", "_high", "_bytes"):
            more = getattr(other, name)
            if more is not None:
                setattr(self, name, (getattr(self, name) or 0) + more)
        if other._extremes is not None:
            self._widen(*other._extremes)

    def finish(self) -> ColumnFacts:
        """Return the facts of all batches so far."""
        low, high = self._extremes or (None, None)
        return ColumnFacts(
            values=self._values,
            sum_low=self._low,
            sum_high=self._high,
            minimum=_rendered(low),
            maximum=_rendered(high),
            bytes=self._bytes,
        )


class LaneFactsCollector:
    """Collects the facts of every lane of a table: of what was read, and of what of it stays."""

    def __init__(self, table: Table) -> None:
        self._names = [column.name for column in table.columns]
        self._read: Collectors = {}
        self._kept: Collectors = {}
        self._taken: Collectors = {}

    def add(self, raw: pa.RecordBatch, taken: Mapping[int, Mask] | None = None) -> None:
        """Take in one raw batch.

        Args:
            raw: the batch.
            taken: position of a column -> rows whose value does not stay.
        """
        for position, lanes in lanes_of(raw).items():
            mask = (taken or {}).get(position)
            for lane, array in lanes.items():
                if array.null_count == len(array):
                    continue
                place = (position, lane)
                read = _merge(self._read, place, array)
                if mask is None:
                    self._kept.setdefault(place, FactsCollector()).merge(read)
                    continue
                gone, nothing = pa.array(mask), pa.scalar(None, array.type)
                _merge(self._kept, place, pc.if_else(gone, nothing, array))
                _merge(self._taken, place, pc.if_else(gone, array, nothing))

    def finish(self) -> LaneFacts:
        """Return the facts of all that was read."""
        return self._facts(self._read)

    def kept(self) -> LaneFacts:
        """Return the facts of what stays: all that was read, if nothing was taken out."""
        return self._facts(self._kept)

    def mismatches(self, plan: TablePlan) -> Iterator[str]:
        """Where what stays and what was taken out are together not what was read."""
        places = {name: position for position, name in enumerate(self._names)}
        for column in plan.stored_columns:
            for (position, lane), taken in self._taken.items():
                if position != places[column.source]:
                    continue
                both = FactsCollector()
                both.merge(taken)
                both.merge(self._kept.get((position, lane), FactsCollector()))
                number: Callable[[str], object] = float if lane is Lane.REAL else int
                read = self._read[position, lane].finish()
                for fact, was, now in _shown(plan, column, _differing(read, both.finish(), number)):
                    yield (
                        f'table "{plan.source}", column "{column.source}", {lane} values: {fact} '
                        f"as read is {was}, {now} of what stays and what was set aside"
                    )

    def _facts(self, collectors: Collectors) -> LaneFacts:
        facts: LaneFacts = {name: {} for name in self._names}
        for (position, lane), collector in collectors.items():
            found = collector.finish()
            if found.values:
                facts[self._names[position]][lane] = found
        return facts


Collectors = dict[tuple[int, Lane], FactsCollector]
"""(position of a column, lane) -> facts so far."""


def _merge(into: Collectors, place: tuple[int, Lane], array: pa.Array) -> FactsCollector:
    """Add an array to the collector at ``place``; returns a collector of the array alone."""
    one = FactsCollector()
    one.add(array)
    into.setdefault(place, FactsCollector()).merge(one)
    return one


def source_mismatches(
    plan: TablePlan, source: SourceFacts, lanes: LaneFacts, rows: int
) -> Iterator[str]:
    """Where the engine's own facts differ from those of the lanes that were read.

    Args:
        plan: names the columns that are stored.
        source: facts by the engine.
        lanes: facts of what was read.
        rows: that were read.
    """
    where = f'table "{plan.source}"'
    if source.rows != rows:
        yield f"{where}: the source counts {source.rows} rows, {rows} were read"
    for column in plan.stored_columns:
        here = f'{where}, column "{column.source}"'
        found = lanes[column.source]
        values = sum(facts.values for facts in found.values())
        expected = source.non_null.get(column.source)
        if expected is not None and expected != values:
            yield f"{here}: the source counts {expected} values, {values} were read"
        engine = source.columns.get(column.source, {})
        for lane in sorted(engine.keys() | found.keys(), key=list(Lane).index):
            nothing = ColumnFacts(0)
            ours, theirs = found.get(lane, nothing), engine.get(lane, nothing)
            number: Callable[[str], object] = float if lane is Lane.REAL else int
            for fact, was, now in _shown(plan, column, _differing(theirs, ours, number)):
                yield f"{here}, {lane} values: {fact} in the source is {was}, {now} was read"


def parquet_mismatches(
    plan: TablePlan,
    lanes: LaneFacts,
    facts: Mapping[str, ColumnFacts],
    rows: int,
    written: int,
    grown: Mapping[str, int],
) -> Iterator[str]:
    """Where the lanes that were read differ from the columns that were written.

    Args:
        plan: how the one became the other.
        lanes: facts of what was read and stays.
        facts: target column -> facts of what was written.
        rows: that were read and stay.
        written: rows that the finished file counts.
        grown: source column -> bytes that entries in the ledger added to its texts.
    """
    where = f'table "{plan.source}"'
    if rows != written:
        yield f"{where}: {rows} rows were read and stay, the Parquet file has {written}"
    for column in plan.stored_columns:
        found = lanes[column.source]
        expected, number = _expected(column, found, grown.get(column.source, 0))
        differing = _differing(expected, facts[column.name], number)
        for fact, was, now in _shown(plan, column, differing):
            yield (
                f'{where}, column "{column.source}": {fact} as read is {was}, '
                f"{now} in the Parquet file"
            )


def _expected(
    column: ColumnPlan, lanes: Mapping[Lane, ColumnFacts], grown: int
) -> tuple[ColumnFacts, Callable[[str], object]]:
    """The facts a Parquet column must have, and how its extremes are compared as numbers."""
    expected = ColumnFacts(sum(facts.values for facts in lanes.values()))
    kinds = lanes.keys()
    match column.conversion:
        case Conversion.INTEGER if kinds == {Lane.INT}:
            return lanes[Lane.INT], int
        case Conversion.BOOLEAN if kinds == {Lane.INT}:
            return replace(expected, sum_low=lanes[Lane.INT].sum_low), int
        case Conversion.DOUBLE if kinds == {Lane.REAL}:
            return lanes[Lane.REAL], float
        case Conversion.DECIMAL if kinds == {Lane.REAL} and pa.types.is_decimal(
            column.converted_type.arrow
        ):
            return lanes[Lane.REAL], Decimal
        case Conversion.TEXT | Conversion.JSON if kinds == {Lane.TEXT}:
            return replace(expected, bytes=(lanes[Lane.TEXT].bytes or 0) + grown), int
        case Conversion.BYTES if kinds and kinds <= {Lane.TEXT, Lane.BLOB}:
            return replace(expected, bytes=sum(f.bytes or 0 for f in lanes.values())), int
    return expected, int


def unequal_facts(
    plan: TablePlan, column: ColumnPlan, expected: ColumnFacts, found: ColumnFacts
) -> Iterator[tuple[str, object, object]]:
    """Yield (fact, expected, found), for people, of the facts of one column that differ."""
    yield from _shown(plan, column, _differing(expected, found, Decimal))


def _shown(
    plan: TablePlan, column: ColumnPlan, differing: Iterator[tuple[str, object, object]]
) -> Iterator[tuple[str, object, object]]:
    """Without the values of a sensitive column."""
    for fact, was, now in differing:
        counted = column.source not in plan.sensitive or fact == _FACTS["values"]
        yield (fact, was, now) if counted else (fact, MASK, MASK)


def _differing(
    expected: ColumnFacts, found: ColumnFacts, number: Callable[[str], object]
) -> Iterator[tuple[str, object, object]]:
    """Yield (fact, expected, found) for the facts that are expected and differ."""
    for name, words in _FACTS.items():
        was, now = getattr(expected, name), getattr(found, name)
        if was is None or was == now:
            continue
        if name in {"minimum", "maximum"} and now is not None and number(was) == number(now):
            continue
        yield words, was, "nothing" if now is None else now


_FACTS = {
    "values": "the count",
    "sum_low": "the sum of the low 32 bits",
    "sum_high": "the sum of the high 32 bits",
    "minimum": "the least",
    "maximum": "the greatest",
    "bytes": "the length in bytes",
}


def _bytes_of(array: pa.Array) -> int:
    """Sum of the lengths of texts or blobs."""
    if array.null_count:
        return int(pc.sum(pc.binary_length(array)).as_py())
    ends = np.frombuffer(array.buffers()[1], np.int32)
    return int(ends[array.offset + len(array)] - ends[array.offset])


def _rendered(value: object) -> str | None:
    if value is None:
        return None
    return format(value, "f") if isinstance(value, Decimal) else repr(value)
