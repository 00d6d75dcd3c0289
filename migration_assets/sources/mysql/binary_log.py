"""The binary log of a server: where it stands, and whether it tells of every change."""

from __future__ import annotations

from collections.abc import Sequence

import pymysql
from pymysql.constants import ER

from migration_assets.sources.mysql.connect import Connection, Row, number, rows, text

_STATUS = ("SHOW MASTER STATUS", "SHOW BINARY LOG STATUS")
"""Of MariaDB and MySQL before 8.4, and of MySQL since 8.2."""
_REPLICATION = ("SHOW ALL SLAVES STATUS", "SHOW REPLICA STATUS", "SHOW SLAVE STATUS")
"""Of MariaDB (all connections, not only the one without a name), of MySQL, of MySQL before 8.0."""
_APPLIED = ("log_slave_updates", "log_replica_updates")
_UNKNOWN = {ER.PARSE_ERROR, ER.SYNTAX_ERROR}
"""Error numbers of a statement that another version has."""


def position(connection: Connection, locked: bool) -> str | None:
    """Where the binary log stood as the snapshot began, as far as the account may know it.

    Args:
        connection: within its transaction.
        locked: nobody can write meanwhile.
    """
    # MariaDB keeps the position of this very transaction, so that no lock is needed.
    answer = _ask(connection, "SHOW STATUS LIKE 'binlog\\_snapshot\\_%'") or []
    found = {text(key): text(value) for key, value in answer}
    file = found.get("Binlog_snapshot_file", "")
    if file:
        gtid = found.get("Binlog_snapshot_gtid_executed", "")
        place = f"{file}:{found.get('Binlog_snapshot_position', '')}"
        return f"{place} {gtid}".strip()
    if not locked:
        return None
    for row in _ask(connection, *_STATUS) or ():
        gtid = text(row[4]).replace("\n", "") if len(row) > 4 else ""
        return f"{text(row[0])}:{text(row[1])} {gtid}".strip()
    return None


def blind_to(connection: Connection) -> str | None:
    """Why changes may leave the position where it is; None if only ``sql_log_bin = 0`` can.

    What replication, a Galera cluster's too, brings is logged only with ``log_slave_updates``,
    and a filter leaves databases out. Where it can not be asked, it may be so.
    """
    status = _ask(connection, *_STATUS)
    if not status:
        return "the account may not ask for filters of its binary log"
    if any(text(name) for name in status[0][2:4]):
        return "its binary log leaves databases out (binlog_do_db, binlog_ignore_db)"
    names = ", ".join(f"'{name}'" for name in (*_APPLIED, "wsrep_on"))
    answer = _ask(connection, f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})") or []
    settings = {text(key): text(value) for key, value in answer}
    if any(settings.get(name) == "ON" for name in _APPLIED):
        return None
    if settings.get("wsrep_on") == "ON":
        return "it is of a cluster and does not log what it takes over (log_slave_updates)"
    replication = _ask(connection, *_REPLICATION)
    if replication is None:
        return "the account may not ask whether it is a replica"
    if replication:
        return "it is a replica and does not log what it takes over (log_slave_updates)"
    return None


def _ask(connection: Connection, *statements: str) -> Sequence[Row] | None:
    """The answer to the first statement that the server knows; None if it refuses."""
    for statement in statements:
        try:
            return rows(connection, statement)
        except pymysql.err.MySQLError as error:
            if number(error) not in _UNKNOWN:
                return None
    return None
