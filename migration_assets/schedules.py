"""The schedule of one migration."""

from typing import Any

import dagster as dg

from migration_assets.assets.keys import Keys
from migration_assets.home import Migration


def nightly_rehearsal(migration: Migration, job: Any) -> dg.ScheduleDefinition:
    """The rehearsal at the time that ``schedule`` names; stopped until a person starts it."""
    return dg.ScheduleDefinition(
        name=f"{Keys(migration.name).name}_nightly_rehearsal",
        job=job,
        cron_schedule=migration.config.schedule,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"A rehearsal of {migration.name} while nobody waits for it.",
    )
