"""Finish a target: constraints, swap into the schema that readers use, evidence and report."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from migration_assets import constraints, dangling, translated
from migration_assets.assets.existing import finish_existing, is_existing
from migration_assets.assets.extract import opened
from migration_assets.assets.keys import Keys
from migration_assets.assets.load import prepare
from migration_assets.assets.run import RUN_FOLDER, Run, step
from migration_assets.assets.swap import swap_asset
from migration_assets.assets.upstream import whole_plan
from migration_assets.core.catalog import POSTGRES
from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.evidence import Verdict
from migration_assets.core.kept_plan import with_dangling
from migration_assets.core.plan import Plan
from migration_assets.core.results import StatementResult
from migration_assets.errors import InputError
from migration_assets.home import Migration
from migration_assets.postgres import marker
from migration_assets.postgres.connect import session
from migration_assets.retention import prune
from migration_assets.retries import note_failure
from migration_assets.sources.base import SnapshotGoneError, SnapshotReader
from migration_assets.state import State


def finish_assets(
    migration: Migration, state: State, plan: Plan, target: str
) -> list[dg.AssetsDefinition]:
    """The three assets of a target that stand for all of its tables."""
    return [
        _constraints(migration, plan, target),
        swap_asset(migration, target),
        _report(migration, target),
    ]


def _constraints(migration: Migration, plan: Plan, target: str) -> dg.AssetsDefinition:
    keys = Keys(migration.name)

    @dg.multi_asset(
        name=f"{migration.name}_{target}_constraints",
        specs=[
            dg.AssetSpec(
                keys.step(target, "constraints"),
                deps=[keys.table(target, table.slug) for table in plan.tables],
                description="Keys, indexes, references, checks, views and statistics of all.",
                group_name=keys.group(target),
                kinds={"postgres"},
            )
        ],
        required_resource_keys={keys.run_resource},
        pool=migration.name,
    )
    def constraints_op(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        run: Run = getattr(context.resources, keys.run_resource)
        with step(run, context, "constraints"):
            if not plan.tables:
                # Nothing was extracted or loaded; there may still be views to make.
                run.admit(target)
                with opened(run, (), None) as extraction:
                    prepare(run, target, extraction.plan)
            planned = whole_plan(run)
            _check_incoming(run, target)
            run.folder.forget_constraints()
            if is_existing(run):
                done = finish_existing(run, target, planned)
            else:
                planned = _settled(run, target, planned)
                done = constraints.apply(
                    run.target(target),
                    run.incoming(target),
                    planned,
                    run.folder.profile(),
                    run.folder,
                    run.progress,
                )
                done = _withdrawn(run, target, planned, done)
            failed = [result for result in done if result.error is not None]
            for result in failed:
                where = f' of table "{result.table}"' if result.table else ""
                context.log.warning(f'{result.kind} "{result.name}"{where}: {result.error}')
            yield dg.MaterializeResult(
                asset_key=keys.step(target, "constraints"),
                metadata={
                    "statements": len(done),
                    "failed": len(failed),
                    "seconds": sum(result.seconds for result in done),
                    RUN_FOLDER: dg.MetadataValue.path(str(run.folder.path)),
                },
            )

    return constraints_op


def _withdrawn(
    run: Run, target: str, planned: Plan, done: list[StatementResult]
) -> list[StatementResult]:
    """Take back translated objects that do not mean the same; returns the results of the rest."""
    if run.folder.catalog().dialect == POSTGRES:
        return done
    withdrawn, kept = translated.withdraw(
        _original(run),
        run.target(target),
        run.incoming(target),
        planned,
        done,
        {slug: m.quarantined for slug, m in run.folder.manifests().items() if m.quarantined},
    )
    run.folder.write_withdrawn(withdrawn)
    constraints.write_results(run.folder, kept)
    return kept


def _original(run: Run) -> SnapshotReader:
    """The snapshot, or the source as it is now if that lasted only as long as its connections.

    What differs then because it was written to since is withdrawn, and never kept wrongly.
    """
    try:
        return run.reader()
    except SnapshotGoneError:
        source = run.migration.source()
        run.keep(source.take_snapshot(run.folder.path / "later.json"))
        return run.reader()


def _check_incoming(run: Run, target: str) -> None:
    """Raise InputError if the schema that was loaded is gone, as it is after the swap."""
    incoming = run.incoming(target)
    destination = run.target(target)
    with (
        session(destination, "the look at the target") as connection,
        connection.cursor() as cursor,
    ):
        if marker.schema_exists(cursor, incoming):
            return
    raise InputError(
        f'schema "{incoming}" that this run loaded is not at {destination.location} any more: '
        "materialize the tables again"
    )


def _settled(run: Run, target: str, planned: Plan) -> Plan:
    """The plan, its foreign keys as the quarantine left them."""
    manifests = run.folder.manifests()
    aside = {table.name for table in planned.tables if manifests[table.slug].quarantined}
    if not aside:
        return planned
    found = dangling.find(run.target(target), run.incoming(target), planned, aside)
    run.folder.write_dangling(found)
    return with_dangling(planned, found)


def _report(migration: Migration, target: str) -> dg.AssetsDefinition:
    keys = Keys(migration.name)

    @dg.multi_asset(
        name=f"{migration.name}_{target}_report",
        specs=[
            dg.AssetSpec(
                keys.step(target, "report"),
                deps=[keys.step(target, "enable_traffic" if target == PRODUCTION else "swap")],
                description="evidence.json and report.html: what was moved, and the proof of it.",
                group_name=keys.group(target),
                kinds={"html", "json"},
            )
        ],
        required_resource_keys={keys.run_resource},
        pool=migration.name,
    )
    def report_op(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        run: Run = getattr(context.resources, keys.run_resource)
        evidence = run.write_evidence()
        if evidence.run.verdict is not Verdict.PROVEN:
            note_failure(context, evidence.run.exit_code)
            raise dg.Failure(
                description=f"not proven: {'; '.join(evidence.run.reasons)}",
                metadata={"exit_code": evidence.run.exit_code},
                allow_retries=False,
            )
        prune(migration, run.id, context.log.warning)
        yield dg.MaterializeResult(
            asset_key=keys.step(target, "report"),
            metadata={
                "verdict": evidence.run.verdict.value,
                "tables": len(evidence.tables),
                "dagster/row_count": sum(table.rows_loaded or 0 for table in evidence.tables),
                "rows_identical": sum(table.rows_identical or 0 for table in evidence.tables),
                "ledger_entries": evidence.ledger.entries,
                "quarantined_rows": evidence.quarantine.rows,
                "seconds": evidence.run.seconds,
                "evidence": dg.MetadataValue.path(str(run.folder.evidence)),
                "report": dg.MetadataValue.path(str(run.folder.report)),
                RUN_FOLDER: dg.MetadataValue.path(str(run.folder.path)),
            },
        )

    return report_op
