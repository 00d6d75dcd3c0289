"""The way back from a cutover, step by step; needs no Dagster, only the database.

What was live before the swap is live again. Where nothing was, the way back is the source: the
tables are put aside so that nobody writes to them any more, and the application goes back to the
database that it came from. What was written meanwhile is kept as it is, and counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from migration_assets import app_checks, commands, history, run_lock, switch_env, way_back
from migration_assets.backup import target_of
from migration_assets.core.cutover_config import PRODUCTION, CommandConfig
from migration_assets.core.rollback import (
    ACCOUNT,
    REVERT,
    SMOKE,
    SOURCE,
    STOP_APP,
    SWAP_BACK,
    SWITCH_BACK,
    Rollback,
    Step,
    SwapBack,
    Way,
)
from migration_assets.core.sensitive import shown_error
from migration_assets.core.standing import Standing
from migration_assets.errors import InputError, MigrationError, NotProvenError
from migration_assets.home import Migration
from migration_assets.passwords import known_passwords
from migration_assets.postgres import marker, run_log, swap_back
from migration_assets.postgres.connect import Target, session
from migration_assets.postgres.variables import application_variables, variables
from migration_assets.rollback_outlook import look
from migration_assets.run_folder import RunFolder
from migration_assets.written_since import account

_SWAP_TAKEN_BACK = "swap_taken_back"

Say = Callable[[str], None]
Exchange = Callable[[], SwapBack]


@dataclass(frozen=True)
class Options:
    """How a rollback is done.

    Attributes:
        emergency: only the exchange of tables may stop it; all else that fails is said at the end.
        accept_source_changes: go back to a source that was written to since it was read.
        further: take back what is live only since a rollback, as well.
    """

    emergency: bool = False
    accept_source_changes: bool = False
    further: bool = False


def roll_back(
    migration: Migration,
    environment: str,
    rollback_id: str,
    options: Options = Options(),
    say: Say = print,
) -> Rollback:
    """Take back what is live. One that did not come to its end is gone on with.

    Args:
        migration: whose.
        environment: where.
        rollback_id: names the record of a new one.
        options: how.
        say: told of each step in one line.

    Returns:
        the record, which is also in the migration's history; in an emergency steps of it may have
        failed.

    Raises:
        InputError: there is nothing to take back, or a run into the same environment is under
            way; nothing was changed.
        NotProvenError: a step failed, or the source has moved; the record says how far it came.
        BrokenOffError: the tables could not be exchanged, or the target was lost.
    """
    target = target_of(migration, environment)
    if not options.emergency:
        require_quiet(migration, environment)
    before = _before(migration, environment, options, say)
    record = _unfinished(before[0], migration, target) if before else None
    if record is None:
        found = look(migration, environment, target)
        if not options.further:
            _require_first(before, environment, found.run)
        record = Rollback(
            id=rollback_id,
            environment=environment,
            way=found.way,
            app_returns=found.app_returns,
            emergency=options.emergency,
            started_at=_now(),
            location=target.location,
            schema_name=target.schema,
            run=found.run,
        )
    else:
        say(f"going on with rollback {record.id}, which did not come to its end")
    return _Steps(migration, target, record, options, say).take()


def undo(migration: Migration, environment: str, say: Say = print) -> Rollback:
    """Take the last rollback back, while the application has stayed on the target.

    What was live before it is live again; what was live since is kept as ``<schema>__previous``,
    from where a rollback leads back to it.

    Raises:
        InputError: there was none, something went live since, or the application went back to
            another database, to which it has written since.
        NotProvenError, BrokenOffError: the tables could not be exchanged.
    """
    target = target_of(migration, environment)
    before = _before(migration, environment, Options(), say)
    last = before[0] if before else None
    if last is None or last.swap is None or last.undone_at is not None:
        raise InputError(f"nothing was rolled back in {environment}: there is nothing to undo")
    if last.app_returns:
        raise InputError(
            f"rollback {last.id} led the application back to the source, which it writes to since: "
            "start a new cutover"
        )
    require_quiet(migration, environment)
    done = way_back.go_forth(migration, target, last.run, last.swap)
    migration.run_folder(last.run).rename_result(_SWAP_TAKEN_BACK, "swap")
    say(
        f'run {done.served} is live again in schema "{done.schema_name}", run {done.run} is kept '
        f'as "{done.kept}" ({done.seconds:.2f} s)'
    )
    undone = last.model_copy(
        update={"undone_at": _now(), "finished_at": last.finished_at or _now()}
    )
    history.write_rollback(migration, undone)
    return undone


def folder(migration: Migration, rollback_id: str) -> Path:
    """Where a rollback keeps what was written since the cutover, and what its hooks print."""
    return migration.folder / "rollbacks" / rollback_id


class _Steps:
    """The steps of one rollback, each recorded as it is taken."""

    def __init__(
        self, migration: Migration, target: Target, record: Rollback, options: Options, say: Say
    ) -> None:
        self._migration = migration
        self._target = target
        self._record = record
        self._options = options
        self._say = say
        self._hooks = migration.config.cutover.hooks

    def take(self) -> Rollback:
        """Take all that are left; returns the record."""
        lenient = self._options.emergency
        if self._record.app_returns:
            self._step(SOURCE, self._source, lenient)
            self._step(STOP_APP, lambda: self._hook(STOP_APP, self._hooks.stop_app), lenient)
        # Whoever goes on with it must know of it, even if it ends between commit and record.
        self._keep()
        self._step(SWAP_BACK, self._swap_back)
        if self._record.app_returns:
            self._step(SWITCH_BACK, self._switch_back, lenient)
            command = self._hooks.revert or self._hooks.start_app
            self._step(REVERT, lambda: self._hook(REVERT, command), lenient)
        elif not lenient:
            self._step(SMOKE, self._smoke)
        self._step(ACCOUNT, self._account, lenient)
        if not self._record.failed:
            self._keep(finished_at=_now())
        return self._record

    def _step(self, name: str, work: Callable[[], str], may_fail: bool = False) -> None:
        """Take a step unless it was taken before."""
        before = self._record.step(name)
        if before is not None and before.outcome != "failed":
            return
        started = time.monotonic()
        outcome: Literal["done", "skipped", "failed"] = "failed"
        detail, failure = "interrupted", None
        try:
            detail = work()
            outcome = "done"
        except _SkippedError as skipped:
            outcome, detail = "skipped", str(skipped)
        except MigrationError as error:
            detail, failure = str(error), error
        except Exception as error:
            detail = shown_error(error, bool(self._migration.config.sensitive))
            if not may_fail:
                raise
        finally:
            seconds = round(time.monotonic() - started, 3)
            step = Step(name=name, outcome=outcome, seconds=seconds, detail=detail)
            others = [one for one in self._record.steps if one.name != name]
            self._keep(steps=(*others, step))
        self._say(f"{name} ({seconds:.2f} s): {detail}")
        if failure is not None and not may_fail:
            raise failure

    def _keep(self, **changes: object) -> None:
        self._record = self._record.model_copy(update=changes)
        try:
            history.write_rollback(self._migration, self._record)
        except (OSError, InputError) as error:
            if not self._options.emergency:
                raise
            self._say(f"the rollback's record can not be written: {error}")

    def _source(self) -> str:
        """Prove that the application finds its old database as it was left."""
        place = self._migration.run_folder(self._record.run)
        before = place.read_result("standing", "all", Standing)
        source = self._migration.source()
        if before is None:
            found: str | None = "the run has left nothing by which that could be seen"
        elif self._options.emergency and before.position is not None:
            # What moved can take as long as reading all of it; that something did is known sooner.
            now = source.position(before.position, self._migration.folder / "state")
            same = now.same_as(before.position)
            found = None if same else "what was, is not looked for in an emergency"
        else:
            moved = source.moved_since(before, place.snapshot)
            found = moved.line if moved else None
        if found is None:
            return f"{source.location} is as it was when it was read"
        self._keep(source_moved=found)
        said = f"{source.location} was written to since it was read: {found}"
        if self._options.accept_source_changes:
            return said
        raise NotProvenError(
            f"{said}; nothing was rolled back: look at it, then say --accept-source-changes"
            if not self._options.emergency
            else said
        )

    def _hook(self, name: str, config: CommandConfig | None) -> str:
        if config is None:
            raise _SkippedError(f"cutover.hooks has no {name}")
        command = _command(self._migration, self._target, self._record, name, config)
        log = folder(self._migration, self._record.id) / f"{name}.log"
        result = commands.run(command, log)
        if not result.passed:
            raise NotProvenError(f"{result.problem}; all it printed is in {log}")
        return f"{result.command}: exit code 0"

    def _swap_back(self) -> str:
        done = way_back.go_back(
            self._migration,
            self._target,
            self._record.run,
            to_previous=self._record.way is Way.PREVIOUS,
            lenient=self._options.emergency,
        )
        self._keep(swap=done)
        # So that no later attempt of that run goes on as if it were live.
        self._migration.run_folder(self._record.run).rename_result("swap", _SWAP_TAKEN_BACK)
        for note in done.notes:
            self._say(note)
        now = f"run {done.served} is live again" if done.served else "nothing is live"
        return f'{now} in schema "{done.schema_name}", run {done.run} is kept as "{done.kept}"'

    def _switch_back(self) -> str:
        kept = switch_env.kept_path(self._migration.folder, self._record.run)
        if not kept.exists():
            raise _SkippedError("the run switched no variable")
        result = switch_env.restore(kept)
        return f"{result.variable} in {result.file}: {result.before} became {result.after}"

    def _smoke(self) -> str:
        return smoke(self._migration, self._target, self._record.environment, self._record.id)

    def _account(self) -> str:
        swapped = self._record.swap
        assert swapped is not None and swapped.kept is not None, "the tables were exchanged"
        out = folder(self._migration, self._record.id)
        found = account(
            self._migration, self._target, swapped.kept, self._record.run, self._record.id, out
        )
        self._keep(account=found)
        for note in found.notes:
            self._say(note)
        if not found.rows:
            return f"nothing was written to {found.compared} tables since the cutover"
        return (
            f"{found.rows:,} rows of {len(found.tables)} tables were written since the cutover; "
            f"they are in {out}"
        )


class _SkippedError(Exception):
    """A step had nothing to do; says why."""


def smoke(migration: Migration, target: Target, environment: str, rollback_id: str) -> str:
    """Let the application's checks look at what is live again; returns what they found.

    Raises:
        NotProvenError: some failed; the message names each of them.
    """
    config = migration.config
    if environment == PRODUCTION:
        found = application_variables(config.cutover, target, migration.folder)
    else:
        found = variables(target, target.schema)
    place = RunFolder(folder(migration, rollback_id))
    checks = app_checks.run_all(config, environment, place, found)
    return f"{checks} application checks passed" if checks else "no application checks"


def _before(migration: Migration, environment: str, options: Options, say: Say) -> list[Rollback]:
    """The rollbacks that there were, the newest first."""
    try:
        found = history.rollbacks(migration)
    except InputError as error:
        if not options.emergency:
            raise
        say(f"the rollbacks before can not be seen: {error}")
        return []
    return [one for one in found if one.environment == environment and not one.drill]


def _unfinished(last: Rollback, migration: Migration, target: Target) -> Rollback | None:
    """The last rollback, if its tables were exchanged, steps are left, and nothing came since."""
    if last.finished_at is not None:
        return None
    kept = swap_back.rolled_back_schema(target.schema)
    with session(target, "the look at the target") as connection, connection.cursor() as cursor:
        marker.queue_for_swap(cursor, target.schema)  # one that nobody waits for may still end
        live = run_log.live_run(cursor, target.schema, migration.name)
        mark = marker.read_mark(cursor, kept)
    if last.swap is not None:
        return last if live == last.swap.served else None
    if live == last.run or mark is None or mark.run != last.run:
        return None
    # It was broken off between the exchange and the record of it.
    done = SwapBack(
        schema_name=target.schema, kept=kept, run=last.run, served=live, seconds=0.0, attempts=1
    )
    steps = [step for step in last.steps if step.name != SWAP_BACK]
    steps.append(Step(name=SWAP_BACK, outcome="done", seconds=0.0, detail="it was done before"))
    return last.model_copy(update={"swap": done, "steps": tuple(steps)})


def _require_first(before: list[Rollback], environment: str, run: str) -> None:
    """Raise InputError if ``run`` is live because of a rollback: two calls are not two ways."""
    for past in before:
        if past.swap is not None and past.swap.served == run and past.undone_at is None:
            raise InputError(
                f"run {run} is live in {environment} since rollback {past.id} of "
                f"{past.started_at}: nothing went live after it; to take that run back as well, "
                "say --further"
            )


def require_quiet(migration: Migration, environment: str) -> None:
    """Raise InputError if a run is about to go live where something is to be taken back."""
    found = run_lock.at_work(migration)
    if found is not None and found.environment == environment:
        raise InputError(
            f"run {found.run_id} of the same migration is under way into {environment}: end it, "
            "or wait, or say --emergency"
        )


def _command(
    migration: Migration, target: Target, record: Rollback, name: str, config: CommandConfig
) -> commands.Command:
    """A hook; ``DATABASE_URL`` is that of the target which is left."""
    variables = {
        **application_variables(migration.config.cutover, target, migration.folder),
        "MIGRATION_NAME": migration.name,
        "MIGRATION_RUN_ID": record.run,
        "MIGRATION_RUN_FOLDER": str(migration.run_folder(record.run).path),
    }
    known = known_passwords(migration.config, migration.folder)
    return commands.Command.of(name, config, migration.folder, variables, known)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
