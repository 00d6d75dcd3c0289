"""What is ours in a target: comments on our schemas, and the log ``migration_assets.runs``.

A schema that we make carries a comment with the migration, the run and its role. In a schema
that was there before (such as ``public``) nothing can be told by a comment: there the tables of
the last run are known by the object ids in the log.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from migration_assets.errors import InputError
from migration_assets.postgres import added, security
from migration_assets.postgres.connect import Target, session

LOG_SCHEMA = "migration_assets"
MINIMUM_VERSION = 13
DROP_TABLES = 100
LIVE = "live"
"""Outcome of a run whose tables went live."""


class Role(StrEnum):
    """What one of our schemas is for."""

    INCOMING = "incoming"
    LIVE = "live"
    PREVIOUS = "previous"


@dataclass(frozen=True)
class Mark:
    """The comment on one of our schemas.

    ``taken_at`` is when the snapshot in a live schema was taken, ISO 8601; it is no part of what
    makes two marks equal.
    """

    migration: str
    run: str
    role: Role
    taken_at: str | None = field(default=None, compare=False)

    def to_comment(self) -> str:
        """The text of the comment."""
        return json.dumps({"migration_assets": 1, **asdict(self)})

    @staticmethod
    def from_comment(comment: str | None) -> Mark | None:
        """The mark in a comment, None if the comment is not one of ours."""
        try:
            record = json.loads(comment or "")
            if record["migration_assets"] == 1:
                return Mark(
                    record["migration"],
                    record["run"],
                    Role(record["role"]),
                    record.get("taken_at"),
                )
        except (ValueError, TypeError, KeyError):
            return None
        return None


def read_mark(cursor: Cursor, schema: str) -> Mark | None:
    """The mark of ``schema``, None if there is none."""
    cursor.execute(
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s",
        (schema,),
    )
    row = cursor.fetchone()
    return Mark.from_comment(row[0]) if row else None


def write_mark(cursor: Cursor, schema: str, mark: Mark) -> None:
    """Put ``mark`` on ``schema``."""
    cursor.execute(
        sql.SQL("COMMENT ON SCHEMA {} IS {}").format(
            sql.Identifier(schema), sql.Literal(mark.to_comment())
        )
    )


def marked_schemas(cursor: Cursor, migration: str, role: Role) -> dict[str, Mark]:
    """Our schemas of ``migration`` in ``role``, by name."""
    cursor.execute("SELECT nspname, obj_description(oid, 'pg_namespace') FROM pg_namespace")
    marks = {name: Mark.from_comment(comment) for name, comment in cursor.fetchall()}
    return {
        n: m for n, m in sorted(marks.items()) if m and m.migration == migration and m.role is role
    }


def schema_exists(cursor: Cursor, schema: str) -> bool:
    """True if there is a schema of that name."""
    cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,))
    return cursor.fetchone() is not None


def lock_key(name: str) -> int:
    """The key of the advisory lock that stands for ``name``."""
    digest = hashlib.sha256(f"migration_assets:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def hold(cursor: Cursor, schema: str) -> None:
    """Tell others that this connection works in ``schema`` until it closes; see :func:`is_free`."""
    cursor.execute("SELECT pg_advisory_lock_shared(%s)", (lock_key(schema),))


def is_free(cursor: Cursor, schema: str) -> bool:
    """True if no connection holds ``schema``; keeps others off until the transaction ends."""
    cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", (lock_key(schema),))
    return bool(one(cursor)[0])


def queue_for_swap(cursor: Cursor, schema: str) -> None:
    """Let one transaction at a time exchange what is in ``schema``; waits for the others."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key(f"swap into {schema}"),))


def one(cursor: Cursor) -> tuple[Any, ...]:
    """The single row of a query that always has one."""
    row = cursor.fetchone()
    if row is None:
        raise LookupError("a query that always has a row had none")
    return row


def drop_schema(connection: Connection, schema: str) -> None:
    """Drop one of our schemas with all in it, few tables at a time. Commits.

    One DROP SCHEMA of a thousand tables would need more locks than a server keeps by default.
    """
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = "
            "c.relnamespace"
            " WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm')"
            " ORDER BY c.relkind IN ('r', 'p'), c.relname",
            (schema,),
        )
        found = cursor.fetchall()
    tables = [name for name, kind in found if kind in "rp"]
    with connection, connection.cursor() as cursor:
        for name, kind in found:
            if kind in "vm":
                kind_sql = sql.SQL("VIEW" if kind == "v" else "MATERIALIZED VIEW")
                cursor.execute(
                    sql.SQL("DROP {} IF EXISTS {} CASCADE").format(
                        kind_sql, sql.Identifier(schema, name)
                    )
                )
    for at in range(0, len(tables), DROP_TABLES):
        names = sql.SQL(", ").join(sql.Identifier(schema, t) for t in tables[at : at + DROP_TABLES])
        with connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(names))
    with connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


def preflight(
    target: Target, migration: str, check: Callable[[Cursor, str, str], None] | None = None
) -> None:
    """Look whether a run of ``migration`` can go into ``target``; writes nothing.

    Args:
        target: the database and schema.
        migration: the migration's name.
        check: looks at the schema, None for :func:`check_schema`.

    Raises:
        InputError: the target can not be reached, is too old, is a standby, refuses CREATE, or
            the schema holds what is not this migration's; the message says what to do.
    """
    with session(
        target, "the look at the target", options="-c default_transaction_read_only=on"
    ) as connection:
        where = target.location
        if connection.server_version < MINIMUM_VERSION * 10000:
            raise InputError(
                f"{where} is PostgreSQL {connection.server_version // 10000}; {MINIMUM_VERSION} "
                "or later is needed"
            )
        with connection.cursor() as cursor:
            _check_rights(cursor, where)
            _check_log(cursor, where)
            (check or check_schema)(cursor, target.schema, migration)
            security.check_publications(cursor, target.schema)


def check_schema(cursor: Cursor, schema: str, migration: str, built: bool = False) -> None:
    """Raise InputError unless ``schema`` is absent, empty, or holds only ``migration``'s work.

    One that is ``built`` by the application's own command must be all ours, for it is replaced as
    a whole, with the routines, types and triggers of that command.
    """
    if schema.startswith("pg_") or schema in {"information_schema", LOG_SCHEMA}:
        raise InputError(f'schema "{schema}" is reserved; choose another one with --schema NAME')
    if not schema_exists(cursor, schema):
        return
    mark = read_mark(cursor, schema)
    if mark and mark.migration != migration:
        raise InputError(
            f'schema "{schema}" belongs to migration {mark.migration}; choose another one with '
            "--schema NAME"
        )
    if mark and mark.role is not Role.LIVE:
        raise InputError(
            f'schema "{schema}" is the {mark.role} schema of this migration; choose another one '
            "with --schema NAME"
        )
    if built and mark is None:
        raise InputError(
            f'schema "{schema}" is there and schema_command makes a new one in its place; choose '
            "another one with --schema NAME, or load into its tables without schema_command"
        )
    cursor.execute(
        "SELECT pg_get_userbyid(nspowner), pg_has_role(nspowner, 'USAGE'), "
        "has_schema_privilege(oid, 'CREATE'),"
        " current_user FROM pg_namespace WHERE nspname = %s",
        (schema,),
    )
    owner, owns, may_create, user = one(cursor)
    if not (owns if mark else may_create):
        raise InputError(
            f'schema "{schema}" belongs to role "{owner}" and "{user}" may not create in it; '
            "connect as its owner or choose another one with --schema NAME"
        )
    known = own_objects(cursor, schema, migration)
    foreign = added.relations(cursor, schema, known)
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise InputError(
            f'schema "{schema}" holds {foreign[0]}{more}, which this migration did not make; '
            "choose another schema with --schema NAME"
        )
    if not built:
        _check_added(cursor, schema, known, mark)
    dependents = added.outside_dependents(cursor, schema)
    if dependents:
        raise InputError(
            f'{dependents[0]} depends on tables of schema "{schema}" and would stay with the old '
            "ones; "
            "drop it and make it again after the run, or choose another schema with --schema NAME"
        )


def _check_added(cursor: Cursor, schema: str, known: list[int], mark: Mark | None) -> None:
    """In a schema that is not ours alone, routines and types stay where they are."""
    attached = added.attached(cursor, known)
    if attached:
        more = f" and {len(attached) - 1} more" if len(attached) > 1 else ""
        raise InputError(
            f'schema "{schema}" holds {attached[0]}{more}, which the new tables would not have; '
            "drop it and make it again after the run, or choose another schema with --schema NAME"
        )
    held = added.routines_and_types(cursor, schema, known) if mark else []
    if held:
        more = f" and {len(held) - 1} more" if len(held) > 1 else ""
        raise InputError(
            f'schema "{schema}" holds {held[0]}{more}, which would go with the old tables; move it '
            "to another schema (ALTER ... SET SCHEMA), or choose another schema with --schema NAME"
        )


def live_run(cursor: Cursor, schema: str, migration: str) -> str | None:
    """The run of ``migration`` whose tables are live in ``schema``, None if there is none.

    By the schema's mark, or by the log where the schema is not ours alone.
    """
    mark = read_mark(cursor, schema)
    if mark is not None:
        return mark.run if mark.migration == migration and mark.role is Role.LIVE else None
    if not schema_exists(cursor, schema) or not _has_log(cursor):
        return None
    cursor.execute(
        "SELECT run_id FROM migration_assets.runs WHERE migration = %s AND target_schema = %s"
        " AND outcome = %s ORDER BY finished_at DESC LIMIT 1",
        (migration, schema, LIVE),
    )
    row = cursor.fetchone()
    return str(row[0]) if row else None


def own_objects(cursor: Cursor, schema: str, migration: str) -> list[int]:
    """Object ids of what the last live run of ``migration`` left in ``schema``."""
    if not _has_log(cursor):
        return []
    cursor.execute(
        "SELECT objects FROM migration_assets.runs WHERE migration = %s AND target_schema = %s"
        " AND outcome = %s ORDER BY finished_at DESC LIMIT 1",
        (migration, schema, LIVE),
    )
    row = cursor.fetchone()
    return list(row[0] or []) if row else []


def ensure_log(connection: Connection) -> None:
    """Make ``migration_assets.runs`` if it is not there; safe beside other runs. Commits."""
    with connection, connection.cursor() as cursor:
        if _has_log(cursor):
            return
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key("log"),))
        if _has_log(cursor):
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
                who text NOT NULL DEFAULT current_user,
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


def _has_log(cursor: Cursor) -> bool:
    # The catalog rather than to_regclass: it answers without USAGE on the schema.
    cursor.execute(
        "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = 'runs'",
        (LOG_SCHEMA,),
    )
    return cursor.fetchone() is not None


def _check_rights(cursor: Cursor, where: str) -> None:
    cursor.execute(
        "SELECT pg_is_in_recovery(), has_database_privilege(current_database(), 'CREATE'),"
        " current_user, quote_ident(current_database()), quote_ident(current_user)"
    )
    standby, may_create, user, database, role = one(cursor)
    if standby:
        raise InputError(f"{where} is a standby and takes no writes; give the URL of its primary")
    if not may_create:
        raise InputError(
            f'role "{user}" has no CREATE right at {where}; as the database\'s owner: '
            f"GRANT CREATE ON DATABASE {database} TO {role}"
        )


def _check_log(cursor: Cursor, where: str) -> None:
    if not _has_log(cursor):
        cursor.execute(
            "SELECT pg_get_userbyid(nspowner), has_schema_privilege(oid, 'CREATE'), current_user"
            " FROM pg_namespace WHERE nspname = %s",
            (LOG_SCHEMA,),
        )
        row = cursor.fetchone()
        if row and not row[1]:
            raise InputError(
                f'role "{row[2]}" may not create in schema {LOG_SCHEMA} of "{row[0]}" at {where}'
            )
        return
    cursor.execute(
        "SELECT pg_get_userbyid(c.relowner), current_user, quote_ident(current_user),"
        " has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')"
        " AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = 'runs'",
        (LOG_SCHEMA,),
    )
    owner, user, role, allowed = one(cursor)
    if not allowed:
        raise InputError(
            f'role "{user}" may not write {LOG_SCHEMA}.runs at {where}; as "{owner}": GRANT USAGE '
            "ON SCHEMA "
            f"{LOG_SCHEMA} TO {role}; GRANT SELECT, INSERT, UPDATE ON {LOG_SCHEMA}.runs TO {role}"
        )
