"""Where what an op builds on is: in this run, or in the latest one that made it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from migration_assets.assets.run import RUN_FOLDER, Run
from migration_assets.core import naming
from migration_assets.core.results import Manifest, SwapResult
from migration_assets.errors import InputError
from migration_assets.run_folder import RunFolder

_SHARED = (
    "catalog.json",
    "profile.json",
    "results/source/all.json",
    "results/plan/all.json",
    # The plan comes last: with it the folder counts as planned.
    "plan.json",
)


@dataclass(frozen=True)
class Loaded:
    """A loaded table or target: the run folder it belongs to, and the schema it is in now."""

    folder: RunFolder
    schema: str


def extract_folder(
    run: Run, instance: dg.DagsterInstance, key: dg.AssetKey, slug: str
) -> RunFolder:
    """The run folder that holds the Parquet file a load is made from.

    A run without an extract of its own takes the latest one, with the plan it was made by, and
    keeps to it to its end.

    Raises:
        InputError: there is no extract, or it was made by another plan than the run's.
    """
    pin = run.folder.path / "origin" / slug
    if pin.exists():
        return RunFolder(Path(pin.read_text()), run.folder.storage)
    if _manifest(run.folder, slug) is not None:
        return run.folder
    folder = _latest(run, instance, key)
    if folder is None or _manifest(folder, slug) is None:
        raise InputError(f"there is no extract of {key.to_user_string()}: materialize it first")
    with run.lock():
        _adopt(run, folder, slug)
    run.folder.write_text(f"origin/{slug}", str(folder.path))
    return folder


def _manifest(folder: RunFolder, slug: str) -> Manifest | None:
    """A manifest that is proof; one with mismatches is kept for the evidence only."""
    manifest = folder.read_result("extract", slug, Manifest)
    return manifest if manifest is not None and not manifest.mismatches else None


def _adopt(run: Run, other: RunFolder, slug: str) -> None:
    """Take over what the run needs to know of an earlier extract."""
    own = run.folder
    if (own.path / "plan.json").exists() and own.plan().digest != other.plan().digest:
        raise InputError(
            f'the extract of "{slug}" was made by another plan than those of other tables: '
            "materialize all extracts in one run"
        )
    for name in (*_SHARED, f"results/extract/{slug}.json"):
        if (other.path / name).exists() and not (own.path / name).exists():
            (own.path / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(other.path / name, own.path / name)
    for snapshot in other.path.glob(f"{other.snapshot.name}*"):
        # The same file under a second name: it stays when the earlier run is pruned.
        if not (own.path / snapshot.name).exists():
            (own.path / snapshot.name).hardlink_to(snapshot)


def loaded(
    run: Run, instance: dg.DagsterInstance, key: dg.AssetKey, target: str, stage: str, slug: str
) -> Loaded:
    """Where a table (stage ``load``) or target (stage ``constraints``) is that is to be checked.

    Raises:
        InputError: nothing was loaded, or its run folder is gone.
    """
    folder: RunFolder | None = run.folder
    if not (run.folder.path / "results" / stage / f"{slug}.json").exists():
        folder = _latest(run, instance, key)
    if folder is None:
        raise InputError(f"{key.to_user_string()} is not there to be checked: materialize it first")
    swap = folder.read_result("swap", "all", SwapResult)
    config = run.migration.config
    incoming = naming.shorten(f"{config.schema_of(target)}__in_{folder.path.name[:8]}")
    return Loaded(folder, swap.schema if swap else incoming)


def _latest(run: Run, instance: dg.DagsterInstance, key: dg.AssetKey) -> RunFolder | None:
    record = instance.get_latest_materialization_event(key)
    materialization = record.asset_materialization if record else None
    value = materialization.metadata.get(RUN_FOLDER) if materialization else None
    if value is None or not Path(str(value.value)).is_dir():
        return None
    return RunFolder(Path(str(value.value)), run.folder.storage)
