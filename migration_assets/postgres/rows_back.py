"""The way back where the application's own tables were filled: see :mod:`exchange_rows`."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TypeVar

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.rollback import SwapBack
from migration_assets.errors import InputError
from migration_assets.postgres import marker, run_log
from migration_assets.postgres.connect import Target, session
from migration_assets.postgres.exchange_rows import exchange_rows
from migration_assets.postgres.marker import Mark, Role
from migration_assets.postgres.patience import PATIENCE_SECONDS, limit_locks, patiently
from migration_assets.postgres.swap import previous_schema
from migration_assets.postgres.swap_back import check_live, make_room, rolled_back_schema

T = TypeVar("T")


def were_rows(cursor: Cursor, schema: str, run: str) -> bool:
    """Whether the tables held rows before ``run`` filled them, which are kept."""
    mark = marker.read_mark(cursor, previous_schema(schema))
    return mark is not None and mark.run == run


def rows_back(
    target: Target,
    migration: str,
    tables: Collection[str],
    expected: str,
    *,
    hidden: Collection[str] = (),
    patience: float = PATIENCE_SECONDS,
) -> SwapBack:
    """Let the tables hold what they held before the last run, nothing if they were empty.

    What they hold is kept as ``<schema>__rolled_back``. Either all of it happens or nothing.

    Args:
        target: the database and the application's schema.
        migration: the migration's name.
        tables: those that the run filled.
        expected: the run that is to be taken back.
        hidden: names of columns whose values are in no message.
        patience: seconds of trying against locks of others.

    Raises:
        InputError: no run of this migration has filled them, or another one since.
        NotProvenError: a table was changed since, or a reference does not hold any more.
        BrokenOffError: others held their locks for too long, or the target was lost.
    """
    live, kept = target.schema, rolled_back_schema(target.schema)

    def once(cursor: Cursor) -> tuple[str, str | None]:
        run = run_log.live_run(cursor, live, migration)
        if run is None:
            raise InputError(
                f'no run of migration {migration} has filled schema "{live}" at '
                f"{target.location}: there is nothing to take back"
            )
        check_live(run, expected, live)
        former = previous_schema(live) if were_rows(cursor, live, run) else None
        make_room(cursor, kept)
        mark = Mark(migration, run, Role.ROLLED_BACK)
        exchange_rows(cursor, live, tables, kept, mark, former, hidden)
        run_log.record_run(cursor, run, migration, live, outcome=run_log.ROLLED_BACK)
        if former is None:
            run_log.forget_live(cursor, live, migration)
        return run, run_log.last_live(cursor, live, migration)

    (run, served), seconds, attempts = _done(target, once, patience)
    return SwapBack(
        schema_name=live, kept=kept, run=run, served=served, seconds=seconds, attempts=attempts
    )


def rows_forth(
    target: Target,
    migration: str,
    tables: Collection[str],
    done: SwapBack,
    *,
    hidden: Collection[str] = (),
    patience: float = PATIENCE_SECONDS,
) -> SwapBack:
    """Take ``done`` of :func:`rows_back` back. Arguments and errors as there."""
    live, former = target.schema, rolled_back_schema(target.schema)

    def once(cursor: Cursor) -> tuple[str, str | None, str | None]:
        mark = marker.read_mark(cursor, former)
        if mark is None or mark.migration != migration:
            raise InputError(
                f'there is no schema "{former}" at {target.location}: nothing was rolled back'
            )
        before = run_log.live_run(cursor, live, migration)
        check_live(before, done.served, live)
        kept = previous_schema(live) if _filled(cursor, live, tables) else None
        of_kept = Mark(migration, mark.run, Role.PREVIOUS)
        exchange_rows(cursor, live, tables, kept, of_kept, former, hidden)
        run_log.record_run(cursor, mark.run, migration, live, outcome=run_log.LIVE)
        return mark.run, before, kept

    (served, run, kept), seconds, attempts = _done(target, once, patience)
    return SwapBack(
        schema_name=live, kept=kept, run=run, served=served, seconds=seconds, attempts=attempts
    )


def _done(target: Target, once: Callable[[Cursor], T], patience: float) -> tuple[T, float, int]:
    started = time.monotonic()

    def queued(cursor: Cursor) -> T:
        marker.queue_for_swap(cursor, target.schema)
        limit_locks(cursor)
        return once(cursor)

    with session(target, "the way back of rows") as connection:
        result, attempts = patiently(connection, target.schema, patience, queued)
    return result, time.monotonic() - started, attempts


def _filled(cursor: Cursor, schema: str, tables: Collection[str]) -> bool:
    cursor.execute(
        sql.SQL("SELECT {}").format(
            sql.SQL(" OR ").join(
                sql.SQL("EXISTS (SELECT FROM {})").format(sql.Identifier(schema, name))
                for name in tables
            )
        )
    )
    return bool(marker.one(cursor)[0])
