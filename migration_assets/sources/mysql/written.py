"""When the tables of a database were written, as the server remembers it, and who is about to."""

from __future__ import annotations

import hashlib
import uuid
from contextlib import suppress

import pymysql

from migration_assets.sources.mysql.connect import Connection, literal, rows, text

_TABLES = (
    "SELECT TABLE_NAME, ENGINE, CREATE_TIME, UPDATE_TIME, AUTO_INCREMENT,"
    " COALESCE(UPDATE_TIME >= NOW() - INTERVAL 1 SECOND, 0)"
    " FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() ORDER BY TABLE_NAME"
)
_MADE = (
    "SELECT TABLE_NAME, CREATE_TIME FROM information_schema.TABLES"
    " WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE <> 'VIEW'"
)
_STARTED = "SELECT UNIX_TIMESTAMP() - VARIABLE_VALUE FROM {} WHERE VARIABLE_NAME = 'UPTIME'"
"""A server that started anew has forgotten when its tables were written."""
_STATUS = ("information_schema.GLOBAL_STATUS", "performance_schema.global_status")
"""Of MariaDB, and of MySQL."""
_FRESH = "SET SESSION information_schema_stats_expiry = 0"
"""MySQL 8 answers with what it knew a day ago unless told."""
_WRITERS = (
    "SELECT COUNT(*) FROM information_schema.INNODB_TRX AS t JOIN information_schema.PROCESSLIST"
    " AS p ON p.ID = t.trx_mysql_thread_id WHERE p.DB = DATABASE() AND t.trx_rows_modified > 0"
)


def token(connection: Connection) -> str:
    """32 hex digits that are others after each write to a table of the current database.

    Raises:
        pymysql.err.MySQLError: the server is lost.
    """
    with suppress(pymysql.err.MySQLError):
        connection.query(_FRESH)
    tables = rows(connection, _TABLES)
    if any(fresh == b"1" for *_, fresh in tables):
        # Another write within that second would leave all of it as it is.
        return uuid.uuid4().hex
    return hashlib.sha256(repr([_started(connection), *tables]).encode()).hexdigest()[:32]


def made(connection: Connection) -> dict[str, str]:
    """Table -> when it was made; a table that takes another's name brings its own time along."""
    return {text(name): text(time) for name, time in rows(connection, _MADE)}


def made_now(connection: Connection, table: str) -> str | None:
    """The same of the one table that has this name now, None if none has."""
    found = rows(connection, f"{_MADE} AND TABLE_NAME = {literal(table)}")
    return text(found[0][1]) if found else None


def writers(connection: Connection) -> int:
    """Sessions of this database that have changes to commit; 0 without the right to ask."""
    try:
        return int(rows(connection, _WRITERS)[0][0] or 0)
    except pymysql.err.MySQLError:
        return 0


def _started(connection: Connection) -> str:
    for place in _STATUS:
        with suppress(pymysql.err.MySQLError):
            return text(rows(connection, _STARTED.format(place))[0][0])
    return ""
