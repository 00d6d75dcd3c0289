"""Pause and resume: a run stands still in place, nothing new begins, and both come to their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from migration_assets import home as homes
from migration_assets import load, pause, status
from migration_assets.cli import run
from migration_assets.core.status import StageStatus, Status, TaskStatus
from migration_assets.definitions import assemble
from migration_assets.home import Migration
from migration_assets.launch import launch
from migration_assets.progress import read_tasks
from migration_assets_tests.small_shop import make_migration, make_source


@pytest.fixture
def migration(
    tmp_path: Path, pg_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> Migration:
    home = tmp_path / "home"
    monkeypatch.setenv(homes.VARIABLE, str(home))
    return make_migration(home, make_source(tmp_path / "shop.db"), pg_url, schema)


def tick(schedule: dg.ScheduleDefinition) -> Any:
    return schedule.evaluate_tick(dg.build_schedule_context())


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_paused_run_stands_still_until_it_is_resumed_and_then_proves(
    migration: Migration,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(["pause", "shop", "--reason", "the disk is full"]) == 0
    assert "no run begins until: migration-assets resume shop" in capsys.readouterr().out
    schema = migration.config.schema_of("staging")
    target = ["--target", migration.config.targets["staging"].url, "--schema", schema]
    assert run(["migrate", migration.config.source, *target]) == 2
    assert "the disk is full" in capsys.readouterr().err
    assert not list((migration.folder / "runs").glob("*"))
    schedule = assemble([migration]).resolve_schedule_def("shop_nightly_rehearsal")
    assert "the disk is full" in tick(schedule).skip_message
    assert run(["resume", "shop"]) == 0
    assert len(tick(schedule).run_requests) == 1
    assert "runs may begin" in capsys.readouterr().out

    # In the middle of a table.
    statement = load.ddl.copy_statement

    def pausing(*arguments: Any) -> Any:
        if not stood:
            pause.begin(migration.folder)
        return statement(*arguments)

    stood: list[Status] = []
    shown: list[str] = []

    def look_and_resume() -> None:
        wait_for(lambda: any(task.paused for task in running_tasks(migration)))
        stood.append(status.look(migration))
        run(["status"])
        shown.append(capsys.readouterr().out)
        run(["resume", "shop"])

    monkeypatch.setattr("migration_assets.load.ddl.copy_statement", pausing)
    looker = threading.Thread(target=look_and_resume)
    looker.start()
    outcome = launch(migration, "shop_rehearsal")
    looker.join()
    assert outcome.success, outcome.failures
    assert f"run {outcome.run_id} goes on" in capsys.readouterr().out
    assert pause.read(migration.folder) is None

    (found,) = stood
    assert found.running is not None
    assert found.running.run_id == outcome.run_id
    (task,) = [task for task in found.running.tasks if task.paused]
    # After its rows, or before those of the next table: it looks four times a second.
    assert (task.stage, task.rows) in {("load", task.total), ("load", 0)}
    assert StageStatus("extract", 3, 3) in found.running.stages
    assert "paused since" in shown[0]
    assert f"load {task.table}: {task.rows} of {task.total} rows" in shown[0]


def running_tasks(migration: Migration) -> tuple[TaskStatus, ...]:
    running = status.look(migration, live=()).running
    return running.tasks if running else ()


PROGRAM = """
import sys
from pathlib import Path
from migration_assets import home, load, pause
from migration_assets.launch import launch

migration = home.load(Path(sys.argv[1]), "shop")
statement = load.ddl.copy_statement

def pausing(*arguments):
    pause.begin(migration.folder)
    return statement(*arguments)

load.ddl.copy_statement = pausing
outcome = launch(migration, "shop_rehearsal", lambda run, folder: print(folder.path, flush=True))
print(outcome.status, {f.exit_code for f in outcome.failures})
"""


def test_run_that_stands_in_the_middle_of_a_table_can_be_interrupted(migration: Migration) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(migration.home)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert process.stdout is not None
    progress = Path(process.stdout.readline().strip()) / "progress"
    wait_for(lambda: any(task.stands for task in read_tasks(progress)))
    (task,) = [task for task in read_tasks(progress) if task.stands]
    assert task.stage == "load"
    assert task.line(time.time()).endswith(", paused")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert output.split() == ["FAILURE", "{3}"]
