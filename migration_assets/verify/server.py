"""Columns that only PostgreSQL can compare: the Parquet text is sent, cast and compared there.

The text travels by ADBC into a temporary table, one batch at a time, so that its size is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from migration_assets.core.naming import quote
from migration_assets.core.plan import ColumnPlan
from migration_assets.core.types import Comparison
from migration_assets.postgres import connect
from migration_assets.verify.cells import Cells, as_extracted
from migration_assets.verify.readback import HEAP_ORDER, FoundTable, parquet_batches
from migration_assets.verify.streams import Rows

EXPECTED = "migration_assets_expected"
"""The temporary table."""


def differs(
    target: connect.Target,
    snapshot: str,
    table: FoundTable,
    columns: Sequence[ColumnPlan],
    parquet: pq.ParquetFile,
) -> bool:
    """True if any of ``columns`` differs in any row, by position.

    Both sides must have the same number of rows. ``IS DISTINCT FROM`` on the planned type
    decides, so 1.50 equals 1.5 and the order of an object's keys is free.

    ``snapshot`` is the one that :func:`migration_assets.verify.readback.snapshot` made.
    """
    if table.partitioned or any(table.types.get(c.name) != c.type.name for c in columns):
        return True
    with connect.adbc(target) as connection, connection.cursor() as cursor:
        for setting in (*HEAP_ORDER, "SET enable_nestloop = off"):
            cursor.execute(setting)
        connection.commit()
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        _create(cursor, len(columns))
        names = ", ".join(f"{quote(c.name)} AS c{i}" for i, c in enumerate(columns))
        unequal = " OR ".join(
            f"f.c{i} IS DISTINCT FROM e.c{i}::{c.type.name}" for i, c in enumerate(columns)
        )
        place = "(0,0)"
        for batch in _texts(parquet, columns):
            _send(cursor, batch)
            cursor.execute(
                "WITH f AS MATERIALIZED (SELECT ctid AS place, row_number() OVER () AS n, "
                f"{names} FROM {table.sql} WHERE ctid > '{place}'::tid LIMIT {batch.num_rows})"
                " SELECT (SELECT max(place)::text FROM f), (SELECT count(*) FROM f"
                f" JOIN pg_temp.{EXPECTED} e USING (n) WHERE NOT ({unequal}))"
            )
            place, equal = cursor.fetchone()
            if equal != batch.num_rows:
                return True
    return False


class Canonical:
    """Turns Parquet texts into PostgreSQL's canonical text, through a connection of its own."""

    def __init__(self, target: connect.Target) -> None:
        self._opened = connect.adbc(target)
        self._connection: Any = None

    def __enter__(self) -> Canonical:
        self._connection = self._opened.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.__exit__(kind, error, trace)

    def rows(self, parquet: pq.ParquetFile, columns: Sequence[ColumnPlan]) -> Iterator[Rows]:
        """The Parquet rows with ``columns``, those for PostgreSQL in canonical text."""
        sent = [c for c in columns if c.type.comparison == Comparison.SERVER]
        canonical = ", ".join(_canonical(f"c{i}", c) for i, c in enumerate(sent))
        first = 0
        with self._connection.cursor() as cursor:
            _create(cursor, len(sent))
            for batch in parquet_batches(parquet):
                _send(cursor, _numbered(batch, sent))
                cursor.execute(f"SELECT {canonical} FROM pg_temp.{EXPECTED} ORDER BY n")
                answer = cursor.fetch_arrow_table().combine_chunks()
                returned = iter(
                    answer.column(i).chunk(0) if answer.num_rows else pa.array([], pa.string())
                    for i in range(len(sent))
                )
                cells = [
                    Cells(next(returned))
                    if column.type.comparison == Comparison.SERVER
                    else as_extracted(_column(batch, column), column.type.compared)
                    for column in columns
                ]
                yield Rows(first, batch.num_rows, cells)
                first += batch.num_rows


def found_text(table: FoundTable, column: ColumnPlan) -> str:
    """SQL that reads ``column`` as :meth:`Canonical.rows` returns it."""
    if column.type.comparison == Comparison.SERVER and table.types.get(column.name) == "numeric":
        return f"trim_scale({quote(column.name)})::text"
    return table.expression(column)


def canonical_type(column: ColumnPlan) -> pa.DataType:
    """The Arrow type in which the whole table is compared."""
    return pa.string() if column.type.comparison == Comparison.SERVER else column.type.compared


def texts_differ(column: ColumnPlan, expected: str | None, found: str | None) -> bool:
    """As PostgreSQL compares them, for the few rows that are listed."""
    if expected is None or found is None:
        return (expected is None) != (found is None)
    if column.type.name == "jsonb":
        return _json_differs(expected, found)
    try:
        left, right = Decimal(expected), Decimal(found)
    except ArithmeticError:
        return expected != found
    return left != right and not (left.is_nan() and right.is_nan())


def _json_differs(expected: str, found: str) -> bool:
    try:
        left, right = (
            json.loads(text, parse_float=Decimal, parse_int=Decimal) for text in (expected, found)
        )
    except ValueError:
        return expected != found
    return _typed(left) != _typed(right)


def _typed(value: object) -> object:
    """Keeps true apart from 1."""
    if isinstance(value, dict):
        return {name: _typed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return (type(value).__name__, value)


def _canonical(name: str, column: ColumnPlan) -> str:
    if column.type.name == "numeric":
        return f"trim_scale({name}::numeric)::text"
    return f"{name}::{column.type.name}::text"


def _create(cursor: Any, columns: int) -> None:
    texts = "".join(f", c{i} text" for i in range(columns))
    cursor.execute(f"DROP TABLE IF EXISTS pg_temp.{EXPECTED}")
    cursor.execute(f"CREATE TEMP TABLE {EXPECTED} (n bigint{texts})")


def _send(cursor: Any, batch: pa.RecordBatch) -> None:
    cursor.execute(f"TRUNCATE pg_temp.{EXPECTED}")
    cursor.adbc_ingest(EXPECTED, batch, mode="append", temporary=True)


def _texts(parquet: pq.ParquetFile, columns: Sequence[ColumnPlan]) -> Iterator[pa.RecordBatch]:
    for batch in parquet_batches(parquet):
        yield _numbered(batch, columns)


def _numbered(batch: pa.RecordBatch, columns: Sequence[ColumnPlan]) -> pa.RecordBatch:
    texts = {f"c{i}": _column(batch, column) for i, column in enumerate(columns)}
    numbers = pa.array(range(1, batch.num_rows + 1), pa.int64())
    return pa.record_batch({"n": numbers, **texts})


def _column(batch: pa.RecordBatch, column: ColumnPlan) -> pa.Array:
    return batch.column(batch.schema.get_field_index(column.name))
