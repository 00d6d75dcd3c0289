"""The SQLite source on every public database: all rows, every value as plain SQLite reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration_assets.core.catalog import Catalog
from migration_assets.core.profile import Lane
from migration_assets.sources.sqlite import SQLiteSource
from migration_assets_tests.fixture_databases import FOLDER, SQLiteFixture, sqlite_fixtures
from migration_assets_tests.sqlite_databases import listing, plain_rows, read_table

FIXTURES = sqlite_fixtures()

pytestmark = pytest.mark.skipif(not FIXTURES, reason=f"no public databases in {FOLDER}/sqlite")


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
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["snapshot.db", "snapshot.db.checked", "snapshot.db.json"]
    assert {t.name for t in source.reflect().tables} == set(fixture.rows)
    assert listing(fixture.path.parent) == before


def skipped_names(catalog: Catalog, kind: str) -> set[str]:
    """Names of what was skipped as ``kind``."""
    return {item.name for item in catalog.skipped if item.kind == kind}
