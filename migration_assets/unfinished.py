"""Cutovers that ended before all of their steps were taken: the application again, or the rest."""

from __future__ import annotations

from contextlib import suppress

from migration_assets import backup, cutover, gone_live, run_lock
from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.results import StepResult
from migration_assets.cutover import Place
from migration_assets.errors import MigrationError, NotProvenError
from migration_assets.home import Migration
from migration_assets.retention import run_folders
from migration_assets.run_folder import RunFolder

BROUGHT_BACK = "bring_back"
"""The step that undoes ``stop_app``; a run that has it goes on no more."""


def bring_back(place: Place, asked: bool = False) -> StepResult | None:
    """After a cutover that ended before its swap: the application again, on its old database.

    Does nothing if it was not stopped, was brought back before, or the run has gone live.

    Args:
        place: the cutover.
        asked: a person wants it, whatever ``cutover.on_failure`` says.

    Returns:
        what was done, a failed step included; None if there was nothing to do.
    """
    folder, config = place.folder, place.migration.config.cutover
    if not _stopped(place) or _brought_back(folder) or (config.on_failure == "leave" and not asked):
        return None
    name = "revert" if config.hooks.revert else "start_app"
    command = config.hooks.revert or config.hooks.start_app
    if command is None:
        return cutover.skip(folder, BROUGHT_BACK, "cutover.hooks has neither revert nor start_app")
    # The run has failed already, for another reason; what goes wrong here stands beside it.
    with suppress(MigrationError):
        if _known_live(place):
            return None
        with cutover.recorded(folder, BROUGHT_BACK) as say:
            result = cutover.run_command(place, BROUGHT_BACK, command)
            say(f"{name}, on the old database: {result.command}: exit code 0")
    return folder.read_result("steps", BROUGHT_BACK, StepResult)


def left_stopped(migration: Migration) -> Place | None:
    """The last cutover, if it ended without a swap and brought the application not back."""
    place = _last(migration)
    if place is None or _brought_back(place.folder) or not _stopped(place):
        return None
    return None if gone_live.went_live(place.target, place.folder) else place


def half_way(migration: Migration) -> tuple[str, list[str]] | None:
    """The last cutover's run and the steps after its swap that are to be taken, if it is live."""
    if (place := _last(migration)) is None:
        return None
    lacking = [s for s in cutover.AFTER if cutover.done(place.folder, s) is None]
    run = place.folder.path.name
    live = lacking and gone_live.live_run(place.target, migration.name) == run
    return (run, lacking) if live else None


def left_half_way(migration: Migration) -> str | None:
    """One line if the last cutover is live and ended before all was done that comes after."""
    if (found := half_way(migration)) is None:
        return None
    return (
        f"cutover {found[0]} is live, but {', '.join(found[1])} did not happen: the application "
        "may be stopped, or work on its old database. Take the steps with migration-assets "
        f"cutover {migration.name} --go-on, or take it back with migration-assets rollback "
        f"{migration.name}"
    )


def _last(migration: Migration) -> Place | None:
    """The last cutover, None if there is none or one is at work."""
    if PRODUCTION not in migration.config.targets:
        return None
    at_work = run_lock.at_work(migration)
    if at_work is not None and at_work.environment == PRODUCTION:
        return None
    folders = (one for one in run_folders(migration) if one.read_results("steps", StepResult))
    last = next(folders, None)
    return Place(migration, last, backup.target_of(migration, PRODUCTION)) if last else None


def check_standing(place: Place) -> None:
    """Refuse to go on with a run whose application works on the old database again.

    Raises:
        NotProvenError: it does.
        MigrationError: the target can not be asked.
    """
    if _brought_back(place.folder) and not gone_live.went_live(place.target, place.folder):
        raise NotProvenError(
            "the application was brought back to its old database after this cutover failed: "
            f"start a new cutover ({PRODUCTION} is as it was)"
        )


def _known_live(place: Place) -> bool:
    """As :func:`gone_live.went_live`; that the target can not be asked is kept, and raised."""
    try:
        return gone_live.went_live(place.target, place.folder)
    except MigrationError as error:
        with cutover.recorded(place.folder, BROUGHT_BACK):
            raise NotProvenError(
                f"the application stays stopped, because it is not known whether the swap was "
                f"committed: {error}"
            ) from error


def _stopped(place: Place) -> bool:
    """Whether anything was done, tried, or only begun with the application or the source."""
    hooks = place.migration.config.cutover.hooks
    return any(
        getattr(hooks, s) and cutover.log_of(place, s).exists() for s in ("stop_app", "freeze")
    )


def _brought_back(folder: RunFolder) -> bool:
    record = folder.read_result("steps", BROUGHT_BACK, StepResult)
    return record is not None and record.outcome != "skipped"
