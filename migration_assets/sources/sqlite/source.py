"""A SQLite database file as a source."""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from migration_assets.core.catalog import Catalog
from migration_assets.core.standing import Movement, Position, Standing
from migration_assets.errors import InputError
from migration_assets.sources.base import POSITION_BYTES, Snapshot, SourceCopy
from migration_assets.sources.sqlite import header, position, snapshot
from migration_assets.sources.sqlite.connect import input_error, open_read_only
from migration_assets.sources.sqlite.reader import SQLiteReader, passed_path
from migration_assets.sources.sqlite.reflect import reflect, table_bytes

_PREFIX = "sqlite:///"


class SQLiteSource:
    """One SQLite file; never written to, nor is its folder.

    Attributes:
        kind: ``sqlite``.
        copies: a snapshot is a copy of the file.
        location: the URL as given.
        path: the database file, absolute.
    """

    kind = "sqlite"
    copies = True

    def __init__(self, path: Path, location: str | None = None) -> None:
        self.path = Path(os.path.abspath(path))
        self.location = location or f"{_PREFIX}{path}"
        self._unmoved: tuple[str, str] | None = None

    @classmethod
    def from_url(cls, url: str) -> SQLiteSource:
        """Make a source from ``sqlite:///relative/path`` or ``sqlite:////absolute/path``.

        The path is taken as it is written if such a file exists, else with its %-escapes
        resolved, else without a ``?query``.

        Raises:
            InputError: another scheme, or no path.
        """
        if not url.startswith(_PREFIX):
            raise InputError(f"{url}: a SQLite source is written sqlite:///path/to/file.db")
        text = url.removeprefix(_PREFIX)
        if not text or text == ":memory:":
            raise InputError(f"{url}: names no file; write sqlite:///path/to/file.db")
        bare = text.partition("?")[0]
        for candidate in (text, unquote(text), bare, unquote(bare)):
            if candidate and "\0" not in candidate and os.path.lexists(candidate):
                return cls(Path(candidate), url)
        return cls(Path((bare or text).replace("\0", "")), url)

    def check(self) -> None:
        """Look at the file and its header only; see :func:`header.read` for what is raised."""
        header.read(self.path, self.location)

    def reflect(self) -> Catalog:
        """The catalog straight from the file, without counting its rows.

        Where a read-only connection would leave traces beside the file, a copy that lives only
        for this call is read instead.
        """
        self.check()
        if not snapshot.needs_copy(self.path):
            return self._reflect(self.path)
        with self._copy(None) as copy:
            return self._reflect(copy)

    def size(self) -> int | None:
        """Bytes of the file and its log."""
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(path.stat().st_size for path in files if path.exists())

    def take_snapshot(self, path: Path) -> SQLiteReader:
        """Copy the file with its log to ``path`` (0600) and open the copy.

        Raises:
            InputError: the file cannot be used, is damaged, locked or never stands still.
        """
        self.check()
        taken_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        # Before the copy, so that what is written meanwhile moves the file after it.
        token = self._token()
        passed_path(path).unlink(missing_ok=True)
        snapshot.copy_database(self.path, path, self.location)
        header.read(path, self.location)
        # What takes a look at all pages is done here, beside whatever the caller does meanwhile.
        with ThreadPoolExecutor(1) as beside:
            pages = beside.submit(_table_bytes, path)
            digest = snapshot.content_id(path)
        record = Snapshot(digest, taken_at, path.stat().st_size, self.location, token=token)
        known = {"snapshot": asdict(record), "table_bytes": pages.result()}
        kept = _record_path(path)
        kept.touch(mode=0o600)
        kept.write_text(json.dumps(known), encoding="utf-8")
        reader = SQLiteReader(path, record, pages.result())
        reader.start_integrity_check()
        return reader

    def open_snapshot(self, path: Path) -> SQLiteReader:
        """Open the copy at ``path`` that :meth:`take_snapshot` made, in any process.

        Raises:
            InputError: it is not there any more.
        """
        header.read(path, f"snapshot {path.name}")
        known = json.loads(_record_path(path).read_text("utf-8"))
        reader = SQLiteReader(path, Snapshot.of(known["snapshot"]), known["table_bytes"])
        reader.start_integrity_check()
        return reader

    def position(self, before: Position | None, scratch: Path) -> Position:
        """Where the file stands; it is read whole only if it was touched since ``before``.

        Not if its counter tells of a change, so that no writer has to wait for that.
        """
        self.check()
        token = self._token()
        if before is not None and before.token == token:
            return before
        if before is not None and position.counts_more(token, before.token):
            return Position(token)
        if self.path.stat().st_size > POSITION_BYTES:
            return Position(token)
        with self._copy(scratch) as copy:
            return Position(token, snapshot.content_id(copy))

    def moved_since(self, before: Standing, path: Path) -> Movement | None:
        """Hold the file against a snapshot of it.

        What was written to the file and is not a part of its content, such as a checkpoint, is
        no movement. A transaction of another process that is still open is one: it can only be
        about to write.
        """
        self.check()
        writing = position.is_written(self.path)
        found = self._moved(before, path)
        if writing or position.is_written(self.path):
            open_one = "another process holds it for writing, in a transaction that is open"
            found = Movement(
                (open_one, *(found.reasons if found else ())), found.tables if found else ()
            )
        return found

    def back_up(self, folder: Path) -> SourceCopy:
        """Copy the file into ``folder`` for good; see :func:`backup.back_up`."""
        from migration_assets.sources.sqlite import backup  # needed seldom

        self.check()
        return backup.back_up(self.path, folder, self.location)

    def _moved(self, before: Standing, path: Path) -> Movement | None:
        from migration_assets.sources.sqlite import moved  # needed seldom

        token = self._token()
        if before.position is not None and before.position.token == token:
            return None
        if self._unmoved == (before.snapshot_id, token):
            return None
        with self._copy(path.parent) as copy:
            if snapshot.content_id(copy) == before.snapshot_id:
                self._unmoved = before.snapshot_id, token
                return None
            try:
                if path.exists() and snapshot.content_id(path) == before.snapshot_id:
                    return moved.between(path, copy, self.location)
                return moved.by_rows(before.tables, copy)
            except sqlite3.Error as error:
                raise input_error(self.location, error) from error

    def _token(self) -> str:
        try:
            return position.token(self.path)
        except OSError as error:
            raise InputError(f"{self.location}: cannot be read ({error.strerror})") from error

    @contextmanager
    def _copy(self, scratch: Path | None) -> Iterator[Path]:
        """A copy for the block, in the folder ``scratch`` if it is there, else a temporary one."""
        place = scratch if scratch is not None and scratch.is_dir() else None
        with tempfile.TemporaryDirectory(prefix="migration_assets_", dir=place) as folder:
            copy = Path(folder) / "copy.db"
            snapshot.copy_database(self.path, copy, self.location)
            yield copy

    def _reflect(self, path: Path) -> Catalog:
        try:
            connection = open_read_only(path)
            try:
                return reflect(connection)
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise input_error(self.location, error) from error


def _table_bytes(path: Path) -> dict[str, int]:
    with closing(open_read_only(path)) as connection:
        return table_bytes(connection)


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")
