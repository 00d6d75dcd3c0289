"""The last step into an application's own tables: the proven rows move in, in one transaction.

The tables stay what they are, with owner, rights, policies, publications and all that depends on
them. Their own triggers do not fire; foreign keys are dropped and made again, which validates
them; each table is then compared with its copy. What was in them is kept in the schema
``<schema>__previous``. Whatever fails leaves everything as it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import psycopg2
from psycopg2 import errors, sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.naming import shorten
from migration_assets.core.results import SwapResult
from migration_assets.core.sensitive import shown_detail
from migration_assets.core.structure import Structure, TargetTable, lines
from migration_assets.errors import InputError, NotProvenError
from migration_assets.postgres import clone, marker, run_log
from migration_assets.postgres.connect import Target, session
from migration_assets.postgres.empty import silence
from migration_assets.postgres.marker import Mark, Role
from migration_assets.postgres.patience import (
    CONTENDED,
    PATIENCE_SECONDS,
    limit_locks,
    patiently,
)
from migration_assets.postgres.relations import rename_schema
from migration_assets.postgres.structure import look_in, read_structure
from migration_assets.postgres.swap import is_done, previous_schema

REFERENCES = """
SELECT o.conrelid::regclass::text, o.conname, pg_get_constraintdef(o.oid),
       pg_has_role(c.relowner, 'USAGE'), pg_get_userbyid(c.relowner)
FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid
WHERE o.contype = 'f' AND o.conparentid = 0
  AND (o.conrelid = ANY(%(tables)s::regclass[]::oid[])
       OR o.confrelid = ANY(%(tables)s::regclass[]::oid[]))
ORDER BY 1, 2
"""
"""Foreign keys of and to some tables, names with their schemas."""


def move_rows(
    target: Target,
    incoming: str,
    structure: Structure,
    tables: Sequence[str],
    migration: str,
    run_id: str,
    *,
    replace: bool,
    plan_digest: str | None = None,
    snapshot_id: str | None = None,
    rows: int | None = None,
    patience: float = PATIENCE_SECONDS,
    still: Callable[[], None] | None = None,
    hidden: Collection[str] = (),
) -> SwapResult:
    """Move the rows of ``incoming`` into the tables of the same names in the target schema.

    A second call after a success changes nothing.

    Args:
        target: the database and the application's schema.
        incoming: the schema with the loaded and checked copies.
        structure: the application's schema as it was copied.
        tables: names of the tables.
        migration: the migration's name.
        run_id: the root run id.
        replace: rows that are there are kept aside and replaced; else there must be none.
        plan_digest: for the log.
        snapshot_id: for the log.
        rows: for the log.
        patience: seconds of trying against locks of others.
        still: called at the very end of the transaction; what it raises undoes the move.
        hidden: names of columns whose values are in no message.

    Raises:
        NotProvenError: the application's tables were changed since, a reference does not hold, or
            a table is not what its copy is.
        InputError: a right is missing.
        BrokenOffError: others held their locks for too long, or the target was lost.
    """
    started = began = time.monotonic()
    names = sorted(tables)

    def move(cursor: Cursor) -> bool | None:
        """One try; whether rows were kept aside, None if this run went live before."""
        nonlocal began
        began = time.monotonic()
        marker.queue_for_swap(cursor, target.schema)
        if is_done(cursor, target.schema, incoming, migration, run_id):
            return None
        limit_locks(cursor)
        try:
            kept = _Move(cursor, structure, incoming, names, migration, run_id, replace).run()
        except CONTENDED:
            raise
        except errors.InsufficientPrivilege as error:
            raise InputError(
                f'rows can not be moved into schema "{target.schema}": '
                f"{error.diag.message_primary}; connect as the owner of its tables"
            ) from error
        except (psycopg2.IntegrityError, psycopg2.DataError, psycopg2.ProgrammingError) as error:
            said = shown_detail(error.diag.message_detail, hidden)
            raise NotProvenError(
                f'rows can not be moved into schema "{target.schema}", which is as it was: '
                f"{error.diag.message_primary}{f': {said}' if said else ''}"
            ) from error
        run_log.record_run(
            cursor,
            run_id,
            migration,
            target.schema,
            outcome=run_log.LIVE,
            plan_digest=plan_digest,
            snapshot_id=snapshot_id,
            tables=len(names),
            rows=rows,
        )
        # Out of the way with the commit: a run that ends before it is dropped is not moved twice.
        rename_schema(cursor, incoming, moved)
        if still is not None:
            still()
        return kept

    moved = shorten(f"{target.schema}__moved_{run_id[:8]}")
    previous = previous_schema(target.schema)
    with session(target, "the move of rows") as connection:
        run_log.ensure_log(connection)
        kept, attempts = patiently(connection, target.schema, patience, move)
        ended = time.monotonic()
        seconds = ended - started
        if kept is None:
            with connection.cursor() as cursor:
                kept = marker.read_mark(cursor, previous) is not None
            return SwapResult(target.schema, previous if kept else None, seconds, attempts)
        with connection, connection.cursor() as cursor:
            for name in names:
                cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(target.schema, name)))
        marker.drop_schema(connection, moved)
        marker.drop_schema(connection, _obsolete(target.schema, run_id))
    return SwapResult(target.schema, previous if kept else None, seconds, attempts, ended - began)


def copy_rows(cursor: Cursor, table: TargetTable, source: str, destination: str) -> None:
    """Copy a table's rows from one schema into the table of the same name in another."""
    columns = sql.SQL(", ").join(
        sql.Identifier(column.name) for column in table.columns if column.generated is None
    )
    always = any(column.identity == "always" for column in table.columns)
    cursor.execute(
        sql.SQL("INSERT INTO {} ({}){} SELECT {} FROM {}").format(
            sql.Identifier(destination, table.name),
            columns,
            sql.SQL(" OVERRIDING SYSTEM VALUE" if always else ""),
            columns,
            sql.Identifier(source, table.name),
        )
    )


def references(cursor: Cursor, schema: str, tables: Sequence[str]) -> list[tuple[str, ...]]:
    """Foreign keys of and to tables: table, name, definition, whether it is ours, its owner."""
    look_in(cursor, "pg_catalog")
    qualified = [sql.Identifier(schema, name).as_string(cursor) for name in tables]
    cursor.execute(REFERENCES, {"tables": qualified})
    return cursor.fetchall()


def _obsolete(schema: str, run_id: str) -> str:
    return shorten(f"{schema}__obsolete_{run_id[:8]}")


class _Move:
    """One try of one run."""

    def __init__(
        self,
        cursor: Cursor,
        structure: Structure,
        incoming: str,
        tables: list[str],
        migration: str,
        run_id: str,
        replace: bool,
    ) -> None:
        self._cursor = cursor
        self._structure = structure
        self._live = structure.schema
        self._incoming = incoming
        self._tables = tables
        self._migration = migration
        self._run_id = run_id
        self._replace = replace

    def run(self) -> bool:
        """Do it; returns whether rows were kept aside."""
        cursor = self._cursor
        live = [sql.Identifier(self._live, name) for name in self._tables]
        cursor.execute(
            sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.SQL(", ").join(live))
        )
        filled = self._checked()
        waking = []
        for name in self._tables:
            waking += silence(cursor, self._live, name)
        found = references(cursor, self._live, self._tables)
        for table, name, *_ in found:
            cursor.execute(
                sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
                    sql.SQL(table), sql.Identifier(name)
                )
            )
        if filled:
            self._keep_aside(filled)
        for name in self._tables:
            self._fill(name)
        # Else what is deferred would stand in the way of the next statements.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        self._number()
        for table, name, definition, *_ in found:
            cursor.execute(
                sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
                    sql.SQL(table), sql.Identifier(name), sql.SQL(definition)
                )
            )
        for statement in waking:
            cursor.execute(statement)
        return bool(filled)

    def _checked(self) -> list[str]:
        """The tables that have rows, if all are as they were when they were copied."""
        wanted = set(self._tables)
        now = read_structure(self._cursor, self._live)
        changed = set(lines(now, wanted)) ^ set(lines(self._structure, wanted))
        if changed:
            kind, table, name, _ = min(changed)
            raise NotProvenError(
                f'{kind} "{name}" of table "{self._live}"."{table}" was changed while the run went '
                "on; nothing was moved, run again"
            )
        filled = [table.name for table in now.tables if table.name in wanted and table.filled]
        if filled and not self._replace:
            raise NotProvenError(
                f'table "{self._live}"."{filled[0]}" has got rows while the run went on; nothing '
                "was moved, empty it or write replace: true in defs.yaml, then run again"
            )
        return filled

    def _keep_aside(self, filled: list[str]) -> None:
        cursor, previous = self._cursor, previous_schema(self._live)
        if marker.schema_exists(cursor, previous):
            mark = marker.read_mark(cursor, previous)
            if mark is None or mark.migration != self._migration:
                raise InputError(
                    f'schema "{previous}" is there and is not this migration\'s; rename it, then '
                    "run again"
                )
            cursor.execute(
                sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(
                    sql.Identifier(previous), sql.Identifier(_obsolete(self._live, self._run_id))
                )
            )
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(previous)))
        marker.write_mark(cursor, previous, Mark(self._migration, self._run_id, Role.PREVIOUS))
        for name in filled:
            cursor.execute(
                sql.SQL("CREATE TABLE {} AS TABLE {}").format(
                    sql.Identifier(previous, name), sql.Identifier(self._live, name)
                )
            )
        cursor.execute(
            sql.SQL("TRUNCATE {}").format(
                sql.SQL(", ").join(sql.Identifier(self._live, name) for name in filled)
            )
        )

    def _fill(self, name: str) -> None:
        """Copy one table's rows, and compare both sides row by row, in whatever order."""
        table = self._structure.table(name)
        copy_rows(self._cursor, table, self._incoming, self._live)
        sides = [self._digest(schema, name) for schema in (self._incoming, self._live)]
        if sides[0] != sides[1]:
            raise NotProvenError(
                f'table "{self._live}"."{name}" holds other rows ({sides[1][0]}) than those that '
                f"were proven ({sides[0][0]}); nothing was moved"
            )

    def _digest(self, schema: str, name: str) -> tuple[object, ...]:
        self._cursor.execute(
            sql.SQL(
                "SELECT count(*), coalesce(sum(hashtextextended(r::text, 0)::numeric), 0) FROM {} r"
            ).format(sql.Identifier(schema, name))
        )
        return marker.one(self._cursor)

    def _number(self) -> None:
        """Let sequences go on where those of the copies do."""
        cursor = self._cursor
        for table, column in clone.numbered(self._structure, self._tables):
            assert column.sequence is not None, "numbered() gave it"
            copy = clone.sequence_of(cursor, self._incoming, table, column)
            own = clone.sequence_of(cursor, self._live, table, column)
            cursor.execute(sql.SQL("SELECT last_value, is_called FROM {}").format(copy))
            last, called = marker.one(cursor)
            number = last + column.sequence.increment if called else last
            if number > column.sequence.maximum:
                statement = sql.SQL("SELECT setval({}, {}, true)").format(
                    sql.Literal(own.as_string(cursor)), sql.Literal(last)
                )
            else:
                # Not setval, which a rollback does not undo.
                statement = sql.SQL("ALTER SEQUENCE {} RESTART WITH {}").format(
                    own, sql.Literal(number)
                )
            cursor.execute(statement)
