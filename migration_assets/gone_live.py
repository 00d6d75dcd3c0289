"""Whether a cutover has gone live, and still is: the target itself is asked."""

from __future__ import annotations

from psycopg2 import errors

from migration_assets import history
from migration_assets.core.results import StepResult, SwapResult
from migration_assets.errors import BrokenOffError, NotProvenError
from migration_assets.home import Migration
from migration_assets.postgres import marker, run_log
from migration_assets.postgres.connect import Target, session
from migration_assets.run_folder import RunFolder

WAIT_SECONDS = 60
"""For a swap that nobody waits for any more, as of a process that was killed at its commit."""


def went_live(target: Target, folder: RunFolder) -> bool:
    """Whether the run's tables are live, or were before they were taken back or replaced.

    Raises:
        MigrationError: the target can not be asked, or a swap into it comes to no end.
    """
    if folder.read_result("swap", "all", SwapResult) is not None:
        return True
    with (
        session(target, "the look at the target") as connection,
        connection.cursor() as cursor,
    ):
        try:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", (f"{WAIT_SECONDS}s",))
            marker.queue_for_swap(cursor, target.schema)
        except errors.LockNotAvailable:
            raise BrokenOffError(
                f'a swap into schema "{target.schema}" at {target.location} has been going on for '
                f"{WAIT_SECONDS} s: end its session, then try again"
            ) from None
        return run_log.has_been_live(cursor, folder.path.name)


def live_run(target: Target, migration: str) -> str | None:
    """The run of the migration that is live, None if there is none.

    Raises:
        MigrationError: the target can not be asked.
    """
    with (
        session(target, "the look at the target") as connection,
        connection.cursor() as cursor,
    ):
        return run_log.live_run(cursor, target.schema, migration)


def unrecorded(migration: Migration, target: Target) -> list[str]:
    """What keeps a cutover from beginning after one that was killed between commit and record.

    Its approval is used up, and what it replaced would be dropped.

    Raises:
        MigrationError: the target can not be asked.
    """
    live = live_run(target, migration.name)
    if live is None or live in {past.run_id for past in history.cutovers(migration)}:
        return []
    if migration.run_folder(live).read_result("steps", "preflight", StepResult) is None:
        return []
    return [
        f"run {live} has gone live and was broken off before that was recorded: re-execute it from "
        f"its failure, or take it back with migration-assets rollback {migration.name}"
    ]


def check_live(target: Target, migration: str, folder: RunFolder) -> None:
    """Refuse to go on after the swap with a run whose tables are not live.

    Raises:
        NotProvenError: they never were, or are not any more.
        MigrationError: the target can not be asked.
    """
    run_id = folder.path.name
    if not went_live(target, folder):
        raise NotProvenError(f"run {run_id} has not gone live: run the job {migration}_cutover")
    live = live_run(target, migration)
    if live != run_id:
        raise NotProvenError(
            f"run {run_id} is not live any more, "
            f"{f'run {live} is' if live else 'it was taken back'}: start a new cutover"
        )


def check_not_live(target: Target, folder: RunFolder) -> None:
    """Refuse to do anything again that belongs before the swap: what is live may be written to.

    Raises:
        NotProvenError: the run has gone live.
        MigrationError: the target can not be asked.
    """
    if went_live(target, folder):
        raise NotProvenError(
            f"run {folder.path.name} has gone live: nothing before its swap can be done again, "
            "re-execute from its failure or start a new cutover"
        )
