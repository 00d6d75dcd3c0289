"""What some schemas hold: rows and a digest of each table, sequences, and how many objects.

A digest does not depend on the order of rows, nor on version or machine: it is made of the SHA-256
of each row as text, added up.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.backup import Contents, TableSum
from migration_assets.errors import InputError
from migration_assets.postgres.connect import is_lost
from migration_assets.postgres.marker import one
from migration_assets.progress import Progress

LOCK_SECONDS = 60
"""So long is waited for a table that somebody is changing."""

SETTINGS = f"""
SET LOCAL search_path TO pg_catalog; SET LOCAL row_security TO off;
SET LOCAL lock_timeout TO '{LOCK_SECONDS}s'
"""
"""Texts of values name objects by the search path; rows that are hidden must be an error."""

TABLES = """
SELECT n.nspname, c.relname, greatest(c.reltuples, 0)::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%s) AND c.relkind = 'r' ORDER BY 1, 2
"""

DIGEST = """
SELECT count(*),
    coalesce(sum(('x' || encode(substr(hash, 1, 8), 'hex'))::bit(64)::bigint), 0),
    coalesce(sum(('x' || encode(substr(hash, 9, 8), 'hex'))::bit(64)::bigint), 0)
FROM (SELECT sha256(convert_to(ROW(t.*)::text, 'UTF8')) AS hash FROM ONLY {} t OFFSET 0) s
"""

OBJECTS = """
SELECT kind, count(*) FROM (
    SELECT n.nspname, CASE c.relkind
        WHEN 'r' THEN 'tables' WHEN 'p' THEN 'partitioned tables' WHEN 'v' THEN 'views'
        WHEN 'm' THEN 'materialized views' WHEN 'i' THEN 'indexes' WHEN 'I' THEN 'indexes'
        WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'foreign tables' ELSE 'types' END AS kind
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind <> 't'
    UNION ALL SELECT n.nspname, 'columns' FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm') AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL SELECT n.nspname, 'constraints' FROM pg_constraint o
    JOIN pg_namespace n ON n.oid = o.connamespace WHERE o.contype <> 'n'
    UNION ALL SELECT n.nspname, 'triggers' FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal
    UNION ALL SELECT n.nspname, 'policies' FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    UNION ALL SELECT n.nspname, 'routines' FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
        AND d.objid = p.oid AND d.deptype = 'e')
    UNION ALL SELECT n.nspname, 'enums and domains' FROM pg_type t
    JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.typtype IN ('d', 'e') AND NOT EXISTS (SELECT FROM pg_depend d
        WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
) AS found WHERE nspname = ANY(%s) GROUP BY 1 ORDER BY 1
"""

SEQUENCES = """
SELECT schemaname || '.' || sequencename,
    CASE WHEN increment_by < 0 THEN -last_value ELSE last_value END
FROM pg_sequences WHERE schemaname = ANY(%s) ORDER BY 1
"""


def read(cursor: Cursor, schemas: Sequence[str], progress: Progress, stage: str) -> Contents:
    """Read all rows of all tables in some schemas, in the cursor's transaction.

    Args:
        cursor: of a transaction that sees one snapshot.
        schemas: their names.
        progress: shown table by table.
        stage: as which.

    Raises:
        InputError: a table can not be read; it is named with PostgreSQL's reason.
    """
    cursor.execute(SETTINGS)
    names = list(schemas)
    # Before the rows: what is dumped later is never behind it.
    cursor.execute(SEQUENCES, (names,))
    sequences: dict[str, int | None] = dict(cursor.fetchall())
    cursor.execute(OBJECTS, (names,))
    objects: dict[str, int] = dict(cursor.fetchall())
    cursor.execute(TABLES, (names,))
    tables = []
    for schema, table, estimate in cursor.fetchall():
        with progress.task(stage, f"{schema}.{table}", estimate) as advance:
            tables.append(_sum(cursor, schema, table))
            advance(tables[-1].rows)
    return Contents(tuple(tables), sequences, objects)


def differences(expected: Contents, found: Contents) -> list[str]:
    """Where what was found is not what was expected, one line each.

    A sequence may be ahead: it is no part of any snapshot, and goes on while one is dumped.
    """
    lines = []
    there = {table.place: table for table in found.tables}
    for table in expected.tables:
        other = there.pop(table.place, None)
        if other is None:
            lines.append(f'table "{table.place}" is missing')
        elif other.rows != table.rows:
            lines.append(f'table "{table.place}" has {other.rows:,} rows, not {table.rows:,}')
        elif other.digest != table.digest:
            lines.append(f'table "{table.place}" has other values in its {table.rows:,} rows')
    lines += [f'table "{place}" is there, and was not' for place in there]
    for name, value in expected.sequences.items():
        if name not in found.sequences:
            lines.append(f'sequence "{name}" is missing')
            continue
        after = found.sequences[name]
        if value is not None and (after is None or after < value):
            lines.append(f'sequence "{name}" is at {after or "its begin"}, it was at {value}')
    for kind in sorted(expected.objects.keys() | found.objects.keys()):
        were, are = expected.objects.get(kind, 0), found.objects.get(kind, 0)
        if were != are:
            lines.append(f"{are:,} {kind}, there were {were:,}")
    return lines


def _sum(cursor: Cursor, schema: str, table: str) -> TableSum:
    try:
        cursor.execute(sql.SQL(DIGEST).format(sql.Identifier(schema, table)))
    except psycopg2.Error as error:
        if is_lost(error):
            raise
        raise InputError(
            f'table "{schema}.{table}" can not be read: {error.diag.message_primary or error}'
        ) from error
    rows, *sums = one(cursor)
    digest = "".join(f"{int(value) % (1 << 64):016x}" for value in sums)
    return TableSum(schema, table, int(rows), digest)
