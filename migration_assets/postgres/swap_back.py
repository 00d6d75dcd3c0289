"""The way back: what was live before the last swap is live again, in one short transaction.

It takes the same locks as the swap, and as little time. What was live until now is kept as
``<schema>__rolled_back``; rights, row security, publications and numbers of today go over to the
tables that come back. The way back can itself be taken back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from psycopg2 import errors, sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.naming import shorten
from migration_assets.core.rollback import SwapBack
from migration_assets.errors import InputError, NotProvenError
from migration_assets.postgres import added, grants, marker, run_log, security, sequences
from migration_assets.postgres.connect import Target, session
from migration_assets.postgres.marker import Mark, Role
from migration_assets.postgres.patience import PATIENCE_SECONDS, limit_locks, patiently
from migration_assets.postgres.relations import (
    lock_tables,
    own_relations,
    rename_schema,
    set_schema,
)
from migration_assets.postgres.swap import previous_schema


@dataclass(frozen=True)
class _Exchange:
    """One exchange: what is live goes to ``kept`` in the role ``role``, ``former`` comes.

    ``owned`` are the object ids of what is live in a schema that is not ours alone, None where
    all of it is ours. ``mark`` is the mark of ``former``, None if nothing comes.
    """

    live: str
    kept: str
    role: Role
    former: str | None
    migration: str
    run: str | None
    taken_at: str | None
    mark: Mark | None
    owned: list[int] | None

    @property
    def kept_mark(self) -> Mark:
        """The mark of what was live."""
        return Mark(self.migration, self.run or "", self.role, self.taken_at)


def rolled_back_schema(schema: str) -> str:
    """The schema that keeps what was live before the last rollback."""
    return shorten(f"{schema}__rolled_back")


def swap_back(
    target: Target,
    migration: str,
    *,
    expected: str | None = None,
    to_previous: bool = True,
    built: bool = False,
    lenient: bool = False,
    patience: float = PATIENCE_SECONDS,
) -> SwapBack:
    """Let the tables that were live before the last swap be live again.

    What was live is kept as ``<schema>__rolled_back``; an earlier schema of that name gets its
    run's number behind it. Either all of it happens or nothing.

    Args:
        target: the database and the schema that readers use.
        migration: the migration's name.
        expected: the run that is to be taken back, None for whichever is live.
        to_previous: False if nothing was live before: what is live is then only put aside, so
            that nobody writes to it any more.
        built: the tables are the work of the application's own command; each state keeps the row
            security that the command gave it.
        lenient: rather leave security and publications of today behind than not go back.
        patience: seconds of trying against locks of others.

    Raises:
        InputError: nothing of this migration is live, another run than the expected one is, or
            there is nothing to go back to.
        NotProvenError: rights, a policy or a publication of today can not go over.
        BrokenOffError: others held their locks for too long, or the target was lost.
    """
    kept = rolled_back_schema(target.schema)
    former = previous_schema(target.schema) if to_previous else None

    def look(cursor: Cursor) -> _Exchange:
        run = run_log.live_run(cursor, target.schema, migration)
        if run is None:
            raise InputError(
                f'nothing of migration {migration} is live in schema "{target.schema}" at '
                f"{target.location}: there is nothing to take back"
            )
        if expected is not None:
            check_live(run, expected, target.schema)
        if former is not None and not marker.schema_exists(cursor, former):
            raise InputError(
                f'there is no schema "{former}" at {target.location}: nothing was live before run '
                f"{run}, or it was rolled back already"
            )
        return _look(cursor, target.schema, migration, run, kept, Role.ROLLED_BACK, former)

    return _exchange(target, look, built=built, lenient=lenient, patience=patience)


def undo(
    target: Target,
    migration: str,
    *,
    done: SwapBack | None = None,
    built: bool = False,
    patience: float = PATIENCE_SECONDS,
) -> SwapBack:
    """Take the last rollback back: what it put aside is live again.

    What is live is kept as ``<schema>__previous``, as it was before. ``done`` is the rollback, None
    for whichever was the last one; other arguments and errors as for :func:`swap_back`.
    """
    former = rolled_back_schema(target.schema)

    def look(cursor: Cursor) -> _Exchange:
        if not marker.schema_exists(cursor, former):
            raise InputError(
                f'there is no schema "{former}" at {target.location}: nothing was rolled back'
            )
        run = run_log.live_run(cursor, target.schema, migration)
        if done is not None:
            check_live(run, done.served, target.schema)
        kept = previous_schema(target.schema)
        if run is not None and marker.schema_exists(cursor, kept):
            raise InputError(
                f'run {run} has gone live since the last rollback and "{kept}" is the way back '
                "from it: there is nothing to undo"
            )
        return _look(cursor, target.schema, migration, run, kept, Role.PREVIOUS, former)

    return _exchange(target, look, built=built, lenient=False, patience=patience)


def check_live(run: str | None, expected: str | None, schema: str) -> None:
    """Refuse to exchange what somebody else has exchanged since it was looked at.

    Raises:
        InputError: another run than the expected one is live.
    """
    if expected != run:
        raise InputError(
            f'schema "{schema}" was exchanged meanwhile: run {run or "(none)"} is live there, and '
            f"not {expected or '(none)'}; nothing was changed, look at it and start again"
        )


def _look(
    cursor: Cursor,
    live: str,
    migration: str,
    run: str | None,
    kept: str,
    role: Role,
    former: str | None,
) -> _Exchange:
    for schema in (kept, former):
        if schema is not None and marker.schema_exists(cursor, schema):
            mark = marker.read_mark(cursor, schema)
            if mark is None or mark.migration != migration:
                raise InputError(
                    f'schema "{schema}" is there and is not this migration\'s; rename it, then run '
                    "again"
                )
    mark = marker.read_mark(cursor, live)
    alone = mark is not None or not marker.schema_exists(cursor, live)
    return _Exchange(
        live=live,
        kept=kept,
        role=role,
        former=former,
        migration=migration,
        run=run,
        taken_at=mark.taken_at if mark else None,
        mark=marker.read_mark(cursor, former) if former else None,
        owned=None if alone else run_log.own_objects(cursor, live, migration) if run else [],
    )


def _exchange(
    target: Target,
    look: Callable[[Cursor], _Exchange],
    *,
    built: bool,
    lenient: bool,
    patience: float,
) -> SwapBack:
    started = time.monotonic()

    def once(cursor: Cursor) -> tuple[_Exchange, list[str]]:
        """One try."""
        marker.queue_for_swap(cursor, target.schema)
        plan = look(cursor)
        limit_locks(cursor)
        if plan.role is Role.ROLLED_BACK:
            make_room(cursor, plan.kept)
        notes = _left_behind(cursor, plan)
        if plan.run is not None and plan.former is not None:
            notes += _prepare(cursor, plan, built=built, lenient=lenient)
        elif plan.run is not None:
            _lock(cursor, plan)
        if plan.owned is None:
            _rename(cursor, plan)
        else:
            _move(cursor, plan, plan.owned)
        _log(cursor, plan)
        return plan, notes

    with session(target, "the way back") as connection:
        (plan, notes), attempts = patiently(connection, target.schema, patience, once)
    return SwapBack(
        schema_name=target.schema,
        kept=plan.kept if plan.run is not None else None,
        run=plan.run,
        served=plan.mark.run if plan.mark else None,
        seconds=time.monotonic() - started,
        attempts=attempts,
        notes=tuple(notes),
    )


def make_room(cursor: Cursor, kept: str) -> None:
    """Give what an earlier rollback put aside the number of its run: it is not ours to drop."""
    mark = marker.read_mark(cursor, kept)
    if mark is not None:
        rename_schema(cursor, kept, shorten(f"{kept}_{mark.run[:8]}"))


def _left_behind(cursor: Cursor, plan: _Exchange) -> list[str]:
    """What others added to what is live, or built on it: it does not go back."""
    if plan.run is None:
        return []
    known = run_log.own_objects(cursor, plan.live, plan.migration)
    new = added.relations(cursor, plan.live, known) if plan.owned is None else []
    notes = [f'{name}, made since, is in schema "{plan.kept}"' for name in new]
    return notes + [
        f'{name} reads what is in schema "{plan.kept}" now'
        for name in added.outside_dependents(cursor, plan.live)
    ]


def _prepare(cursor: Cursor, plan: _Exchange, *, built: bool, lenient: bool) -> list[str]:
    """Give what comes back what is live has today, and lock what is live."""
    assert plan.former is not None, "something comes back"
    secured = [] if built else security.row_security(cursor, plan.live, plan.former)
    notes = []
    cursor.execute("SAVEPOINT today")
    try:
        _carry_over(cursor, plan, plan.former, built)
    except NotProvenError as error:
        if not lenient:
            raise
        cursor.execute("ROLLBACK TO SAVEPOINT today")
        notes.append(f"rights and row security are those of then: {error}")
    _lock(cursor, plan)
    if not built and security.row_security(cursor, plan.live, plan.former) != secured:
        raise errors.SerializationFailure("the row security of the live tables was changed")
    return notes + sequences.advance(cursor, plan.live, plan.former)


def _carry_over(cursor: Cursor, plan: _Exchange, former: str, built: bool) -> None:
    alone = plan.owned is None
    steps = [] if built else security.replaced(cursor, plan.live, former)
    steps += security.publications(cursor, plan.live, former, schema_too=alone)
    security.carry_over(cursor, plan.live, former, steps)
    statements = grants.withdraw(cursor, plan.live, former, schema_too=alone)
    statements += grants.carry_over(cursor, plan.live, former, schema_too=alone)
    grants.apply(cursor, plan.live, statements)


def _lock(cursor: Cursor, plan: _Exchange) -> None:
    kinds, mode = (
        ("rp", "SHARE ROW EXCLUSIVE") if plan.owned is None else ("rpv", "ACCESS EXCLUSIVE")
    )
    relations = own_relations(cursor, plan.live, kinds, plan.owned)
    lock_tables(cursor, plan.live, [name for name, _ in relations], mode)


def _rename(cursor: Cursor, plan: _Exchange) -> None:
    if plan.run is not None:
        rename_schema(cursor, plan.live, plan.kept)
        marker.write_mark(cursor, plan.kept, plan.kept_mark)
    if plan.former is not None:
        rename_schema(cursor, plan.former, plan.live)
        if plan.mark is not None:
            marker.write_mark(cursor, plan.live, replace(plan.mark, role=Role.LIVE))


def _move(cursor: Cursor, plan: _Exchange, owned: list[int]) -> None:
    if plan.run is not None:
        relations = own_relations(cursor, plan.live, "rpv", owned)
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(plan.kept)))
        marker.write_mark(cursor, plan.kept, plan.kept_mark)
        set_schema(cursor, relations, plan.live, plan.kept)
    if plan.former is not None:
        relations = own_relations(cursor, plan.former, "rpv", None)
        set_schema(cursor, relations, plan.former, plan.live)
        # RESTRICT: whatever was left behind stops the way back.
        cursor.execute(sql.SQL("DROP SCHEMA {} RESTRICT").format(sql.Identifier(plan.former)))


def _log(cursor: Cursor, plan: _Exchange) -> None:
    """Let the log say which run is live: it is what tells our tables in a shared schema."""
    back = plan.role is Role.ROLLED_BACK
    if back and plan.run is not None:
        run_log.record_run(cursor, plan.run, plan.migration, plan.live, outcome=run_log.ROLLED_BACK)
    if back and plan.former is None:
        run_log.forget_live(cursor, plan.live, plan.migration)
    if not back and plan.mark is not None:
        run_log.record_run(cursor, plan.mark.run, plan.migration, plan.live, outcome=run_log.LIVE)
