"""The swap in Dagster: what was proven goes live, and in production what was approved."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import dagster as dg

from migration_assets.assets.existing import is_existing, move, moves_rows
from migration_assets.assets.gate import require_proof
from migration_assets.assets.keys import Keys
from migration_assets.assets.run import RUN_FOLDER, Run, step
from migration_assets.assets.upstream import whole_plan
from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.plan import Plan
from migration_assets.core.results import LoadResult, SourceResult, SwapResult
from migration_assets.errors import NotProvenError
from migration_assets.home import Migration
from migration_assets.postgres import app_rights, swap


def _check_quarantine(run: Run, target: str) -> None:
    """Raise NotProvenError if more rows are in quarantine than the migration allows."""
    manifests = run.folder.manifests().values()
    rows = sum(manifest.quarantined for manifest in manifests)
    allowed = run.migration.config.allowed_in_quarantine(target)
    if rows > allowed:
        tables = ", ".join(f'"{m.source}"' for m in manifests if m.quarantined)
        raise NotProvenError(
            f"nothing goes live: {rows:,} rows are in quarantine, max_quarantined allows "
            f"{allowed:,}: tables {tables}; see {run.folder.quarantine}"
        )


def _app_role(run: Run, target: str) -> str | None:
    """The application's role; where rehearsals go, only if there is one of that name."""
    role = run.migration.config.app_role
    if role is None or target == PRODUCTION or app_rights.is_role(run.target(target), role):
        return role
    return None


def swap_asset(migration: Migration, target: str) -> dg.AssetsDefinition:
    """The moment at which the loaded tables become those that readers use."""
    keys = Keys(migration.name)

    @dg.multi_asset(
        name=f"{migration.name}_{target}_swap",
        specs=[
            dg.AssetSpec(
                keys.step(target, "swap"),
                deps=[keys.step(target, "backup" if target == PRODUCTION else "constraints")],
                description=f'Schema "{migration.config.schema_of(target)}" as readers see it.',
                group_name=keys.group(target),
                kinds={"postgres"},
            )
        ],
        required_resource_keys={keys.run_resource},
        pool=migration.name,
    )
    def swap_op(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        run: Run = getattr(context.resources, keys.run_resource)
        with step(run, context, "swap"):
            plan = whole_plan(run)
            _check_quarantine(run, target)
            evidence = require_proof(run, target)
            exchange = partial(_exchange, run, target, plan)
            if target == PRODUCTION:
                from migration_assets.assets.cutover import go_live  # no concern to a rehearsal

                result = go_live(run, plan.digest, evidence, exchange)
            else:
                result = exchange(None)
            run.folder.write_result("swap", "all", result)
            yield dg.MaterializeResult(
                asset_key=keys.step(target, "swap"),
                metadata={
                    "schema": result.schema,
                    "previous": result.previous or "none",
                    "seconds": result.seconds,
                    "attempts": result.attempts,
                    RUN_FOLDER: dg.MetadataValue.path(str(run.folder.path)),
                },
            )

    return swap_op


def _exchange(run: Run, target: str, plan: Plan, still: Callable[[], None] | None) -> SwapResult:
    """Let the tables, or the rows, go live; ``still`` has the last word in the transaction."""
    loads = run.folder.read_results("load", LoadResult)
    source = run.folder.read_result("source", "all", SourceResult)
    snapshot = source.snapshot_id if source else None
    rows = sum(load.rows for load in loads.values())
    if moves_rows(run):
        return move(run, target, plan, snapshot, rows, still)
    built = is_existing(run)
    return swap.swap(
        run.target(target),
        run.incoming(target),
        run.migration.name,
        run.id,
        planned=[table.name for table in plan.tables],
        plan_digest=plan.digest,
        snapshot_id=snapshot,
        taken_at=source.taken_at if source else None,
        # The application's command makes more than the source has.
        tables=None if built else len(plan.tables),
        rows=rows,
        built=built,
        app_role=_app_role(run, target),
        still=still,
    )
