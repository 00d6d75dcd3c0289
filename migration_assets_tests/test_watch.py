"""The look at production after a cutover: each figure on a real server, good and bad."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dagster as dg
import psycopg2
import pytest

from migration_assets import history, pause, watch, watch_figures
from migration_assets import home as homes
from migration_assets.cli import run
from migration_assets.core.history import Cutover
from migration_assets.core.watch import MEASURES, Counters
from migration_assets.definitions import assemble
from migration_assets.errors import InputError
from migration_assets.home import Migration
from migration_assets.launch import instance
from migration_assets.postgres import embedded, vitals
from migration_assets.postgres.connect import connect
from migration_assets_tests.conftest import FAST
from migration_assets_tests.postgres_tables import ask
from migration_assets_tests.small_shop import configure, make_source


@pytest.fixture
def migration(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Migration:
    """A shop whose production holds what a run has loaded."""
    home = tmp_path / "home"
    monkeypatch.setenv(homes.VARIABLE, str(home))
    source = make_source(tmp_path / "shop.db")
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.executemany(
            "INSERT INTO users VALUES (?, ?, NULL)", [(n, f"user {n}") for n in range(100, 300)]
        )
    connection.close()
    assert run(["migrate", source, "--target", database, "--schema", "live"]) == 0
    capsys.readouterr()
    loaded = homes.load(home, "shop")
    text = loaded.defs_yaml.read_text().replace("schema: live", "schema: rehearsed")
    production = f"    production: {{url: '{database}', schema: live}}\n"
    loaded.defs_yaml.write_text(text.replace("    staging:\n", production + "    staging:\n"))
    changed = homes.load(home, "shop")
    (folder,) = (loaded.folder / "runs").iterdir()
    # As a cutover leaves it.
    with closing(changed.source().take_snapshot(tmp_path / "snapshot.db")) as reader:
        standing = reader.standing(reader.catalog(), lasting=True)
    changed.run_folder(folder.name).write_result("standing", "all", standing)
    history.write_cutover(
        changed,
        Cutover(
            run_id=folder.name,
            approval_id="a",
            live_at=datetime.now(UTC).isoformat(),
            location="here",
            schema_name="live",
            previous=None,
            snapshot_id=None,
            plan_digest=None,
        ),
    )
    return changed


def look(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], set[str]]:
    """Exit code, measures by name, and the names of those beyond their limit."""
    code = run(["watch", "shop", "--json"])
    found = json.loads(capsys.readouterr().out)
    measures = {measure["name"]: measure for measure in found["measures"]}
    failed = {m.name for m in watch.looks(homes.load(homes.home_path(), "shop"))[-1].failed}
    return code, measures, failed


def kill(database: str, session: Any) -> None:
    """End a session as an administrator does."""
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid(), pg_stat_force_next_flush()")
        ask(database, f"SELECT pg_terminate_backend({cursor.fetchone()[0]}, 5000)")


def test_looks_tell_what_goes_wrong_in_production(
    migration: Migration, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(
        database,
        "CREATE TABLE live.tiny (id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);"
        "CREATE TABLE live.dead (v text) WITH (autovacuum_enabled = off);"
        "INSERT INTO live.dead SELECT repeat('x', 100) FROM generate_series(1, 20000)",
    )
    code, measures, failed = look(capsys)
    assert (code, failed) == (0, set())
    assert measures["source_writes"]["detail"] == "the source is as it was"
    assert measures["rows_lost"]["value"] == 0
    assert "0 rows more in all than at the cutover" in measures["rows_lost"]["detail"]
    assert measures["sequence_headroom"]["value"] > 0.99
    assert measures["errors"]["detail"] == "it takes two looks"
    assert measures["replication_lag"]["detail"] == "there is no standby"
    assert "pg_stat_statements" in measures["slow_statements"]["detail"]

    with sqlite3.connect(migration.config.source.removeprefix("sqlite:///")) as old:
        old.execute("INSERT INTO users VALUES (400, 'a late one', NULL)")
    old.close()
    ask(
        database,
        "DELETE FROM live.users WHERE id BETWEEN 100 AND 149;"
        """SELECT setval(pg_get_serial_sequence('live."order items"', 'id'), 2);"""
        "SELECT setval(pg_get_serial_sequence('live.tiny', 'id'), 30000);"
        "DELETE FROM live.dead WHERE ctid < '(200,1)'",
    )
    for _ in range(60):
        ask(database, "SELECT count(*) FROM live.dead")
    writer = psycopg2.connect(database)
    with writer.cursor() as cursor:
        for _ in range(120):
            cursor.execute("SELECT 1")
            writer.rollback()
    kill(database, writer)
    idle = psycopg2.connect(database, application_name="a forgotten shell")
    idle.cursor().execute("SELECT 1")
    configure(
        migration,
        "  watch:\n    thresholds: {idle_in_transaction: 0, connections: 0.0001}\n"
        "  notify: {command: cat >> told.jsonl}\n",
    )

    code, measures, failed = look(capsys)
    idle.close()
    assert code == 1
    assert failed == {
        "source_writes",
        "rows_lost",
        "sequence_headroom",
        "sequences_behind",
        "errors",
        "rollbacks",
        "idle_in_transaction",
        "connections",
        "dead_rows",
    }
    assert 'table "users" holds 1 rows more' in measures["source_writes"]["detail"]
    assert 'table "users": 153 of 203' in measures["rows_lost"]["detail"]
    assert measures["sequences_behind"]["detail"] == '"order items.id"'
    assert "tiny.id comes to 30,001" in measures["sequence_headroom"]["detail"]
    assert "1 sessions killed" in measures["errors"]["detail"]
    assert "a forgotten shell" in measures["idle_in_transaction"]["detail"]
    assert 'table "dead"' in measures["dead_rows"]["detail"]
    assert measures["cache_hits"]["value"] > 0.9

    ask(database, "DROP TABLE live.report")
    assert run(["watch", "shop"]) == 1
    printed = capsys.readouterr().out
    assert 'no table "report" any more' in printed
    assert run(["status"]) == 0
    assert "- sequences_behind: 1 (at most 0)" in capsys.readouterr().out
    (plots,) = history.folder(migration, "watch").glob("*.svg")
    assert str(plots) in printed
    drawing = ElementTree.fromstring(plots.read_text())
    titles = [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert set(MEASURES) <= set(titles)
    assert {path.stat().st_mode & 0o777 for path in plots.parent.iterdir()} == {0o600}

    # Dagster's looks go on beside a pause, and tell of what was not bad before.
    kill(database, psycopg2.connect(database))
    migration = homes.load(migration.home, "shop")
    definitions = assemble([migration])
    pause.begin(migration.folder)
    with instance(migration.home) as dagster:
        job = definitions.resolve_job_def("shop_watch")
        result = job.execute_in_process(instance=dagster)
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert set(checks) == set(MEASURES)
    assert {name for name, check in checks.items() if not check.passed} == {
        *(failed - {"rollbacks", "idle_in_transaction"})
    }
    (told,) = (migration.folder / "told.jsonl").read_text().splitlines()
    assert [sign["name"] for sign in json.loads(told)["signs"]] == ["errors"]
    assert checks["rows_lost"].severity is dg.AssetCheckSeverity.ERROR
    assert checks["dead_rows"].severity is dg.AssetCheckSeverity.WARN
    (made,) = result.asset_materializations_for_node("shop_production_watch")
    assert made.metadata["sequences_behind"].value == 1.0
    assert "data:image/svg+xml;base64," in made.metadata["plots"].value
    assert len(watch.looks(migration)) == 4

    schedule = definitions.resolve_schedule_def("shop_watch_schedule")
    assert schedule.evaluate_tick(dg.build_schedule_context()).run_requests
    (cutover,) = history.cutovers(migration)
    later = datetime.fromisoformat(cutover.live_at) + timedelta(hours=49)
    assert "more than 48 hours ago" in (watch.not_due(migration, later) or "")
    history.write_cutover(migration, cutover.model_copy(update={"rolled_back_at": cutover.live_at}))
    assert "taken back" in schedule.evaluate_tick(dg.build_schedule_context()).skip_message
    assert run(["watch", "shop"]) == 2
    with pytest.raises(InputError, match='"sequense" is not measured; there are source_writes'):
        configure(migration, "  watch:\n    thresholds: {sequense: 1}\n")


def test_standby_that_lags_behind_is_measured(tmp_path: Path) -> None:
    settings = {**FAST, "wal_level": "replica", "max_wal_senders": "2"}
    url = embedded.start(tmp_path / "home", settings)
    receiver = [str(embedded.program("pg_receivewal")), "-d", url, "-D", str(tmp_path)]
    try:
        with subprocess.Popen(receiver) as process:
            connection = connect(url)
            connection.autocommit = True
            with connection.cursor() as cursor:
                deadline = time.monotonic() + 60
                while not (found := vitals.standbys(cursor)) and time.monotonic() < deadline:
                    time.sleep(0.05)
            process.terminate()
            connection.close()
        ((name, seconds, size),) = found
        assert name == "pg_receivewal"
        assert size is not None and size >= 0
        assert seconds is None or seconds >= 0
    finally:
        embedded.stop(tmp_path / "home")
        shutil.rmtree(embedded.data_folder(tmp_path / "home").parent)


def test_slowest_statement_is_that_of_the_time_between_two_looks() -> None:
    before = Counters("t", {}, 0, 0, {"a": (100, 1_000_000.0), "b": (10, 10.0)})
    found = [
        vitals.Statement("a", 110, 1_000_100.0, "SELECT a"),
        vitals.Statement("b", 20, 20_010.0, "SELECT b"),
        vitals.Statement("c", 2, 90_000.0, "SELECT rare"),
    ]
    assert watch_figures.slow(found, before) == (2000.0, "10 times: SELECT b")
    assert watch_figures.slow(found, None)[0] is None
