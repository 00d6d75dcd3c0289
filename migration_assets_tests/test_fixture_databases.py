"""Every public SQLite database goes through the whole command, and loses nothing."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from migration_assets.cli import run
from migration_assets.csv_export import export_csv
from migration_assets.run_folder import RunFolder
from migration_assets_tests.comparator import compare
from migration_assets_tests.comparator_objects import missing_objects
from migration_assets_tests.csv_load import load_csv
from migration_assets_tests.fixture_databases import FOLDER, SQLiteFixture, sqlite_fixtures
from migration_assets_tests.same_schema import differences

FIXTURES = sqlite_fixtures()

REFUSED = {"pgloader_set/collision.db": (" are both ", " in PostgreSQL ", "overrides: rename")}
"""Files that stop before anything is written, and words of the one-line error."""

needs_fixtures = pytest.mark.skipif(
    not FIXTURES, reason=f"the public databases are not in {FOLDER} (set MIGRATION_FIXTURES)"
)


def migrate(source: Path, url: str, schema: str, out: Path) -> int:
    """Run the command in this process; returns its exit code."""
    return run(
        ["migrate", f"sqlite:///{source}", "--target", url, "--schema", schema, "--out", str(out)]
    )


@needs_fixtures
def test_all_fixture_files_are_found() -> None:
    assert len(FIXTURES) == 49
    assert all(fixture.path.is_file() for fixture in FIXTURES)


@needs_fixtures
@pytest.mark.parametrize(
    "fixture", [f for f in FIXTURES if f.name not in REFUSED], ids=lambda fixture: fixture.name
)
def test_public_database_arrives_whole_and_the_same_by_way_of_csv(
    fixture: SQLiteFixture,
    pg_url: str,
    schema: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MIGRATION_HOME", str(tmp_path / "home"))
    out, mine = tmp_path / "out", tmp_path / "judge"
    mine.mkdir()
    before = fixture.path.read_bytes()

    assert migrate(fixture.path, pg_url, schema, out) == 0

    [plan] = (tmp_path / "home").glob("*/runs/*/plan.json")
    shutil.copy(plan, out)
    verdict = compare(fixture.path, pg_url, schema, out, mine)
    assert verdict.faults == []
    assert verdict.rows == fixture.rows
    assert missing_objects(fixture.path, pg_url, schema, out, mine) == []
    evidence = json.loads((out / "evidence.json").read_text())
    assert evidence["run"]["verdict"] == "proven"
    assert {table["name"]: table["rows_loaded"] for table in evidence["tables"]} == fixture.rows
    skipped = {item["name"] for item in evidence["skipped"]}
    assert {*fixture.virtual, *fixture.shadow} <= skipped
    assert sum(item["kind"] == "trigger" for item in evidence["skipped"]) == fixture.triggers
    assert evidence["ledger"]["entries"] == verdict.ledger
    assert fixture.path.read_bytes() == before

    again = f"{schema}_csv"
    export_csv(RunFolder(plan.parent), tmp_path / "csv")
    assert load_csv(tmp_path / "csv", pg_url, again) == []
    assert list(differences(pg_url, schema, again)) == []


@needs_fixtures
@pytest.mark.parametrize(
    "fixture", [f for f in FIXTURES if f.name in REFUSED], ids=lambda fixture: fixture.name
)
def test_public_database_with_colliding_names_stops_before_anything_is_written(
    fixture: SQLiteFixture,
    pg_url: str,
    schema: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MIGRATION_HOME", str(tmp_path / "home"))
    assert migrate(fixture.path, pg_url, schema, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert [words for words in REFUSED[fixture.name] if words not in said] == []
    with closing(psycopg2.connect(pg_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_namespace WHERE starts_with(nspname, %s)", (schema,))
        assert cursor.fetchone() is None
