"""Figures of a database at work, from PostgreSQL's own statistics; nothing is written.

See the PostgreSQL manual, "The Cumulative Statistics System". What the role may not see is left
out, and the answer says so: ``pg_monitor`` shows all of it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.watch import Counters
from migration_assets.postgres.marker import one

STATEMENTS_KEPT = 500
"""Statements whose counts are kept from look to look, those that took most in all."""
EXACT_ROWS = 1_000_000
"""Tables of more rows than this by PostgreSQL's estimate are not counted."""
TEXT = 160

_TYPE_MAXIMUM = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}
_NOT_USABLE = (
    psycopg2.errors.ObjectNotInPrerequisiteState,  # made, but not in shared_preload_libraries
    psycopg2.errors.UndefinedColumn,  # of a version before 1.8
    psycopg2.errors.InsufficientPrivilege,
)
_SHOWN = ("select", "insert", "update", "delete", "with", "merge")
"""Statements whose constants pg_stat_statements replaces in every version; others are not shown."""


@dataclass(frozen=True)
class Sequence:
    """A sequence with the column that it serves.

    Attributes:
        name: of the sequence; column: ``table.column``, None if it serves none.
        following: the number that comes next.
        last: the greatest number that sequence and column type allow.
        greatest: in the column, None where no index would tell.
    """

    name: str
    column: str | None
    following: int
    last: int
    greatest: int | None

    @property
    def headroom(self) -> float:
        """Share of numbers that are left."""
        return max(self.last - self.following + 1, 0) / max(self.last, 1)

    @property
    def behind(self) -> bool:
        """True if its next number is taken, or may be."""
        return self.greatest is not None and self.following <= self.greatest


@dataclass(frozen=True)
class Activity:
    """The sessions of this moment.

    ``statement`` and ``idle`` are seconds with who it is; ``hidden`` counts sessions of other roles
    that this one may not see into.
    """

    taken: int
    most: int
    statement: tuple[float, str]
    idle: tuple[float, str]
    hidden: int


@dataclass(frozen=True)
class Statement:
    """A statement as pg_stat_statements normalizes it: id, calls, milliseconds in all, text."""

    id: str
    calls: int
    milliseconds: float
    text: str


def row_counts(cursor: Cursor, schema: str, tables: list[str]) -> dict[str, int]:
    """Rows of each table that is there; a large one by PostgreSQL's own estimate."""
    cursor.execute(
        "SELECT c.relname, greatest(c.reltuples, 0)::bigint, coalesce(s.n_live_tup, 0)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid"
        " WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND c.relname = ANY (%s)",
        (schema, tables),
    )
    counts = {}
    for name, planned, alive in cursor.fetchall():
        counts[name] = alive or planned
        if max(planned, alive) <= EXACT_ROWS:
            query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, name))
            with suppress(psycopg2.errors.QueryCanceled):  # it took too long
                cursor.execute(query)
                counts[name] = one(cursor)[0]
    return counts


def sequences(cursor: Cursor, schema: str) -> list[Sequence]:
    """All sequences of a schema that count upwards and do not begin again."""
    cursor.execute(
        """
        SELECT s.relname, q.seqmax, q.seqincrement, c.relname, a.attname,
               format_type(a.atttypid, NULL),
               EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indkey[0] = a.attnum
                       AND i.indisvalid AND i.indpred IS NULL)
        FROM pg_sequence q
        JOIN pg_class s ON s.oid = q.seqrelid
        JOIN pg_namespace n ON n.oid = s.relnamespace
        LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid
            AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
        LEFT JOIN pg_class c ON c.oid = d.refobjid
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
        WHERE n.nspname = %s AND q.seqincrement > 0 AND NOT q.seqcycle
        ORDER BY s.relname
        """,
        (schema,),
    )
    found = []
    for name, maximum, increment, table, column, type_, indexed in cursor.fetchall():
        greatest: sql.Composable = sql.SQL("NULL::bigint")
        if indexed and type_ in _TYPE_MAXIMUM:
            greatest = sql.SQL("(SELECT max({}) FROM {})").format(
                sql.Identifier(column), sql.Identifier(schema, table)
            )
        cursor.execute(
            sql.SQL("SELECT last_value, is_called, {} FROM {}").format(
                greatest, sql.Identifier(schema, name)
            )
        )
        value, called, top = one(cursor)
        last = min(maximum, _TYPE_MAXIMUM.get(type_, maximum))
        served = f"{table}.{column}" if table else None
        found.append(Sequence(name, served, value + increment * called, last, top))
    return found


def counters(cursor: Cursor, schema: str, statements: list[Statement]) -> Counters:
    """What has been counted up to now."""
    # As a document: later versions count more.
    cursor.execute(
        "SELECT to_jsonb(d), coalesce(d.stats_reset::text, '') || pg_postmaster_start_time()"
        " FROM pg_stat_database d WHERE datname = current_database()"
    )
    database, since = one(cursor)
    cursor.execute(
        "SELECT coalesce(sum(heap_blks_hit + coalesce(idx_blks_hit, 0)), 0)::bigint,"
        " coalesce(sum(heap_blks_read + coalesce(idx_blks_read, 0)), 0)::bigint"
        " FROM pg_statio_user_tables WHERE schemaname = %s",
        (schema,),
    )
    hit, read = one(cursor)
    return Counters(
        since=since,
        database={name: value for name, value in database.items() if isinstance(value, int)},
        blocks_hit=hit,
        blocks_read=read,
        statements={each.id: (each.calls, each.milliseconds) for each in statements},
    )


def statements(cursor: Cursor) -> list[Statement] | None:
    """What took most time in this database, None without ``pg_stat_statements``."""
    cursor.execute(
        "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
        " WHERE e.extname = 'pg_stat_statements'"
    )
    place = cursor.fetchone()
    if place is None:
        return None
    try:
        cursor.execute(
            sql.SQL(
                "SELECT queryid::text || '/' || userid, calls, total_exec_time, query FROM {}"
                " WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
                " AND queryid IS NOT NULL ORDER BY total_exec_time DESC LIMIT %s"
            ).format(sql.Identifier(place[0], "pg_stat_statements")),
            (STATEMENTS_KEPT,),
        )
    except _NOT_USABLE:
        return None
    return [Statement(i, calls, spent, _text(query)) for i, calls, spent, query in cursor]


def activity(cursor: Cursor) -> Activity:
    """The sessions of clients; this one does not count as one at work."""
    cursor.execute(
        """
        SELECT coalesce(usename::text, ''), coalesce(application_name, ''), pid,
               state IS NULL,
               CASE WHEN state = 'active'
                    THEN extract(epoch FROM clock_timestamp() - query_start) END::float8,
               CASE WHEN starts_with(state, 'idle in transaction')
                    THEN extract(epoch FROM clock_timestamp() - state_change) END::float8
        FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
        """
    )
    sessions = cursor.fetchall()
    cursor.execute(
        "SELECT current_setting('max_connections')::int"
        " - current_setting('superuser_reserved_connections')::int"
    )
    return Activity(
        taken=len(sessions) + 1,
        most=one(cursor)[0],
        statement=_oldest(sessions, 4),
        idle=_oldest(sessions, 5),
        hidden=sum(hidden for _, _, _, hidden, _, _ in sessions),
    )


def dead_rows(cursor: Cursor, schema: str, least: int) -> list[tuple[str, int, int]]:
    """Tables with ``least`` dead rows: name, dead and living rows, the worst first."""
    cursor.execute(
        "SELECT relname, n_dead_tup, n_live_tup FROM pg_stat_user_tables"
        " WHERE schemaname = %s AND n_dead_tup >= %s"
        " ORDER BY n_dead_tup::float8 / (n_dead_tup + n_live_tup) DESC",
        (schema, least),
    )
    return list(cursor.fetchall())


def standbys(cursor: Cursor) -> list[tuple[str, float | None, int | None]]:
    """Who receives the log: name, seconds and bytes behind, None for what the role may not see."""
    cursor.execute(
        """
        SELECT coalesce(nullif(application_name, ''), 'standby ' || pid),
               CASE WHEN at IS NULL THEN NULL WHEN at >= pg_current_wal_lsn() THEN 0 ELSE
                    extract(epoch FROM coalesce(replay_lag, flush_lag, write_lag, '0')) END::float8,
               greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), at), 0)::bigint
        FROM (SELECT *, coalesce(replay_lsn, flush_lsn, write_lsn, sent_lsn) AS at
              FROM pg_stat_replication) AS receivers
        """
    )
    return list(cursor.fetchall())


def _oldest(sessions: list[tuple[Any, ...]], position: int) -> tuple[float, str]:
    ages = [row for row in sessions if row[position] is not None]
    if not ages:
        return 0.0, ""
    user, application, pid, *_ = worst = max(ages, key=lambda row: row[position])
    # Not its text: that has values in it.
    return max(
        worst[position], 0.0
    ), f"process {pid} of {user}{f', {application}' * bool(application)}"


def _text(query: str) -> str:
    line = " ".join(query.split())
    if not line.lower().startswith(_SHOWN):
        return "a statement that is not shown"
    return line if len(line) <= TEXT else line[: TEXT - 3] + "..."
