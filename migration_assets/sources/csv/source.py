"""A folder of CSV files as a source."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from migration_assets.core.catalog import Catalog
from migration_assets.core.csv_manifest import FILE, CsvManifest
from migration_assets.core.sensitive import ALL, columns_of
from migration_assets.core.standing import (
    Movement,
    Position,
    Standing,
    TableState,
    held_against,
    movement,
)
from migration_assets.errors import BrokenOffError, InputError, NotProvenError
from migration_assets.sources.base import POSITION_BYTES, Snapshot, SourceCopy
from migration_assets.sources.csv import contents
from migration_assets.sources.csv.contents import Contents, Stamp
from migration_assets.sources.csv.files import CsvFile
from migration_assets.sources.csv.location import Location, read_url
from migration_assets.sources.csv.reader import CsvReader, TableFile

SAMPLE_ROWS = 10_000
"""Rows of each file that are looked at for definitions; a run looks at all of them."""


@dataclass(frozen=True)
class _Index:
    """What the snapshot's own file holds: all but the rows."""

    snapshot: Snapshot
    catalog: Catalog
    files: dict[str, TableFile]


class CsvSource:
    """One folder; never written to.

    Attributes:
        kind: ``csv``.
        location: the URL as given.
        copies: a snapshot is a copy of the files.
    """

    kind = "csv"
    copies = True

    def __init__(
        self, place: Location, sensitive: Mapping[str, Collection[str]] | None = None
    ) -> None:
        self.location = place.url
        self._place = place
        self._sensitive = sensitive or {}

    @classmethod
    def from_url(
        cls, url: str, sensitive: Mapping[str, Collection[str]] | None = None
    ) -> CsvSource:
        """Make a source from ``csv:///relative/folder`` or ``csv:////absolute/folder``.

        Raises:
            InputError: another scheme, no path, or a wrong option.
        """
        return cls(read_url(url), sensitive)

    @property
    def absolute(self) -> str:
        """The URL from any working folder."""
        return self._place.absolute

    def check(self) -> None:
        """Look at the folder and the first lines; see :func:`contents.look` for what is raised."""
        self._look()

    def reflect(self) -> Catalog:
        """The manifest's catalog; without one, types by the first rows of each file."""
        return contents.catalog(self._look(), SAMPLE_ROWS)

    def size(self) -> int | None:
        """Bytes of the files."""
        files = contents.look(self._place).files.values()
        return sum(file.path.stat().st_size for file in files)

    def take_snapshot(self, path: Path) -> CsvReader:
        """Copy the files beside ``path`` (0600), prove them, and open the copies.

        Files that the manifest describes must be what it says, byte for byte. Those of which it
        gives no SHA-256 are held against it value by value, keys included.

        Raises:
            InputError: the folder cannot be used, or a file is not what the manifest says.
        """
        taken_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        # First of all, so that what is written meanwhile moves a file after it.
        token = contents.token(self._place)
        found = self._look()
        copies: dict[str, CsvFile] = {}
        stamps: dict[str, Stamp] = {}
        for number, (table, file) in enumerate(found.files.items()):
            copy = path.with_name(f"{path.name}.{number}.csv")
            stamps[table] = contents.stamp(file, copy)
            copies[table] = replace(file, path=copy)
        if found.manifest is not None:
            _prove(found.manifest, stamps, self._place.path)
        held = Contents(found.manifest, copies, found.headers)
        catalog = contents.catalog(held)
        known = columns_of(catalog, self._sensitive)
        copies = {
            table: replace(file, hidden=frozenset(name for of, name in known if of == table))
            for table, file in copies.items()
        }
        if found.manifest is not None and any(t.sha256 is None for t in found.manifest.tables):
            from migration_assets.sources.csv.validate import validate

            validate(catalog, copies, held.headers, found.manifest.loose)
        size = sum(stamp.bytes for stamp in stamps.values())
        id = contents.identity(stamps, held.manifest, self._place)
        snapshot = Snapshot(id, taken_at, size, self.location, token=token)
        files = {
            table: _table_file(table, file, held, stamps[table].sha256)
            for table, file in copies.items()
        }
        index = _Index(snapshot, catalog, files)
        path.touch(mode=0o600)
        path.write_bytes(_INDEX.dump_json(index))
        return CsvReader(path.parent, snapshot, catalog, files)

    def _look(self) -> Contents:
        """The folder; values of sensitive columns are in no message about its files."""
        found = contents.look(self._place)
        hidden = {
            table: found.headers[table] if ALL in columns else columns
            for table, columns in self._sensitive.items()
            if table in found.files
        }
        files = {
            table: replace(file, hidden=frozenset(hidden.get(table, ())))
            for table, file in found.files.items()
        }
        return replace(found, files=files)

    def open_snapshot(self, path: Path) -> CsvReader:
        """Open the copies that :meth:`take_snapshot` made, in any process.

        Raises:
            InputError: they are not there any more.
        """
        try:
            index = _INDEX.validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise InputError(f"snapshot {path.name}: is gone; start a new run") from error
        return CsvReader(path.parent, index.snapshot, index.catalog, index.files)

    def position(self, before: Position | None, scratch: Path) -> Position:
        """Where the files stand; they are read only if one was touched since ``before``."""
        token = contents.token(self._place)
        if before is not None and before.token == token:
            return before
        found = contents.look(self._place)
        if sum(file.path.stat().st_size for file in found.files.values()) > POSITION_BYTES:
            return Position(token)
        stamps = {table: contents.stamp(file) for table, file in found.files.items()}
        return Position(token, contents.identity(stamps, found.manifest, self._place))

    def moved_since(self, before: Standing, path: Path) -> Movement | None:
        """Hold the files against a snapshot of them, by their SHA-256."""
        try:
            token = contents.token(self._place)
            found = contents.look(self._place)
        except InputError as error:
            return Movement((str(error),))
        if before.position is not None and before.position.token == token:
            return None
        stamps = {table: contents.stamp(file) for table, file in found.files.items()}
        if contents.identity(stamps, found.manifest, self._place) == before.snapshot_id:
            return None
        old = before.tables
        now = {
            table: TableState(
                old[table].rows
                if table in old and old[table].digest == stamp.sha256
                else contents.rows(found.files[table], found.headers[table]),
                stamp.sha256,
            )
            for table, stamp in stamps.items()
        }
        tables = held_against(old, now)
        return movement([] if tables else [f"{FILE} is not what it was"], tables)

    def back_up(self, folder: Path) -> SourceCopy:
        """Copy the files into ``folder``, and read the copies as a source."""
        found = contents.look(self._place)
        paths = [file.path for file in found.files.values()]
        if found.manifest is not None:
            paths.append(self._place.path / FILE)
        try:
            for path in paths:
                shutil.copyfile(path, folder / path.name)
        except OSError as error:
            raise BrokenOffError(
                f"the backup of {self.location} can not be written to {folder}: {error.strerror}; "
                "make room, then run again"
            ) from error
        copies = replace(self._place, path=folder)
        again = contents.look(copies)
        stamps = {table: contents.stamp(file) for table, file in again.files.items()}
        content = contents.identity(stamps, again.manifest, copies)
        source = {table: contents.stamp(file) for table, file in found.files.items()}
        if content != contents.identity(source, found.manifest, self._place):
            raise NotProvenError(f"the backup of {self.location} is not what the source holds")
        tables = {
            table: TableState(contents.rows(file, again.headers[table]), stamps[table].sha256)
            for table, file in again.files.items()
        }
        return SourceCopy("copy", tables, restored=True, content=content)


def _prove(manifest: CsvManifest, stamps: Mapping[str, Stamp], folder: Path) -> None:
    """Raise InputError for a file that was changed since the manifest was written."""
    for table in manifest.tables:
        if table.sha256 is not None and table.sha256 != stamps[table.name].sha256:
            raise InputError(
                f"{folder / table.file}: is not the file that {FILE} describes, its SHA-256 is "
                "another; if it was edited on purpose, accept it with: migration-assets "
                f"export-csv --refresh-manifest {folder}"
            )


def _table_file(table: str, file: CsvFile, found: Contents, sha256: str) -> TableFile:
    described = found.manifest.table(table) if found.manifest else None
    return TableFile(
        copy=file.path.name,
        name=file.name,
        dialect=file.dialect,
        hidden=file.hidden,
        header=found.headers[table],
        rows=described.rows if described else None,
        next_value=described.next_value if described else None,
        orphans={
            position: key.orphans
            for position, key in enumerate(described.foreign_keys if described else ())
            if key.orphans
        },
        sha256=sha256,
    )


_INDEX: TypeAdapter[_Index] = TypeAdapter(_Index)
