"""SQLite databases that the tests make, and reading them whole."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from migration_assets.core.catalog import Table
from migration_assets.core.naming import quote
from migration_assets.core.profile import Lane
from migration_assets.sources.base import LanesMissing, SnapshotReader


def make(
    path: Path,
    script: str,
    rows: dict[str, Sequence[Sequence[object]]] | None = None,
    prepare: Callable[[sqlite3.Connection], object] | None = None,
) -> Path:
    """Make a database by ``script`` and insert ``rows`` (table -> rows)."""
    connection = sqlite3.connect(path)
    if prepare:
        prepare(connection)
    connection.executescript(script)
    for table, values in (rows or {}).items():
        marks = ", ".join("?" * len(values[0]))
        connection.executemany(f"INSERT INTO {quote(table)} VALUES ({marks})", values)
    connection.commit()
    connection.close()
    return path


def read_table(reader: SnapshotReader, table: Table) -> list[tuple[object, ...]]:
    """All rows, texts as bytes, with lanes widened until every value is carried."""
    lanes = reader.expected_lanes(table)
    while True:
        try:
            return rows_of(table, list(reader.read(table, lanes)))
        except LanesMissing as missing:
            lanes = {n: tuple(Lane) if n in missing.columns else v for n, v in lanes.items()}


def rows_of(table: Table, batches: list[pa.RecordBatch]) -> list[tuple[object, ...]]:
    """Merge the lanes of each column; at most one of them has a value."""
    rows: list[tuple[object, ...]] = []
    for batch in batches:
        columns: list[list[object]] = [[None] * batch.num_rows for _ in table.columns]
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            column = columns[int(name.partition(":")[0])]
            for row, value in enumerate(array.to_pylist()):
                if value is not None:
                    assert column[row] is None, f"two lanes of {name} in one row"
                    column[row] = value
        rows += zip(*columns, strict=True)
    return rows


def plain_rows(path: Path, table: Table) -> Iterator[tuple[object, ...]]:
    """All rows as Python's sqlite3 reads them."""
    connection = sqlite3.connect(path)
    connection.text_factory = bytes
    connection.execute("PRAGMA writable_schema=ON")
    names = ", ".join(quote(column.name) for column in table.columns)
    key = ", ".join(quote(name) for name in table.primary_key)
    order = f" ORDER BY {key}" if "WITHOUT ROWID" in (table.sql or "").upper() else ""
    yield from connection.execute(f"SELECT {names} FROM {quote(table.name)} NOT INDEXED{order}")
    connection.close()


def listing(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Size, time and bytes of every file in ``folder``."""
    return {
        entry.name: (entry.stat().st_size, entry.stat().st_mtime_ns, Path(entry).read_bytes())
        for entry in os.scandir(folder)
        if entry.is_file()
    }
