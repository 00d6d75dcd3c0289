"""Two schemas of one server compared by plain SQL: every value, and every object's definition."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
from psycopg2 import sql

_COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
  a.attgenerated, pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum),
  obj_description(c.oid), c.relkind
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'v') AND a.attnum > 0
ORDER BY c.relname, a.attnum
"""
_CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid), convalidated
FROM pg_constraint WHERE connamespace = %(schema)s::regnamespace ORDER BY 1, 2
"""
_INDEXES = """
SELECT tablename, indexname, replace(indexdef, ' ON ' || %(schema)s || '.', ' ON ')
FROM pg_indexes WHERE schemaname = %(schema)s ORDER BY 1, 2
"""
_VIEWS = """
SELECT viewname, definition FROM pg_views WHERE schemaname = %(schema)s ORDER BY 1
"""
_SEQUENCES = """
SELECT sequencename, data_type::text, start_value, min_value, max_value, increment_by
FROM pg_sequences WHERE schemaname = %(schema)s ORDER BY 1
"""


def differences(url: str, one: str, other: str) -> Iterator[str]:
    """Yield what differs between two schemas; nothing if they hold the same."""
    first, second = _contents(url, one), _contents(url, other)
    for what in sorted(first.keys() | second.keys()):
        was, now = first.get(what), second.get(what)
        if was != now:
            yield f"{what}: {was} in {one}, {now} in {other}"


def _contents(url: str, schema: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT set_config('search_path', %s, false)", [schema])
        cursor.execute("SET extra_float_digits = 1; SET timezone = 'UTC'")
        for query in (_COLUMNS, _CONSTRAINTS, _INDEXES, _VIEWS, _SEQUENCES):
            cursor.execute(query, {"schema": schema})
            rows = cursor.fetchall()
            found |= {f"{query.split()[1]} {row[:2]}": row for row in rows}
        for name, *_ in rows:  # the last ones are sequences; these say what comes next
            number = sql.SQL("SELECT last_value, is_called FROM {}")
            cursor.execute(number.format(sql.Identifier(schema, name)))
            found[f"next of {name}"] = cursor.fetchone()
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema])
        for (table,) in cursor.fetchall():
            cursor.execute(
                sql.SQL(
                    "SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY ctid)) FROM {} t"
                ).format(sql.Identifier(schema, table))
            )
            found[f"rows of {table}"] = cursor.fetchone()
    return found
