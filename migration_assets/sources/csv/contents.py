"""What a folder of CSV files holds: its manifest, its files, and the catalog they make."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from migration_assets.core.catalog import Catalog, Table
from migration_assets.core.csv_manifest import FILE, CsvManifest, CsvTable, read_manifest
from migration_assets.errors import InputError
from migration_assets.sources.csv.declared import catalog_of
from migration_assets.sources.csv.files import CsvFile, Dialect, SyntaxFault, batches, header
from migration_assets.sources.csv.infer import ColumnInference
from migration_assets.sources.csv.location import Location
from migration_assets.sources.csv.second_look import explain, unclosed

_CHUNK = 4 << 20
CLOCK_TICK_SECONDS = 0.02
"""File times may be this coarse: a file that moved more recently could move again unseen."""


@dataclass(frozen=True)
class Contents:
    """The folder as it is, nothing of its rows read.

    Attributes:
        manifest: None without one.
        files: table -> file.
        headers: table -> names in the file's first line.
    """

    manifest: CsvManifest | None
    files: Mapping[str, CsvFile]
    headers: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Stamp:
    """What a file's bytes are: how many, their SHA-256, and whether its quotes come in pairs."""

    bytes: int
    sha256: str
    even: bool


def look(location: Location) -> Contents:
    """Look at the folder, its manifest and the first line of each file.

    Raises:
        InputError: there is no such folder or no file in it, the manifest is none, a file or a
            column that it names is missing, or one is there that it does not name.
    """
    folder = location.path
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "there is no such folder"
        raise InputError(f"{location.url}: {what}; name a folder that holds CSV files")
    manifest = _manifest(folder, location)
    files = _named(folder, manifest) if manifest else _found(folder, location)
    headers = {table: header(file) for table, file in files.items()}
    for table in manifest.tables if manifest else ():
        _check_header(files[table.name], headers[table.name], table)
    return Contents(manifest, files, headers)


def _manifest(folder: Path, location: Location) -> CsvManifest | None:
    path = folder / FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        manifest = read_manifest(text)
    except ValueError as error:
        raise InputError(
            f"{path}: {error}; mend it, or remove it to have the types inferred"
        ) from error
    if location.options:
        raise InputError(
            f"{location.url}: the manifest says how the files are written; leave the options out"
        )
    return manifest


def _named(folder: Path, manifest: CsvManifest) -> dict[str, CsvFile]:
    files = {}
    for table in manifest.tables:
        path = folder / table.file
        if path.parent != folder or not path.is_file():
            raise InputError(f'{path}: the file of table "{table.name}" is missing')
        files[table.name] = CsvFile(path, table.file, Dialect(null=table.null, quoted_null=True))
    return files


def _found(folder: Path, location: Location) -> dict[str, CsvFile]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() == ".csv" and p.is_file())
    if not paths:
        raise InputError(f"{location.url}: holds no file that ends in .csv")
    files: dict[str, CsvFile] = {}
    for path in paths:
        if path.stem in files:
            raise InputError(f'{path}: two files would both be the table "{path.stem}"')
        files[path.stem] = CsvFile(path, path.name, location.dialect)
    return files


def _check_header(file: CsvFile, names: tuple[str, ...], table: CsvTable) -> None:
    wanted = [column.name for column in table.columns]
    for name in wanted:
        if name not in names:
            raise InputError(
                f'{file.name}, line 1: the column "{name}" of table "{table.name}" is missing; '
                f"the first line must name {', '.join(wanted)}, parted by {file.dialect.delimiter}"
            )
    for place, name in enumerate(names, start=1):
        if name not in wanted:
            raise InputError(
                f'{file.name}, line 1, column {place}: the manifest knows no column "{name}"; '
                f"take it out, or describe it in {FILE}"
            )


def catalog(contents: Contents, rows: int | None = None) -> Catalog:
    """The catalog: that of the manifest, else inferred from the values.

    Args:
        contents: of the folder.
        rows: look at only so many rows of each file, None for all.

    Raises:
        InputError: the manifest contradicts itself, or a file cannot be read.
    """
    if contents.manifest is not None:
        return catalog_of(contents.manifest, FILE)
    tables = (
        _inferred(name, file, contents.headers[name], rows) for name, file in contents.files.items()
    )
    return Catalog(None, tuple(tables))


def _inferred(name: str, file: CsvFile, names: tuple[str, ...], limit: int | None) -> Table:
    columns = {column: ColumnInference(column) for column in names}
    rows = 0
    try:
        for batch in batches(file, names, dict.fromkeys(names, pa.string())):
            for column, inference in columns.items():
                inference.add(batch.column(column))
            rows += batch.num_rows
            if limit is not None and rows >= limit:
                break
    except SyntaxFault as error:
        raise explain(file, names, {}, str(error)) from error
    return Table(
        name=name,
        columns=tuple(inference.finish() for inference in columns.values()),
        rows=rows if limit is None or rows < limit else None,
        bytes=file.path.stat().st_size,
    )


def write_manifest(folder: Path, manifest: CsvManifest) -> None:
    """Write the manifest (0600) at once or not at all: it tells about the source."""
    part = folder / f".{FILE}.{os.getpid()}.part"
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(manifest.to_json())
    part.replace(folder / FILE)


@contextmanager
def _sink(copy: Path | None) -> Iterator[BinaryIO]:
    """Where the bytes of a copy go; without one they go nowhere."""
    path = os.devnull if copy is None else copy
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file


def stamp(file: CsvFile, copy: Path | None = None) -> Stamp:
    """Read a file's bytes once, into ``copy`` (0600) where there is one.

    Raises:
        InputError: it cannot be read, or a quote in it is never closed.
    """
    digest = hashlib.sha256()
    size = quotes = 0
    try:
        with file.path.open("rb") as source, _sink(copy) as sink:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                quotes += chunk.count(b'"')
                sink.write(chunk)
    except OSError as error:
        raise InputError(f"{file.name}: cannot be copied ({error.strerror})") from error
    found = Stamp(size, digest.hexdigest(), quotes % 2 == 0)
    # Arrow would take all that follows such a quote for one value.
    if not found.even and (wrong := unclosed(file)) is not None:
        raise wrong
    return found


def identity(stamps: Mapping[str, Stamp], manifest: CsvManifest | None, place: Location) -> str:
    """32 hex digits over what is there: the files, what describes them, and how they are read."""
    described = manifest.to_json() if manifest else repr(place.options)
    digest = hashlib.sha256(described.encode())
    for table in sorted(stamps):
        digest.update(f"{table}\0{stamps[table].sha256}\0".encode())
    return digest.hexdigest()[:32]


def token(place: Location) -> str:
    """32 hex digits that are others after each write to a file of the folder.

    Raises:
        InputError: the folder can not be read.
    """
    try:
        marks = sorted((path.name, *_mark(path)) for path in place.path.iterdir())
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
    newest = max((max(mark[3:]) for mark in marks), default=0)
    if 0 <= time.time_ns() - newest < CLOCK_TICK_SECONDS * 1e9:
        # So fresh that another write might leave all of it as it is.
        return uuid.uuid4().hex
    return hashlib.sha256(repr((place.options, marks)).encode()).hexdigest()[:32]


def _mark(path: Path) -> tuple[int, int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def rows(file: CsvFile, names: Sequence[str]) -> int | None:
    """The rows of a file, None if it can not be parsed."""
    try:
        first = {names[0]: pa.string()}
        return sum(len(batch) for batch in batches(file, names, first))
    except (SyntaxFault, InputError):
        return None
