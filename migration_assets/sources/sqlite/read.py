"""Read a table of a snapshot in Arrow batches, every column as lanes by storage class.

The Arrow driver takes a column's type from the first batch, widens it there without a word
(an integer becomes the text of it) and fails on another type later. So every read starts with
one made-up row that fixes the types, and the last lane of every column carries a guard that
fails in the engine when a value belongs to no requested lane.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

import pyarrow as pa
from adbc_driver_manager.dbapi import Connection

from migration_assets.core.catalog import Table
from migration_assets.core.naming import quote
from migration_assets.core.profile import Lane
from migration_assets.sources.base import BATCH_ROWS
from migration_assets.sources.sqlite.declared import Affinity, affinity

BATCH_BYTES = 32 * 1024 * 1024
"""About how much one batch may hold: the driver needs some four times that while it fills one."""

MAX_RESULT_COLUMNS = 1900
"""Lanes in one SELECT; SQLite allows 2000 (SQLITE_MAX_COLUMN)."""

CLASS = {Lane.INT: "integer", Lane.REAL: "real", Lane.TEXT: "text", Lane.BLOB: "blob"}
"""What SQLite's typeof() says of the values of a lane."""

ARROW = {
    Lane.INT: pa.int64(),
    Lane.REAL: pa.float64(),
    Lane.TEXT: pa.binary(),
    Lane.BLOB: pa.binary(),
}
"""The Arrow type of a lane."""

# SQLite has no function that just fails. The absolute value of the least integer does ("Built-In
# Scalar SQL Functions", abs), and only in the row that asks for it.
_FAIL = "abs(-9223372036854775807 - 1)"

Field = tuple[int, Lane]
"""(column position, lane) of one field of a raw batch."""


class WrongTypeError(Exception):
    """The driver chose another type than the made-up row has: some value is in no lane."""


def fields_of(table: Table, lanes: Mapping[str, tuple[Lane, ...]]) -> list[Field]:
    """The fields of a raw batch in order.

    Raises:
        ValueError: a column without lanes could lose its values unseen.
    """
    order = list(Lane)
    fields: list[Field] = []
    for position, column in enumerate(table.columns):
        wanted = sorted(set(lanes[column.name]), key=order.index)
        if not wanted:
            raise ValueError(f'table "{table.name}", column "{column.name}": no lanes asked for')
        fields += [(position, lane) for lane in wanted]
    return fields


def read(
    connection: Connection, table: Table, scan: str, fields: Sequence[Field], *, utf16: bool
) -> Iterator[pa.RecordBatch]:
    """Yield the table; at least one batch, an empty one if it has no rows.

    Args:
        connection: to the snapshot.
        table: as reflected.
        scan: what stands behind FROM; it decides the order of the rows.
        fields: of a raw batch, from :func:`fields_of`.
        utf16: texts are stored as UTF-16.

    Raises:
        adbc_driver_manager.Error, OSError: as the driver says, also when a guard fails.
        WrongTypeError: a value in the first batch is in no lane.
    """
    names = [f"{position}:{lane}" for position, lane in fields]
    schema = pa.schema([(name, ARROW[lane]) for name, (_, lane) in zip(names, fields, strict=True)])
    rows = batch_rows(table, len(fields))
    with ExitStack() as stack:
        groups = []
        for start in range(0, len(fields), MAX_RESULT_COLUMNS):
            cursor = stack.enter_context(connection.cursor())
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(rows)})
            group = fields[start : start + MAX_RESULT_COLUMNS]
            cursor.execute(select(table, scan, group, fields, utf16=utf16))
            groups.append(cursor.fetch_record_batch())
        batches = (_join(schema, parts) for parts in zip(*groups, strict=True))
        # Without the made-up row; taken, not sliced, so that every buffer starts at a row.
        first = next(batches)
        held = first.take(pa.array(range(1, first.num_rows), pa.int64()))
        if held.num_rows:
            yield held
        empty = held.num_rows == 0
        for batch in batches:
            empty = False
            yield batch
        if empty:
            yield held


def batch_rows(table: Table, fields: int) -> int:
    """Rows of one batch: BATCH_ROWS, or as many as fit into BATCH_BYTES on average."""
    width = 9 * fields
    if table.rows and table.bytes:
        width += table.bytes // table.rows
    return max(1, min(BATCH_ROWS, BATCH_BYTES // width))


def select(
    table: Table, scan: str, fields: Sequence[Field], all_fields: Sequence[Field], *, utf16: bool
) -> str:
    """The SELECT that reads ``fields``, a part of ``all_fields``, after the made-up row."""
    wanted: dict[int, list[Lane]] = {}
    for position, lane in all_fields:
        wanted.setdefault(position, []).append(lane)
    made_up, terms = [], []
    for position, lane in fields:
        made_up.append(_made_up(lane, utf16=utf16))
        column = table.columns[position]
        terms.append(
            lane_term(
                quote(column.name),
                lane,
                wanted[position],
                affinity(column.source_type),
                utf16=utf16,
            )
        )
    return f"SELECT {', '.join(made_up)} UNION ALL SELECT {', '.join(terms)} FROM {scan}"


def lane_term(
    column: str, lane: Lane, lanes: Sequence[Lane], stored: Affinity, *, utf16: bool
) -> str:
    """The SQL of one lane of ``column`` (quoted); the last of ``lanes`` guards the column."""
    if list(lanes) == [lane] and (
        # The driver itself fails on anything that is not an integer. It would take an integer
        # for a real, but a column of REAL affinity never shows one.
        lane is Lane.INT or (lane is Lane.REAL and stored is Affinity.REAL)
    ):
        return column
    # UTF-16 text must not be cast, its bytes are not UTF-8: the driver converts it.
    value = f"CAST({column} AS BLOB)" if lane is Lane.TEXT and not utf16 else column
    if list(lanes) == [lane]:
        # Half the time of two conditions on typeof().
        return (
            f"CASE typeof({column}) WHEN '{CLASS[lane]}' THEN {value}"
            f" WHEN 'null' THEN NULL ELSE {_FAIL} END"
        )
    others = [f"'{CLASS[other]}'" for other in Lane if other not in lanes]
    guarded = others and lane is lanes[-1]
    guard = f" WHEN typeof({column}) IN ({', '.join(others)}) THEN {_FAIL}" if guarded else ""
    return f"CASE WHEN typeof({column}) = '{CLASS[lane]}' THEN {value}{guard} END"


def _made_up(lane: Lane, *, utf16: bool) -> str:
    if lane is Lane.TEXT and utf16:
        return "''"
    return {Lane.INT: "0", Lane.REAL: "0.5"}.get(lane, "x''")


def _join(schema: pa.Schema, parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of all groups' columns, in the schema's names and types."""
    arrays = []
    for part in parts:
        arrays += part.columns
    cast = []
    for array, field in zip(arrays, schema, strict=True):
        if array.type == pa.string() and field.type == pa.binary():
            array = array.cast(pa.binary())
        if array.type != field.type:
            raise WrongTypeError(f"{field.name} came as {array.type}")
        cast.append(array)
    return pa.RecordBatch.from_arrays(cast, schema=schema)
