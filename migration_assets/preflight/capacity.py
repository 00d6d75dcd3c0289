"""Whether the target has room for a run: connections, locks, disk, time, and who is in the way."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from psycopg2.extensions import cursor as Cursor

from migration_assets.core.preflight import Finding, Verdict, needed_on_target
from migration_assets.core.readable import size
from migration_assets.postgres import marker, tls
from migration_assets.postgres.connect import Target, parameters

LEAST_CONNECTIONS = 8
"""Without these a run may not come to its end: it loads, looks and reads back at once."""
LOCKS_A_TABLE = 2
"""Of the swap: the live table and its successor."""
SKEW_WARNING = 5.0
SKEW_NO_GO = 60.0
"""Seconds by which the clocks may differ: windows, days of rehearsals and the log are told by them.
"""
LONG_SECONDS = 60
"""A transaction that has been open for so long may outlast the swap's patience."""


def connections(cursor: Cursor, pool: int) -> Finding:
    """How many more there may be: of the server, of the database, of the role."""
    cursor.execute(
        """
        SELECT current_setting('max_connections')::int
               - current_setting('superuser_reserved_connections')::int
               - coalesce(current_setting('reserved_connections', true)::int, 0)
               - (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL),
               current_setting('max_connections')::int,
               CASE WHEN d.datconnlimit >= 0 THEN d.datconnlimit
                    - (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid) END,
               CASE WHEN r.rolconnlimit >= 0 AND NOT r.rolsuper THEN r.rolconnlimit
                    - (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid) END
        FROM pg_database d, pg_roles r
        WHERE d.datname = current_database() AND r.rolname = session_user
        """
    )
    server, most, database, role = marker.one(cursor)
    limits = {"the server": server, "the database": database, "the role": role}
    free, whose = min((left, who) for who, left in limits.items() if left is not None)
    free += 1  # this one is a run's to take
    said = f"{free} connections are left of {whose}, a run may take {pool}"
    if whose == "the server":
        said += f" (max_connections is {most})"
    if free < LEAST_CONNECTIONS:
        return Finding(
            "connections",
            Verdict.NO_GO,
            f"{said} and needs {LEAST_CONNECTIONS}; close some, or raise the limit",
        )
    if free < pool:
        return Finding("connections", Verdict.WARNING, f"{said}; lower pool, or close some")
    return Finding("connections", Verdict.GO, said)


def locks(cursor: Cursor, schema: str, tables: int) -> Finding:
    """One transaction swaps all tables, of which ``tables`` are to come, with a lock on each."""
    cursor.execute(
        """
        SELECT current_setting('max_locks_per_transaction')::int
               * (current_setting('max_connections')::int
                  + current_setting('max_prepared_transactions')::int),
               (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = %s AND c.relkind IN ('r', 'p'))
        """,
        (schema,),
    )
    room, live = marker.one(cursor)
    tables = max(tables, live)
    said = f"room for {room} locks, the swap of {tables} tables takes {tables * LOCKS_A_TABLE}"
    if room < tables * LOCKS_A_TABLE:
        reason = f"{said}; raise max_locks_per_transaction and restart the server"
        return Finding("locks", Verdict.NO_GO, reason)
    return Finding("locks", Verdict.GO, said)


def in_the_way(cursor: Cursor, schema: str) -> Iterator[Finding]:
    """Transactions that hold live tables for long would make the swap wait, then give up."""
    cursor.execute(
        """
        SELECT coalesce(a.usename, 'unknown'), a.pid, extract(epoch FROM now() - a.xact_start)::int
        FROM pg_stat_activity a
        WHERE a.pid <> pg_backend_pid() AND a.xact_start < now() - make_interval(secs => %s)
          AND EXISTS (SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                      JOIN pg_namespace n ON n.oid = c.relnamespace
                      WHERE l.pid = a.pid AND n.nspname = %s AND l.database =
                            (SELECT oid FROM pg_database WHERE datname = current_database()))
        ORDER BY a.xact_start LIMIT 1
        """,
        (LONG_SECONDS, schema),
    )
    row = cursor.fetchone()
    if row:
        user, pid, seconds = row
        yield Finding(
            "transactions",
            Verdict.WARNING,
            f'"{user}" (process {pid}) holds tables of schema "{schema}" in a transaction that has '
            f"been open for {seconds} s; the swap would wait for its end: end it, or "
            f"SELECT pg_terminate_backend({pid})",
        )
    cursor.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database() LIMIT 1")
    prepared = cursor.fetchone()
    if prepared:
        yield Finding(
            "transactions",
            Verdict.WARNING,
            f"transaction '{prepared[0]}' is prepared and keeps its locks; COMMIT PREPARED or "
            "ROLLBACK PREPARED it",
        )
    if not row and not prepared:
        yield Finding("transactions", Verdict.GO, "none holds the live tables for long")


def clock(cursor: Cursor) -> Finding:
    """The server's clock beside this machine's."""
    before = time.time()
    cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
    (server,) = marker.one(cursor)
    return apart(server, before, time.time())


def apart(server: float, before: float, after: float) -> Finding:
    """What the server's clock is beside this machine's.

    Args:
        server: what it showed, in seconds since 1970.
        before: this machine's when it was asked.
        after: and when the answer was there.
    """
    seconds = max(before - server, server - after, 0.0)
    side = "behind" if server < before else "ahead of"
    if seconds <= SKEW_WARNING:
        return Finding("clock", Verdict.GO, f"less than {SKEW_WARNING:.0f} s from this machine's")
    verdict = Verdict.WARNING if seconds <= SKEW_NO_GO else Verdict.NO_GO
    return Finding(
        "clock",
        verdict,
        f"the server's clock is {seconds:.0f} s {side} this machine's; set both by NTP: windows, "
        "days and the log of runs are told by them",
    )


def disk(cursor: Cursor, target: Target, stored: int | None, source_bytes: int | None) -> Finding:
    """Free space where the database lies, if that is on this machine.

    Args:
        cursor: on the target.
        target: the database.
        stored: bytes that the schema takes by what is known of earlier runs.
        source_bytes: those of the source.
    """
    cursor.execute("SELECT pg_size_bytes(current_setting('max_wal_size'))")
    (wal,) = marker.one(cursor)
    need = needed_on_target(stored, source_bytes, int(wal))
    needs = f"a load needs about {size(need)}" if need else "what a load needs is not known"
    place = _place(cursor, target)
    if place is None:
        return Finding(
            "disk",
            Verdict.WARNING,
            f"{needs}; the server's free space can not be known from here: look at it there",
        )
    free = shutil.disk_usage(place).free
    said = f"{size(free)} free in {place}, {needs}"
    if need is not None and free < need:
        return Finding("disk", Verdict.NO_GO, f"{said}; make room on the server")
    return Finding("disk", Verdict.GO if need else Verdict.WARNING, said)


def _place(cursor: Cursor, target: Target) -> Path | None:
    """The folder of the database, None if it is another machine's or not to be seen."""
    if not tls.is_local(parameters(target)):
        return None
    cursor.execute(
        "SELECT coalesce(nullif(pg_tablespace_location(dattablespace), ''),"
        " (SELECT setting FROM pg_settings WHERE name = 'data_directory'))"
        " FROM pg_database WHERE datname = current_database()"
    )
    (found,) = marker.one(cursor)
    return Path(found) if found and os.path.isdir(found) else None
