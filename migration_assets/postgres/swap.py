"""The swap: the incoming tables become the ones that readers use, in one short transaction.

Two ways, both measured under readers and writers. A schema that is ours alone is renamed: its
tables are locked against writers for some milliseconds, readers wait for nothing. In a schema
that was there before us, such as ``public``, the tables are moved one by one under a lock that
readers wait for too. Both give up after LOCK_TIMEOUT, which is below PostgreSQL's
``deadlock_timeout``, let everybody through, and try again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from psycopg2 import errors, sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.app_rights import Right
from migration_assets.core.naming import shorten
from migration_assets.core.results import SwapResult
from migration_assets.errors import InputError, NotProvenError
from migration_assets.postgres import (
    added,
    admission,
    app_rights,
    grants,
    marker,
    run_log,
    security,
)
from migration_assets.postgres.connect import Target, session
from migration_assets.postgres.marker import Mark, Role
from migration_assets.postgres.patience import PATIENCE_SECONDS, limit_locks, patiently
from migration_assets.postgres.relations import (
    lock_tables,
    own_relations,
    rename_schema,
    set_schema,
)


@dataclass(frozen=True)
class _Swap:
    """Names of one swap; ``moves`` is the way for a schema that is not ours alone."""

    live: str
    incoming: str
    previous: str
    obsolete: str
    migration: str
    run_id: str
    taken_at: str | None
    first: bool
    moves: bool
    previous_run: str | None
    previous_taken_at: str | None
    built: bool

    @property
    def previous_mark(self) -> Mark:
        """The mark of what is kept."""
        return Mark(self.migration, self.previous_run or "", Role.PREVIOUS, self.previous_taken_at)


def previous_schema(schema: str) -> str:
    """The schema that keeps what was live before the last swap."""
    return shorten(f"{schema}__previous")


def swap(
    target: Target,
    incoming: str,
    migration: str,
    run_id: str,
    *,
    planned: Collection[str] = (),
    plan_digest: str | None = None,
    snapshot_id: str | None = None,
    taken_at: str | None = None,
    tables: int | None = None,
    rows: int | None = None,
    patience: float = PATIENCE_SECONDS,
    built: bool = False,
    app_role: str | None = None,
    still: Callable[[], None] | None = None,
) -> SwapResult:
    """Put the tables of ``incoming`` in the place of the live ones.

    What was live is kept as ``<schema>__previous``; what was kept before that is dropped. Owners,
    rights, row security and publications of the old tables and schema go over to the new ones.
    Either all of it happens or nothing. A second call after a success changes nothing.

    Args:
        target: the database and the schema that readers use.
        incoming: the schema with the loaded and checked tables.
        migration: the migration's name.
        run_id: the root run id.
        planned: names of all tables that must be there.
        plan_digest: for the log.
        snapshot_id: for the log.
        taken_at: when the snapshot was taken, ISO 8601 with a time zone. What is live is never
            replaced by what is older.
        tables: how many tables there must be, also for the log.
        rows: rows of all tables, for the log.
        patience: seconds of trying against locks of others.
        built: the incoming schema is the work of the application's own command, with its routines,
            types, triggers and row security; none of these is carried over then.
        app_role: the application's role: it gets rights on what is new, and what it could read
            and write before, it still can, or nothing is swapped.
        still: called at the very end of the transaction; what it raises undoes the swap.

    Raises:
        NotProvenError: what is live is of a later snapshot, a planned table is not in
            ``incoming``, a policy or publication can not be carried over, or ``app_role`` would
            lack a right.
        InputError: the live schema holds what is not this migration's.
        BrokenOffError: others held their locks for too long, or the target was lost.
    """
    started = began = time.monotonic()
    rights: list[Right] = []
    facts = {
        "plan_digest": plan_digest,
        "snapshot_id": snapshot_id,
        "tables": tables if tables is not None else len(planned) or None,
        "rows": rows,
    }

    def exchange(cursor: Cursor) -> _Swap | None:
        """One try; None if this run went live before."""
        nonlocal began, rights
        began = time.monotonic()
        marker.queue_for_swap(cursor, target.schema)
        if is_done(cursor, target.schema, incoming, migration, run_id):
            return None
        _check_complete(cursor, incoming, planned, tables)
        admission.check_schema(cursor, target.schema, migration, built)
        _check_newer(cursor, target.schema, taken_at)
        plan = _look(cursor, target.schema, incoming, migration, run_id, taken_at, built)
        objects = _objects(cursor, incoming)
        with app_rights.kept(cursor, plan.live, incoming, app_role, first=plan.first) as rights:
            _exchange(cursor, plan)
        run_log.record_run(
            cursor,
            run_id,
            migration,
            target.schema,
            outcome=run_log.LIVE,
            objects=objects,
            **facts,
        )
        if still is not None:
            still()
        return plan

    with session(target, "the swap") as connection:
        run_log.ensure_log(connection)
        plan, attempts = patiently(connection, target.schema, patience, exchange)
        ended = time.monotonic()
        seconds = ended - started
        if plan is None:
            previous = previous_schema(target.schema)
            with connection.cursor() as cursor:
                kept = previous if marker.schema_exists(cursor, previous) else None
            return SwapResult(target.schema, kept, seconds, attempts)
        marker.drop_schema(connection, plan.obsolete)
    kept = None if plan.first else plan.previous
    return SwapResult(
        target.schema, kept, seconds, attempts, ended - began, len(rights) if app_role else None
    )


def drop_incoming(
    target: Target, incoming: str, migration: str, run_id: str, outcome: str = "failed"
) -> None:
    """Drop the incoming schema of a run that came to nothing, and log its outcome.

    A schema that is not this run's is left alone.
    """
    with session(target, f'dropping schema "{incoming}"') as connection:
        run_log.ensure_log(connection)
        with connection.cursor() as cursor:
            mark = marker.read_mark(cursor, incoming)
            run_log.record_run(cursor, run_id, migration, target.schema, outcome=outcome)
        connection.commit()
        if mark == Mark(migration, run_id, Role.INCOMING):
            marker.drop_schema(connection, incoming)


def is_done(cursor: Cursor, live: str, incoming: str, migration: str, run_id: str) -> bool:
    """True if the run went live before, so that its incoming schema is gone."""
    if marker.schema_exists(cursor, incoming):
        return False
    return run_log.last_live(cursor, live, migration) == run_id


def _check_complete(
    cursor: Cursor, incoming: str, planned: Collection[str], tables: int | None
) -> None:
    cursor.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relkind IN ('r', 'p')",
        (incoming,),
    )
    there = {row[0] for row in cursor.fetchall()}
    missing = sorted(set(planned) - there)
    if missing:
        named = ", ".join(f'"{name}"' for name in missing)
        raise NotProvenError(
            f'schema "{incoming}" lacks {len(missing)} planned tables: {named}; nothing was '
            "swapped, "
            "run again"
        )
    if tables is not None and len(there) != tables:
        raise NotProvenError(
            f'schema "{incoming}" holds {len(there)} tables, the plan {tables}; nothing was '
            "swapped, run again"
        )


def _check_newer(cursor: Cursor, live: str, taken_at: str | None) -> None:
    """Raise NotProvenError if what is live is of a later snapshot, where both are known."""
    mark = marker.read_mark(cursor, live)
    if mark is None or mark.taken_at is None or taken_at is None:
        return
    if datetime.fromisoformat(mark.taken_at) > datetime.fromisoformat(taken_at):
        raise NotProvenError(
            f'schema "{live}" holds a later snapshot (of {mark.taken_at}, run {mark.run}) than '
            f"this run's (of {taken_at}); nothing was swapped, start a new run"
        )


def _look(
    cursor: Cursor,
    live: str,
    incoming: str,
    migration: str,
    run_id: str,
    taken_at: str | None,
    built: bool,
) -> _Swap:
    there = marker.schema_exists(cursor, live)
    mark = marker.read_mark(cursor, live) if there else None
    moves = there and mark is None
    previous = previous_schema(live)
    if marker.schema_exists(cursor, previous):
        kept = marker.read_mark(cursor, previous)
        if kept is None or kept.migration != migration:
            raise InputError(
                f'schema "{previous}" is there and is not this migration\'s; rename it, then run '
                "again"
            )
        held = added.outside_dependents(cursor, previous)
        if held:
            raise InputError(
                f'{held[0]} depends on tables of schema "{previous}", which this swap replaces; '
                "drop it first"
            )
    owned = run_log.own_objects(cursor, live, migration) if moves else []
    return _Swap(
        live=live,
        incoming=incoming,
        previous=previous,
        obsolete=shorten(f"{live}__obsolete_{run_id[:8]}"),
        migration=migration,
        run_id=run_id,
        taken_at=taken_at,
        first=not there or (moves and not owned),
        moves=moves,
        previous_run=run_log.last_live(cursor, live, migration) or (mark.run if mark else None),
        previous_taken_at=mark.taken_at if mark else None,
        built=built,
    )


def _exchange(cursor: Cursor, plan: _Swap) -> None:
    limit_locks(cursor)
    if marker.schema_exists(cursor, plan.previous):
        rename_schema(cursor, plan.previous, plan.obsolete)
    if plan.moves:
        _move(cursor, plan)
    else:
        _rename(cursor, plan)


def _rename(cursor: Cursor, plan: _Swap) -> None:
    if not plan.first:
        secured = _carry_over(cursor, plan)
        tables = own_relations(cursor, plan.live, "rp", None)
        lock_tables(cursor, plan.live, [name for name, _ in tables], "SHARE ROW EXCLUSIVE")
        _check_unchanged(cursor, plan, secured)
        rename_schema(cursor, plan.live, plan.previous)
        marker.write_mark(cursor, plan.previous, plan.previous_mark)
    rename_schema(cursor, plan.incoming, plan.live)
    mark = Mark(plan.migration, plan.run_id, Role.LIVE, plan.taken_at)
    marker.write_mark(cursor, plan.live, mark)


def _move(cursor: Cursor, plan: _Swap) -> None:
    if not plan.first:
        owned = run_log.own_objects(cursor, plan.live, plan.migration)
        secured = _carry_over(cursor, plan)
        relations = own_relations(cursor, plan.live, "rpv", owned)
        lock_tables(cursor, plan.live, [name for name, _ in relations], "ACCESS EXCLUSIVE")
        _check_unchanged(cursor, plan, secured)
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(plan.previous)))
        marker.write_mark(cursor, plan.previous, plan.previous_mark)
        set_schema(cursor, relations, plan.live, plan.previous)
    incoming = own_relations(cursor, plan.incoming, "rpv", None)
    set_schema(cursor, incoming, plan.incoming, plan.live)
    # RESTRICT: whatever was left behind stops the swap.
    cursor.execute(sql.SQL("DROP SCHEMA {} RESTRICT").format(sql.Identifier(plan.incoming)))


def _carry_over(cursor: Cursor, plan: _Swap) -> list[security.Step]:
    """Give the incoming tables what the live ones have; returns the steps of row security."""
    alone = not plan.moves
    secured = [] if plan.built else security.row_security(cursor, plan.live, plan.incoming)
    published = security.publications(cursor, plan.live, plan.incoming, schema_too=alone)
    # Before the owners change: who gives a table away may make no policy on it any more.
    security.carry_over(cursor, plan.live, plan.incoming, secured + published)
    grants.apply(
        cursor, plan.live, grants.carry_over(cursor, plan.live, plan.incoming, schema_too=alone)
    )
    return secured


def _check_unchanged(cursor: Cursor, plan: _Swap, secured: list[security.Step]) -> None:
    """With the live tables locked: a policy that was made meanwhile must not get lost."""
    if not plan.built and security.row_security(cursor, plan.live, plan.incoming) != secured:
        raise errors.SerializationFailure("the row security of the live tables was changed")


def _objects(cursor: Cursor, incoming: str) -> list[int]:
    """Object ids of tables, views and sequences; they keep them wherever they are moved."""
    cursor.execute(
        "SELECT c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') ORDER BY 1",
        (incoming,),
    )
    return [row[0] for row in cursor.fetchall()]
