"""Every public MySQL database goes through the whole command, and loses nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from migration_assets.cli import run
from migration_assets_tests.comparator_mysql import compare, missing_objects
from migration_assets_tests.fixture_databases import FOLDER, MySQLFixture, mysql_fixtures
from migration_assets_tests.mysql_server import MySQLDatabase
from migration_assets_tests.truth_maps import MYSQL_DEVIATIONS, mysql_deviations, truth_map

FIXTURES = mysql_fixtures()

pytestmark = pytest.mark.skipif(
    not FIXTURES, reason=f"the public databases are not in {FOLDER} (set MIGRATION_FIXTURES)"
)


TRUTHS = {
    "ory_hydra": "hydra",
    "debezium_inventory": "inventory",
    "world_mojibake": "world",
}
"""Databases whose authors' own PostgreSQL edition is called otherwise."""
WITH_TRUTH = {"chinook", "petclinic", "sakila", *TRUTHS}
"""Databases that have such an edition."""
PAGE = Path(__file__).resolve().parents[1] / "docs" / "fidelity.md"


@pytest.fixture(scope="module")
def classes_met() -> set[str]:
    """Classes of deviations from authors' types that the databases before this test showed, and
    the names of these databases."""
    return set()


def test_all_mysql_fixtures_are_found() -> None:
    assert len({fixture.name.partition("/")[0] for fixture in FIXTURES}) == 12
    assert all(file.is_file() for fixture in FIXTURES for file in fixture.files)


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.name)
def test_public_database_arrives_whole(
    fixture: MySQLFixture,
    mysql_database: MySQLDatabase,
    pg_url: str,
    schema: str,
    classes_met: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MIGRATION_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MYSQL_PWD", mysql_database.server.password)
    mysql_database.server.load(fixture.files, mysql_database.name)
    out = tmp_path / "out"
    target = ["--target", pg_url, "--schema", schema, "--out", str(out)]

    assert run(["migrate", mysql_database.url, *target]) == 0

    [plan] = (tmp_path / "home").glob("*/runs/*/plan.json")
    shutil.copy(plan, out)
    verdict = compare(mysql_database, pg_url, schema, out)
    assert verdict.faults == []
    assert verdict.rows == fixture.rows
    assert missing_objects(mysql_database, pg_url, schema, out) == []
    evidence = json.loads((out / "evidence.json").read_text())
    assert evidence["run"]["verdict"] == "proven"
    assert evidence["ledger"]["entries"] == verdict.ledger
    assert list(_other_types(fixture.name, pg_url, schema, classes_met)) == []
    classes_met.add(fixture.name)


def test_every_class_of_deviation_occurs_and_is_on_the_fidelity_page(
    classes_met: set[str],
) -> None:
    if not classes_met >= WITH_TRUTH:
        pytest.skip("not every database was compared before this")
    names = {deviation.name for deviation in MYSQL_DEVIATIONS}
    assert names == classes_met - {fixture.name for fixture in FIXTURES}
    page = PAGE.read_text()
    assert [name for name in names if f"| {name} |" not in page] == []


def _other_types(name: str, url: str, schema: str, classes_met: set[str]) -> Iterator[str]:
    """Columns whose type differs from the authors' own PostgreSQL edition in no known way."""
    truth = truth_map(TRUTHS.get(name, name), "mysql")
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT set_config('search_path', quote_ident(%s), false)", (schema,))
        cursor.execute(
            "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a"
            " JOIN pg_class c ON c.oid = a.attrelid WHERE c.relkind = 'r' AND a.attnum > 0"
            " AND c.relnamespace = current_schema()::regnamespace"
        )
        ours = {(table, column): kind for table, column, kind in cursor.fetchall()}
    for table, theirs in truth.items():
        for column, entry in theirs["columns"].items():
            kind = ours[table, column]
            if kind == entry["pg"]:
                continue
            classes = mysql_deviations(entry["source"], kind, entry["pg"])
            classes_met.update(classes)
            if not classes:
                yield f"{table}.{column}: {entry['source']} is {kind}, not {entry['pg']}"
