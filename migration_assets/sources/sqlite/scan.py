"""Scans that follow a table's own tree, never an index.

An index may be damaged, sorted by a collation that is not there, or give another order.
"""

from __future__ import annotations

import sqlite3

from migration_assets.core.catalog import Table
from migration_assets.core.naming import quote
from migration_assets.sources.sqlite.statement import table_options


def scan(connection: sqlite3.Connection, table: Table) -> str:
    """What stands behind FROM to read ``table`` in the order of its rowid or primary key."""
    without_rowid = "WITHOUT ROWID" in table_options(table.sql or "")
    return scan_by_name(connection, table.name, without_rowid=without_rowid)


def scan_by_name(connection: sqlite3.Connection, name: str, *, without_rowid: bool) -> str:
    """The same for a table that is known by its name only."""
    if without_rowid:
        # Such a table is its primary key's index, and NOT INDEXED does not keep SQLite from
        # scanning another index that has all the columns.
        row = connection.execute(
            "SELECT name FROM pragma_index_list(?) WHERE origin = 'pk'", (name,)
        ).fetchone()
        if row is not None:
            return f"{quote(name)} INDEXED BY {quote(row[0])}"
    return f"{quote(name)} NOT INDEXED"
