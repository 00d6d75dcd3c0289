"""What a rollback finds, where it leads, and what it would do; nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass

from migration_assets import app_checks, switch_env, way_back
from migration_assets.backup import target_of
from migration_assets.core import results
from migration_assets.core.cutover_config import PRODUCTION, CommandConfig
from migration_assets.core.results import StepResult
from migration_assets.core.rollback import (
    ACCOUNT,
    REVERT,
    SMOKE,
    SOURCE,
    STOP_APP,
    SWAP_BACK,
    SWITCH_BACK,
    Way,
)
from migration_assets.errors import InputError
from migration_assets.home import Migration
from migration_assets.postgres import run_log, swap_back
from migration_assets.postgres.connect import Target, session
from migration_assets.postgres.swap import previous_schema
from migration_assets.run_folder import RunFolder

BACK_TO_SOURCE = (SOURCE, STOP_APP, SWAP_BACK, SWITCH_BACK, REVERT, ACCOUNT)
"""The steps where the application goes back to another database; ``revert`` looks at it there."""


@dataclass(frozen=True)
class Outlook:
    """What a rollback finds.

    Attributes:
        run: the run whose tables are live.
        way: where it leads.
        app_returns: the application goes back to another database than the target, or has to be
            started because the cutover ended before it was.
    """

    run: str
    way: Way
    app_returns: bool


def look(migration: Migration, environment: str, target: Target) -> Outlook:
    """See what is live and where a rollback leads; changes nothing.

    Raises:
        InputError: nothing of the migration is live, or there is nothing to go back to.
    """
    schema = target.schema
    with session(target, "the look at the target") as connection, connection.cursor() as cursor:
        run = run_log.live_run(cursor, schema, migration.name)
        previous = way_back.was_live(migration, cursor, schema, run)
    if run is None:
        raise InputError(
            f'nothing of migration {migration.name} is live in schema "{schema}" at '
            f"{target.location}: there is nothing to take back"
        )
    if not previous and environment != PRODUCTION:
        raise InputError(
            f'nothing was live in schema "{schema}" before run {run}, or it was rolled back '
            f"already; the way back to the source is one of {PRODUCTION}"
        )
    way = Way.PREVIOUS if previous else Way.SOURCE
    returns = environment == PRODUCTION and (
        not previous
        or _came_from_elsewhere(migration, run)
        or left_stopped(migration.run_folder(run))
    )
    return Outlook(run, way, returns)


def words(migration: Migration, environment: str) -> list[str]:
    """What a rollback would do, a line a step, without doing any of it.

    Raises:
        InputError: there is nothing to take back.
    """
    target = target_of(migration, environment)
    found = look(migration, environment, target)
    hooks = migration.config.cutover.hooks
    schema, kept = target.schema, swap_back.rolled_back_schema(target.schema)
    back = (
        f'schema "{previous_schema(schema)}" becomes "{schema}"'
        if found.way is Way.PREVIOUS
        else f'schema "{schema}" is put aside, since nothing was live before it'
    )
    kept_value = switch_env.kept_path(migration.folder, found.run)
    checks = [check.name for check in app_checks.configured(migration.config, environment)]
    own = {
        SOURCE: f"look whether {migration.source().location} was written to since it was read",
        STOP_APP: _words_of(hooks.stop_app),
        SWAP_BACK: f'{back}; what run {found.run} made live is kept as "{kept}"',
        SWITCH_BACK: "the application's variable gets its former value"
        if kept_value.exists()
        else "nothing: the run switched no variable",
        REVERT: _words_of(hooks.revert or hooks.start_app),
        SMOKE: f"application checks: {', '.join(checks) or 'none'}; not in an emergency",
        ACCOUNT: "count and keep what was written since, as Parquet and as statements",
    }
    steps = BACK_TO_SOURCE if found.app_returns else (SWAP_BACK, SMOKE, ACCOUNT)
    return [f"{step}: {own[step]}" for step in steps]


def _words_of(config: CommandConfig | None) -> str:
    return f"runs {config.command}" if config else "nothing, cutover.hooks has no such command"


def left_stopped(folder: RunFolder) -> bool:
    """Whether a cutover stopped the application and never came to starting it again."""
    started = folder.read_result("steps", "start_app", StepResult)
    stopped = (folder.path / "steps" / f"{STOP_APP}.log").exists()
    return stopped and (started is None or started.outcome == "failed")


def _came_from_elsewhere(migration: Migration, run: str) -> bool:
    """Whether the run's cutover gave the application another database than it had."""
    kept = switch_env.kept_path(migration.folder, run)
    if not kept.exists():
        return False
    former = results.from_json(switch_env.FormerValue, kept.read_bytes())
    return former.written not in {value.strip("'\"") for value in former.values}
