"""Whether a database of a server has moved: its log, the times of its tables, and digests of them.

The binary log's position is the server's, so that it moves with every other database of it too.
What then tells is a digest of each table: SHA-256 of every row's values, added up. ``CHECKSUM
TABLE`` would not do: it adds up CRC32s, which two rows that trade a value often leave as they were.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping

from migration_assets.core.catalog import Catalog, Table
from migration_assets.core.standing import (
    Position,
    Standing,
    TableMovement,
    TableState,
    held_against,
)
from migration_assets.sources.mysql import binary_log, written
from migration_assets.sources.mysql.connect import Connection, Row, quote, text
from migration_assets.sources.mysql.forms import Form
from migration_assets.sources.mysql.snapshot import Record, server_of

Ask = Callable[[str], list[Row]]
Forms = Callable[[Table], Mapping[str, Form]]

_COLUMNS_AT_ONCE = 100
"""Digests of so many columns become one, so that no text of a row is too long for the server."""


def now(connection: Connection) -> Position:
    """Where the database stands: when its tables were written, and the log if it tells of all.

    Nobody is kept from writing for it.
    """
    token = written.token(connection)
    place = binary_log.position(connection, True)
    log = None
    if place is not None and binary_log.blind_to(connection) is None:
        log = _log(server_of(connection), place)
    if written.token(connection) != token:
        # Not of one moment with the log, which then tells alone.
        token = uuid.uuid4().hex
    return Position(token, log)


def position(record: Record) -> Position:
    """Where the database stood when a snapshot began."""
    log = None
    if record.doubt is None and record.position is not None:
        log = _log(record.server, record.position)
    # A record of an earlier version is no position at all.
    return Position(record.snapshot.token or uuid.uuid4().hex, log)


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
    return Standing(snapshot.source, snapshot.id, snapshot.taken_at, position(record), tables)


def moved(
    ask: Ask, forms: Forms, record: Record, catalog: Callable[[], Catalog], before: Standing
) -> list[TableMovement] | str:
    """The tables that are not as they were ``before``, or why that can not be told.

    Args:
        ask: runs a query within a snapshot of this moment.
        forms: how a table is read.
        record: of that snapshot.
        catalog: reflects it.
        before: what the earlier one left behind.
    """
    now, old = position(record), before.position
    logged = old is not None and now.content is not None and now.content == old.content
    if before.tables:
        # A session can keep its changes out of the log, but not from the times of the tables.
        if logged and old is not None and now.token == old.token:
            return []
        return held_against(before.tables, states(ask, forms, catalog()))
    if logged:
        return []
    why = record.doubt or "something was written to its server since"
    return f"it can not be told whether it has moved: {why}, and no digests of its tables were kept"


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


def _log(server: str, place: str) -> str:
    """The same place in the log of the same server is the same content."""
    return f"{server} {place}"
