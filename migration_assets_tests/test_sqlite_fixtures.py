"""The SQLite source on every public database: all rows, every value as plain SQLite reads it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from migration_assets.core.catalog import Catalog, Table
from migration_assets.core.naming import quote
from migration_assets.core.profile import Lane
from migration_assets.sources.base import LanesMissing, SnapshotReader
from migration_assets.sources.sqlite import SQLiteSource
from migration_assets_tests.fixture_databases import FOLDER, SQLiteFixture, sqlite_fixtures

FIXTURES = sqlite_fixtures()

pytestmark = pytest.mark.skipif(not FIXTURES, reason=f"no public databases in {FOLDER}/sqlite")


def read_table(reader: SnapshotReader, table: Table) -> list[tuple[object, ...]]:
    """All rows, texts as bytes, with lanes widened until every value is carried."""
    lanes = reader.expected_lanes(table)
    while True:
        try:
            batches = list(reader.read(table, lanes))
            break
        except LanesMissing as missing:
            lanes = {n: tuple(Lane) if n in missing.columns else v for n, v in lanes.items()}
    return rows_of(table, batches)


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
    yield from connection.execute(f"SELECT {names} FROM {quote(table.name)} NOT INDEXED")
    connection.close()


def listing(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Size, time and bytes of everything in ``folder``."""
    return {
        entry.name: (entry.stat().st_size, entry.stat().st_mtime_ns, Path(entry).read_bytes())
        for entry in os.scandir(folder)
        if entry.is_file()
    }


@pytest.mark.parametrize("fixture", FIXTURES, ids=[fixture.name for fixture in FIXTURES])
def test_every_row_and_value_of_a_public_database_is_read(
    fixture: SQLiteFixture, tmp_path: Path
) -> None:
    before = listing(fixture.path.parent)
    source = SQLiteSource(fixture.path)
    reader = source.take_snapshot(tmp_path / "snapshot.db")
    catalog = reader.catalog()
    assert {table.name: table.rows for table in catalog.tables} == fixture.rows
    for table in catalog.tables:
        rows = read_table(reader, table)
        assert rows == list(plain_rows(tmp_path / "snapshot.db", table))
        facts = reader.facts(table)
        assert facts.rows == len(rows)
        for position, column in enumerate(table.columns):
            present = [row[position] for row in rows if row[position] is not None]
            assert facts.non_null[column.name] == len(present)
            counted = {lane: f.values for lane, f in facts.columns[column.name].items()}
            for lane, kind in ((Lane.INT, int), (Lane.REAL, float)):
                assert counted.get(lane, 0) == sum(type(value) is kind for value in present)
            assert sum(counted.values()) == len(present)
        reader.next_value(table)
        reader.orphans(table)
    reader.close()
    assert skipped_names(catalog, "virtual table") == set(fixture.virtual)
    assert skipped_names(catalog, "shadow table") == set(fixture.shadow)
    assert {view.name for view in catalog.views} | skipped_names(catalog, "view") == set(
        fixture.views
    )
    assert len([s for s in catalog.skipped if s.kind == "trigger"]) == fixture.triggers
    assert listing(fixture.path.parent) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["snapshot.db", "snapshot.db.json"]
    assert {t.name for t in source.reflect().tables} == set(fixture.rows)
    assert listing(fixture.path.parent) == before


def skipped_names(catalog: Catalog, kind: str) -> set[str]:
    """Names of what was skipped as ``kind``."""
    return {item.name for item in catalog.skipped if item.kind == kind}
