"""One run of a migration at a time, whoever started it: command line, UI or schedule.

Dagster's queue keeps its own runs apart; a run from the command line does not stand in it. So
every process that works for a run holds the migration's lock file, shared with the other processes
of the same run. The system frees the lock when a process ends, in whatever way it does.

While a migration is paused no other run takes the lock; processes of the run that had it do.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from migration_assets import pause
from migration_assets.core.cutover_config import PRODUCTION, STAGING
from migration_assets.core.results import TargetResult
from migration_assets.errors import InputError
from migration_assets.home import Migration
from migration_assets.run_folder import RunFolder


@dataclass(frozen=True)
class AtWork:
    """The run that is under way.

    Attributes:
        run_id: Dagster's id of it.
        folder: the folder that it works in: its own, or that of the run whose rest it does.
        environment: the target environment that it works in.
    """

    run_id: str
    folder: RunFolder
    environment: str


def environment_of(migration: str, job: str) -> str:
    """The target environment that a job of ``migration`` works in, unless its assets say more."""
    return PRODUCTION if job == f"{migration}_cutover" else STAGING


@contextmanager
def held(
    migration: Migration, run_id: str, job: str = "", root: str | None = None
) -> Iterator[None]:
    """Hold the lock of ``migration`` for the run ``run_id``.

    Args:
        migration: whose runs must not meet.
        run_id: Dagster's id of the run itself, not that of a run it is a further attempt of.
        job: the name of its job.
        root: the run whose folder it works in, None for itself.

    Raises:
        InputError: another run is under way, or the migration is paused.
    """
    migration.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(migration.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        where = environment_of(migration.name, job)
        _take(migration, lock, run_id, f"{os.getpid()} {root or run_id} {where}")
        yield
    finally:
        os.close(lock)


def _take(migration: Migration, lock: int, run_id: str, about: str) -> None:
    # Going from exclusive to shared is no single step, so one process at a time does all of it.
    gate = os.open(migration.folder, os.O_RDONLY)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if _try(lock, fcntl.LOCK_EX):
            paused = pause.read(migration.folder)
            if paused is not None and _written(lock)[0] != run_id:
                raise InputError(
                    f'migration "{migration.name}" is {paused}: no run begins until '
                    f"migration-assets resume {migration.name}"
                )
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{run_id} {about}".encode(), 0)
            fcntl.flock(lock, fcntl.LOCK_SH)
            return
        holder, pid, *_ = _written(lock)
        if holder == run_id and _try(lock, fcntl.LOCK_SH):
            return
    finally:
        os.close(gate)
    raise InputError(
        f'another run of migration "{migration.name}" is under way ({holder}, process {pid}); '
        "wait for it"
    )


def under_way(migration: Migration) -> str | None:
    """Dagster's id of the run that is under way, None if there is none."""
    found = at_work(migration)
    return found.run_id if found else None


def at_work(migration: Migration) -> AtWork | None:
    """The run that is under way, None if there is none."""
    try:
        lock = os.open(migration.folder / "lock", os.O_RDWR)
    except FileNotFoundError:
        return None
    gate = os.open(migration.folder, os.O_RDONLY)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if _try(lock, fcntl.LOCK_EX):
            return None
        run_id, _, root, environment = _written(lock)
    finally:
        os.close(lock)
        os.close(gate)
    folder = migration.run_folder(root)
    target = folder.read_result("target", "all", TargetResult)
    return AtWork(run_id, folder, target.environment if target else environment)


def _written(lock: int) -> tuple[str, ...]:
    """Run id, process id, root run id and environment; they stay in the file after the run.

    All are empty in a new file.
    """
    return tuple((os.pread(lock, 300, 0).decode() + "   ").split(" ")[:4])


def _try(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
