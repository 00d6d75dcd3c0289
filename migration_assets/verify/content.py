"""Every cell of a loaded table, Parquet against PostgreSQL.

First both sides are read once, in the order of the load, and compared by position. Rows that are
equal there are done; only what is left is matched by hashes, whatever its order, so that a moved
row is no difference and a deleted one is one difference. A large table is read in two halves beside
each other. Columns that only PostgreSQL can compare
are compared there; if one of them differs, the table is read again with these columns in
PostgreSQL's own canonical text.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from migration_assets.core.plan import ColumnPlan, TablePlan
from migration_assets.core.results import ContentResult, Difference
from migration_assets.core.sensitive import MASK, shown_key
from migration_assets.core.types import Comparison
from migration_assets.pipeline import ahead
from migration_assets.postgres import connect
from migration_assets.progress import Progress
from migration_assets.verify import readback, server
from migration_assets.verify.cells import as_planned, differing, render, render_whole
from migration_assets.verify.multiset import EXPECTED, FOUND, LISTED, Candidates, Unmatched
from migration_assets.verify.readback import WHOLE, FoundTable, Part
from migration_assets.verify.streams import Aligned, Rows

Counts = tuple[int, int]

HALVES_FROM = 200_000
"""Rows from which a second connection, 50 ms, is worth it: one thread parses 600,000 a second."""

READ_AHEAD = 3
"""Batches held between a reading thread and its consumer."""


def compare_table(
    target: connect.Target,
    schema: str,
    plan: TablePlan,
    parquet: pq.ParquetFile,
    progress: Progress,
    reader: Any = None,
    again: Callable[[], pq.ParquetFile] | None = None,
) -> ContentResult:
    """Compare all stored columns of one loaded table with its Parquet file.

    Memory does not grow with the table. Nothing is written but a temporary table, for columns that
    PostgreSQL compares.

    Args:
        target: the database.
        schema: the schema the table was loaded into.
        plan: the table's plan; its ``key`` tells rows apart, else their number from 1.
        parquet: what the table must hold.
        progress: shown as stage ``content``.
        reader: an idle connection of :func:`migration_assets.postgres.connect.adbc` to the same
            database, for a caller with many tables; None to open one (about 50 ms).
        again: opens what ``parquet`` is once more, so that a large table is read in two halves
            beside each other (one such object serves one thread only); None to read it in one.

    Raises:
        InputError: the target can not be reached.
        BrokenOffError: the target was lost in the middle.
    """
    started = time.monotonic()
    what = f'comparison of table "{plan.name}"'
    parquet_rows = parquet.metadata.num_rows
    with (
        connect.broken_off(what, target),
        nullcontext(reader) if reader is not None else connect.adbc(target) as connection,
        readback.snapshot(connection) as snapshot,
        progress.task("content", plan.source, parquet_rows) as advance,
    ):
        table = readback.find_table(connection, schema, plan.name)
        if table is None:
            return _absent(plan, parquet, time.monotonic() - started)
        comparison = _Comparison(connection, table, plan, parquet, advance)
        halves = None
        if again is not None and parquet_rows >= HALVES_FROM:
            halves = readback.halves(connection, table)
        if again is None or halves is None:
            counts, left = comparison.by_arrow()
        else:
            with (
                connect.adbc(target) as second,
                readback.snapshot(second, snapshot),
                again() as other,
            ):
                sides = [(connection, parquet, halves[0]), (second, other, halves[1])]
                counts, left = comparison.by_arrow(sides)
        if comparison.server_columns and (
            left is not None
            or server.differs(target, snapshot, table, comparison.server_columns, parquet)
        ):
            with server.Canonical(target) as canonical:
                counts, left = comparison.by_all(canonical)
        left, differences = comparison.explain(left) if left else (Unmatched(), ())
    return ContentResult(
        slug=plan.slug,
        rows_expected=counts[EXPECTED],
        rows_found=counts[FOUND],
        identical=counts[EXPECTED] - left.changed_rows - left.missing_rows,
        missing=left.missing_rows,
        extra=left.extra_rows,
        changed=left.changed_rows,
        columns=tuple(column.name for column in plan.stored_columns),
        differences=differences,
        seconds=time.monotonic() - started,
    )


def is_unchanged(
    target: connect.Target,
    schema: str,
    plan: TablePlan,
    parquet: pq.ParquetFile,
    reader: Any = None,
) -> bool:
    """Whether a table still holds just the rows of its Parquet file, in the order of the load.

    It ends at the first difference. False is no more than a suspicion: rows that were written
    back as they were stand elsewhere. Arguments and errors as for :func:`compare_table`.
    """
    with (
        connect.broken_off(f'look at table "{plan.name}"', target),
        nullcontext(reader) if reader is not None else connect.adbc(target) as connection,
        readback.snapshot(connection) as snapshot,
    ):
        table = readback.find_table(connection, schema, plan.name)
        if table is None:
            return False
        comparison = _Comparison(connection, table, plan, parquet, lambda rows: None)
        return comparison.is_same() and not (
            comparison.server_columns
            and server.differs(target, snapshot, table, comparison.server_columns, parquet)
        )


@dataclass(frozen=True)
class _Streams:
    """The two sides of some rows: ``first`` is the position of the first one found."""

    connection: Any
    expected: Iterator[Rows]
    query: str
    planned: Sequence[pa.DataType]
    first: int = 0


class _Comparison:
    """One table's two sides, to be read once or twice."""

    def __init__(
        self,
        connection: Any,
        table: FoundTable,
        plan: TablePlan,
        parquet: pq.ParquetFile,
        advance: Callable[[int], None],
    ) -> None:
        self._connection = connection
        self._table = table
        self._plan = plan
        self._parquet = parquet
        self._advance = advance
        self._lock = threading.Lock()
        self._columns = plan.stored_columns
        self.server_columns = tuple(
            c for c in self._columns if c.type.comparison == Comparison.SERVER
        )

    def by_arrow(
        self, parts: Sequence[tuple[Any, pq.ParquetFile, Part]] = ()
    ) -> tuple[Counts, Unmatched | None]:
        """Compare the columns that Arrow can compare; returns row counts and what differs.

        Args:
            parts: connections, readers of the Parquet file, and the rows that each pair of them
                reads, beside each other; none to read the whole table by the first pair.
        """
        whole = [(self._connection, self._parquet, WHOLE)]
        streams = [self._streams(*each) for each in parts or whole]
        return self._match(streams, _positions(self._arrow_columns, self._plan.key))

    def is_same(self) -> bool:
        """Compare the columns that Arrow can compare by position, up to the first difference."""
        streams = self._streams(self._connection, self._parquet, WHOLE)
        with ahead(readback.found_batches(streams.connection, streams.query), READ_AHEAD) as read:
            found = readback.found_rows(read, streams.planned)
            return not any(_different(*pair) for pair in Aligned(streams.expected, found))

    @property
    def _arrow_columns(self) -> tuple[ColumnPlan, ...]:
        return tuple(c for c in self._columns if c.type.comparison != Comparison.SERVER)

    def _streams(self, connection: Any, parquet: pq.ParquetFile, part: Part) -> _Streams:
        columns = self._arrow_columns
        expressions = [self._table.expression(column) for column in columns]
        return _Streams(
            connection,
            readback.expected_rows(parquet, columns, part),
            readback.heap_query(self._table, expressions, part),
            [column.type.compared for column in columns],
            part.first,
        )

    def by_all(self, canonical: server.Canonical) -> tuple[Counts, Unmatched | None]:
        """Compare all columns, those for PostgreSQL in its canonical text."""
        query = readback.heap_query(
            self._table, [server.found_text(self._table, column) for column in self._columns]
        )
        planned = [server.canonical_type(column) for column in self._columns]
        expected = canonical.rows(self._parquet, self._columns)
        return self._match(
            [_Streams(self._connection, expected, query, planned)],
            _positions(self._columns, self._plan.key),
        )

    def _match(
        self, streams: Sequence[_Streams], key: Sequence[int]
    ) -> tuple[Counts, Unmatched | None]:
        with (
            Candidates(key) as candidates,
            ThreadPoolExecutor(len(streams), thread_name_prefix="content") as pool,
        ):
            counts = list(pool.map(lambda each: self._align(each, candidates), streams))
            result = candidates.finish() if candidates else None
        if result and not (result.missing_rows or result.extra_rows or result.changed_rows):
            result = None
        return (sum(c[EXPECTED] for c in counts), sum(c[FOUND] for c in counts)), result

    def _align(self, streams: _Streams, candidates: Candidates) -> Counts:
        """Compare by position; what differs there goes to ``candidates``."""
        counts = [0, 0]
        batches = readback.found_batches(streams.connection, streams.query)
        with ahead(batches, READ_AHEAD) as read:
            found = readback.found_rows(read, streams.planned, streams.first)
            for left, right in Aligned(streams.expected, found):
                counts[EXPECTED] += left.length if left else 0
                counts[FOUND] += right.length if right else 0
                different = _different(left, right)
                with self._lock:
                    for side, rows, which in different:
                        candidates.add(side, rows, which)
                    self._advance(left.length if left else 0)
        return counts[EXPECTED], counts[FOUND]

    def explain(self, left: Unmatched) -> tuple[Unmatched, tuple[Difference, ...]]:
        """Read the listed rows again and say what differs; pairs that turn out equal cancel."""
        expected = readback.fetch_expected(
            self._parquet, self._columns, left.missing + [e for e, _ in left.changed]
        )
        found = readback.fetch_found(
            self._connection,
            self._table,
            self._columns,
            left.extra + [f for _, f in left.changed],
        )
        missing = [[self._alone("missing", p, expected[p])] for p in left.missing]
        extra = [[self._alone("extra", p, found[p])] for p in left.extra]
        changed = [self._changed(e, expected[e], found[f]) for e, f in left.changed]
        # Canonical texts of equal numbers may differ in scale, which only the pair itself shows.
        left = replace(left, changed_rows=left.changed_rows - changed.count([]))
        rows = [row for turn in zip_longest(changed, missing, extra) for row in turn if row]
        return left, tuple(chain.from_iterable(rows))[:LISTED]

    def _alone(self, kind: str, position: int, row: Sequence[pa.Array]) -> Difference:
        return Difference(kind, self._key(position, row))

    def _changed(
        self, position: int, expected: Sequence[pa.Array], found: Sequence[pa.Array]
    ) -> list[Difference]:
        key = self._key(position, expected)
        return [
            Difference("changed", key, column.name, MASK, MASK)
            if column.source in self._plan.sensitive
            else Difference(
                "changed", key, column.name, render(left, 0), _render_found(right, column)
            )
            for column, left, right in zip(self._columns, expected, found, strict=True)
            if _differs(column, left, right)
        ]

    def _key(self, position: int, row: Sequence[pa.Array]) -> str:
        if not self._plan.key:
            return json.dumps([position + 1])
        values = []
        for place in _positions(self._columns, self._plan.key):
            cell = row[place]
            plain = pa.types.is_integer(cell.type)
            values.append(cell[0].as_py() if plain else render_whole(cell, 0))
        return shown_key(self._plan, json.dumps(values, ensure_ascii=False))


def _different(
    left: Rows | None, right: Rows | None
) -> list[tuple[int, Rows, npt.NDArray[np.int64] | None]]:
    """The rows that are not equal at their position: side, rows, and which of them (None: all)."""
    if left is None or right is None:
        sides = ((EXPECTED, left), (FOUND, right))
        return [(side, rows, None) for side, rows in sides if rows is not None]
    mask = None
    for expected, found in zip(left.columns, right.columns, strict=True):
        differs = differing(expected, found)
        if differs is not None:
            mask = differs if mask is None else mask | differs
    if mask is None:
        return []
    which = np.flatnonzero(mask)
    return [(EXPECTED, left, which), (FOUND, right, which)]


def _positions(columns: Sequence[ColumnPlan], key: Sequence[str]) -> tuple[int, ...]:
    """Where the key's columns stand; empty if one of them is not among ``columns``."""
    names = [column.name for column in columns]
    return tuple(names.index(name) for name in key) if set(key) <= set(names) else ()


def _differs(column: ColumnPlan, expected: pa.Array, found: pa.Array) -> bool:
    if column.type.comparison == Comparison.SERVER:
        return server.texts_differ(column, expected[0].as_py(), found[0].as_py())
    return (
        differing(
            as_planned(expected, column.type.compared), as_planned(found, column.type.compared)
        )
        is not None
    )


def _render_found(values: pa.Array, column: ColumnPlan) -> str | None:
    """What was found, in the planned form where it fits it."""
    cells = as_planned(values, column.type.compared)
    return render(values if cells.misfits is not None else cells.values, 0)


def _absent(plan: TablePlan, parquet: pq.ParquetFile, seconds: float) -> ContentResult:
    """The result for a table that is not there."""
    rows = parquet.metadata.num_rows
    return ContentResult(
        slug=plan.slug,
        rows_expected=rows,
        rows_found=0,
        identical=0,
        missing=rows,
        extra=0,
        changed=0,
        columns=tuple(column.name for column in plan.stored_columns),
        seconds=seconds,
    )
