"""Load: Parquet into the incoming schema of a target, table by table."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from migration_assets import generated, load, own_objects
from migration_assets.assets.existing import is_existing, prepare_existing
from migration_assets.assets.keys import Keys, batches, op_names
from migration_assets.assets.metadata import code_version, column_schema, rate
from migration_assets.assets.run import RUN_FOLDER, Run, step
from migration_assets.assets.upstream import extract_folder
from migration_assets.core.catalog import SkippedObject
from migration_assets.core.plan import Plan, TablePlan
from migration_assets.core.results import LoadResult, Manifest, SourceResult
from migration_assets.extract import open_parquet
from migration_assets.home import Migration
from migration_assets.postgres import admission
from migration_assets.run_folder import RunFolder
from migration_assets.state import State

BATCH = 50
"""Tables of one op: what Dagster handles quickly, and what one process works through."""
PARALLEL = 4
"""Most ops that share fewer tables, where each step has a process of its own."""
PARALLEL_BYTES = 64 << 20
"""Bytes of source tables that are worth a process of their own, which takes seconds to start."""


def table_batches(migration: Migration, state: State, plan: Plan) -> list[list[TablePlan]]:
    """The planned tables in batches balanced by bytes; loads and their checks share them."""
    weighted = [(table, state.catalog.table(table.source).bytes or 1) for table in plan.tables]
    least = 1
    if migration.config.executor == "multiprocess":
        worth = sum(weight for _, weight in weighted) // PARALLEL_BYTES
        least = min(max(worth, 1), PARALLEL)
    return batches(weighted, BATCH, least)


def load_assets(
    migration: Migration, state: State, plan: Plan, target: str
) -> list[dg.AssetsDefinition]:
    """Every planned table in the target environment."""
    keys = Keys(migration.name)
    groups = table_batches(migration, state, plan)
    names = op_names(f"{migration.name}_{target}_load", len(groups))
    version = plan.digest if state.profile else None
    made = []
    for name, tables in zip(names, groups, strict=True):
        specs = [
            dg.AssetSpec(
                keys.table(target, table.slug),
                deps=[keys.extract(table.slug)],
                description=f'Table "{table.name}" in {target}, loaded from Parquet.',
                group_name=keys.group(target),
                code_version=version,
                skippable=True,
                kinds={"postgres", "table"},
                metadata={
                    "table": table.source,
                    "dagster/table_name": f"{migration.config.schema_of(target)}.{table.name}",
                },
            )
            for table in tables
        ]
        wanted = {spec.key: table.slug for spec, table in zip(specs, tables, strict=True)}
        made.append(_assets(migration, target, name, specs, wanted))
    return made


def _assets(
    migration: Migration,
    target: str,
    name: str,
    specs: list[dg.AssetSpec],
    wanted: Mapping[dg.AssetKey, str],
) -> dg.AssetsDefinition:
    keys = Keys(migration.name)

    @dg.multi_asset(
        name=name,
        specs=specs,
        can_subset=True,
        required_resource_keys={keys.run_resource},
        pool=migration.name,
    )
    def load_op(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        run: Run = getattr(context.resources, keys.run_resource)
        chosen = {slug: key for key, slug in wanted.items() if key in context.selected_asset_keys}
        with step(run, context, "load") as current:
            run.admit(target)
            folders = {
                slug: extract_folder(run, context.instance, keys.extract(slug), slug)
                for slug in chosen
            }
            for slug in chosen:
                # What an earlier attempt found was about the table that is replaced now; its
                # views and references go with it.
                run.folder.forget_table(slug)
            plan = run.folder.plan()
            tables = [plan.by_slug(slug) for slug in chosen]
            prepare(run, target, plan)
            destination, incoming = run.target(target), run.incoming(target)

            def work(table: TablePlan) -> LoadResult:
                folder = folders[table.slug]
                manifest = folder.read_result("extract", table.slug, Manifest)
                assert manifest is not None, "extract_folder looked"
                refused: load.RowRefusedError | None = None
                with open_parquet(folder, manifest.path) as parquet:
                    try:
                        result, ordinary = generated.load_table(
                            destination,
                            incoming,
                            table,
                            parquet,
                            run.progress,
                            digest=manifest.digest,
                        )
                    except load.RowRefusedError as error:
                        refused = error
                if refused is not None:
                    result, ordinary = _load_rest(run, target, folder, table, manifest, refused)
                if ordinary:
                    run.folder.write_ordinary(table.slug, ordinary)
                run.folder.write_result("load", table.slug, result)
                return result

            for table, result in current.each(tables, work):
                left = run.folder.read_result("loaded", table.slug, Manifest)
                manifest = left or folders[table.slug].read_result("extract", table.slug, Manifest)
                assert manifest is not None, "it was loaded from one"
                yield _result(chosen[table.slug], run, target, table, result, manifest, plan.digest)

    return load_op


def _load_rest(
    run: Run,
    target: str,
    folder: RunFolder,
    table: TablePlan,
    manifest: Manifest,
    error: load.RowRefusedError,
) -> tuple[LoadResult, tuple[SkippedObject, ...]]:
    """Set aside the rows that PostgreSQL refuses, then load what is left.

    Args:
        run: the run.
        target: the target environment.
        folder: the run folder of the extract.
        table: the table.
        manifest: its extract.
        error: the refusal of the first of them; raised if the policy is ``fail``.
    """
    if table.policy("load_refused") == "fail":
        raise error
    # Needed where a row is refused only.
    from migration_assets import refusals
    from migration_assets.set_aside import set_aside

    destination, incoming = run.target(target), run.incoming(target)
    config = run.migration.config
    most = max(config.allowed_in_quarantine(target), refusals.MOST)
    with open_parquet(folder, manifest.path) as parquet:
        found = refusals.find(destination, incoming, table, parquet, error.line, most, run.progress)
        if not found:
            raise error
        source = folder.catalog().table(table.source)
        left = set_aside(run.reader(), source, table, manifest, parquet, found, run.folder)
    with open_parquet(run.folder, left.path) as parquet:
        return generated.load_table(
            destination, incoming, table, parquet, run.progress, digest=left.digest
        )


def prepare(run: Run, target: str, plan: Plan) -> None:
    """Make the incoming schema of a run that may write there."""
    destination = run.target(target)
    source = run.folder.read_result("source", "all", SourceResult)
    with run.folder.lock():
        if not is_existing(run):
            admission.check_target(destination, run.migration.name)
        version = load.prepare(
            destination,
            run.incoming(target),
            run.id,
            run.migration.name,
            plan_digest=plan.digest,
            snapshot_id=source.snapshot_id if source else None,
            # What earlier attempts loaded is gone with the schema that it was in.
            anew=run.folder.forget_loads,
        )
        run.note_server(target, version)
        if is_existing(run):
            prepare_existing(run, target, plan)
    own_objects.try_out(destination, run.incoming(target), plan)


def _result(
    key: dg.AssetKey,
    run: Run,
    target: str,
    table: TablePlan,
    result: LoadResult,
    manifest: Manifest,
    digest: str,
) -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(
        asset_key=key,
        metadata={
            "dagster/row_count": result.rows,
            "dagster/column_schema": column_schema(table),
            "table": table.source,
            "loaded_into": run.incoming(target),
            "seconds": result.seconds,
            "rows_per_second": rate(result.rows, result.seconds),
            "bytes": result.bytes,
            "quarantined_rows": manifest.quarantined,
            RUN_FOLDER: dg.MetadataValue.path(str(run.folder.path)),
        },
        tags=code_version(digest),
    )
