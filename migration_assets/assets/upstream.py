"""Where what an op builds on is: in this run, or in the latest one that made it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from migration_assets.assets.run import RUN_FOLDER, Run
from migration_assets.core import naming
from migration_assets.core.plan import Plan
from migration_assets.core.results import LoadResult, Manifest, SourceResult, TargetResult
from migration_assets.errors import InputError
from migration_assets.postgres import marker, run_log
from migration_assets.postgres.connect import session
from migration_assets.run_folder import RunFolder

_SHARED = (
    "catalog.json",
    "profile.json",
    "structure.json",
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
    if pin.exists() and _manifest(run.folder, slug) is not None:
        return RunFolder(Path(pin.read_text()), run.folder.storage)
    if _manifest(run.folder, slug) is not None:
        return run.folder
    folder = _latest(run, instance, key)
    if folder is None or _manifest(folder, slug) is None:
        raise InputError(f"there is no extract of {key.to_user_string()}: materialize it first")
    with run.folder.lock():
        _adopt(run, folder, slug)
    return folder


def _manifest(folder: RunFolder, slug: str) -> Manifest | None:
    """A manifest that is proof; one with mismatches is kept for the evidence only."""
    if folder.purged:
        return None
    manifest = folder.read_result("extract", slug, Manifest)
    return manifest if manifest is not None and not manifest.mismatches else None


def _adopt(run: Run, other: RunFolder, slug: str) -> None:
    """Take over what the run needs to know of an earlier extract.

    Raises:
        InputError: it is of another snapshot, or was made by another plan, than what the run has.
    """
    own = run.folder
    held = own.read_result("source", "all", SourceResult)
    there = other.read_result("source", "all", SourceResult)
    if held is not None and (there is None or held.snapshot_id != there.snapshot_id):
        # References between tables of two moments need not hold, nor would anything say so.
        raise InputError(
            f'the extract of "{slug}" is of another snapshot than those of other tables: '
            "materialize all extracts in one run"
        )
    if (own.path / "plan.json").exists() and own.plan().digest != other.plan().digest:
        raise InputError(
            f'the extract of "{slug}" was made by another plan than those of other tables: '
            "materialize all extracts in one run"
        )
    for name in _SHARED:
        if (other.path / name).exists() and not (own.path / name).exists():
            _copy(other.path / name, own.path / name)
    for part, mine in (
        (other.ledger_part(slug), own.ledger_part(slug)),
        (other.quarantine_part(slug), own.quarantine_part(slug)),
    ):
        mine.unlink(missing_ok=True)
        if part.exists():
            _copy(part, mine)
    for snapshot in other.path.glob(f"{other.snapshot.name}*"):
        # The same file under a second name: it stays when the earlier run is pruned.
        if not (own.path / snapshot.name).exists():
            (own.path / snapshot.name).hardlink_to(snapshot)
    own.write_text(f"origin/{slug}", str(other.path))
    # The manifest comes last: with it the table counts as extracted.
    _copy(other.path / f"results/extract/{slug}.json", own.path / f"results/extract/{slug}.json")


def _copy(source: Path, destination: Path) -> None:
    destination.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copy(source, destination)


def loaded(
    run: Run, instance: dg.DagsterInstance, key: dg.AssetKey, target: str, stage: str, slug: str
) -> Loaded:
    """Where a table (stage ``load``) or target (stage ``constraints``) is that is to be checked.

    Raises:
        InputError: nothing was loaded, or its run folder or schema is gone.
    """
    folder = loaded_folder(run, instance, key, stage, slug)
    return Loaded(folder, standing_schema(run, folder, target))


def loaded_folder(
    run: Run, instance: dg.DagsterInstance, key: dg.AssetKey, stage: str, slug: str
) -> RunFolder:
    """The folder of the run that did ``stage`` for ``slug``: this run, or else the latest.

    Raises:
        InputError: there is none, or it is gone.
    """
    folder: RunFolder | None = run.folder
    if not (run.folder.path / "results" / stage / f"{slug}.json").exists():
        folder = _latest(run, instance, key)
    if folder is None:
        raise InputError(f"{key.to_user_string()} is not there to be checked: materialize it first")
    return folder


def standing_schema(run: Run, folder: RunFolder, target: str) -> str:
    """The schema that holds what the run of ``folder`` loaded last.

    That is its incoming schema for as long as there is one, even if an earlier attempt of that
    run has gone live; the live schema only if it is that run's.

    Raises:
        InputError: neither is there any more.
        BrokenOffError: the target was lost.
    """
    record = folder.read_result("target", "all", TargetResult)
    name = folder.path.name
    destination = run.target(target)
    computed = naming.shorten(f"{destination.schema}__in_{name[:8]}")
    incoming = record.incoming if record and record.incoming else computed
    with (
        session(destination, "the look at the target") as connection,
        connection.cursor() as cursor,
    ):
        if marker.schema_exists(cursor, incoming):
            return incoming
        if run_log.live_run(cursor, destination.schema, run.migration.name) == name:
            return destination.schema
    raise InputError(
        f'what run {name} loaded is not at {destination.location} any more: schema "{incoming}" '
        f'is gone and schema "{destination.schema}" is not of that run; materialize the tables '
        "again"
    )


def whole_plan(run: Run) -> Plan:
    """The run's plan, if every table of it was loaded by this run.

    Raises:
        InputError: some were not; naming them. A target with tables missing never goes live.
    """
    if not (run.folder.path / "plan.json").exists():
        raise InputError("this run loaded no table: materialize the tables in the same run")
    plan = run.folder.plan()
    there = run.folder.read_results("load", LoadResult)
    missing = [table.source for table in plan.tables if table.slug not in there]
    if missing:
        named = ", ".join(f'"{name}"' for name in missing)
        raise InputError(
            f"{len(missing)} of {len(plan.tables)} tables were not loaded by this run: {named}; "
            "run the whole job, or re-execute the run that failed from its failure"
        )
    return plan


def _latest(run: Run, instance: dg.DagsterInstance, key: dg.AssetKey) -> RunFolder | None:
    record = instance.get_latest_materialization_event(key)
    materialization = record.asset_materialization if record else None
    value = materialization.metadata.get(RUN_FOLDER) if materialization else None
    if value is None or not Path(str(value.value)).is_dir():
        return None
    return RunFolder(Path(str(value.value)), run.folder.storage)
