"""Work that needs locks which others hold: given up quickly, let through, tried again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from psycopg2 import errors, sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from migration_assets.errors import BrokenOffError
from migration_assets.postgres.connect import BACKUP

T = TypeVar("T")

LOCK_TIMEOUT = "300ms"
PATIENCE_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0

CONTENDED = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)

BACKUPS = """
SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
WHERE a.application_name = %s AND pg_has_role(a.usesysid, 'USAGE') AND EXISTS (
    SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE l.pid = a.pid AND a.datname = current_database() AND n.nspname = %s)
"""


HOLDERS = """
SELECT a.pid, coalesce(nullif(a.application_name, ''), a.usename),
       extract(epoch FROM clock_timestamp() - a.xact_start)::int
FROM pg_stat_activity a
WHERE a.pid <> pg_backend_pid() AND a.datname = current_database() AND EXISTS (
    SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE l.pid = a.pid AND l.granted AND n.nspname = %s)
ORDER BY a.xact_start NULLS LAST LIMIT 3
"""
"""Who is in the way, the oldest first; how long is not shown of other roles' sessions."""


def limit_locks(cursor: Cursor) -> None:
    """Wait for no lock of the transaction longer than LOCK_TIMEOUT."""
    cursor.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT)))


def patiently(
    connection: Connection, schema: str, patience: float, work: Callable[[Cursor], T]
) -> tuple[T, int]:
    """Do ``work`` in one transaction, again while locks of others are in its way. Commits.

    A backup of the schema that is in the way is ended: it would be of no use afterwards.

    Args:
        connection: idle.
        schema: what the work changes, for the message.
        patience: seconds of trying.
        work: is given a cursor; raises what is in CONTENDED if it gets no lock.

    Returns:
        What ``work`` returned, and how many times it was tried.

    Raises:
        BrokenOffError: others held their locks for too long.
    """
    started, attempts, pause = time.monotonic(), 0, FIRST_PAUSE_SECONDS
    while True:
        attempts += 1
        try:
            with connection.cursor() as cursor:
                result = work(cursor)
            connection.commit()
            return result, attempts
        except CONTENDED as error:
            connection.rollback()
            if time.monotonic() - started > patience:
                raise BrokenOffError(
                    f'the swap into schema "{schema}" got no locks within {patience:.0f} s: '
                    f"{error.diag.message_primary or error}; the live schema is as it was; end "
                    f"the long transactions that use its tables{_holders(connection, schema)}, "
                    "then run again"
                ) from error
            with connection.cursor() as cursor:
                cursor.execute(BACKUPS, (BACKUP, schema))
            connection.commit()
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)


def _holders(connection: Connection, schema: str) -> str:
    """Who holds locks on tables of the schema, for the message."""
    with connection.cursor() as cursor:
        cursor.execute(HOLDERS, (schema,))
        found = [
            f"process {pid} of {who}" + (f" for {seconds} s" if seconds is not None else "")
            for pid, who, seconds in cursor.fetchall()
        ]
    connection.rollback()
    return f" ({', '.join(found)}: SELECT pg_terminate_backend(...))" if found else ""
