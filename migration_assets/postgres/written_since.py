"""What was written to a table since it was loaded: its rows beside those that went in.

PostgreSQL does the comparison, by key, in the table's own types; what differs comes as
PostgreSQL's own text, from a cursor that holds no more than some thousand rows at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.plan import ColumnPlan, TablePlan

FETCHED_ROWS = 2_000
FETCHED_BYTES = 4 << 20
"""Rows come in parts of about this size, and of no more than FETCHED_ROWS."""

Values = tuple[str | None, ...]

INSERTED, UPDATED, DELETED = "inserted", "updated", "deleted"


@dataclass(frozen=True)
class Write:
    """One row that is not as it was loaded.

    Attributes:
        change: ``inserted``, ``updated`` or ``deleted``.
        before: its values as loaded, None for an inserted one.
        after: its values as they are, None for a deleted one.
    """

    change: str
    before: Values | None
    after: Values | None


def columns_of(cursor: Cursor, schema: str, table: str) -> list[str]:
    """The columns that a table has now; none if it is not there."""
    cursor.execute(
        "SELECT a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s"
        " AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        (schema, table),
    )
    return [name for (name,) in cursor.fetchall()]


def rows_at_once(cursor: Cursor, schema: str, table: str) -> int:
    """How many rows of a table are fetched at once, by their size as the table is stored."""
    cursor.execute(
        "SELECT pg_table_size(c.oid) / greatest(c.reltuples, 1) FROM pg_class c JOIN pg_namespace n"
        " ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
        (schema, table),
    )
    row = cursor.fetchone()
    return max(1, min(FETCHED_ROWS, int(FETCHED_BYTES / max(row[0], 1)))) if row else FETCHED_ROWS


def writes(
    connection: Connection,
    plan: TablePlan,
    columns: Sequence[ColumnPlan],
    schema: str,
    loaded: str,
    at_once: int = FETCHED_ROWS,
) -> Iterator[Write]:
    """The rows of a table that are not as they were loaded, in no order.

    A table without a key has no updated rows: each is a deleted and an inserted one.

    Args:
        connection: idle; the rows come in a transaction of it.
        plan: the table.
        columns: those to compare, in the order of the values.
        schema: holds the table as it is.
        loaded: holds it as it was loaded.
        at_once: rows that are fetched at once.
    """
    key = [column for column in columns if column.name in plan.key]
    keyed = bool(plan.key) and len(key) == len(plan.key)
    query = (
        _by_key(plan, columns, key, schema, loaded)
        if keyed
        else _by_row(plan, columns, schema, loaded)
    )
    width = len(columns)
    with connection.cursor(name="migration_assets_writes") as cursor:
        cursor.itersize = at_once
        cursor.execute(query)
        for change, *values in cursor:
            before, after = tuple(values[:width]), tuple(values[width:])
            yield Write(
                change,
                None if change == INSERTED else before,
                None if change == DELETED else after,
            )
    connection.rollback()


def _by_key(
    plan: TablePlan,
    columns: Sequence[ColumnPlan],
    key: Sequence[ColumnPlan],
    schema: str,
    loaded: str,
) -> sql.Composed:
    keys = {column.name for column in key}
    changed = [_differs(column) for column in columns if column.name not in keys]
    return sql.SQL(
        "SELECT CASE WHEN b.ctid IS NULL THEN 'inserted' WHEN a.ctid IS NULL THEN 'deleted'"
        " ELSE 'updated' END, {values}"
        " FROM {after} a FULL JOIN {before} b ON {join}"
        " WHERE a.ctid IS NULL OR b.ctid IS NULL{changed}"
    ).format(
        values=sql.SQL(", ").join(
            [_text("b", c) for c in columns] + [_text("a", c) for c in columns]
        ),
        after=sql.Identifier(schema, plan.name),
        before=sql.Identifier(loaded, plan.name),
        join=sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(_compared("a", c), _compared("b", c)) for c in key
        ),
        changed=sql.SQL("").join(sql.SQL(" OR ") + condition for condition in changed),
    )


def _by_row(
    plan: TablePlan, columns: Sequence[ColumnPlan], schema: str, loaded: str
) -> sql.Composed:
    """Rows are told by all of their values, and by how many there are of the same."""

    def grouped(place: str) -> sql.Composed:
        names = sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(_text("t", c), sql.Identifier(f"c{n}"))
            for n, c in enumerate(columns)
        )
        return sql.SQL(
            "SELECT row(r.*)::text AS k, r.*, count(*) AS n FROM (SELECT {} FROM {} t) r"
            " GROUP BY {}"
        ).format(
            names,
            sql.Identifier(place, plan.name),
            sql.SQL(", ").join(
                sql.SQL("r.") + sql.Identifier(f"c{n}") for n in range(len(columns))
            ),
        )

    sides = [
        sql.SQL("{}.{}").format(sql.SQL(side), sql.Identifier(f"c{n}"))
        for side in "ba"
        for n in range(len(columns))
    ]
    return sql.SQL(
        "SELECT CASE WHEN coalesce(a.n, 0) > coalesce(b.n, 0) THEN 'inserted' ELSE 'deleted' END,"
        " {values} FROM ({after}) a FULL JOIN ({before}) b ON a.k = b.k"
        " CROSS JOIN LATERAL generate_series(1, abs(coalesce(a.n, 0) - coalesce(b.n, 0)))"
    ).format(values=sql.SQL(", ").join(sides), after=grouped(schema), before=grouped(loaded))


_PLAIN = frozenset({
    "smallint", "integer", "bigint", "boolean", "double precision", "real", "numeric", "uuid",
    "date", "time", "timestamp", "timestamptz", "bytea",
})  # fmt: skip
"""Types whose values are compared as they are; others by their text, byte by byte."""


def _compared(side: str, column: ColumnPlan) -> sql.Composed:
    name = sql.SQL("{}.{}").format(sql.SQL(side), sql.Identifier(column.name))
    if column.type.family in _PLAIN:
        return name
    return name + sql.SQL('::text COLLATE "C"')


def _differs(column: ColumnPlan) -> sql.Composed:
    return sql.SQL("{} IS DISTINCT FROM {}").format(_compared("a", column), _compared("b", column))


def _text(side: str, column: ColumnPlan) -> sql.Composed:
    name = sql.SQL("{}.{}").format(sql.SQL(side), sql.Identifier(column.name))
    if column.type.family == "text[]":
        return sql.SQL("array_to_string({}, ',')").format(name)
    return name + sql.SQL("::text")
