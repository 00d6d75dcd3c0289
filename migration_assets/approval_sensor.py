"""The sensor that starts an approved cutover inside its maintenance window."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from migration_assets import cutover, gate, history, pause, run_lock
from migration_assets.assets.keys import Keys
from migration_assets.core import window
from migration_assets.errors import MigrationError
from migration_assets.home import Migration

EVERY = 60
"""Seconds between two looks."""
_ONCE = "this sensor tries once: start it by hand, or approve again"


def approval_sensor(migration: Migration, job: Any) -> dg.SensorDefinition:
    """Starts the cutover, once for each approval; stopped until a person starts it.

    It decides nothing: the cutover asks the gate again, by itself.
    """

    @dg.sensor(
        name=f"{Keys(migration.name).name}_approval",
        job=job,
        minimum_interval_seconds=EVERY,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            f"Starts {Keys(migration.name).cutover} inside cutover.window when it was approved "
            "and nothing is missing."
        ),
    )
    def approved(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        try:
            reason = why_not(migration, datetime.now(UTC))
        except MigrationError as error:
            reason = str(error)
        if reason is not None:
            context.log.info(reason)
            return dg.SkipReason(reason)
        approval = gate.standing_approval(migration)
        assert approval is not None, "the gate asks for one"
        context.log.info(f"approved by {approval.approved_by}: the cutover begins")
        # Dagster starts one run for each key, and never a second one.
        return dg.RunRequest(run_key=approval.id, tags={"approved_by": approval.approved_by})

    return approved


def why_not(migration: Migration, now: datetime) -> str | None:
    """Why the cutover is not to be started at ``now``, None if it is.

    Raises:
        MigrationError: it can not be told.
    """
    paused = pause.read(migration.folder)
    if paused is not None:
        return f"{migration.name} is {paused}"
    approval = gate.standing_approval(migration)
    if approval is None:
        return "there is no approval that was not used yet"
    tried = next(iter(history.attempts(migration)), None)
    if tried is not None and _time(tried.started_at) > _time(approval.approved_at):
        why = "; ".join(tried.reasons[:1])
        return f"it was tried since the approval, in run {tried.run_id} ({why}); {_ONCE}"
    maintenance = migration.config.cutover.window
    if maintenance is not None and not window.is_open(maintenance, now):
        opens = window.next_opening(maintenance, now).isoformat(timespec="minutes")
        return f"approved by {approval.approved_by}; the window opens at {opens}"
    lines = gate.missing(migration)
    if lines:
        return f"the gate is closed: {'; '.join(lines)}"
    run = run_lock.under_way(migration)
    if run is not None:
        return f"run {run} is under way"
    lines = cutover.missing(migration)
    return f"not now: {'; '.join(lines)}" if lines else None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
