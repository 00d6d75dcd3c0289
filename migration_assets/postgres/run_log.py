"""The log ``migration_assets.runs`` in a target.

In a schema that was there before us (such as ``public``) nothing can be told by a comment: there
the tables of the last run are known by the object ids in the log.
"""

from __future__ import annotations

from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from migration_assets.postgres import marker

SCHEMA = "migration_assets"
LIVE = "live"
"""Outcome of a run whose tables went live."""
REPLACED = "replaced"
"""Outcome of a run whose tables went live, and are gone."""
ROLLED_BACK = "rolled back"
"""Outcome of a run whose tables were live."""


def ensure_log(connection: Connection) -> None:
    """Make ``migration_assets.runs`` if it is not there; safe beside other runs. Commits."""
    with connection, connection.cursor() as cursor:
        if has_log(cursor):
            return
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (marker.lock_key("log"),))
        if has_log(cursor):
            return
        cursor.execute(
            """
            CREATE SCHEMA IF NOT EXISTS migration_assets;
            CREATE TABLE migration_assets.runs (
                run_id text PRIMARY KEY,
                migration text NOT NULL,
                target_schema text NOT NULL,
                plan_digest text,
                snapshot_id text,
                who text NOT NULL DEFAULT session_user,
                started_at timestamptz NOT NULL DEFAULT now(),
                finished_at timestamptz,
                outcome text,
                tables integer,
                rows bigint,
                objects oid[]
            );
            COMMENT ON SCHEMA migration_assets IS 'Log of database migrations into this database';
            """
        )


def record_run(
    cursor: Cursor, run_id: str, migration: str, target_schema: str, **facts: Any
) -> None:
    """Write or complete the log's row of a run; what is None or left out stays as it is.

    Args:
        cursor: in the transaction that the row belongs to; the log must be there.
        run_id: the root run id.
        migration: its migration.
        target_schema: the schema that it is for.
        facts: plan_digest, snapshot_id, who, outcome (sets ``finished_at``), tables, rows, objects.
    """
    known = {name: value for name, value in facts.items() if value is not None}
    unknown = set(known) - {
        "plan_digest",
        "snapshot_id",
        "who",
        "outcome",
        "tables",
        "rows",
        "objects",
    }
    if unknown:
        raise TypeError(f"no such facts of a run: {sorted(unknown)}")
    cursor.execute(
        "INSERT INTO migration_assets.runs (run_id, migration, target_schema) VALUES (%s, %s, %s)"
        " ON CONFLICT (run_id) DO NOTHING",
        (run_id, migration, target_schema),
    )
    if "outcome" in known:
        cursor.execute(
            "UPDATE migration_assets.runs SET finished_at = clock_timestamp() WHERE run_id = %s",
            (run_id,),
        )
    for name, value in known.items():
        cursor.execute(
            sql.SQL("UPDATE migration_assets.runs SET {} = %s{} WHERE run_id = %s").format(
                sql.Identifier(name), sql.SQL("::oid[]" if name == "objects" else "")
            ),
            (value, run_id),
        )


def forget_live(cursor: Cursor, schema: str, migration: str) -> None:
    """Let no earlier run count as live in ``schema``: its tables were replaced, then put aside."""
    cursor.execute(
        "UPDATE migration_assets.runs SET outcome = %s"
        " WHERE migration = %s AND target_schema = %s AND outcome = %s",
        (REPLACED, migration, schema, LIVE),
    )


def has_log(cursor: Cursor) -> bool:
    """True if there is a log."""
    # The catalog rather than to_regclass: it answers without USAGE on the schema.
    cursor.execute(
        "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = 'runs'",
        (SCHEMA,),
    )
    return cursor.fetchone() is not None


def live_run(cursor: Cursor, schema: str, migration: str) -> str | None:
    """The run of ``migration`` whose tables are live in ``schema``, None if there is none.

    By the schema's mark, or by the log where the schema is not ours alone.
    """
    mark = marker.read_mark(cursor, schema)
    if mark is not None:
        return mark.run if mark.migration == migration and mark.role is marker.Role.LIVE else None
    if not marker.schema_exists(cursor, schema) or not has_log(cursor):
        return None
    return last_live(cursor, schema, migration)


def has_been_live(cursor: Cursor, run_id: str) -> bool:
    """True if the tables of a run are live, or were, wherever."""
    if not has_log(cursor):
        return False
    cursor.execute(
        "SELECT 1 FROM migration_assets.runs WHERE run_id = %s AND outcome = ANY(%s)",
        (run_id, [LIVE, REPLACED, ROLLED_BACK]),
    )
    return cursor.fetchone() is not None


def own_objects(cursor: Cursor, schema: str, migration: str) -> list[int]:
    """Object ids of what the last live run of ``migration`` left in ``schema``."""
    if not has_log(cursor):
        return []
    cursor.execute(
        "SELECT objects FROM migration_assets.runs WHERE migration = %s AND target_schema = %s"
        " AND outcome = %s ORDER BY finished_at DESC LIMIT 1",
        (migration, schema, LIVE),
    )
    row = cursor.fetchone()
    return list(row[0] or []) if row else []


def last_live(cursor: Cursor, schema: str, migration: str) -> str | None:
    """The run of ``migration`` that went live in ``schema`` last; the log must be there."""
    cursor.execute(
        "SELECT run_id FROM migration_assets.runs WHERE migration = %s AND target_schema = %s"
        " AND outcome = %s ORDER BY finished_at DESC LIMIT 1",
        (migration, schema, LIVE),
    )
    row = cursor.fetchone()
    return str(row[0]) if row else None


def finished_at(cursor: Cursor, run_id: str) -> str | None:
    """When a run ended, ISO 8601 in UTC; None if it did not, or if there is no log."""
    if not has_log(cursor):
        return None
    cursor.execute("SELECT finished_at FROM migration_assets.runs WHERE run_id = %s", (run_id,))
    row = cursor.fetchone()
    return row[0].isoformat(timespec="seconds") if row and row[0] else None
