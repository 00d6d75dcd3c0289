"""What a MySQL database has beside tables and views: reported with its text, not moved."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import pymysql

from migration_assets.core.catalog import SkippedObject
from migration_assets.sources.mysql.connect import Row, is_denied, quote, text

Ask = Callable[[str], list[Row]]


def skipped_objects(ask: Ask, mariadb: bool, tables: Collection[str]) -> Iterator[SkippedObject]:
    """Yield triggers, routines, events and partitioning.

    Args:
        ask: runs a query and gives its rows.
        mariadb: the server is MariaDB.
        tables: those that come along.
    """
    for name, table in ask(
        "SELECT TRIGGER_NAME, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS"
        " WHERE TRIGGER_SCHEMA = DATABASE() ORDER BY TRIGGER_NAME"
    ):
        reason = "triggers are written in MySQL's own language: write it anew for PostgreSQL"
        sql = _created(ask, "TRIGGER", text(name), 2)
        yield SkippedObject("trigger", text(name), reason, text(table), sql)
    for name, kind in ask(
        "SELECT ROUTINE_NAME, ROUTINE_TYPE FROM information_schema.ROUTINES"
        " WHERE ROUTINE_SCHEMA = DATABASE() ORDER BY ROUTINE_TYPE, ROUTINE_NAME"
    ):
        word = text(kind)
        reason = f"a {word.lower()} is written in MySQL's own language: write it anew"
        sql = _created(ask, word, text(name), 2)
        yield SkippedObject("routine", text(name), reason, sql=sql)
    for (name,) in ask(
        "SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE()"
        " ORDER BY EVENT_NAME"
    ):
        reason = "PostgreSQL has no events: use cron or pg_cron"
        sql = _created(ask, "EVENT", text(name), 3)
        yield SkippedObject("event", text(name), reason, sql=sql)
    for table, method, expression, count in ask(
        "SELECT TABLE_NAME, MIN(PARTITION_METHOD), MIN(PARTITION_EXPRESSION), COUNT(*)"
        " FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = DATABASE()"
        " AND PARTITION_NAME IS NOT NULL GROUP BY TABLE_NAME ORDER BY TABLE_NAME"
    ):
        if text(table) not in tables:
            continue
        reason = f"{text(count)} partitions become one table with all of their rows"
        sql = f"PARTITION BY {text(method)} ({text(expression)})"
        yield SkippedObject("partitioning", text(table), reason, text(table), sql)
    if not mariadb:
        return
    for (table,) in ask(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
        " AND TABLE_TYPE = 'SYSTEM VERSIONED' ORDER BY TABLE_NAME"
    ):
        if text(table) in tables:
            reason = "only the current rows come: the history of system versioning stays"
            yield SkippedObject("system versioning", text(table), reason, text(table))


def _created(ask: Ask, kind: str, name: str, place: int) -> str | None:
    """The CREATE statement; None where the account may not see it, or it is of another version."""
    try:
        row = ask(f"SHOW CREATE {kind} {quote(name)}")[0]
    except pymysql.err.MySQLError as error:
        if is_denied(error) or isinstance(error, pymysql.err.OperationalError):
            return None
        raise
    return text(row[place]) or None
