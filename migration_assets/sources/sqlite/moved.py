"""What is different between two copies of one database, table by table."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

from migration_assets.core.catalog import Table
from migration_assets.core.naming import quote
from migration_assets.core.standing import (
    Movement,
    TableMovement,
    TableState,
    held_against,
    movement,
)
from migration_assets.sources.sqlite import header
from migration_assets.sources.sqlite.connect import open_read_only
from migration_assets.sources.sqlite.scan import scan

_BATCH = 1000
_MARKS = ("user_version", "application_id")
"""Numbers in the header that belong to the application."""


def between(old: Path, new: Path, location: str) -> Movement | None:
    """What differs; None if all that does is where things lie in the file (VACUUM, ANALYZE).

    Raises:
        sqlite3.Error: one of them is no readable database.
    """
    with closing(open_read_only(old)) as before, closing(open_read_only(new)) as now:
        reasons = _schema(before, now)
        tables = []
        names = _tables(before)
        others = _tables(now)
        for name in sorted(names.keys() | others.keys()):
            found = _table(before, now, names.get(name), others.get(name))
            if found is not None:
                tables.append(found)
    if not reasons and not tables and header.read(new, location).utf16:
        # SQLite hands such texts out converted, so that two of them may seem the same.
        reasons = ["its pages are not what they were"]
    return movement(reasons, tables)


def by_rows(before: dict[str, TableState], new: Path) -> Movement:
    """What differs from a copy that is gone, by the rows of the tables that it had."""
    there = rows_by_table(new)
    states = {name: TableState(rows) for name, rows in there.items() if name in before}
    return Movement(
        ("its content is not that of the snapshot",), tuple(held_against(before, states))
    )


def rows_by_table(path: Path) -> dict[str, int]:
    """The rows of all tables that can be read."""
    with closing(open_read_only(path)) as connection:
        tables = _tables(connection).values()
        found = {table.name: _rows(connection, table) for table in tables}
    return {name: rows for name, rows in found.items() if rows is not None}


def _schema(before: sqlite3.Connection, now: sqlite3.Connection) -> list[str]:
    reasons = []
    for name in _MARKS:
        old, new = (c.execute(f"PRAGMA {name}").fetchone()[0] for c in (before, now))
        if old != new:
            reasons.append(f"its {name} is {new} and was {old}")
    old, new = _declared(before), _declared(now)
    for item in sorted(old.keys() | new.keys()):
        kind, name = item
        if item not in old or item not in new:
            # A table that came or went is named with its rows.
            if kind != "table":
                what = "added" if item in new else "dropped"
                reasons.append(f'{kind} "{name}" was {what}')
        elif old[item] != new[item]:
            reasons.append(f'{kind} "{name}" was altered')
    return reasons


def _declared(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """Everything with a statement of its own."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return {(kind, name): sql for kind, name, sql in rows if not name.startswith("sqlite_stat")}


def _tables(connection: sqlite3.Connection) -> dict[str, Table]:
    """The tables that hold rows themselves, with the counters of AUTOINCREMENT."""
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND rootpage > 0"
    )
    return {
        name: Table(name, (), sql=sql)
        for name, sql in rows
        if not name.startswith("sqlite_") or name == "sqlite_sequence"
    }


def _table(
    before: sqlite3.Connection, now: sqlite3.Connection, old: Table | None, new: Table | None
) -> TableMovement | None:
    if old is None or new is None:
        name, kind = (new or old or Table("", ())).name, "added" if old is None else "dropped"
        return TableMovement(
            name, kind, _rows(before, old) if old else None, _rows(now, new) if new else None
        )
    rows = _rows(before, old), _rows(now, new)
    if rows[0] != rows[1] or None in rows:
        return TableMovement(old.name, "changed", *rows)
    if _digest(before, old) == _digest(now, new):
        return None
    return TableMovement(old.name, "changed", *rows)


def _rows(connection: sqlite3.Connection, table: Table) -> int | None:
    """The rows of a table, None if it can not be read."""
    try:
        query = f"SELECT count(*) FROM {scan(connection, table)}"
        rows: int = connection.execute(query).fetchone()[0]
    except sqlite3.Error:
        return None
    return rows


def _digest(connection: sqlite3.Connection, table: Table) -> str:
    """All stored values with their types, in the order of the table; never the same if unread."""
    digest = hashlib.sha256()
    decoder = connection.text_factory
    # One character a byte: texts that are no UTF-8 stay apart, and a text from a blob.
    connection.text_factory = lambda raw: raw.decode("latin-1")
    try:
        columns = connection.execute(
            "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0", (table.name,)
        )
        names = ", ".join(quote(name.encode("latin-1").decode()) for (name,) in columns)
        cursor = connection.execute(f"SELECT {names} FROM {scan(connection, table)}")
        while rows := cursor.fetchmany(_BATCH):
            digest.update(repr(rows).encode())
    except sqlite3.Error as error:
        return f"{id(connection)} {error}"
    finally:
        connection.text_factory = decoder
    return digest.hexdigest()
