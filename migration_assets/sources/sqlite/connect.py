"""Read-only connections to a database file, and what SQLite's errors mean to a user."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from urllib.parse import quote as percent

import adbc_driver_sqlite.dbapi as adbc
from adbc_driver_manager.dbapi import Connection as AdbcConnection

from migration_assets.errors import InputError

WAIT_SECONDS = 10.0
"""How long to wait for another process's lock on the source."""

_SETTINGS = (
    # A view or trigger that this SQLite cannot parse would make the whole schema unreadable;
    # with this flag it is passed over (and reported). Nothing is written: the file is read only.
    "PRAGMA writable_schema=ON",
    # Look for malformed cells when a page is read, not only when a cell is used.
    "PRAGMA cell_size_check=ON",
)


def uri(path: Path, *, immutable: bool = False) -> str:
    """The ``file:`` URI that opens ``path`` read-only; ``immutable`` takes no locks at all."""
    return f"file:{percent(os.fsencode(path))}?mode=ro" + ("&immutable=1" if immutable else "")


def open_read_only(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """Open ``path`` for reading; usable from any thread, texts that are not UTF-8 are replaced."""
    connection = sqlite3.connect(
        uri(path, immutable=immutable),
        uri=True,
        timeout=WAIT_SECONDS,
        check_same_thread=False,
        isolation_level=None,
    )
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    for setting in _SETTINGS:
        connection.execute(setting)
    return connection


def open_arrow(path: Path) -> AdbcConnection:
    """Open ``path`` for reading in Arrow batches."""
    connection = adbc.connect(uri(path), autocommit=True)
    with connection.cursor() as cursor:
        for setting in _SETTINGS:
            cursor.execute(setting)
    return connection


class Connections:
    """One connection of each sort per thread, since opening parses the whole schema anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._opened: list[sqlite3.Connection | AdbcConnection] = []
        self._lock = threading.Lock()

    def rows(self) -> sqlite3.Connection:
        """This thread's connection for SQL."""
        connection: sqlite3.Connection | None = getattr(self._local, "rows", None)
        if connection is None:
            connection = open_read_only(self._path)
            self._keep(connection)
            self._local.rows = connection
        return connection

    def arrow(self) -> AdbcConnection:
        """This thread's connection for Arrow."""
        connection: AdbcConnection | None = getattr(self._local, "arrow", None)
        if connection is None:
            connection = open_arrow(self._path)
            self._keep(connection)
            self._local.arrow = connection
        return connection

    def close(self) -> None:
        """Close all of them, whichever thread opened them."""
        with self._lock:
            opened, self._opened = self._opened, []
            self._local = threading.local()
        for connection in opened:
            connection.close()

    def _keep(self, connection: sqlite3.Connection | AdbcConnection) -> None:
        with self._lock:
            self._opened.append(connection)


def input_error(subject: str, error: sqlite3.Error) -> InputError:
    """Say in one line what SQLite's ``error`` means for ``subject`` (a location or a table)."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_CORRUPT"):
        return InputError(
            f"{subject}: the database is damaged ({error}); "
            "repair a copy of it with `sqlite3 FILE .recover` and migrate that"
        )
    if name.startswith("SQLITE_NOTADB"):
        return InputError(f"{subject}: not a SQLite database, or it is encrypted")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
        return InputError(f"{subject}: locked by another process; try again when it is done")
    return InputError(f"{subject}: cannot be read ({error})")
