"""A team's whole way, through a real webserver and daemon: rehearsals, gate, cutover and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow.parquet as pq
import pytest
from psycopg2 import sql

from migration_assets import gate, history, ui
from migration_assets import home as homes
from migration_assets.core.evidence import Evidence
from migration_assets.home import Migration
from migration_assets_tests.dagster_api import Dagster, until
from migration_assets_tests.live_shop import command, done, make_live
from migration_assets_tests.small_shop import make_source

SETTINGS = (
    "  schedule: '* * * * *'\n"
    "  source_sensor_minutes: 1\n"
    "  keep_runs: 20\n"
    "  app_checks: [{name: counts, command: 'test -n \"$DATABASE_URL\"'}]\n"
)
"""The window is open all day: what the sensor does outside of it is shown where time is given."""


@pytest.fixture
def migration(tmp_path: Path, pg_url: str, schema: str) -> Migration:
    source = make_source(tmp_path / "shop.db")
    return make_live(tmp_path / "home", source, pg_url, schema, SETTINGS)


@pytest.fixture
def dagster(migration: Migration) -> Iterator[Dagster]:
    with ui.running(migration.home) as shown:
        yield Dagster(shown.url)


def rehearsed(migration: Migration, count: int) -> bool:
    """Whether there are so many rehearsals, all of them proven."""
    found = history.rehearsals(migration)
    assert all(rehearsal.proven for rehearsal in found), [item.reasons for item in found]
    return len(found) >= count


def refused(dagster: Dagster, migration: Migration) -> str:
    """Start a cutover from the launchpad, that must be refused; returns why."""
    run_id = dagster.launch("shop_cutover")
    assert dagster.wait(run_id)["status"] == "FAILURE"
    evidence = evidence_of(migration, run_id)
    assert evidence.run.exit_code == 1
    return next(line for line in evidence.run.reasons if "refused" in line)


def evidence_of(migration: Migration, run_id: str) -> Evidence:
    return Evidence.from_json(migration.run_folder(run_id).evidence.read_bytes())


def approve(dagster: Dagster, **config: Any) -> str:
    """Approve from the launchpad; returns the run's status."""
    ops = {"shop_approval": {"config": {"approved_by": "Ada Lovelace", **config}}}
    return str(dagster.wait(dagster.launch("shop_approve", {"ops": ops}))["status"])


def test_a_team_goes_live_and_back_and_live_again(
    migration: Migration, dagster: Dagster, tmp_path: Path, pg_url: str, schema: str
) -> None:
    def source(statement: str) -> None:
        with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
            connection.execute(statement)

    def production(statement: str, fetch: bool = True) -> Any:
        with (
            closing(psycopg2.connect(pg_url)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            path = sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(schema))
            cursor.execute(path)
            cursor.execute(statement)
            return cursor.fetchall() if fetch else None

    names = "SELECT name FROM users ORDER BY id"

    # Two rehearsals by the schedule are too few.
    dagster.start_sensor("shop_source_changed")
    dagster.start_schedule("shop_nightly_rehearsal")
    until(lambda: rehearsed(migration, 2), 240, "two ticks of the schedule")
    assert "2 of 3 proven rehearsals in a row" in refused(dagster, migration)

    # Three are enough, but nobody has approved one.
    until(lambda: rehearsed(migration, 3), 120, "the third tick")
    dagster.stop_schedule("shop_nightly_rehearsal")
    until(lambda: len(dagster.runs("shop_rehearsal")) == len(dagster.ended("shop_rehearsal")), 60,
          "the last rehearsal's end")  # fmt: skip
    assert "no approval" in refused(dagster, migration)

    # What was approved is another plan than that of now.
    latest = history.rehearsals(migration)[0].run_id
    assert approve(dagster, rehearsal_run_id=latest) == "SUCCESS"
    assert gate.missing(migration) == []
    written = migration.defs_yaml.read_text()
    index = "  indexes: {users: [{columns: [name]}]}\n"
    migration.defs_yaml.write_text(written.rstrip() + "\n" + index)
    dagster.reload()
    reason = refused(dagster, migration)
    assert "was approved, the plan is" in reason
    migration.defs_yaml.write_text(written)
    dagster.reload()

    # The source changes, which is seen; its new row needs a rule that nobody has accepted.
    before = len(dagster.runs("shop_rehearsal"))
    source("INSERT INTO users VALUES (8, CAST(x'4162ff' AS TEXT), NULL)")
    until(lambda: len(dagster.ended("shop_rehearsal")) > before, 180, "the source's sensor")
    assert rehearsed(migration, before + 1)
    assert "not accepted: 1 of" in refused(dagster, migration)
    assert done(migration) == []
    latest = history.rehearsals(migration)[0].run_id
    assert approve(dagster, rehearsal_run_id=latest) == "FAILURE"

    # Accepted, it is started by the sensor, for the window is open.
    assert approve(dagster, rehearsal_run_id=latest, accept_as_rehearsed=True) == "SUCCESS"
    tried = len(dagster.runs("shop_cutover"))
    dagster.start_sensor("shop_approval")
    until(lambda: len(dagster.ended("shop_cutover")) > tried, 180, "the approval's sensor")
    evidence = evidence_of(migration, dagster.runs("shop_cutover")[0]["runId"])
    assert evidence.run.exit_code == 0, evidence.run.reasons
    assert done(migration) == ["stop", "start", "traffic"]
    assert [row[0] for row in production(names)] == ["Ada", "Bob", "Zoë", "Ab\\xff"]

    # The application works there for a while; then everything goes back, and nothing is lost.
    production("INSERT INTO users (id, name) VALUES (50, 'Eve')", fetch=False)
    production("UPDATE users SET name = 'Robert' WHERE id = 2", fetch=False)
    production("DELETE FROM report WHERE day = '2024-01-01'", fetch=False)
    assert command(migration, "rollback", "shop") == 0
    assert done(migration)[3:] == ["stop", "revert"]
    assert "DATABASE_URL=sqlite:///shop.db" in (migration.folder / "app.env").read_text()
    (live,) = history.cutovers(migration)
    assert live.rolled_back_at is not None
    saved = {path.stem: pq.read_table(path) for path in migration.folder.glob("**/users.parquet")
             if "rollback" in str(path)}  # fmt: skip
    assert "Eve" in str([table.to_pylist() for table in saved.values()])

    # The team writes it into the source by the statements, and goes live a second time.
    source("INSERT INTO users VALUES (50, 'Eve', NULL)")
    rehearsals = len(dagster.ended("shop_rehearsal"))
    until(lambda: len(dagster.ended("shop_rehearsal")) > rehearsals, 180, "the source's sensor")
    latest = history.rehearsals(migration)[0].run_id
    tried = len(dagster.ended("shop_cutover"))
    assert approve(dagster, rehearsal_run_id=latest, accept_as_rehearsed=True) == "SUCCESS"
    until(lambda: len(dagster.ended("shop_cutover")) > tried, 180, "the second cutover")
    evidence = evidence_of(migration, dagster.runs("shop_cutover")[0]["runId"])
    assert evidence.run.exit_code == 0, evidence.run.reasons
    assert [row[0] for row in production(names)] == ["Ada", "Bob", "Zoë", "Ab\\xff", "Eve"]
    assert len(history.cutovers(homes.load(migration.home, "shop"))) == 2
