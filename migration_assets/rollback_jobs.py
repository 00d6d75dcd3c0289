"""The jobs of the way back: they need no run of ours, and go on beside a pause."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg

from migration_assets.assets.keys import Keys
from migration_assets.core.cutover_config import PRODUCTION, STAGING
from migration_assets.core.results import StepFailure
from migration_assets.core.sensitive import shown_error
from migration_assets.errors import MigrationError, NotProvenError
from migration_assets.home import Migration

if TYPE_CHECKING:
    from migration_assets.core.rollback import Rollback

# The work itself is imported where it is done: every run defines these jobs, and few do them.


class RollbackConfig(dg.Config):
    """What a rollback may be told in the launchpad.

    Attributes:
        environment: production if there is one, else staging, unless it is said.
        accept_source_changes: go back to a source that was written to since it was read.
        further: take back what is live only since a rollback, as well.
    """

    environment: str | None = None
    accept_source_changes: bool = False
    further: bool = False


def rollback_job(migration: Migration) -> dg.JobDefinition:
    """What was live before the last cutover is live again."""
    keys = Keys(migration.name)

    @dg.op(
        name=f"{migration.name}_roll_back",
        description="Exchange the tables, bring the application back, count what was written.",
        out=dg.Out(dg.Nothing),
    )
    def roll_back(context: dg.OpExecutionContext, config: RollbackConfig) -> None:
        from migration_assets import rollback

        options = rollback.Options(
            accept_source_changes=config.accept_source_changes, further=config.further
        )
        environment = config.environment or migration.config.default_environment
        _recorded(
            migration,
            context,
            lambda: rollback.roll_back(
                migration, environment, context.run.run_id, options, context.log.info
            ),
        )

    @dg.job(
        name=keys.rollback,
        description=f"Take back what went live last of {migration.name}; nothing is lost.",
        executor_def=dg.in_process_executor,
        tags={"migration": migration.name},
    )
    def job() -> None:
        roll_back()

    return job


def rollback_drill_job(migration: Migration) -> dg.JobDefinition:
    """The way back in staging, there and back again, with its time."""
    keys = Keys(migration.name)

    @dg.op(
        name=f"{migration.name}_drill_rollback",
        description="Take back what is live in staging, count what was written, and undo it.",
        out=dg.Out(dg.Nothing),
    )
    def drill_rollback(context: dg.OpExecutionContext) -> None:
        from migration_assets.rollback_drill import drill

        _recorded(
            migration,
            context,
            lambda: drill(migration, STAGING, context.run.run_id, context.log.info),
        )

    @dg.job(
        name=keys.rollback_drill,
        description=f"Practise the way back of {migration.name} in {STAGING}, not {PRODUCTION}.",
        executor_def=dg.in_process_executor,
        tags={"migration": migration.name},
    )
    def job() -> None:
        drill_rollback()

    return job


def _recorded(
    migration: Migration, context: dg.OpExecutionContext, work: Callable[[], "Rollback"]
) -> None:
    """Do it; its figures become metadata, a failure one line with its exit code."""
    try:
        record = work()
    except Exception as error:
        hidden = bool(migration.config.sensitive)
        if not isinstance(error, MigrationError) and not hidden:
            raise
        code = getattr(error, "exit_code", NotProvenError.exit_code)
        failure = StepFailure(context.op_def.name, shown_error(error, hidden), code)
        folder = migration.run_folder(context.run.run_id)
        folder.write_result("failures", context.op_def.name, failure)
        raise dg.Failure(
            description=failure.message, metadata={"exit_code": code}, allow_retries=False
        ) from (None if hidden else error)
    written = record.account.rows if record.account else 0
    context.add_output_metadata(
        {
            "way": record.way.value,
            "seconds_back": record.seconds_back,
            "rows_written_since": written,
            **{step.name: f"{step.seconds:.2f} s: {step.detail}" for step in record.steps},
        }
    )
