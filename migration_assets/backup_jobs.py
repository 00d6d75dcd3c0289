"""Jobs and schedule of one migration that look after backups; they stand beside its runs."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from migration_assets.assets.keys import Keys
from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.sensitive import shown_error
from migration_assets.errors import NotProvenError
from migration_assets.home import Migration
from migration_assets.progress import Progress

_SCHEDULE = "dagster/schedule_name"


def backup_job(migration: Migration) -> dg.JobDefinition:
    """Back up what is live in an environment."""
    keys = Keys(migration.name)

    @dg.op(
        name=f"{migration.name}_back_up",
        description="pg_dump and, of the same snapshot, rows and digests of every table.",
        config_schema={"environment": _environment(migration)},
        out=dg.Out(dg.Nothing),
        pool=f"{migration.name}_backups",
    )
    def back_up(context: dg.OpExecutionContext) -> None:
        from migration_assets import backup  # what only moves data waits for none of it

        environment: str = context.op_config["environment"]
        scheduled = _SCHEDULE in context.run.tags
        with _errand(migration, context) as progress:
            target = backup.target_of(migration, environment)
            if scheduled and not backup.is_live(target):
                context.log.info(f'nothing is live in schema "{target.schema}" yet: no backup')
                return
            made = backup.back_up(
                migration,
                environment,
                target,
                progress,
                reason=backup.SCHEDULE if scheduled else backup.ASKED,
                warn=context.log.warning,
            )
            context.log_event(
                dg.AssetMaterialization(
                    keys.backups(environment),
                    description=f"Backup {made.id} of {environment}.",
                    metadata={
                        "backup": made.id,
                        "tables": len(made.contents.tables),
                        "dagster/row_count": made.contents.rows,
                        "bytes": made.bytes,
                        "seconds": made.seconds,
                        "run": made.live_run or "unknown",
                        "folder": dg.MetadataValue.path(
                            str(backup.place_of(migration, environment, made.id))
                        ),
                    },
                )
            )

    @dg.job(
        name=keys.backup,
        description=f"Back up what is live of {migration.name}, and drop what is not kept.",
        executor_def=dg.in_process_executor,
        tags={"migration": migration.name},
    )
    def job() -> None:
        back_up()

    return job


def restore_drill_job(migration: Migration) -> dg.JobDefinition:
    """Restore a backup into a database of its own, compare it, and drop that database."""
    keys = Keys(migration.name)

    @dg.op(
        name=f"{migration.name}_restore",
        description="Restore a backup into a database of its own, compare all of it, drop it.",
        config_schema={
            "environment": _environment(migration),
            "backup": dg.Field(
                str,
                is_required=False,
                description="Its id, or the beginning of it; the newest if it is left out.",
            ),
        },
        out=dg.Out(dg.Nothing),
        pool=f"{migration.name}_backups",
    )
    def restore(context: dg.OpExecutionContext) -> None:
        from migration_assets import backup, restore_drill  # seldom needed

        environment: str = context.op_config["environment"]
        with _errand(migration, context) as progress:
            chosen = backup.find(migration, environment, context.op_config.get("backup"))
            places = restore_drill.places(migration, environment)
            done = restore_drill.drill(migration, chosen, places, progress)
            context.log_event(
                dg.AssetObservation(
                    keys.backups(environment),
                    description=f"Restore drill of backup {chosen.id}.",
                    metadata={
                        "restored": chosen.id,
                        "restores": done.passed,
                        "problems": dg.MetadataValue.md(
                            "\n".join(f"- {line}" for line in done.problems) or "none"
                        ),
                        "checksum_seconds": done.checksum_seconds,
                        "restore_seconds": done.restore_seconds,
                        "compare_seconds": done.compare_seconds,
                    },
                )
            )
            if not done.passed:
                raise NotProvenError(restore_drill.verdict(done))

    @dg.job(
        name=keys.restore_drill,
        description=f"Prove that a backup of {migration.name} restores; what is live is untouched.",
        executor_def=dg.in_process_executor,
        tags={"migration": migration.name},
    )
    def job() -> None:
        restore()

    return job


def backup_schedule(migration: Migration, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Backups at the time that ``backup.schedule`` names.

    With production it runs by itself, once a cutover has gone live, as a person who goes live must
    not have to remember to start it. A migration that only rehearses has it stopped.
    """
    production = PRODUCTION in migration.config.targets

    def tick(_context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        from migration_assets import history  # what only moves data waits for none of it

        live = next(iter(history.cutovers(migration)), None) if production else None
        if production and (live is None or live.rolled_back_at is not None):
            return dg.SkipReason("no cutover has gone live, or it was rolled back")
        return dg.RunRequest()

    running, stopped = dg.DefaultScheduleStatus.RUNNING, dg.DefaultScheduleStatus.STOPPED
    return dg.ScheduleDefinition(
        name=f"{migration.name}_backup",
        job=job,
        cron_schedule=migration.config.backup.schedule,
        execution_timezone="UTC",
        execution_fn=tick,
        default_status=running if production else stopped,
        description=f"Backups of {migration.name} from its cutover on.",
    )


def _environment(migration: Migration) -> dg.Field:
    return dg.Field(
        dg.Enum(
            f"{migration.name}_environment",
            [dg.EnumValue(name) for name in migration.config.targets],
        ),
        default_value=migration.config.default_environment,
        is_required=False,
        description="The target environment.",
    )


@contextmanager
def _errand(migration: Migration, context: Any) -> Iterator[Progress]:
    """Frame an op that is no step of a run: it leaves no run folder, and fails in one line."""
    folder = migration.run_folder(context.run.run_id).path
    shown = folder / "progress"
    shown.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        yield Progress(shown, context.log.info)
    except Exception as error:
        hidden = bool(migration.config.sensitive)
        code = getattr(error, "exit_code", NotProvenError.exit_code)
        raise dg.Failure(
            shown_error(error, hidden), metadata={"exit_code": code}, allow_retries=False
        ) from (None if hidden else error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
