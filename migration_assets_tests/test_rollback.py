"""Rollback from end to end: two runs go live, the application writes, and goes back."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow.parquet as pq
import pytest
import yaml

from migration_assets import history, run_lock, switch_env, way_back
from migration_assets import home as homes
from migration_assets.cli import run
from migration_assets.core.history import Cutover
from migration_assets.core.results import TargetResult
from migration_assets.core.rollback import Rollback, SwapBack, Way
from migration_assets.errors import BrokenOffError
from migration_assets.home import Migration
from migration_assets.launch import instance, launch
from migration_assets.rollback_drill import drill
from migration_assets.rollback_outlook import BACK_TO_SOURCE
from migration_assets_tests.conftest import Role
from migration_assets_tests.mysql_server import MySQLDatabase
from migration_assets_tests.postgres_tables import ask
from migration_assets_tests.small_shop import configure, make_migration

SCRIPT = """
CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, email VARCHAR(80) UNIQUE,
    active BOOLEAN, born DATE, seen DATETIME, stamp DATETIME, at TIMESTAMP, ms TIMESTAMP,
    price DECIMAL(10, 2), score REAL, token UUID, data JSON, photo BLOB
);
CREATE TABLE "line items" (
    user INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE, n INTEGER NOT NULL,
    note TEXT, PRIMARY KEY (user, n)
);
CREATE TABLE log (at TEXT, line TEXT);
CREATE TABLE quiet (id INTEGER PRIMARY KEY, v TEXT);
INSERT INTO users VALUES
    (1, 'Ada', 'ada@x', 1, '1815-12-10', '2024-05-01T10:00:00Z', '2024-05-01 10:00:00', 1714557600,
     1714557600123, 9.99, 0.1, '123e4567-e89b-12d3-a456-426614174000', '{"a": 1}', x'00ff'),
    (2, 'Bob', 'bob@x', 0, NULL, '2024-05-01T10:00:00.250Z', NULL, 1714557601,
     1714557600456, 3.5, 1e300, '123e4567-e89b-12d3-a456-426614174001', '[]', NULL),
    (3, 'Cid', 'cid@x', NULL, '2000-02-29', NULL, '2024-05-01 10:00:00', NULL,
     NULL, NULL, NULL, NULL, NULL, x'');
INSERT INTO "line items" VALUES (1, 1, 'first'), (1, 2, NULL), (3, 1, 'third');
INSERT INTO log VALUES ('a', 'one'), ('a', 'one'), ('b', 'two'), ('b', NULL);
INSERT INTO quiet VALUES (1, 'one'), (2, 'two');
"""

WRITES = """
INSERT INTO users (name, email, active, born, seen, stamp, at, ms, price, score, token, data, photo)
VALUES ('Dé''e \\', 'ada@x2', true, '2024-12-31', '2025-01-01 00:00:00.5+00', '2025-01-01 00:00:00',
        '2025-01-01 00:00:00+00', '2025-01-01 00:00:00.001+00', 12.3, -2.5,
        '123e4567-e89b-12d3-a456-426614174002', '{"b": "c''d"}', '\\x0102'),
       (E'line\\nbreak', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'Infinity', NULL, NULL,
        NULL);
UPDATE users SET name = 'Ada L.', active = NULL, seen = '2025-02-03 04:05:06+00', price = 10
WHERE id = 1;
UPDATE users SET born = '1999-01-01' WHERE id = 2;
DELETE FROM "line items" WHERE "user" = 3;
DELETE FROM users WHERE id = 3;
INSERT INTO "line items" VALUES (4, 1, '');
DELETE FROM log WHERE ctid = (SELECT min(ctid) FROM log WHERE line = 'one');
UPDATE log SET line = 'three' WHERE line IS NULL;
"""

EMERGENCY = """
import sys
from migration_assets.cli import run
code = run(sys.argv[1:])
loaded = sorted(name for name in sys.modules if name.partition(".")[0] == "dagster")
sys.exit(f"imported {loaded[:3]}" if loaded else code)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rollback")


@pytest.fixture(scope="module")
def url(pg_url: str) -> Iterator[str]:
    """A database for all tests of the module."""
    with closing(psycopg2.connect(pg_url)) as connection:
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE rollback_story")
    yield pg_url.replace("/postgres?", "/rollback_story?")
    with closing(psycopg2.connect(pg_url)) as connection:
        connection.autocommit = True
        connection.cursor().execute("DROP DATABASE rollback_story WITH (FORCE)")


@pytest.fixture(scope="module")
def migration(place: Path, url: str) -> Migration:
    """A migration whose staging went live twice."""
    with closing(sqlite3.connect(place / "shop.db")) as connection:
        connection.executescript(SCRIPT)
    made = make_migration(place / "home", f"sqlite:///{place / 'shop.db'}", url, "shop")
    made = configure(made, "  app_checks: [{name: works, command: test ! -e broken}]\n")
    for _ in range(2):
        assert launch(made, "shop_rehearsal").success
    return made


def write(url: str) -> None:
    """What an application does between a cutover and its rollback."""
    ask(url, "SET search_path TO shop;" + WRITES)


def latest(migration: Migration) -> Rollback:
    return history.rollbacks(migration)[0]


def test_emergency_without_dagster_and_nothing_written_is_lost(
    migration: Migration, url: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIGRATION_HOME", str(migration.home))
    write(url)
    before = ask(url, "SELECT count(*) FROM shop.users")
    assert run(["rollback", "shop", "--dry-run"]) == 0
    assert ask(url, "SELECT count(*) FROM shop.users") == before
    done = subprocess.run(
        [sys.executable, "-c", EMERGENCY, "rollback", "shop", "--emergency", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = Rollback.model_validate_json(done.stdout)
    assert record == latest(migration) and record.way is Way.PREVIOUS and record.finished_at
    assert record.seconds_back < 5
    assert ask(url, "SELECT name FROM shop.users ORDER BY id") == ["Ada", "Bob", "Cid"]
    assert ask(url, "SELECT count(*) FROM shop__rolled_back.users") == before
    account = record.account
    assert account is not None and account.complete and account.compared == 4
    assert {t.source: (t.inserted, t.updated, t.deleted) for t in account.tables} == {
        "users": (2, 2, 1),
        "line items": (1, 0, 1),
        "log": (1, 0, 2),
    }
    folder = Path(str(account.folder))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    rows = pq.read_table(folder / "users.parquet").to_pylist()
    changed = next(row for row in rows if row["change"] == "updated" and row["after"]["id"] == "1")
    assert changed["columns"] == ["name", "active", "seen", "price"]
    assert (changed["before"]["name"], changed["after"]["name"]) == ("Ada", "Ada L.")
    # On a copy of the source the statements give just what the target held.
    copy = place / "copy.db"
    shutil.copy(place / "shop.db", copy)
    with closing(sqlite3.connect(copy)) as connection:
        connection.executescript((folder / "replay.sql").read_text())
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute(
            "SELECT seen, stamp, ms FROM users WHERE id IN (1, 4)"
        ).fetchall() == [
            ("2025-02-03T04:05:06Z", "2024-05-01 10:00:00", 1714557600123),
            ("2025-01-01T00:00:00.5Z", "2025-01-01 00:00:00", 1735689600001),
        ]
    assert (
        run(["verify", f"sqlite:///{copy}", "--target", url, "--schema", "shop__rolled_back"]) == 0
    )


def test_by_job_and_drill_in_the_history_of_dagster(
    migration: Migration, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("MIGRATION_HOME", str(migration.home))
    # The rollback before has left nothing to go back to; the drill puts aside and brings back.
    assert run(["rollback", "shop"]) == 2
    assert "the way back to the source is one of production" in capsys.readouterr().err
    assert run(["rollback", "shop", "--drill"]) == 0
    assert latest(migration).drill and latest(migration).way is Way.SOURCE
    served = launch(migration, "shop_rehearsal").run_id
    ask(url, "DELETE FROM shop.quiet")
    capsys.readouterr()
    assert run(["rollback", "shop", "--drill"]) == 0
    record = latest(migration)
    assert record.way is Way.PREVIOUS and record.run == served and record.seconds_back < 5
    assert record.account is not None and record.account.rows == 2
    assert "back in" in capsys.readouterr().out
    assert ask(url, "SELECT count(*) FROM shop.quiet") == [0]
    assert ask(url, "SELECT count(*) FROM shop__previous.quiet") == [2]
    # The drill says that the application does not work on what comes back, and changes nothing.
    (migration.folder / "broken").touch()
    assert run(["rollback", "shop", "--drill"]) == 1
    assert 'application check "works"' in capsys.readouterr().err
    (migration.folder / "broken").unlink()
    assert ask(url, "SELECT count(*) FROM shop.quiet") == [0]
    assert run(["rollback", "shop", "--json"]) == 0
    record = Rollback.model_validate_json(capsys.readouterr().out)
    assert record == latest(migration)
    assert [step.name for step in record.steps] == ["swap_back", "smoke", "account"]
    assert ask(url, "SELECT count(*) FROM shop.quiet") == [2]
    assert run(["rollback", "shop", "--undo"]) == 0
    assert ask(url, "SELECT count(*) FROM shop.quiet") == [0]
    assert run(["rollback", "shop", "--undo"]) == 2
    assert run(["rollback", "shop", "--emergency"]) == 0
    assert latest(migration).account.rows == 2
    assert ask(url, "SELECT count(*) FROM shop.quiet") == [2]
    with instance(migration.home) as dagster:
        jobs = [r.job_name for r in dagster.get_runs() if "rollback" in r.job_name]
        assert dagster.get_run_by_id(record.id).is_success
    assert sorted(jobs) == ["shop_rollback"] * 2 + ["shop_rollback_drill"] * 3


def test_first_cutover_goes_back_to_the_source_step_by_step(
    place: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    source, home = place / "first.db", place / "first"
    with closing(sqlite3.connect(source)) as connection:
        connection.executescript(SCRIPT)
    made = make_migration(home, f"sqlite:///{source}", url, "first")
    live = launch(made, "shop_rehearsal").run_id
    # What staging holds becomes production's, as after a cutover.
    folder = made.run_folder(live)
    with closing(made.source().open_snapshot(folder.snapshot)) as reader:
        folder.write_result("standing", "all", reader.standing(folder.catalog(), lasting=True))
    document = yaml.safe_load(made.defs_yaml.read_text())
    document["attributes"] |= {
        "targets": {
            "staging": {"url": url, "schema": "first_staging"},
            "production": {"url": url, "schema": "first"},
        },
        "cutover": {
            "hooks": {
                "stop_app": "echo stopped >> calls",
                "revert": 'echo "reverted $DATABASE_SCHEMA" >> calls; test -f mended',
            }
        },
    }
    made.defs_yaml.write_text(yaml.safe_dump(document))
    migration = homes.load(home, "shop")
    env = place / "app.env"
    env.write_text("A=1\nDATABASE_URL=sqlite:///first.db\n")
    switch_env.switch(env, "DATABASE_URL", url, switch_env.kept_path(migration.folder, live))
    history.write_cutover(migration, Cutover(
        run_id=live, approval_id="a", live_at="2026-01-01T00:00:00+00:00", location="here",
        schema_name="first", previous=None, snapshot_id=None, plan_digest=None,
    ))  # fmt: skip
    ask(url, "ALTER TABLE first.quiet ADD COLUMN more text")
    ask(url, "UPDATE first.quiet SET v = 'written' WHERE id = 1")
    monkeypatch.setenv("MIGRATION_HOME", str(home))
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("INSERT INTO quiet VALUES (3, 'late')")
        connection.commit()
    assert run(["rollback", "shop"]) == 1
    said = capsys.readouterr().err
    assert '"quiet"' in said and "nothing was rolled back" in said
    assert ask(url, "SELECT count(*) FROM first.quiet") == [2]
    assert not (migration.folder / "calls").exists() and url in env.read_text()
    # A run from its failure on works in the folder of the first.
    into = TargetResult("here", "first", "first__in_root", None, "production")
    migration.run_folder("root").write_result("target", "all", into)
    with run_lock.held(migration, "attempt", root="root"):
        assert run(["rollback", "shop"]) == 2
        assert "run attempt of the same migration is under way" in capsys.readouterr().err
    # The connection is lost after the commit: the target says that it was done. Then the hook
    # fails: what was done stays done, and the next call goes on from there.
    go_back = way_back.go_back

    def lost(*args: Any, **options: Any) -> SwapBack:
        go_back(*args, **options)
        raise BrokenOffError("connection lost")

    with monkeypatch.context() as patched:
        patched.setattr(way_back, "go_back", lost)
        assert run(["rollback", "shop", "--accept-source-changes"]) == 3
    assert run(["rollback", "shop"]) == 1
    assert "revert" in capsys.readouterr().err
    assert env.read_text() == "A=1\nDATABASE_URL=sqlite:///first.db\n"
    with pytest.raises(psycopg2.errors.UndefinedTable):
        ask(url, "SELECT count(*) FROM first.quiet")
    # As if it had been killed before it could write that the tables were exchanged.
    broken = latest(migration)
    steps = tuple(step for step in broken.steps if step.name in {"source", "stop_app"})
    history.write_rollback(migration, broken.model_copy(update={"swap": None, "steps": steps}))
    (migration.folder / "mended").touch()
    assert run(["rollback", "shop"]) == 0
    printed = capsys.readouterr()
    assert "going on with rollback" not in printed.err
    assert "NOT ALL" in printed.out and '"quiet" has got column more, which is' in printed.out
    record = latest(migration)
    assert {step.name: step.outcome for step in record.steps} == dict.fromkeys(
        BACK_TO_SOURCE, "done"
    )
    assert record.way is Way.SOURCE and '"quiet"' in str(record.source_moved)
    assert (migration.folder / "calls").read_text().split() == [
        "stopped", "reverted", "first", "reverted", "first"]  # fmt: skip
    assert record.account is not None and record.account.rows == 1
    replay = Path(str(record.account.folder), "replay.sql").read_text()
    assert """UPDATE "quiet" SET "v" = 'written' WHERE "id" = 1;""" in replay
    assert history.cutovers(migration)[0].rolled_back_at == record.started_at
    assert run(["rollback", "shop", "--emergency"]) == 2
    assert run(["rollback", "shop", "--undo"]) == 2
    assert "start a new cutover" in capsys.readouterr().err


MYSQL_SCRIPT = """
CREATE TABLE kinds (
    id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY, mood ENUM('good', 'bad''s') NOT NULL,
    tags SET('a', 'b', 'c'), flags BIT(5), yes BIT(1), big BIGINT UNSIGNED, amount DECIMAL(20, 4),
    span TIME(3), at DATETIME(6), stamp TIMESTAMP NULL, day DATE, y YEAR, real4 FLOAT,
    doc JSON, bin VARBINARY(20), place GEOMETRY, txt VARCHAR(200)
) CHARACTER SET utf8mb4;
INSERT INTO kinds VALUES
    (1, 'good', 'a,c', b'10101', b'1', 18446744073709551615, 1.5, '-12:34:56.5',
     '2024-05-01 10:00:00.25', '2024-05-01 10:00:00', '2024-05-01', 2024, 0.5, '{"a": 1}', x'00ff',
     ST_GeomFromText('POINT(1 2)'), 'one'),
    (2, 'bad''s', '', NULL, b'0', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL),
    (3, 'good', NULL, b'00001', NULL, 3, 3, '01:00:00', '2024-01-01', NULL, NULL, NULL, NULL, NULL,
     '', NULL, '');
"""
MYSQL_WRITES = r"""
INSERT INTO kinds (mood, tags, flags, yes, big, amount, span, at, stamp, day, y, real4, doc, bin,
                   place, txt)
SELECT 'bad''s', tags, B'00010', false, big, 12345678901234.5678, '-1 days -02:00:00.25',
       '2025-01-01 01:02:03.000004', '2025-01-01 00:00:00+00', '2025-12-31', 2155, 0.25,
       '["\"", "\\"]', '\x5c00', place, E'back\\slash ''quoted'' \n ü' FROM kinds WHERE id = 1;
UPDATE kinds SET tags = tags || '{b}', stamp = now()::timestamptz(0), yes = true WHERE id = 2;
UPDATE kinds SET mood = 'bad''s', flags = B'11111', place = NULL WHERE id = 1;
DELETE FROM kinds WHERE id = 3;
"""


def test_what_was_written_is_repeated_on_mysql(
    mysql_database: MySQLDatabase,
    database: str,
    make_role: Callable[..., Role],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A role that owns the schema public, and is nothing more.
    role = make_role()
    url = role.url
    ask(database, f"ALTER SCHEMA public OWNER TO {role.name}")
    monkeypatch.setenv("MIGRATION_HOME", str(tmp_path))
    mysql_database.script(MYSQL_SCRIPT)
    migration = make_migration(tmp_path, mysql_database.url, url, "public")
    homes.keep_source_password(migration, mysql_database.url)
    assert launch(migration, "shop_rehearsal").success
    ask(url, MYSQL_WRITES)
    record = drill(migration, "staging", "drill")
    assert record.account is not None and record.account.complete
    (table,) = record.account.tables
    assert (table.inserted, table.updated, table.deleted, table.left_out) == (1, 2, 1, {})
    mysql_database.script(Path(str(record.account.folder), "replay.sql").read_text())
    assert run(["verify", mysql_database.url, "--target", url, "--schema", "public"]) == 0
    assert launch(migration, "shop_rehearsal").success
    ask(url, "DELETE FROM kinds")
    assert run(["rollback", "shop", "--emergency"]) == 0
    assert latest(migration).account.rows == 3
    assert ask(url, "SELECT count(*) FROM kinds") == [3]
    assert ask(url, "INSERT INTO kinds (mood) VALUES ('good') RETURNING id") == [5]
