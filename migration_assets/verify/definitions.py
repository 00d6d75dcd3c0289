"""Texts of defaults, checks, indexes, generated columns and views: what is there, what is planned.

PostgreSQL keeps expressions in a form of its own, so the planned ones are given to it too: tables
with the same columns are made in a schema that is rolled back, and the two forms must be equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import psycopg2
from psycopg2 import errors, sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.naming import quote
from migration_assets.core.plan import Plan, TablePlan, ViewPlan
from migration_assets.core.results import Finding
from migration_assets.postgres import connect, ddl

SCRATCH = "migration_assets_scratch"

TEXTS = """
SELECT 'column', c.relname::text, a.attname::text, pg_get_expr(d.adbin, d.adrelid, false)
FROM pg_attrdef d
JOIN pg_class c ON c.oid = d.adrelid
JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
WHERE c.relnamespace = %(schema)s::regnamespace AND a.attidentity = ''
UNION ALL
SELECT 'check', c.relname, k.conname,
       replace(pg_get_constraintdef(k.oid, false), ' NOT VALID', '')
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE k.connamespace = %(schema)s::regnamespace AND k.contype = 'c'
UNION ALL
SELECT 'index', c.relname, i.relname,
       substr(pg_get_indexdef(i.oid), length('CREATE ' || CASE WHEN x.indisunique THEN 'UNIQUE '
              ELSE '' END || 'INDEX ' || quote_ident(i.relname) || ' ON ' || quote_ident(n.nspname)
              || '.' || quote_ident(c.relname)) + 1)
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class c ON c.oid = x.indrelid
JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE i.relnamespace = %(schema)s::regnamespace
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid AND k.contype IN ('p', 'u'))
UNION ALL
SELECT 'view', c.relname, c.relname, pg_get_viewdef(c.oid, false)
FROM pg_class c
WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind = 'v'
"""
"""Kind, table, name and text of everything in one schema that has a text."""

_CATEGORIES = {"column": "schema", "check": "references", "index": "keys", "view": "schema"}
Texts = dict[tuple[str, str, str], str]


def findings(target: connect.Target, schema: str, plan: Plan) -> Iterator[Finding]:
    """Yield the objects whose text is not the planned one; absent ones are not looked at.

    Args:
        target: the database.
        schema: the loaded schema.
        plan: what must be there.

    Raises:
        InputError: the target can not be reached.
        BrokenOffError: the target was lost in the middle.
    """
    wanted = [table for table in plan.tables if _has_text(table) or _is_viewed(table, plan.views)]
    if not wanted and not plan.views:
        return
    with (
        connect.session(target, "the comparison of definitions") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(schema)))
        there = _texts(cursor, schema)
        scratch = _scratch(cursor)
        if scratch is None:
            yield Finding(
                "schema",
                schema,
                schema,
                "texts of defaults, checks, indexes and views can not be compared: no right to "
                "make a schema or a temporary table",
            )
            return
        cursor.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(scratch)))
        for table in wanted:
            _make(cursor, scratch, table)
        for view in plan.views:
            _try(cursor, ddl.create_view(scratch, view))
        planned = _texts(cursor, scratch)
        connection.rollback()
    for (kind, table_name, name), text in sorted(planned.items()):
        found = there.get((kind, table_name, name))
        if found is not None and found != text:
            what = "default or generation expression" if kind == "column" else kind
            yield Finding(
                _CATEGORIES[kind],
                table_name,
                name,
                f"{what} is {_one_line(found)}, planned {_one_line(text)}",
            )


def _has_text(table: TablePlan) -> bool:
    return bool(
        table.checks
        or table.indexes
        or any(c.generated is not None or c.default is not None for c in table.columns)
    )


def _is_viewed(table: TablePlan, views: Iterable[ViewPlan]) -> bool:
    return any(quote(table.name) in view.sql for view in views)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _scratch(cursor: Cursor) -> str | None:
    """A schema for the planned objects, None without the right to make any."""
    cursor.execute("SAVEPOINT scratch")
    try:
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCRATCH)))
    except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction):
        cursor.execute("ROLLBACK TO SAVEPOINT scratch")
    else:
        return SCRATCH
    try:
        cursor.execute("CREATE TEMP TABLE migration_assets_scratch (c int) ON COMMIT DROP")
        cursor.execute("SELECT pg_my_temp_schema()::regnamespace::text")
    except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction):
        cursor.execute("ROLLBACK TO SAVEPOINT scratch")
        return None
    row = cursor.fetchone()
    return str(row[0]) if row else None


def _make(cursor: Cursor, schema: str, table: TablePlan) -> None:
    """Make a table as planned; an object that PostgreSQL refuses is left out."""
    columns = tuple(replace(c, generated=None, default=None, identity=False) for c in table.columns)
    generated = replace(table, columns=tuple(replace(c, default=None) for c in table.columns))
    if not _try(cursor, ddl.create_table(schema, generated)):
        _try(cursor, ddl.create_table(schema, replace(table, columns=columns)))
    name = sql.Identifier(schema, table.name)
    for column in table.columns:
        if column.default is not None and column.generated is None and not column.identity:
            _try(
                cursor,
                sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {}").format(
                    name, sql.Identifier(column.name), sql.SQL(column.default)
                ),
            )
    if table.primary_key and table.primary_key_name:
        # A view may group by it and show the columns that it decides.
        _try(
            cursor,
            sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} PRIMARY KEY ({})").format(
                name,
                sql.Identifier(table.primary_key_name),
                sql.SQL(", ").join(map(sql.Identifier, table.primary_key)),
            ),
        )
    for check in table.checks:
        _try(
            cursor,
            sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} CHECK ({})").format(
                name, sql.Identifier(check.name), sql.SQL(check.expression)
            ),
        )
    for index in table.indexes:
        _try(cursor, ddl.create_index(schema, table, index))


def _try(cursor: Cursor, statement: sql.Composable) -> bool:
    cursor.execute("SAVEPOINT one")
    try:
        cursor.execute(statement)
    except (psycopg2.ProgrammingError, psycopg2.DataError, psycopg2.NotSupportedError):
        cursor.execute("ROLLBACK TO SAVEPOINT one; RELEASE SAVEPOINT one")
        return False
    cursor.execute("RELEASE SAVEPOINT one")
    return True


def _texts(cursor: Cursor, schema: str) -> Texts:
    cursor.execute(TEXTS, {"schema": sql.Identifier(schema).as_string(cursor)})
    return {(kind, table, name): text for kind, table, name, text in cursor.fetchall()}
