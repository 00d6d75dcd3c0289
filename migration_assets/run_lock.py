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

from migration_assets import pause
from migration_assets.errors import InputError
from migration_assets.home import Migration


@contextmanager
def held(migration: Migration, run_id: str) -> Iterator[None]:
    """Hold the lock of ``migration`` for the run ``run_id``.

    Args:
        migration: whose runs must not meet.
        run_id: Dagster's id of the run itself, not that of a run it is a further attempt of.

    Raises:
        InputError: another run is under way, or the migration is paused.
    """
    migration.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(migration.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take(migration, lock, run_id)
        yield
    finally:
        os.close(lock)


def _take(migration: Migration, lock: int, run_id: str) -> None:
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
            os.pwrite(lock, f"{run_id} {os.getpid()}".encode(), 0)
            fcntl.flock(lock, fcntl.LOCK_SH)
            return
        holder, pid = _written(lock)
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
    try:
        lock = os.open(migration.folder / "lock", os.O_RDWR)
    except FileNotFoundError:
        return None
    gate = os.open(migration.folder, os.O_RDONLY)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        return None if _try(lock, fcntl.LOCK_EX) else _written(lock)[0]
    finally:
        os.close(lock)
        os.close(gate)


def _written(lock: int) -> tuple[str, str]:
    """Run id and process id in the lock file; they stay there after the run."""
    run_id, _, pid = os.pread(lock, 200, 0).decode().partition(" ")
    return run_id, pid


def _try(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
