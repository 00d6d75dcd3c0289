"""Read-only connections to a database file, and what SQLite's errors mean to a user."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote as percent

from migration_assets import lean
from migration_assets.errors import InputError

with lean.without("pandas"):  # the driver would import it: 45 MB and 0.3 s
    import adbc_driver_sqlite.dbapi as adbc
    from adbc_driver_manager.dbapi import Connection as AdbcConnection

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
    """Connections to one file, handed out and taken back, since opening parses its schema anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._free_rows: list[sqlite3.Connection] = []
        self._free_arrow: list[AdbcConnection] = []
        self._closed = False
        self._lock = threading.Lock()

    @contextmanager
    def rows(self) -> Iterator[sqlite3.Connection]:
        """A connection for SQL that nobody else uses meanwhile."""
        with self._lock:
            connection = self._free_rows.pop() if self._free_rows else None
        connection = connection or open_read_only(self._path)
        try:
            yield connection
        finally:
            with self._lock:
                if not self._closed:
                    self._free_rows.append(connection)
            if self._closed:
                connection.close()

    @contextmanager
    def arrow(self) -> Iterator[AdbcConnection]:
        """A connection for Arrow that nobody else uses meanwhile."""
        with self._lock:
            connection = self._free_arrow.pop() if self._free_arrow else None
        connection = connection or open_arrow(self._path)
        try:
            yield connection
        finally:
            with self._lock:
                if not self._closed:
                    self._free_arrow.append(connection)
            if self._closed:
                connection.close()

    def close(self) -> None:
        """Close those that are free, and each of the others when it is given back."""
        with self._lock:
            self._closed = True
            rows, self._free_rows = self._free_rows, []
            arrow, self._free_arrow = self._free_arrow, []
        for connection in rows:
            connection.close()
        for driver in arrow:
            driver.close()


def input_error(subject: str, error: sqlite3.Error) -> InputError:
    """Say in one line what SQLite's ``error`` means for ``subject`` (a location or a table)."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_CORRUPT"):
        return damaged(subject, str(error))
    if name.startswith("SQLITE_NOTADB"):
        return InputError(f"{subject}: not a SQLite database, or it is encrypted")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
        return InputError(f"{subject}: locked by another process; try again when it is done")
    return InputError(f"{subject}: cannot be read ({error})")


def arrow_error(subject: str, error: Exception) -> InputError:
    """Say in one line what the Arrow driver's ``error`` means for ``subject``."""
    text = " ".join(str(error).split())
    if "malformed" in text or "not a database" in text:
        return damaged(subject, text)
    return InputError(f"{subject}: cannot be read ({text})")


def damaged(subject: str, finding: str) -> InputError:
    """The error for a file whose pages are not what they should be."""
    return InputError(
        f"{subject}: the database is damaged ({finding}); "
        "repair a copy of it with `sqlite3 FILE .recover` and migrate that"
    )
