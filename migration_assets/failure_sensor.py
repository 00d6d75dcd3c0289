"""The sensor that looks after runs that failed: it tells of them, and brings applications back."""

from datetime import UTC, datetime

import dagster as dg

from migration_assets.assets.keys import Keys
from migration_assets.assets.run import continued_run
from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.results import StepFailure
from migration_assets.errors import BrokenOffError, InputError, NotProvenError
from migration_assets.home import Migration

_ERRORS = (BrokenOffError, InputError, NotProvenError)
_EVERY = 15
"""Seconds between two looks."""
_WILL_RETRY = "dagster/will_retry"


def failure_sensor(migration: Migration) -> list[dg.SensorDefinition]:
    """The sensor, none where there is nothing to do; it looks at runs of every kind and origin.

    A cutover that fails brings the application back by itself; one that was killed could not.
    """
    config = migration.config.notify
    told = bool(config.webhook or config.command)
    if not told and PRODUCTION not in migration.config.targets:
        return []

    @dg.run_failure_sensor(
        name=f"{migration.name}_failure",
        description=(
            f"Tells, as notify in defs.yaml says, of runs of {migration.name} that failed, and "
            "brings the application back where a cutover was killed before its swap."
        ),
        minimum_interval_seconds=_EVERY,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def failure(context: dg.RunFailureSensorContext) -> None:
        from migration_assets import notify, unfinished  # needed by none of the runs

        run = context.dagster_run
        if not _is_of(migration, run):
            return
        if run.job_name == Keys(migration.name).cutover:
            place = unfinished.left_stopped(migration)
            back = unfinished.bring_back(place) if place else None
            if back is not None:
                context.log.warning(f"{back.name}: {back.outcome}: {back.detail}")
        if not told:
            return
        record = context.instance.get_run_record_by_id(run.run_id)
        assert record is not None, "the sensor was told of it"
        document = notify.failed_run(
            migration,
            migration.run_folder(continued_run(context.instance, run)),
            run.run_id,
            run.job_name,
            datetime.fromtimestamp(record.start_time or record.create_timestamp.timestamp(), UTC),
            _said(run.job_name, context.failure_event, bool(migration.config.sensitive)),
            record.dagster_run.tags.get(_WILL_RETRY) == "true",
        )
        for problem in notify.send(config, document, migration.folder):
            context.log.warning(problem)

    return [failure]


def _said(job: str, event: dg.DagsterEvent, hidden: bool) -> StepFailure:
    """What Dagster says of a failure: its first cause, if that is known.

    With ``hidden`` nothing of an error that is none of ours: it may have values.
    """
    message, code = event.message or "the run failed", BrokenOffError.exit_code
    error = event.job_failure_data.error
    while error is not None:
        message, kind = error.message, error.cls_name
        own = next((e for e in _ERRORS if e.__name__ == kind), None)
        code = own.exit_code if own else code
        if hidden and own is None:
            message = f"{kind}: its message may have sensitive values"
        error = error.cause
    line = " ".join(message.split())
    return StepFailure(job, line.partition("Error: ")[2] or line, code)


def _is_of(migration: Migration, run: dg.DagsterRun) -> bool:
    """Whether a run is of the migration: of one of its jobs, or of assets that were chosen."""
    keys = {*(run.asset_selection or ())}
    keys |= {check.asset_key for check in run.asset_check_selection or ()}
    return run.tags.get("migration") == migration.name or any(
        key.path[0] == migration.name for key in keys
    )
