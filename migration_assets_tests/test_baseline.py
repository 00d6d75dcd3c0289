"""``migration-assets baseline`` and ``schema-diff``: one proved file, three schemas compared."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from migration_assets import home as homes
from migration_assets.cli import run

SOURCE = """
CREATE TABLE people (id INTEGER PRIMARY KEY AUTOINCREMENT,
    name VARCHAR(20) NOT NULL DEFAULT 'it''s %', boss INTEGER REFERENCES people (id), born DATE,
    full TEXT AS (name || '!') STORED,
    CHECK (length(name) > 0), CHECK (random_of_ours(name)));
CREATE UNIQUE INDEX people_name ON people (name);
CREATE INDEX people_old ON people (born) WHERE born < '2000-01-01';
CREATE VIEW odd AS SELECT name + 1 AS n FROM people;
CREATE VIEW elders AS SELECT name FROM people WHERE born < '1950-01-01';
"""


@pytest.fixture
def home(pg_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home that the session's server belongs to, so that none is started for it."""
    monkeypatch.setenv(homes.VARIABLE, str(pg_home))
    return pg_home


def test_a_baseline_makes_the_planned_schema_and_differences_are_named(
    home: Path,
    database: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "people.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.create_function("random_of_ours", 1, lambda _: 1, deterministic=True)
        connection.executescript(SOURCE)
    source, file = f"sqlite:///{path}", tmp_path / "0001_baseline.sql"
    assert run(["baseline", source, "--schema", "app", "--out", str(file)]) == 0
    text = file.read_text()
    assert "-- Left out: view odd: PostgreSQL refuses it: operator does not exist" in text
    assert "-- Left out: check check 2 of people: " in text
    assert "RESTART" not in text and "ANALYZE" not in text
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'app'")
        assert cursor.fetchall() == [(0,)], "the proof leaves nothing"
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'migration_assets_%'")
        assert cursor.fetchall() == []
        cursor.execute(text)
        connection.commit()
    diff = ["schema-diff", source, "--schema", "app"]
    both = ["--target", database, "--baseline", str(file)]
    capsys.readouterr()
    assert run([*diff, *both]) == 0
    assert capsys.readouterr().out == "plan, baseline, database: alike\n"

    with closing(psycopg2.connect(database)) as connection, connection, connection.cursor() as c:
        c.execute("ALTER TABLE app.people ALTER name DROP DEFAULT")
        c.execute("CREATE TABLE app.more (id integer)")
    file.write_text(text.replace("CREATE UNIQUE INDEX", "CREATE INDEX"))
    assert run([*diff, *both]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "index people_name of people: plan UNIQUE USING btree (name) | baseline USING btree (name)",
        "table more: in the database, not in the plan",
        "column name of people: plan character varying(20) NOT NULL DEFAULT "
        "'it''s %'::character varying | database character varying(20) NOT NULL",
        "table more: in the database, not in the baseline",
        "column name of people: baseline character varying(20) NOT NULL DEFAULT "
        "'it''s %'::character varying | database character varying(20) NOT NULL",
        "index people_name of people: baseline USING btree (name) | "
        "database UNIQUE USING btree (name)",
        "plan, baseline, database: 6 differences",
    ]
    assert run([*diff, "--target", database, "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert [d["between"] for d in record["differences"]] == [["plan", "database"]] * 2

    file.write_text("CREATE SCHEMA app;\nnonsense")
    assert run([*diff, "--baseline", str(file)]) == 2
    assert "line 2: syntax error" in capsys.readouterr().err
