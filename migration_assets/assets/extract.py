"""Extract: one snapshot, every table of it profiled, planned and written as Parquet."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from migration_assets import extract, source_state
from migration_assets.ahead import taken_over
from migration_assets.assets.existing import drop_built, existing_structure
from migration_assets.assets.keys import Keys, batches, op_names
from migration_assets.assets.metadata import code_version, column_schema, rate
from migration_assets.assets.run import RUN_FOLDER, Run, step
from migration_assets.begun import Begun
from migration_assets.core.catalog import Catalog, Table
from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.plan import Plan, TablePlan
from migration_assets.core.planner import build_plan
from migration_assets.core.profile import Profile, TableProfile
from migration_assets.core.results import LoadResult, Manifest, PlanResult
from migration_assets.core.sensitive import advice, columns_of, likely
from migration_assets.errors import InputError, MigrationError, NotProvenError
from migration_assets.home import Migration
from migration_assets.sources.base import SnapshotGoneError, SnapshotReader, source_result
from migration_assets.state import State
from migration_assets.transforms.table import check

if TYPE_CHECKING:
    from migration_assets.core.structure import Structure

BATCH = 200
"""Tables of one op; Dagster's cost of a step grows with the square of its assets."""


@dataclass(frozen=True)
class Extraction:
    """A snapshot that is open, and the plan for it."""

    reader: SnapshotReader
    catalog: Catalog
    plan: Plan
    begun: Mapping[str, Begun] = field(default_factory=dict)
    """By source name: large tables, converted while they were read."""
    replaced: frozenset[str] = frozenset()
    """Slugs of what was extracted from an earlier snapshot of this run, which is gone."""


def extract_assets(migration: Migration, state: State, plan: Plan) -> list[dg.AssetsDefinition]:
    """The Parquet file of every planned table, in as few ops as Dagster bears."""
    version = plan.digest if state.profile else None
    weighted = [(table, state.catalog.table(table.source).bytes or 1) for table in plan.tables]
    groups = batches(weighted, _batch(migration, len(weighted)))
    names = op_names(f"{migration.name}_extract", len(groups))
    cached = plan.digest if state.profile else None
    slugs = frozenset(table.slug for table in plan.tables)
    made = []
    for name, tables in zip(names, groups, strict=True):
        specs = [_spec(migration, table, version) for table in tables]
        wanted = {spec.key: table.slug for spec, table in zip(specs, tables, strict=True)}
        made.append(_assets(migration, name, specs, wanted, slugs, cached))
    return made


def _batch(migration: Migration, tables: int) -> int:
    """Most tables of one op: all, if a second process could not read the same snapshot."""
    if migration.config.executor == "multiprocess" and not migration.source().copies:
        return max(tables, BATCH)
    return BATCH


def _spec(migration: Migration, table: TablePlan, version: str | None) -> dg.AssetSpec:
    keys = Keys(migration.name)
    # What a cutover extracts stands still; in a rehearsal this asset is not asked for.
    frozen = [keys.step(PRODUCTION, "freeze")] if PRODUCTION in migration.config.targets else []
    return dg.AssetSpec(
        keys.extract(table.slug),
        deps=frozen,
        description=f'Table "{table.source}" of the source\'s snapshot, as Parquet.',
        group_name=keys.group("extract"),
        code_version=version,
        skippable=True,
        kinds={migration.config.source.partition(":")[0], "parquet"},
        metadata={"table": table.source},
    )


def _assets(
    migration: Migration,
    name: str,
    specs: list[dg.AssetSpec],
    wanted: Mapping[dg.AssetKey, str],
    slugs: frozenset[str],
    cached: str | None,
) -> dg.AssetsDefinition:
    keys = Keys(migration.name)

    @dg.multi_asset(
        name=name,
        specs=specs,
        can_subset=True,
        required_resource_keys={keys.run_resource},
        pool=migration.name,
    )
    def extract_op(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        run: Run = getattr(context.resources, keys.run_resource)
        chosen = {slug: key for key, slug in wanted.items() if key in context.selected_asset_keys}
        with ExitStack() as held:
            current = held.enter_context(step(run, context, "convert"))
            run.admit(run.environment)
            extraction = held.enter_context(opened(run, slugs, cached))
            _refuse_orphans(run, extraction)
            current.restart_clock()
            _advise(run, extraction, context.log.warning)
            if extraction.plan.digest != cached and cached is not None:
                context.log.warning(
                    "The source is not as it was when it was last read: this run follows a new "
                    "plan; reload the code location to see it."
                )
            wholly = chosen.keys() | extraction.replaced
            planned = [table for table in extraction.plan.tables if table.slug in wholly]
            if extraction.replaced:
                context.log.warning(
                    f"{len(extraction.replaced)} tables are extracted again: the snapshot they "
                    "were read from is gone, and extracts of two snapshots are never mixed."
                )
            for slug in wholly:
                # What an earlier attempt found was about the file that is replaced now.
                run.folder.forget("extract", slug)
                (run.folder.path / "origin" / slug).unlink(missing_ok=True)
                run.folder.forget_table(slug)
            for slug in set(chosen) - {table.slug for table in planned}:
                current.fail(slug, InputError(f'table "{slug}" is no longer in the source'))

            def work(table: TablePlan) -> Manifest:
                return write(extraction, run, table)

            for table, manifest in current.each(planned, work):
                if table.slug in chosen:
                    yield _result(chosen[table.slug], run, extraction, table, manifest)

    return extract_op


def write(extraction: Extraction, run: Run, table: TablePlan) -> Manifest:
    """Write one table's Parquet and keep its manifest.

    Raises:
        NotProvenError: the source's own counts and sums are not those of the Parquet file; the
            manifest lists where. Such a file is never loaded.
    """
    source = extraction.catalog.table(table.source)
    begun = extraction.begun.get(table.source)
    manifest = extract.write_table(
        extraction.reader, source, table, run.folder, run.progress, begun
    )
    run.folder.write_result("extract", table.slug, manifest)
    if manifest.mismatches:
        raise NotProvenError(
            f'table "{table.source}": the extract is not what the source holds: '
            + "; ".join(manifest.mismatches)
        )
    return manifest


@contextmanager
def opened(run: Run, slugs: Collection[str], cached: str | None) -> Iterator[Extraction]:
    """The run's snapshot and plan: those it has, or new ones.

    Args:
        run: the run.
        slugs: slugs of the tables that there are assets for.
        cached: digest of the plan behind these assets, None if it is not known.

    Raises:
        InputError: the source can not be used, or holds tables that there are no assets for.
    """
    with run.folder.lock():
        extraction = _reopen(run) or _begin(run, slugs, cached)
    yield extraction


def _reopen(run: Run) -> Extraction | None:
    folder = run.folder
    if not (folder.path / "plan.json").exists() or not folder.snapshot.exists():
        return None
    try:
        reader = run.reader()
    except SnapshotGoneError:
        if folder.read_results("load", LoadResult):
            # They stay loaded, and tables of two snapshots never go live together.
            raise
        return None
    return Extraction(reader, folder.catalog(), folder.plan())


def _begin(run: Run, slugs: Collection[str], cached: str | None) -> Extraction:
    """Take the snapshot, look at every table of it, and plan."""
    folder = run.folder
    started = time.monotonic()
    source = run.migration.source()
    replaced = frozenset(folder.read_results("extract", Manifest))
    reader = taken_over(source, folder) or source.take_snapshot(folder.snapshot)
    try:
        snapshot = reader.snapshot
        folder.write_result("source", "all", source_result(source.kind, snapshot))
        catalog = reader.catalog()
        folder.write_catalog(catalog)
        # Before the rows are read: what is written meanwhile must be seen.
        source_state.keep(folder, reader, catalog, lasting=run.environment == PRODUCTION)
        run.note_seconds("snapshot", started)
        _check_known(run, catalog, slugs)
        structure = existing_structure(run, catalog)
        started = time.monotonic()
        profile, plan, begun = profiled(run, reader, catalog, spill=True, structure=structure)
        folder.write_profile(profile)
        folder.write_result("plan", "all", PlanResult(plan.digest, cached))
        folder.write_plan(plan)
        looked = structure.to_json() if structure else None
        State(catalog, profile, snapshot.id, looked).write(run.migration.state)
        run.note_seconds("read", started)
    except InputError:
        reader.close()
        drop_built(run)
        raise
    except BaseException:
        reader.close()
        raise
    run.keep(reader)
    return Extraction(reader, catalog, plan, begun, replaced)


def profiled(
    run: Run,
    reader: SnapshotReader,
    catalog: Catalog,
    spill: bool,
    structure: "Structure | None" = None,
) -> tuple[Profile, Plan, dict[str, Begun]]:
    """Read all wanted tables once.

    Args:
        run: the run.
        reader: the snapshot.
        catalog: its catalog.
        spill: keep what is read for the conversion, and begin with that of large tables.
        structure: the existing schema, None if the target is made.

    Returns:
        The profile, the plan that follows from it, and what was begun, settled by the plan.
    """
    config = run.migration.config.plan
    declared = build_plan(catalog, None, config, structure)
    slugs = {table.source: table.slug for table in declared.tables}
    run.migration.config.check_tables(declared)
    wanted = tuple(table for table in catalog.tables if table.name in slugs)

    def suggest(name: str, first: TableProfile) -> TablePlan | None:
        try:
            whole = build_plan(catalog, Profile({name: first}), config, structure)
            table = whole.by_slug(slugs[name])
        except (MigrationError, KeyError):
            return None
        # The user's own code sees each row once.
        return None if table.transforms else table

    profile, begun = extract.read_profile(
        reader,
        replace(catalog, tables=wanted),
        run.folder,
        slugs,
        slugs if spill else (),
        run.progress,
        suggest if spill else None,
        columns_of(catalog, config.sensitive),
    )
    plan = build_plan(catalog, profile, config, structure)
    check(plan, run.folder.migration)
    planned = {table.source: table for table in plan.tables}
    settled = {name: item.settled(planned.get(name), run.folder) for name, item in begun.items()}
    return profile, plan, settled


def _refuse_orphans(run: Run, extraction: Extraction) -> None:
    """End the run, and each further attempt at it, at rows without a parent if the policy says so.

    Raises:
        NotProvenError: there are some; names table and key.
    """
    strict = [table for table in extraction.plan.tables if table.policy("orphans") == "fail"]
    profile = run.folder.profile() if strict else Profile({})
    for table in strict:
        for position, rows in profile.tables[table.source].orphans.items():
            key = extraction.catalog.table(table.source).foreign_keys[position]
            if rows:
                drop_built(run)
                raise NotProvenError(
                    f'table "{table.source}", column "{", ".join(key.columns)}": {rows} rows have '
                    f'no parent in "{key.ref_table}", and the policy orphans is fail; mend the '
                    "source, or choose not_valid or drop_key, then start a new run"
                )


def _advise(run: Run, extraction: Extraction, warn: Callable[[str], None]) -> None:
    """Name columns that look as if their values should not be shown."""
    known = columns_of(extraction.catalog, run.migration.config.sensitive)
    moved = {table.source for table in extraction.plan.tables}
    found = likely((t for t in extraction.catalog.tables if t.name in moved), known)
    if found:
        warn(advice(found))


def _check_known(run: Run, catalog: Catalog, slugs: Collection[str]) -> None:
    """Refuse to leave out tables that came into being after the definitions were made."""
    planned = build_plan(catalog, None, run.migration.config.plan).tables
    unknown = [table.source for table in planned if table.slug not in slugs]
    if unknown:
        State(catalog).write(run.migration.state)
        named = ", ".join(f'"{name}"' for name in unknown)
        raise InputError(
            f"the source has new tables that there are no assets for: {named}; reload the code "
            "location (the catalog has been read again) and start the job once more"
        )


def _result(
    key: dg.AssetKey, run: Run, extraction: Extraction, table: TablePlan, manifest: Manifest
) -> dg.MaterializeResult[Any]:
    _, root = run.folder.filesystem()
    source: Table = extraction.catalog.table(table.source)
    return dg.MaterializeResult(
        asset_key=key,
        metadata={
            "dagster/row_count": manifest.rows,
            "dagster/column_schema": column_schema(table, by_source=source),
            "table": manifest.source,
            "seconds": manifest.seconds,
            "rows_per_second": rate(manifest.rows, manifest.seconds),
            "bytes": manifest.bytes,
            "ledger_entries": sum(manifest.ledger.values()),
            "quarantined_rows": manifest.quarantined,
            "parquet": dg.MetadataValue.path(f"{root}/{manifest.path}"),
            RUN_FOLDER: dg.MetadataValue.path(str(run.folder.path)),
            "snapshot": extraction.reader.snapshot.id,
        },
        tags=code_version(extraction.plan.digest),
    )
