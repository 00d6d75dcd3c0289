"""The schedule of one migration."""

from typing import Any

import dagster as dg

from migration_assets import pause
from migration_assets.assets.keys import Keys
from migration_assets.home import Migration
from migration_assets.retries import retry_tags


def nightly_rehearsal(migration: Migration, job: Any) -> dg.ScheduleDefinition:
    """The rehearsal at the time that ``schedule`` names; stopped until a person starts it."""

    def tick(_context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        paused = pause.read(migration.folder)
        tags = retry_tags(migration.config.retries)
        return (
            dg.SkipReason(f"{migration.name} is {paused}") if paused else dg.RunRequest(tags=tags)
        )

    return dg.ScheduleDefinition(
        name=f"{Keys(migration.name).name}_nightly_rehearsal",
        job=job,
        cron_schedule=migration.config.schedule,
        execution_timezone="UTC",
        execution_fn=tick,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"A rehearsal of {migration.name} while nobody waits for it.",
    )
