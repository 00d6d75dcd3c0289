"""What the commands have in common that run a job which moves everything."""

from __future__ import annotations

import gc
import os
import shlex
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import click
from rich.console import Console

from migration_assets import home as homes
from migration_assets import run_lock
from migration_assets.ahead import taken_ahead
from migration_assets.cli.progress_view import ProgressView
from migration_assets.core.evidence import Evidence
from migration_assets.errors import BrokenOffError, InputError
from migration_assets.expectations.client import ExpectationsWorker
from migration_assets.run_folder import RunFolder

WORKER_NICENESS = 5
ARTEFACTS = ("evidence.json", "report.html", "plan.json", "ledger.parquet", "quarantine.parquet")


def check_out(out: Path | None) -> None:
    """Look whether the folder for copies can be made and written; nothing is made.

    Raises:
        InputError: it cannot.
    """
    if out is None:
        return
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{out}: cannot be written to; name another folder with --out")


def run_job(
    console: Console,
    migration: homes.Migration,
    job: str,
    worker: ExpectationsWorker,
    ahead: bool = True,
) -> tuple[Evidence, RunFolder]:
    """Run a job that moves everything in this process, and show where it is.

    Args:
        console: where it is shown.
        migration: whose job it is.
        job: its name.
        worker: Great Expectations' process, started.
        ahead: the snapshot may be taken before the run's first step.

    Returns:
        The evidence, written whatever became of the run, and the run's folder.

    Raises:
        BrokenOffError: the run's own record cannot be written, as when the disk is full.
    """
    views: list[ProgressView] = []

    def started(run_id: str, folder: RunFolder) -> None:
        # What is imported and defined by now stays: no search for garbage looks at it again.
        gc.freeze()
        gc.enable()
        console.print(f"Run {run_id} of migration {migration.name}", style="dim")
        view = ProgressView(console, folder.path / "progress")
        views.append(view)
        view.__enter__()

    run_id = str(uuid.uuid4())
    folder = migration.run_folder(run_id)
    if worker.pid is not None:
        with suppress(OSError):
            # It imports what is needed late: the reading of the source comes first.
            os.setpriority(os.PRIO_PROCESS, worker.pid, WORKER_NICENESS)
    try:
        with (
            run_lock.held(migration, run_id, job),
            recorded(migration.home),
            # Beside what follows: Dagster takes two seconds to import and to define the run.
            taken_ahead(migration, folder) if ahead else nullcontext(),
        ):
            from migration_assets.launch import launch

            outcome = launch(migration, job, started, worker, run_id)
    except BaseException:
        if not views:  # no run came of it
            shutil.rmtree(folder.path, ignore_errors=True)
        raise
    finally:
        for view in views:
            view.__exit__(None, None, None)
    return Evidence.from_json(outcome.folder.evidence.read_bytes()), outcome.folder


@contextmanager
def recorded(home: Path) -> Iterator[None]:
    """Say what became of a run whose own record cannot be written: it is on the same disk.

    Raises:
        BrokenOffError: it cannot.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError) and not _of_the_storage(error):
            raise
        cause = " ".join(str(error).splitlines()[0].split())
        raise BrokenOffError(
            f"the run could not be recorded in {home} ({cause}); make room there, then run again"
        ) from error


def _of_the_storage(error: Exception) -> bool:
    from sqlalchemy.exc import DBAPIError  # Dagster's way into its storage, imported with it

    return isinstance(error, DBAPIError)


def copy_artefacts(folder: RunFolder, out: Path) -> None:
    """Copy what a run leaves for people and machines into ``out``, readable by the owner only."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ARTEFACTS:
        if not (folder.path / name).exists():
            continue
        descriptor = os.open(out / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as copy, (folder.path / name).open("rb") as original:
            os.fchmod(descriptor, 0o600)
            shutil.copyfileobj(original, copy)


def ui_command(migration: homes.Migration) -> str:
    """The command that opens the UI on this migration's home, as this command was called."""
    if "MAKELEVEL" in os.environ:
        return "make ui"
    program = shlex.join([sys.argv[0], "ui"])
    if migration.home == Path(homes.DEFAULT).absolute():
        return program
    return f"{homes.VARIABLE}={shlex.quote(str(migration.home))} {program}"


def show(
    console: Console,
    migration: homes.Migration,
    evidence: Evidence,
    folder: RunFolder,
    out: Path | None,
    as_json: bool,
) -> int:
    """Show what became of a run, as every such command does; returns its exit code.

    Args:
        console: for people.
        migration: whose run it was.
        evidence: of the run.
        folder: the run's folder.
        out: takes copies of what the run left, None for none.
        as_json: print the evidence instead.
    """
    if out is not None:
        copy_artefacts(folder, out)
    if as_json:
        click.echo(evidence.to_json())
    else:
        from migration_assets.reports.summary import print_summary

        print_summary(console, evidence, folder.path)
        console.print(f"\nSee this run in the Dagster UI:  {ui_command(migration)}", soft_wrap=True)
    return evidence.run.exit_code
