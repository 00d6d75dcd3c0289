"""The rollback drill: the way back is taken, timed, and taken back, where nobody is served."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Literal

from migration_assets import history, rollback, way_back
from migration_assets.backup import target_of
from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.rollback import (
    ACCOUNT,
    SMOKE,
    SWAP_BACK,
    UNDO,
    Rollback,
    Step,
    SwapBack,
    Way,
)
from migration_assets.errors import InputError, NotProvenError
from migration_assets.home import Migration
from migration_assets.postgres import run_log
from migration_assets.postgres.connect import Target, session
from migration_assets.written_since import account


def drill(
    migration: Migration, environment: str, drill_id: str, say: rollback.Say = print
) -> Rollback:
    """Take back what is live, count what was written to it since, and let it be live again.

    Where nothing was live before, the tables are put aside and come back: as on the way to the
    source.

    Args:
        migration: whose.
        environment: where; not production.
        drill_id: names the record.
        say: told of each step in one line.

    Returns:
        the record with the time of each step, which is also in the migration's history.

    Raises:
        InputError: nothing is live there, it is production, or a run into it is under way.
        NotProvenError: what is live afterwards is not what was, or the application's checks failed
            on what was live before.
        BrokenOffError: the tables could not be exchanged, or the target was lost.
    """
    if environment == PRODUCTION:
        raise InputError(
            f"a drill exchanges tables twice, which {PRODUCTION} is not for: drill in staging"
        )
    rollback.require_quiet(migration, environment)
    target = target_of(migration, environment)
    run, previous = _live(migration, target)
    if run is None:
        raise InputError(
            f'nothing of migration {migration.name} is live in schema "{target.schema}" at '
            f"{target.location}: run a rehearsal first"
        )
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    swapped, back = _timed(lambda: way_back.go_back(migration, target, run, to_previous=previous))
    steps = [_step(SWAP_BACK, back, swapped)]
    say(steps[-1].detail)
    try:
        if previous:
            steps.append(_smoke(migration, target, environment, drill_id))
            say(steps[-1].detail)
        started = time.monotonic()
        assert swapped.kept is not None, "something was live"
        out = rollback.folder(migration, drill_id)
        found = account(migration, target, swapped.kept, run, drill_id, out)
        seconds = round(time.monotonic() - started, 3)
        said = f"{found.rows:,} rows written to {found.compared} tables since run {run}"
        steps.append(Step(name=ACCOUNT, outcome="done", seconds=seconds, detail=said))
        say(said)
    finally:
        undone, forth = _timed(lambda: way_back.go_forth(migration, target, run, swapped))
        steps.append(_step(UNDO, forth, undone))
        say(steps[-1].detail)
    if _live(migration, target) != (run, previous):
        raise NotProvenError(
            f'schema "{target.schema}" does not hold run {run} again after the drill: look at it'
        )
    record = Rollback(
        id=drill_id,
        environment=environment,
        way=Way.PREVIOUS if previous else Way.SOURCE,
        drill=True,
        started_at=started_at,
        finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        location=target.location,
        schema_name=target.schema,
        run=run,
        steps=tuple(steps),
        swap=swapped,
        account=found,
    )
    history.write_rollback(migration, record)
    for step in record.failed:
        raise NotProvenError(
            f"the application does not work on what was live before: {step.detail}; schema "
            f'"{target.schema}" is as it was'
        )
    return record


def _smoke(migration: Migration, target: Target, environment: str, drill_id: str) -> Step:
    started = time.monotonic()
    outcome: Literal["done", "failed"] = "failed"
    try:
        detail = rollback.smoke(migration, target, environment, drill_id)
        outcome = "done"
    except NotProvenError as error:
        detail = str(error)
    seconds = round(time.monotonic() - started, 3)
    return Step(name=SMOKE, outcome=outcome, seconds=seconds, detail=detail)


def _live(migration: Migration, target: Target) -> tuple[str | None, bool]:
    """The run that is live, and whether something is kept of what was live before."""
    with session(target, "the look at the target") as connection, connection.cursor() as cursor:
        run = run_log.live_run(cursor, target.schema, migration.name)
        return run, way_back.was_live(migration, cursor, target.schema, run)


def _timed(work: rollback.Exchange) -> tuple[SwapBack, float]:
    started = time.monotonic()
    done = work()
    return done, round(time.monotonic() - started, 3)


def _step(name: str, seconds: float, done: SwapBack) -> Step:
    now = f"run {done.served} live" if done.served else "nothing live"
    detail = f'{now} in schema "{done.schema_name}" after {seconds:.2f} s'
    return Step(name=name, outcome="done", seconds=seconds, detail=detail)
