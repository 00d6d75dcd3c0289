"""Room on this machine: snapshot, rows as they are read, Parquet, and what broken runs left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from migration_assets.core.preflight import Finding, Verdict, needed_here
from migration_assets.core.readable import size
from migration_assets.home import Migration
from migration_assets.retention import run_folders, under_way


def look(migration: Migration, source: int | None) -> Iterator[Finding]:
    """Look at the migration's folder.

    Args:
        migration: its runs are in the folder.
        source: bytes of the source, None if not known.
    """
    runs = migration.folder / "runs"
    there = next(path for path in (runs, *runs.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        yield Finding("space", Verdict.NO_GO, f"{there} can not be written to; change its rights")
        return
    last = next((f.path for f in run_folders(migration) if f.evidence.exists()), None)
    need = needed_here(_size(last) if last else None, source)
    free = shutil.disk_usage(there).free
    elsewhere = f"; Parquet goes to {migration.config.storage}" if migration.config.storage else ""
    if need is None:
        yield Finding(
            "space",
            Verdict.WARNING,
            f"{size(free)} free in {there}; what a run needs is not known before the first one"
            f"{elsewhere}",
        )
    elif free < need:
        yield Finding(
            "space",
            Verdict.NO_GO,
            f"{size(free)} free in {there}, a run needs about {size(need)}; make room, or "
            f"name another place with storage{elsewhere}",
        )
    else:
        said = f"{size(free)} free in {there}, a run needs about {size(need)}{elsewhere}"
        yield Finding("space", Verdict.GO, said)
    yield from _broken(migration)


def _broken(migration: Migration) -> Iterator[Finding]:
    broken = [
        folder.path
        for folder in run_folders(migration)
        if not folder.evidence.exists() and not under_way(folder)
    ]
    if broken:
        held = size(sum(_size(path) for path in broken))
        yield Finding(
            "broken runs",
            Verdict.WARNING,
            f"{len(broken)} run folders without a result ({held}), such as {broken[0]}; later runs "
            "drop them, or drop them yourself",
        )


def _size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(
        os.lstat(os.path.join(place, name)).st_size
        for place, _, names in os.walk(folder)
        for name in names
    )
