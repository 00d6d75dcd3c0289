"""Which run folders of a migration are kept, and for how long."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from migration_assets.core.cutover_config import STAGING
from migration_assets.core.results import TargetResult
from migration_assets.home import Migration
from migration_assets.run_folder import RunFolder

_DAY = 24 * 60 * 60


def run_folders(migration: Migration) -> list[RunFolder]:
    """All run folders of a migration, the newest first."""
    runs = migration.folder / "runs"
    if not runs.is_dir():
        return []
    paths = sorted((p for p in runs.iterdir() if p.is_dir()), key=lambda p: -p.stat().st_mtime)
    return [migration.run_folder(path.name) for path in paths]


def prune(migration: Migration, current: str, warn: Callable[[str], None]) -> list[str]:
    """Drop run folders beyond ``keep_runs``, with their Parquet; returns the dropped run ids.

    The current run and the newest one that went live in each environment are always kept, and
    beside them those that are under way and those whose Parquet files another kept run was loaded
    from. What can not be dropped is no failure of the run: ``warn`` is told, and the rest is
    dropped.
    """
    dropped = []
    try:
        for folder in _unneeded(migration, current):
            try:
                _drop(folder)
            except OSError as error:
                warn(f"an old run's folder was not dropped, drop it yourself: {error}")
            else:
                dropped.append(folder.path.name)
    except OSError as error:
        warn(f"no more old run folders were dropped, one can not be read: {error}")
    return dropped


def live_folders(migration: Migration) -> dict[str, str]:
    """Environment -> the newest run that went live there, as far as there are folders."""
    live: dict[str, str] = {}
    for folder in run_folders(migration):
        if (folder.path / "results" / "swap" / "all.json").exists():
            target = folder.read_result("target", "all", TargetResult)
            live.setdefault(target.environment if target else STAGING, folder.path.name)
    return live


def _unneeded(migration: Migration, current: str) -> Iterator[RunFolder]:
    folders = run_folders(migration)
    kept = {current, *live_folders(migration).values()}
    others = [folder for folder in folders if folder.path.name not in kept]
    for folder in others:
        if not under_way(folder) and len(kept) < migration.config.keep_runs:
            kept.add(folder.path.name)
    needed = {name for folder in folders if folder.path.name in kept for name in origins(folder)}
    for folder in others:
        if folder.path.name not in kept | needed and not under_way(folder):
            yield folder


def _drop(folder: RunFolder) -> None:
    if folder.storage is not None:
        filesystem, root = folder.filesystem()
        # Gone already where the folder could not be dropped before.
        with suppress(FileNotFoundError):
            filesystem.delete_dir(root)
    shutil.rmtree(folder.path)


def under_way(folder: RunFolder) -> bool:
    """True for a run without evidence that may still come to some."""
    return not folder.evidence.exists() and time.time() - folder.path.stat().st_mtime < _DAY


def origins(folder: RunFolder) -> set[str]:
    """The runs that extracted what this one loaded."""
    return {Path(pin.read_text()).name for pin in (folder.path / "origin").glob("*")}
