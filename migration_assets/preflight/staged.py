"""What the last rehearsal left in staging: what production will need as well."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg2
from psycopg2.extensions import cursor as Cursor

from migration_assets.backup import target_of
from migration_assets.core.cutover_config import STAGING
from migration_assets.errors import MigrationError
from migration_assets.home import Migration
from migration_assets.postgres import marker, run_log
from migration_assets.postgres.connect import session
from migration_assets.retention import run_folders

EXTENSIONS = """
WITH held AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname = %s),
needing AS (
    SELECT 'pg_class'::regclass AS classid, oid AS objid FROM held
    UNION ALL SELECT 'pg_attrdef'::regclass, oid FROM pg_attrdef
              WHERE adrelid IN (SELECT oid FROM held)
    UNION ALL SELECT 'pg_constraint'::regclass, oid FROM pg_constraint
              WHERE conrelid IN (SELECT oid FROM held)
    UNION ALL SELECT 'pg_rewrite'::regclass, oid FROM pg_rewrite
              WHERE ev_class IN (SELECT oid FROM held))
SELECT DISTINCT e.extname FROM needing
JOIN pg_depend d ON d.classid = needing.classid AND d.objid = needing.objid
JOIN pg_depend m ON m.classid = d.refclassid AND m.objid = d.refobjid AND m.deptype = 'e'
JOIN pg_extension e ON m.refclassid = 'pg_extension'::regclass AND e.oid = m.refobjid
ORDER BY 1
"""
"""Extensions that tables, indexes, defaults, constraints and views of a schema depend on."""

COLLATION = "SELECT datcollate FROM pg_database WHERE datname = current_database()"


@dataclass(frozen=True)
class Staged:
    """The schema that a rehearsal brought live.

    Attributes:
        version: of the server, as a number (``160004``).
        collation: of the database.
        stored: bytes of its tables and indexes.
        extensions: that it depends on.
    """

    version: int
    collation: str
    stored: int
    extensions: tuple[str, ...]


def read(migration: Migration) -> Staged | None:
    """Look at staging; None if no rehearsal went live there, or it does not answer."""
    if not any((f.path / "results" / "swap" / "all.json").exists() for f in run_folders(migration)):
        return None
    schema = migration.config.schema_of(STAGING)
    try:
        target = target_of(migration, STAGING)
        with (
            session(target, "the look at staging") as connection,
            connection.cursor() as cursor,
        ):
            if run_log.live_run(cursor, schema, migration.name) is None:
                return None
            stored = size(cursor, schema)
            cursor.execute(EXTENSIONS, (schema,))
            extensions = tuple(row[0] for row in cursor.fetchall())
            cursor.execute(COLLATION)
            (collation,) = marker.one(cursor)
            return Staged(connection.server_version, collation, stored, extensions)
    except (MigrationError, psycopg2.Error):
        return None  # production is looked at, and nothing of it depends on staging


def size(cursor: Cursor, schema: str) -> int:
    """Bytes of the tables of a schema with their indexes and long values."""
    cursor.execute(
        "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relkind IN ('r', 'm')",
        (schema,),
    )
    return int(marker.one(cursor)[0])
