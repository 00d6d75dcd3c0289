"""The look at production after a cutover, as an asset with a check for each figure."""

import socket
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from migration_assets import notify, watch
from migration_assets.assets.keys import Keys
from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.watch import MEASURES, Look, Measure
from migration_assets.errors import MigrationError
from migration_assets.home import Migration

_SEVERITY = {"error": dg.AssetCheckSeverity.ERROR, "warning": dg.AssetCheckSeverity.WARN}


def watch_asset(migration: Migration) -> dg.AssetsDefinition:
    """The asset ``<name>/production/watch``; each materialization is one look."""
    keys = Keys(migration.name)
    key = keys.step(PRODUCTION, "watch")

    # No pool and no run of ours: a look goes on beside a rehearsal, and beside a pause.
    @dg.multi_asset(
        name=f"{migration.name}_{PRODUCTION}_watch",
        specs=[
            dg.AssetSpec(
                key,
                description="Production after the cutover: its figures, each with its limit.",
                group_name=keys.group("watch"),
                kinds={"postgres"},
            )
        ],
        check_specs=[
            dg.AssetCheckSpec(name, asset=key, description=kind.meaning)
            for name, kind in MEASURES.items()
        ],
    )
    def watch_op(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        try:
            found = watch.look(migration)
            path = watch.write_plots(migration)
        except MigrationError as error:
            raise dg.Failure(
                description=str(error),
                metadata={"exit_code": error.exit_code},
                allow_retries=False,
            ) from error
        tell(migration, context.log.warning)
        image = b64encode(path.read_bytes()).decode()
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={
                "bad_signs": len(found.failed),
                "plots": dg.MetadataValue.md(
                    f"![figures since the cutover](data:image/svg+xml;base64,{image})"
                ),
                "plots_file": dg.MetadataValue.path(str(path)),
                **{m.name: float(m.value) for m in found.measures if m.value is not None},
            },
            check_results=list(_results(key, found)),
        )

    return watch_op


def tell(migration: Migration, warn: Callable[[str], None]) -> None:
    """Tell of figures that have become bad signs, as ``notify`` says; each once while it lasts."""
    signs = watch.news(migration)
    config = migration.config.notify
    if not signs or not (config.webhook or config.command):
        return
    document = {
        "event": "bad_signs",
        "migration": migration.name,
        "environment": PRODUCTION,
        "signs": [
            {"name": sign.name, "severity": sign.kind.severity, "text": sign.line()}
            for sign in signs
        ],
        "host": socket.gethostname(),
    }
    for problem in notify.send(config, document, migration.folder):
        warn(problem)


def _results(key: dg.AssetKey, found: Look) -> Iterator[dg.AssetCheckResult]:
    by_name = {measure.name: measure for measure in found.measures}
    for name, kind in MEASURES.items():
        measure = by_name.get(name) or Measure(name, None, kind.limit, "not looked at")
        figure = {} if measure.value is None else {"value": float(measure.value)}
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=name,
            passed=measure.passed,
            severity=_SEVERITY[kind.severity],
            description=measure.line(),
            metadata={**figure, "limit": float(measure.limit)},
        )


def watch_job(migration: Migration) -> Any:
    """One look at production."""
    keys = Keys(migration.name)
    return dg.define_asset_job(
        keys.watch,
        selection=dg.AssetSelection.assets(keys.step(PRODUCTION, "watch")),
        description=f"Look at the production of {migration.name} once.",
        executor_def=dg.in_process_executor,
        tags={"migration": migration.name},
    )


def watch_schedule(migration: Migration, job: Any) -> dg.ScheduleDefinition:
    """Looks every few minutes while ``watch.hours`` since the cutover last; runs by itself.

    It only reads, and a person who goes live must not have to remember to start it.
    """
    config = migration.config.watch
    minutes = f"*/{config.every_minutes}" if config.every_minutes < 60 else "0"

    def tick(_context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        reason = watch.not_due(migration, datetime.now(UTC))
        return dg.SkipReason(reason) if reason else dg.RunRequest()

    return dg.ScheduleDefinition(
        name=f"{Keys(migration.name).watch}_schedule",
        job=job,
        cron_schedule=f"{minutes} * * * *",
        execution_timezone="UTC",
        execution_fn=tick,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Looks at production for {config.hours} hours after the cutover.",
    )
