"""A loaded table as PostgreSQL returns it, and the Parquet rows it must equal.

The way back is ADBC, never this project's own encoder. A table that was filled by one COPY is
returned in exactly that order by a plain scan of its heap.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from migration_assets.core.naming import quote
from migration_assets.core.plan import ColumnPlan
from migration_assets.core.types import Comparison
from migration_assets.verify.cells import as_extracted, as_planned
from migration_assets.verify.streams import Rows

BATCH_BYTES = 4 << 20
"""Size of one batch read back: above this nothing gets faster, memory only grows."""

BATCH_ROWS = 65_536

_READ = {
    "bit": "{}::text",
    "enum": "{}::text",
    "interval": "(extract(epoch FROM {}) * 1000000)::bigint",
    "text[]": "array_to_string({}, ',')",
}
"""How values of a family are read where the plain column would come back in another form."""

HEAP_ORDER = (
    "SET synchronize_seqscans = off",
    "SET max_parallel_workers_per_gather = 0",
    "SET enable_indexscan = off",
    "SET enable_indexonlyscan = off",
    "SET enable_bitmapscan = off",
)
"""Whatever reads a whole table after these reads it from its first page to its last."""


@dataclass(frozen=True)
class FoundTable:
    """A table as it really is: ``types`` maps column -> ``format_type`` without modifiers."""

    schema: str
    name: str
    types: dict[str, str]
    partitioned: bool = False

    @property
    def sql(self) -> str:
        """Its qualified, quoted name."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    def expression(self, column: ColumnPlan) -> str:
        """How ``column`` is read; a column that is not there reads as NULL.

        What is compared by PostgreSQL itself is read as its text.
        """
        if column.name not in self.types:
            return "NULL::text"
        if column.type.comparison == Comparison.SERVER:
            return f"{quote(column.name)}::text"
        return _READ.get(column.type.family, "{}").format(quote(column.name))


@dataclass(frozen=True)
class Part:
    """Some consecutive rows of a table, as they stand in its heap and in the Parquet file.

    Attributes:
        first: position of the first row, from 0.
        end: position after the last row, None for all that follow.
        first_page: heap page of the first row, None for the first of all.
        end_page: the page after the last one, None for all that follow.
    """

    first: int = 0
    end: int | None = None
    first_page: int | None = None
    end_page: int | None = None


WHOLE = Part()


def halves(connection: Any, table: FoundTable) -> tuple[Part, Part] | None:
    """The table cut in the middle of its heap; None if it has too few pages, or none of its own."""
    if table.partitioned:
        return None
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_relation_size($1::text::regclass)"
            " / current_setting('block_size')::bigint / 2",
            (table.sql,),
        )
        page = int(cursor.fetchone()[0])
        if not page:
            return None
        cursor.execute(f"SELECT count(*) FROM {table.sql}{_pages(Part(end_page=page))}")
        rows = int(cursor.fetchone()[0])
    return Part(end=rows, end_page=page), Part(first=rows, first_page=page)


@contextmanager
def snapshot(connection: Any, of: str | None = None) -> Iterator[str]:
    """Let an ADBC connection read one snapshot in heap order; yields the snapshot's id.

    Args:
        connection: idle.
        of: the id of another connection's snapshot, to read the same; None for a new one.
    """
    with connection.cursor() as cursor:
        for setting in HEAP_ORDER:
            cursor.execute(setting)
        connection.commit()
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if of is None:
            cursor.execute("SELECT pg_export_snapshot()")
            name = str(cursor.fetchone()[0])
        else:
            cursor.execute(f"SET TRANSACTION SNAPSHOT '{of}'")  # takes no parameters
            name = of
    try:
        yield name
    finally:
        connection.rollback()


def find_table(connection: Any, schema: str, name: str) -> FoundTable | None:
    """Look the table up in the catalog; None if there is none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT a.attname::text, format_type(a.atttypid, NULL), c.relkind = 'p'"
            " FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " LEFT JOIN pg_attribute a"
            " ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
            " WHERE n.nspname = $1::text AND c.relname = $2::text AND c.relkind IN ('r', 'p')",
            (schema, name),
        )
        rows = cursor.fetchall()
    if not rows:
        return None
    types = {column: kind for column, kind, _ in rows if column is not None}
    return FoundTable(schema, name, types, partitioned=rows[0][2])


def found_batches(connection: Any, query: str) -> Generator[pa.RecordBatch, None, None]:
    """Stream a query's result in batches of about BATCH_BYTES."""
    with connection.cursor() as cursor:
        cursor.adbc_statement.set_options(
            **{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)}
        )
        cursor.execute(query)
        yield from cursor.fetch_record_batch()


def heap_query(table: FoundTable, expressions: Sequence[str], part: Part = WHOLE) -> str:
    """SQL that reads ``expressions`` of rows in heap order; a constant if there are none."""
    return f"SELECT {', '.join(expressions) or 'true'} FROM {table.sql}{_pages(part)}"


def _pages(part: Part) -> str:
    """The condition on the heap's pages: a scan of these pages only, from PostgreSQL 14 on."""
    bounds = ((">=", part.first_page), ("<", part.end_page))
    found = [f"ctid {sign} '({page},0)'::tid" for sign, page in bounds if page is not None]
    return f" WHERE {' AND '.join(found)}" if found else ""


def found_rows(
    batches: Iterator[pa.RecordBatch], planned: Sequence[pa.DataType], first: int = 0
) -> Iterator[Rows]:
    """Bring what was read back into the planned types; columns stand in the same order."""
    for batch in batches:
        columns = [as_planned(batch.column(i), kind) for i, kind in enumerate(planned)]
        yield Rows(first, batch.num_rows, columns)
        first += batch.num_rows


def parquet_batches(
    parquet: pq.ParquetFile, groups: Sequence[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """Stream a Parquet file, or some of its row groups, in small batches.

    One row group at a time and in one thread: a reader of all of them keeps what it has decoded
    until the end, and the read-back beside it is slower anyway.
    """
    for group in range(parquet.num_row_groups) if groups is None else groups:
        yield from parquet.iter_batches(BATCH_ROWS, row_groups=[group], use_threads=False)


def expected_rows(
    parquet: pq.ParquetFile, columns: Sequence[ColumnPlan], part: Part = WHOLE
) -> Iterator[Rows]:
    """The Parquet file's rows with ``columns`` in their order."""
    places = [parquet.schema_arrow.get_field_index(column.name) for column in columns]
    end = parquet.metadata.num_rows if part.end is None else part.end
    first = 0
    for group in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        if first + rows <= part.first or first >= end:
            first += rows
            continue
        for whole in parquet_batches(parquet, [group]):
            skipped = min(max(part.first - first, 0), whole.num_rows)
            batch = whole.slice(skipped, max(end - first - skipped, 0))
            cells = [
                as_extracted(batch.column(place), column.type.compared)
                for place, column in zip(places, columns, strict=True)
            ]
            yield Rows(first + skipped, batch.num_rows, cells)
            first += whole.num_rows


def fetch_expected(
    parquet: pq.ParquetFile, columns: Sequence[ColumnPlan], positions: Sequence[int]
) -> dict[int, list[pa.Array]]:
    """The few Parquet rows at ``positions``, each as arrays of length one."""
    wanted = np.unique(np.array(positions, dtype=np.int64))
    places = [parquet.schema_arrow.get_field_index(column.name) for column in columns]
    fetched: dict[int, list[pa.Array]] = {}
    first = 0
    for group in range(parquet.num_row_groups):
        end = first + parquet.metadata.row_group(group).num_rows
        if len(wanted) and np.searchsorted(wanted, end) > np.searchsorted(wanted, first):
            start = first
            for batch in parquet_batches(parquet, [group]):
                low, high = np.searchsorted(wanted, (start, start + batch.num_rows))
                for position in wanted[low:high].tolist():
                    row = batch.slice(position - start, 1)
                    fetched[position] = [
                        as_extracted(row.column(place), column.type.compared).values
                        for place, column in zip(places, columns, strict=True)
                    ]
                start += batch.num_rows
        first = end
    return fetched


def fetch_found(
    connection: Any,
    table: FoundTable,
    columns: Sequence[ColumnPlan],
    positions: Sequence[int],
) -> dict[int, list[pa.Array]]:
    """The few rows at heap ``positions``, each as arrays of length one, as PostgreSQL has them."""
    if not positions:
        return {}
    names = ", ".join(f"c{i}" for i in range(len(columns)))
    inner = ", ".join(f"{table.expression(column)} AS c{i}" for i, column in enumerate(columns))
    numbers = ", ".join(str(int(position) + 1) for position in sorted(positions))
    query = (
        f"SELECT n, {names}"
        f" FROM (SELECT row_number() OVER () AS n, {inner} FROM {table.sql}) AS found"
        f" WHERE n <= {max(positions) + 1} AND n IN ({numbers})"
    )
    fetched: dict[int, list[pa.Array]] = {}
    for batch in found_batches(connection, query):
        for row, number in enumerate(batch.column(0).to_pylist()):
            fetched[number - 1] = [batch.column(i + 1).slice(row, 1) for i in range(len(columns))]
    return fetched
