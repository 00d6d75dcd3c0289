"""Statements that make objects after the load, and how they are run.

Each stands in a savepoint of its own: one that fails is reported and stops no other. Small tables
share transactions, so that hundreds of them cost little; statements on a large table are committed
one by one, so that what was built stays built. Indexes of a large table are built two at a time:
PostgreSQL's own parallel build leaves half of a second processor idle.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.results import StatementResult
from migration_assets.core.sensitive import shown_detail, without_values
from migration_assets.postgres import marker
from migration_assets.postgres.connect import is_lost
from migration_assets.progress import Progress

BATCH_STATEMENTS = 200
"""Locks of one transaction stay far below what a server has by default (6,400)."""

MAINTENANCE_MEMORY = 128 << 20
"""Bytes for index builds, unless the server gives more."""


@dataclass(frozen=True)
class Statement:
    """One object to make: ``kind`` and ``name`` for people, ``table`` None for a view.

    ``large`` statements get a transaction of their own. Values of ``hidden`` columns of the table
    are in no message.
    """

    table: str | None
    kind: str
    name: str
    statement: sql.Composable
    large: bool = False
    hidden: Collection[str] = ()


def begin(connection: Connection, *schemas: str) -> set[tuple[str | None, str]]:
    """Set the session up for work in the first of ``schemas``; returns what is there."""
    with connection.cursor() as cursor:
        marker.hold(cursor, schemas[0])
        _set_up(cursor, *schemas)
        there = _existing(cursor, schemas[0])
    connection.commit()
    return there


def _set_up(cursor: Cursor, *schemas: str) -> None:
    cursor.execute(
        "SELECT set_config('maintenance_work_mem',"
        " greatest(pg_size_bytes(current_setting('maintenance_work_mem')), %s) / 1024 || 'kB', "
        "false)",
        (MAINTENANCE_MEMORY,),
    )
    # Views and checks name tables and columns without a schema. Nothing else is looked through:
    # a table that is missing must not be found elsewhere.
    cursor.execute(
        sql.SQL("SET search_path TO {}").format(sql.SQL(", ").join(map(sql.Identifier, schemas)))
    )


def _existing(cursor: Cursor, incoming: str) -> set[tuple[str | None, str]]:
    """(table, name) of the constraints and indexes in ``incoming``, (None, name) of its views."""
    cursor.execute(
        """
        SELECT t.relname, k.conname
        FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid
        WHERE k.connamespace = %(schema)s::regnamespace
        UNION ALL
        SELECT t.relname, i.relname
        FROM pg_index x
        JOIN pg_class i ON i.oid = x.indexrelid
        JOIN pg_class t ON t.oid = x.indrelid
        WHERE i.relnamespace = %(schema)s::regnamespace AND x.indisvalid
        UNION ALL
        SELECT NULL, relname FROM pg_class
        WHERE relnamespace = %(schema)s::regnamespace AND relkind = 'v'
        """,
        {"schema": sql.Identifier(incoming).as_string(cursor)},
    )
    return set(cursor.fetchall())


def run(
    connection: Connection,
    statements: list[Statement],
    there: set[tuple[str | None, str]],
    progress: Progress,
    second: Connection | None = None,
) -> list[StatementResult]:
    """Run ``statements`` in order; commits.

    Args:
        connection: begun.
        statements: what to make.
        there: (table, name) of what is there already.
        progress: shows each large statement and the small ones together.
        second: begun as well, to build an index of a large table beside another one of it.
    """
    results = []
    for group in _groups(statements):
        if second is not None and len(group) > 1 and group[0].large:
            connections = (connection, second)
            # An index waits for no other one of its table, as every other statement would.
            with ThreadPoolExecutor(2, thread_name_prefix="index") as pool:
                halves = [
                    pool.submit(_run_group, each, group[half::2], there, progress)
                    for half, each in enumerate(connections)
                ]
                built = [half.result() for half in halves]
            results += [built[place % 2][place // 2] for place in range(len(group))]
        else:
            results += _run_group(connection, group, there, progress)
    return results


def _run_group(
    connection: Connection,
    group: list[Statement],
    there: set[tuple[str | None, str]],
    progress: Progress,
) -> list[StatementResult]:
    """Large statements in transactions of their own, small ones in one; in order."""
    results = []
    parts = [[statement] for statement in group] if group[0].large else [group]
    for part in parts:
        first = part[0]
        shown = (
            f"{first.table} ({first.kind} {first.name})"
            if first.large
            else f"{len(part)} statements"
        )
        with progress.task("constraints", shown), connection.cursor() as cursor:
            for statement in part:
                if (statement.table, statement.name) in there:
                    done = StatementResult(statement.table, statement.kind, statement.name, 0.0)
                else:
                    done = _execute(cursor, statement)
                results.append(done)
            connection.commit()
    return results


def _groups(statements: Iterable[Statement]) -> Iterator[list[Statement]]:
    """All indexes of a large table, each other large statement, small ones by BATCH_STATEMENTS."""
    group: list[Statement] = []
    for statement in statements:
        first = group[0] if group else statement
        together = statement.large == first.large and (
            len(group) < BATCH_STATEMENTS
            if not statement.large
            else statement.kind == first.kind == "index" and statement.table == first.table
        )
        if group and not together:
            yield group
            group = []
        group.append(statement)
    if group:
        yield group


def run_views(
    connection: Connection, views: list[Statement], there: set[tuple[str | None, str]]
) -> list[StatementResult]:
    """Make views in whatever order they need each other; commits."""
    results = {v.name: StatementResult(None, v.kind, v.name, 0.0) for v in views}
    waiting = [v for v in views if (None, v.name) not in there]
    with connection.cursor() as cursor:
        while waiting:
            for view in waiting:
                results[view.name] = _execute(cursor, view)
            failed = [v for v in waiting if results[v.name].error is not None]
            if len(failed) == len(waiting):
                break
            waiting = failed
    connection.commit()
    return list(results.values())


def _execute(cursor: Cursor, statement: Statement) -> StatementResult:
    started = time.monotonic()
    error = None
    # Sent apart: of a string with an error of syntax PostgreSQL runs nothing, savepoint included.
    cursor.execute("SAVEPOINT one")
    try:
        cursor.execute(sql.SQL("{}; RELEASE SAVEPOINT one").format(statement.statement))
    except psycopg2.Error as refused:
        if is_lost(refused):
            raise
        error = _message(refused, statement.hidden)
        cursor.execute("ROLLBACK TO SAVEPOINT one; RELEASE SAVEPOINT one")
    seconds = time.monotonic() - started
    return StatementResult(statement.table, statement.kind, statement.name, seconds, error)


def _message(error: psycopg2.Error, hidden: Collection[str]) -> str:
    """What PostgreSQL says, with the key that stands in the way, in one line."""
    said = error.diag.message_primary or str(error)
    of_value = hidden and isinstance(error, psycopg2.DataError)
    parts = [
        without_values(said) if of_value else said,
        shown_detail(error.diag.message_detail, hidden),
    ]
    return " ".join(": ".join(part.strip().rstrip(".") for part in parts if part).split())
