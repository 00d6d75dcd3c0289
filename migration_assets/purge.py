"""Purge: the rows that a run read are removed, the proof of what it did stays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pyarrow import fs

from migration_assets import retention, run_lock, status
from migration_assets.core.results import PurgeResult
from migration_assets.errors import InputError
from migration_assets.home import Migration
from migration_assets.run_folder import RunFolder


def find(migrations: list[Migration], wanted: str) -> tuple[Migration, RunFolder]:
    """The run that somebody means.

    Args:
        migrations: of the home.
        wanted: the run's id, the beginning of it, or its folder.

    Raises:
        InputError: there is no such run, or more than one.
    """
    name = Path(wanted).name if Path(wanted).is_dir() else wanted
    found = [
        (migration, folder)
        for migration in migrations
        for folder in retention.run_folders(migration)
        if name and folder.path.name.startswith(name)
    ]
    if len(found) == 1:
        return found[0]
    what = "is no run" if not found else "is the beginning of more than one run"
    raise InputError(f'"{wanted}" {what} of a migration in this home; give the id of one')


def purge(migration: Migration, folder: RunFolder, force: bool = False) -> PurgeResult:
    """Remove extracts, the rows as they were read, refused rows and the snapshot of a run.

    Evidence, report, plan, ledger and quarantine stay. The run can not be re-executed afterwards.

    Args:
        migration: whose run it is.
        folder: its folder.
        force: also if it is still needed.

    Raises:
        InputError: it is still needed, or a run of the migration is under way.
    """
    with run_lock.held(migration, f"purge_of_{folder.path.name}"):
        if not force and (reasons := list(_needed(migration, folder))):
            raise InputError(
                f"run {folder.path.name} of {migration.name} is still needed: "
                f"{'; '.join(reasons)}; --force removes its rows nevertheless"
            )
        # First of all: what is left of a broken-off purge must not be taken for whole.
        before = folder.purged or PurgeResult(datetime.now(UTC).isoformat(timespec="seconds"), 0, 0)
        folder.write_result("purged", "all", before)
        files, size = _remove_extracts(folder)
        for path in _parts(folder.path):
            # A snapshot may be a second name of another run's.
            size += path.stat().st_size if path.stat().st_nlink == 1 else 0
            path.unlink()
            files += 1
        result = PurgeResult(before.at, before.files + files, before.bytes + size)
        folder.write_result("purged", "all", result)
    return result


def _needed(migration: Migration, folder: RunFolder) -> Iterator[str]:
    """What would miss the rows of a run, one line each."""
    run_id = folder.path.name
    if retention.under_way(folder):
        yield "it has not ended, or can be re-executed from its failure"
    last = retention.live_folders(migration)
    for live in status.look_at_targets(migration):
        if live.problem is None and live.run_id == run_id:
            yield f"it is live in {live.environment}, and a rollback compares with its extracts"
        elif live.problem is not None and last.get(live.environment) == run_id:
            yield f"it went live in {live.environment} last, which can not be asked: {live.problem}"
    for other in retention.run_folders(migration):
        if run_id in retention.origins(other) and other.path.name != run_id:
            yield f"run {other.path.name} was loaded from its extracts"


def _remove_extracts(folder: RunFolder) -> tuple[int, int]:
    """Remove the Parquet files, wherever they are; returns how many, and their bytes."""
    filesystem, root = folder.filesystem()
    selector = fs.FileSelector(root, recursive=True, allow_not_found=True)
    there = [info for info in filesystem.get_file_info(selector) if info.is_file]
    if there:
        filesystem.delete_dir_contents(root)
    return len(there), sum(info.size for info in there)


def _parts(path: Path) -> list[Path]:
    """Local files with rows: raw lanes, refused rows, the snapshot with its companions."""
    patterns = ("raw/*", "refused/*", "snapshot.db*", "later.json*")
    return [found for pattern in patterns for found in sorted(path.glob(pattern))]
