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
from migration_assets import pause
from migration_assets.cli import run
from migration_assets.definitions import assemble
from migration_assets.home import Migration
from migration_assets.launch import launch
from migration_assets.progress import Task, read_tasks
from migration_assets.run_folder import RunFolder
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
    migration: Migration, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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

    stood: list[list[Task]] = []

    def began(_run_id: str, folder: RunFolder) -> None:
        pause.begin(migration.folder)
        threading.Thread(target=look_and_resume, args=(folder.path / "progress",)).start()

    def look_and_resume(progress: Path) -> None:
        wait_for(progress.exists)
        time.sleep(0.6)
        stood.append(read_tasks(progress))
        run(["resume", "shop"])

    outcome = launch(migration, "shop_rehearsal", began)
    assert outcome.success, outcome.failures
    assert stood == [[]]  # it stood before its first table
    assert "goes on" in capsys.readouterr().out
    assert pause.read(migration.folder) is None


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
