"""Reads one taken snapshot, from any thread."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from adbc_driver_manager import Error as AdbcError
from adbc_driver_manager.dbapi import Connection as AdbcConnection

from migration_assets.core.catalog import Catalog, Table
from migration_assets.core.naming import quote
from migration_assets.core.profile import Lane
from migration_assets.core.standing import Standing
from migration_assets.errors import InputError
from migration_assets.sources.base import (
    LanesMissing,
    QueryError,
    Snapshot,
    SourceFacts,
    copy_standing,
)
from migration_assets.sources.sqlite import declared, facts, header
from migration_assets.sources.sqlite.connect import (
    Connections,
    arrow_error,
    damaged,
    input_error,
    open_read_only,
)
from migration_assets.sources.sqlite.read import WrongTypeError, batch_rows, fields_of, read
from migration_assets.sources.sqlite.reflect import reflect, with_sizes
from migration_assets.sources.sqlite.scan import scan

HARMLESS = re.compile(
    r"never used|freelist|(NULL|NUMERIC|TEXT|non-\w+) value in|CHECK constraint failed"
    r"|^\*\*\* in database",
    re.IGNORECASE,
)
"""Findings of quick_check that leave every row readable, and its headings."""


def passed_path(path: Path) -> Path:
    """The file beside a snapshot that says its integrity check passed."""
    return path.with_name(path.name + ".checked")


class SQLiteReader:
    """One snapshot file; nothing else is touched."""

    def __init__(self, path: Path, snapshot: Snapshot, pages: Mapping[str, int]) -> None:
        self.snapshot = snapshot
        self._pages = pages
        self._path = path
        self._connections = Connections(path)
        self._utf16 = header.read(path, snapshot.source).utf16
        self._lanes: dict[str, dict[str, tuple[Lane, ...]]] = {}
        self._scans: dict[str, str] = {}
        self._check: threading.Thread | None = None
        self._damage: InputError | None = None
        self._passed = passed_path(path)

    def start_integrity_check(self) -> None:
        """Look at every page beside the reading; what is found is raised by :meth:`facts`.

        A snapshot that passed once is not looked at again by a later process.
        """
        if self._passed.exists():
            return
        self._check = threading.Thread(target=self._check_integrity, daemon=True)
        self._check.start()

    def catalog(self) -> Catalog:
        """Reflect the snapshot, with rows and bytes of each table."""
        try:
            with self._connections.rows() as connection:
                catalog = reflect(connection)
                self._scans = {table.name: scan(connection, table) for table in catalog.tables}
                size = self._path.stat().st_size
                return with_sizes(connection, catalog, self._scans, self._pages, size)
        except sqlite3.Error as error:
            raise input_error(self.snapshot.source, error) from error

    def expected_lanes(self, table: Table) -> dict[str, tuple[Lane, ...]]:
        """The lanes to try first, per column, from the declaration alone."""
        return {
            column.name: declared.lanes(column.type, declared.affinity(column.source_type))
            for column in table.columns
        }

    def read(self, table: Table, lanes: Mapping[str, tuple[Lane, ...]]) -> Iterator[pa.RecordBatch]:
        """Yield the table; see :meth:`SnapshotReader.read`.

        Raises:
            LanesMissing: as soon as a value turns up that fits no requested lane.
            InputError: the table cannot be read.
        """
        fields = fields_of(table, lanes)
        begun = False
        try:
            behind_from = self._scan(table)
            with self._connections.arrow() as connection:
                for batch in read(connection, table, behind_from, fields, utf16=self._utf16):
                    begun = True
                    yield batch
        except (AdbcError, OSError, WrongTypeError) as error:
            first = None if begun else batch_rows(table, len(fields))
            missing = self._missing(table, lanes, first)
            if missing:
                raise LanesMissing(table.name, missing) from error
            raise arrow_error(f'table "{table.name}"', error) from error
        # The guards have shown that no value is outside these lanes.
        self._lanes[table.name] = dict(lanes)

    def facts(
        self, table: Table, lanes: Mapping[str, tuple[Lane, ...]] | None = None
    ) -> SourceFacts:
        """Count and sum the table by SQLite itself; see :meth:`SnapshotReader.facts`.

        Raises:
            InputError: the table cannot be read, or the snapshot is damaged.
        """
        if self._check is not None:
            self._check.join()
        if self._damage is not None:
            raise self._damage
        try:
            behind_from = self._scan(table)
            with self._connections.arrow() as connection:
                lanes = lanes or self._lanes.get(table.name)
                if lanes is None:
                    lanes = self._occurring(connection, table, behind_from)
                return facts.facts(connection, table, behind_from, lanes, utf16=self._utf16)
        except (AdbcError, OSError) as error:
            raise arrow_error(f'table "{table.name}"', error) from error

    def begin_facts(self, tables: Sequence[Table]) -> None:
        """Nothing: there is no server that would do it."""

    def standing(self, catalog: Catalog, *, lasting: bool) -> Standing:
        """What the copy leaves behind; see :meth:`SnapshotReader.standing`."""
        return copy_standing(self.snapshot, catalog)

    def next_value(self, table: Table) -> int | None:
        """The number ``table.auto_column`` would take next; see :func:`facts.next_value`."""
        try:
            with self._connections.rows() as connection:
                return facts.next_value(connection, table)
        except sqlite3.Error as error:
            raise input_error(f'table "{table.name}"', error) from error

    def orphans(self, table: Table) -> dict[int, int]:
        """Foreign key position -> rows whose parent is missing (only those above 0)."""
        if not table.foreign_keys:
            return {}
        names = {table.name, *(key.ref_table for key in table.foreign_keys)}
        try:
            with self._connections.rows() as connection:
                scans = {name: self._scan_by_name(connection, name) for name in names}
                return facts.orphans(connection, table, scans)
        except sqlite3.Error as error:
            raise input_error(f'table "{table.name}"', error) from error

    def case_folds(self, table: Table) -> dict[str, int]:
        """Column -> values that another one of the column equals but for the case.

        Asked of ``COLLATE NOCASE`` columns only: there the application takes them for one value,
        and PostgreSQL does not. It sorts the column; no other column pays for it.
        """
        folding = [c.name for c in table.columns if (c.collation or "").upper() == "NOCASE"]
        if not folding:
            return {}
        try:
            with self._connections.rows() as connection:
                return facts.case_folds(connection, folding, scan(connection, table))
        except sqlite3.Error as error:
            raise input_error(f'table "{table.name}"', error) from error

    def rows(self, statement: str, seconds: float) -> Iterator[tuple[Any, ...]]:
        """The rows of a query; raises QueryError."""
        deadline = time.monotonic() + seconds
        # A connection of its own: a clock that interrupts only this query.
        connection = open_read_only(self._path)
        try:
            connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
            yield from connection.execute(statement)
        except sqlite3.Error as error:
            late = time.monotonic() > deadline
            raise QueryError(f"took longer than {seconds:.0f} s" if late else str(error)) from error
        finally:
            connection.close()

    def default_values(self, source_type: str, default: str, count: int) -> list[Any]:
        """What new rows hold, tried in a database in memory; raises QueryError."""
        connection = sqlite3.connect(":memory:")
        try:
            connection.execute(f"CREATE TABLE t (c {source_type} DEFAULT ({default}))")
            for _ in range(count):
                connection.execute("INSERT INTO t DEFAULT VALUES")
            return [value for (value,) in connection.execute("SELECT c FROM t")]
        except sqlite3.Error as error:
            raise QueryError(str(error)) from error
        finally:
            connection.close()

    def quote(self, identifier: str) -> str:
        """Quote one identifier for SQLite."""
        return '"' + identifier.replace('"', '""') + '"'

    def close(self) -> None:
        """Close all connections; the copy stays."""
        if self._check is not None:
            self._check.join()
        self._connections.close()

    def _scan(self, table: Table) -> str:
        """What stands behind FROM to read ``table`` in its own order."""
        if table.name not in self._scans:
            with self._connections.rows() as connection:
                self._scans[table.name] = scan(connection, table)
        return self._scans[table.name]

    def _scan_by_name(self, connection: sqlite3.Connection, name: str) -> str:
        if name not in self._scans:
            row = connection.execute(
                "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", (name,)
            ).fetchone()
            self._scans[name] = scan(connection, Table(name, (), sql=row[0] if row else None))
        return self._scans[name]

    def _occurring(
        self, connection: AdbcConnection, table: Table, behind_from: str
    ) -> dict[str, tuple[Lane, ...]]:
        """Lanes that hold all values: the expected ones, unless a scan finds others too."""
        lanes = self.expected_lanes(table)
        if not facts.outside(connection, table, behind_from, lanes):
            return lanes
        return facts.classes(connection, table, behind_from)

    def _missing(
        self, table: Table, lanes: Mapping[str, tuple[Lane, ...]], first: int | None
    ) -> list[str]:
        """The columns that hold values outside ``lanes``.

        Args:
            table: that could not be read with them.
            lanes: asked for.
            first: the rows that the reading got no further than, None if it did. To look at these
                alone and begin again is quicker than to look at all rows.

        Raises:
            InputError: the table cannot be read.
        """
        try:
            behind_from = self._scan(table)
            with self._connections.arrow() as connection:
                if first is not None:
                    names = ", ".join(quote(column.name) for column in table.columns)
                    start = f"(SELECT {names} FROM {behind_from} LIMIT {first})"
                    found = facts.outside(connection, table, start, lanes)
                    if found:
                        return found
                return facts.outside(connection, table, behind_from, lanes)
        except (AdbcError, OSError) as error:
            raise arrow_error(f'table "{table.name}"', error) from error

    def _check_integrity(self) -> None:
        connection = open_read_only(self._path)
        try:
            # Rules of the application are checked elsewhere, and may call its own functions.
            connection.execute("PRAGMA ignore_check_constraints=ON")
            found = [text for (text,) in connection.execute("PRAGMA quick_check")]
        except sqlite3.OperationalError:
            # A table that SQLite cannot compile (a missing function) ends the check; the tables
            # that can be read are then only as whole as reading them shows.
            found = []
        except sqlite3.DatabaseError as error:
            self._damage = input_error(self.snapshot.source, error)
            return
        finally:
            connection.close()
        lines = [line for text in found if text != "ok" for line in text.splitlines()]
        serious = [line for line in lines if not HARMLESS.search(line)]
        if serious:
            self._damage = damaged(self.snapshot.source, serious[0])
        else:
            self._passed.touch(mode=0o600)
