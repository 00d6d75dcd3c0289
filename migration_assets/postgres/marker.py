"""What is ours in a target: comments on our schemas, and the locks by which runs share them.

A schema that we make carries a comment with the migration, the run and its role.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

DROP_TABLES = 100


class Role(StrEnum):
    """What one of our schemas is for."""

    INCOMING = "incoming"
    LIVE = "live"
    PREVIOUS = "previous"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True)
class Mark:
    """The comment on one of our schemas.

    ``taken_at`` is when the snapshot in it was taken, ISO 8601; it is no part of what
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
