"""The sensor that starts a rehearsal when the source has changed."""

from __future__ import annotations

import time
from typing import Any

import dagster as dg
from dagster import RunRecord
from pydantic import TypeAdapter

from migration_assets import pause, run_lock, source_state
from migration_assets.assets.keys import Keys
from migration_assets.core.standing import Position
from migration_assets.errors import MigrationError
from migration_assets.home import Migration
from migration_assets.retries import retry_tags

_COMING = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]
"""Runs that are to come, or have just begun; one at work holds the lock of its migration."""
_LOCK_SECONDS = 60
"""After so long a run that has begun holds the lock, or has ended."""


def source_changed(migration: Migration, job: Any) -> dg.SensorDefinition:
    """A rehearsal, at most one at a time, whenever the source is not as it was at the last one."""
    name = f"{Keys(migration.name).name}_source_changed"

    def tick(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        busy = _busy(migration, context.instance)
        if busy is not None:
            return dg.SkipReason(busy)
        before = _POSITION.validate_json(context.cursor) if context.cursor else None
        try:
            now = migration.source().position(before, migration.folder / "state")
        except MigrationError as error:
            return dg.SkipReason(str(error))
        cursor = _POSITION.dump_json(now).decode()
        read = source_state.last_read(migration)
        known = [one for one in (before, read) if one is not None]
        if not known:
            return dg.SensorResult(
                skip_reason="looked at for the first time; the next change starts a rehearsal",
                cursor=cursor,
            )
        if any(now.same_as(one) for one in known):
            return dg.SensorResult(skip_reason="the source has not changed", cursor=cursor)
        tags = {"migration/started_by": name, **retry_tags(migration.config.retries)}
        request = dg.RunRequest(tags=tags)
        return dg.SensorResult(run_requests=[request], cursor=cursor)

    return dg.SensorDefinition(
        name=name,
        evaluation_fn=tick,
        job=job,
        minimum_interval_seconds=60 * migration.config.source_sensor_minutes,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            f"Starts a rehearsal of {migration.name} when its source has changed since the last "
            "one, and none is under way."
        ),
    )


def _busy(migration: Migration, instance: dg.DagsterInstance) -> str | None:
    """Why no rehearsal can begin now, None if one can."""
    paused = pause.read(migration.folder)
    if paused is not None:
        return f"{migration.name} is {paused}"
    run = run_lock.under_way(migration)
    if run is None:
        records = instance.get_run_records(dg.RunsFilter(statuses=_COMING))
        run = next((r.dagster_run.run_id for r in records if _is_coming(migration, r)), None)
    return None if run is None else f"a run is under way or waits ({run}); looked at again after it"


def _is_coming(migration: Migration, record: RunRecord) -> bool:
    run = record.dagster_run
    if run.job_name != Keys(migration.name).rehearsal and (
        run.tags.get("migration") != migration.name
    ):
        return False
    # One that was killed counts as started for good.
    since = time.time() - (record.start_time or time.time())
    return run.status is not dg.DagsterRunStatus.STARTED or since < _LOCK_SECONDS


_POSITION: TypeAdapter[Position] = TypeAdapter(Position)
