"""Whether a database of a server has moved: its log, the times of its tables, and digests of them.

The binary log's position is the server's, so that it moves with every other database of it too.
What then tells is a digest of each table: SHA-256 of every row's values, added up. ``CHECKSUM
TABLE`` would not do: it adds up CRC32s, which two rows that trade a value often leave as they were.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress

import pymysql

from migration_assets.core.catalog import Catalog, Table
from migration_assets.core.standing import (
    Movement,
    Position,
    Standing,
    TableState,
    held_against,
    movement,
)
from migration_assets.sources.mysql.connect import Row, quote, text
from migration_assets.sources.mysql.forms import Form
from migration_assets.sources.mysql.snapshot import Record

Ask = Callable[[str], list[Row]]
Forms = Callable[[Table], Mapping[str, Form]]

_TABLES = (
    "SELECT TABLE_NAME, ENGINE, CREATE_TIME, UPDATE_TIME, AUTO_INCREMENT,"
    " COALESCE(UPDATE_TIME >= NOW() - INTERVAL 1 SECOND, 0)"
    " FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() ORDER BY TABLE_NAME"
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
_COLUMNS_AT_ONCE = 100
"""Digests of so many columns become one, so that no text of a row is too long for the server."""


def position(ask: Ask, record: Record) -> Position:
    """Where the database stands: when its tables were written, and the server's log if it counts.

    Args:
        ask: runs a query.
        record: of a snapshot of this moment.
    """
    with suppress(pymysql.err.MySQLError):
        ask(_FRESH)
    tables = ask(_TABLES)
    if any(fresh == b"1" for *_, fresh in tables):
        # Another write within that second would leave all of it as it is.
        return Position(uuid.uuid4().hex, _log(record))
    digest = hashlib.sha256(repr([record.server, _started(ask), *tables]).encode())
    return Position(digest.hexdigest()[:32], _log(record))


def standing(
    ask: Ask, forms: Forms, record: Record, catalog: Catalog, *, lasting: bool
) -> Standing:
    """What the snapshot leaves behind.

    Args:
        ask: runs a query within the snapshot.
        forms: how a table is read.
        record: of the snapshot.
        catalog: of the snapshot.
        lasting: with a digest of every table.
    """
    snapshot = record.snapshot
    tables = states(ask, forms, catalog) if lasting else {}
    where = position(ask, record)
    return Standing(snapshot.source, snapshot.id, snapshot.taken_at, where, tables)


def moved(
    ask: Ask, forms: Forms, record: Record, catalog: Callable[[], Catalog], before: Standing
) -> Movement | None:
    """What is not as it was ``before``.

    Args:
        ask: runs a query within a snapshot of this moment.
        forms: how a table is read.
        record: of that snapshot.
        catalog: reflects it.
        before: what the earlier one left behind.
    """
    reasons = []
    tables = []
    now, old = position(ask, record), before.position
    logged = old is not None and now.content is not None and now.content == old.content
    # A session can keep its changes out of the log, but not from the times of the tables.
    if before.tables and not (logged and old is not None and now.token == old.token):
        tables = held_against(before.tables, states(ask, forms, catalog()))
    elif not before.tables and not logged:
        why = record.doubt or "something was written to its server since"
        reasons.append(
            f"it can not be told whether it has moved: {why}, and no digests of its tables were "
            "kept"
        )
    if (writers := _writers(ask)) > 0:
        sessions = "a session has" if writers == 1 else f"{writers} sessions have"
        reasons.insert(0, f"{sessions} written to it in a transaction that is open")
    return movement(reasons, tables)


def states(ask: Ask, forms: Forms, catalog: Catalog) -> dict[str, TableState]:
    """Rows and digest of every table: all of them are read by the server."""
    found = {}
    for table in catalog.tables:
        declared = [(column.name, column.source_type) for column in table.columns]
        rows, total = ask(_query(table, forms(table)))[0]
        digest = hashlib.sha256(repr((declared, text(total))).encode()).hexdigest()[:32]
        found[table.name] = TableState(int(rows or 0), digest)
    return found


def _query(table: Table, forms: Mapping[str, Form]) -> str:
    values = [
        f"COALESCE(SHA2({expression}, 256), '-')"
        for column in table.columns
        for expression in forms[column.name].expressions
    ]
    while len(values) > 1:
        values = [
            f"SHA2(CONCAT_WS(',', {', '.join(values[at : at + _COLUMNS_AT_ONCE])}), 256)"
            for at in range(0, len(values), _COLUMNS_AT_ONCE)
        ]
    row = f"CAST(CONV(LEFT({values[0]}, 16), 16, 10) AS DECIMAL(20))"
    return f"SELECT COUNT(*), COALESCE(SUM({row}), 0) FROM {quote(table.name)}"


def _log(record: Record) -> str | None:
    """The place in the server's log, None if it does not tell of every change."""
    if record.doubt is not None or record.position is None:
        return None
    return f"{record.server} {record.position}"


def _started(ask: Ask) -> str:
    for place in _STATUS:
        with suppress(pymysql.err.MySQLError):
            return text(ask(_STARTED.format(place))[0][0])
    return ""


def _writers(ask: Ask) -> int:
    """Sessions of this database that have changes to commit; 0 without the right to ask."""
    try:
        return int(ask(_WRITERS)[0][0] or 0)
    except pymysql.err.MySQLError:
        return 0
