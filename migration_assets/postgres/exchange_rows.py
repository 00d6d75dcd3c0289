"""The way back in an application's own tables: their rows are exchanged, the tables stay.

As on the way in, triggers do not fire, and foreign keys are dropped and made again, which
validates them. It takes as long as the rows take to be copied, in one transaction.
"""

from __future__ import annotations

from collections.abc import Collection

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.sensitive import shown_detail
from migration_assets.core.structure import Structure, TargetTable
from migration_assets.errors import NotProvenError
from migration_assets.postgres import clone, marker
from migration_assets.postgres.empty import silence
from migration_assets.postgres.marker import Mark
from migration_assets.postgres.move_rows import copy_rows, references
from migration_assets.postgres.patience import CONTENDED
from migration_assets.postgres.structure import read_structure


def exchange_rows(
    cursor: Cursor,
    live: str,
    tables: Collection[str],
    kept: str | None,
    mark: Mark,
    former: str | None,
    hidden: Collection[str] = (),
) -> None:
    """Keep the rows of tables aside, and put those in their place that were kept before.

    Args:
        cursor: in the transaction that all of it belongs to.
        live: the application's schema.
        tables: whose rows are exchanged.
        kept: the schema to make for the rows that are there, None if there are none.
        mark: of that schema.
        former: the schema with the rows that come; it is dropped. None if none come. A table that
            it does not hold had no rows.
        hidden: names of columns whose values are in no message.

    Raises:
        NotProvenError: a table was changed since, or a reference does not hold any more.
    """
    names = sorted(tables)
    cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(_listed(live, names)))
    structure = read_structure(cursor, live)
    try:
        _exchange(cursor, {name: structure.table(name) for name in names}, live, kept, mark, former)
        _number(cursor, structure, names)
    except CONTENDED:
        raise
    except (psycopg2.IntegrityError, psycopg2.DataError, psycopg2.ProgrammingError) as error:
        said = shown_detail(error.diag.message_detail, hidden)
        raise NotProvenError(
            f'rows can not go back into schema "{live}", which is as it was: '
            f"{error.diag.message_primary}{f': {said}' if said else ''}"
        ) from error


def _exchange(
    cursor: Cursor,
    tables: dict[str, TargetTable],
    live: str,
    kept: str | None,
    mark: Mark,
    former: str | None,
) -> None:
    names = list(tables)
    waking = [statement for name in names for statement in silence(cursor, live, name)]
    found = references(cursor, live, names)
    for child, name, *_ in found:
        cursor.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
                sql.SQL(child), sql.Identifier(name)
            )
        )
    if kept is not None:
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(kept)))
        marker.write_mark(cursor, kept, mark)
        for name in names:
            cursor.execute(
                sql.SQL("CREATE TABLE {} AS TABLE {}").format(
                    sql.Identifier(kept, name), sql.Identifier(live, name)
                )
            )
    cursor.execute(sql.SQL("TRUNCATE {}").format(_listed(live, names)))
    if former is not None:
        for table in tables.values():
            _fill(cursor, table, live, former)
        cursor.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(former)))
    # Else what is deferred would stand in the way of the next statements.
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for child, name, definition, *_ in found:
        cursor.execute(
            sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
                sql.SQL(child), sql.Identifier(name), sql.SQL(definition)
            )
        )
    for statement in waking:
        cursor.execute(statement)


def _fill(cursor: Cursor, table: TargetTable, live: str, former: str) -> None:
    """Copy the rows that a table had."""
    cursor.execute(
        "SELECT a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s"
        " AND a.attnum > 0 AND NOT a.attisdropped",
        (former, table.name),
    )
    there = {name for (name,) in cursor.fetchall()}
    if not there:
        return
    now = {column.name for column in table.columns}
    if there != now:
        changed = ", ".join(f'"{name}"' for name in sorted(there ^ now))
        raise NotProvenError(
            f'table "{live}"."{table.name}" has got or lost columns since its rows were kept: '
            f'{changed}; nothing was moved, the rows are in schema "{former}"'
        )
    copy_rows(cursor, table, former, live)


def _number(cursor: Cursor, structure: Structure, tables: Collection[str]) -> None:
    """Let no sequence give a number that a row has which came back."""
    for table, column in clone.numbered(structure, tables):
        assert column.sequence is not None, "numbered() gave it"
        step = column.sequence.increment
        own = clone.sequence_of(cursor, structure.schema, table, column)
        cursor.execute(
            sql.SQL("SELECT last_value, is_called, (SELECT {}({}) FROM {}) FROM {}").format(
                sql.SQL("max" if step > 0 else "min"),
                sql.Identifier(column.name),
                sql.Identifier(structure.schema, table),
                own,
            )
        )
        last, called, taken = marker.one(cursor)
        number = last + step if called else last
        if taken is None or (number - taken) * step > 0:
            continue
        if column.sequence.minimum <= taken + step <= column.sequence.maximum:
            cursor.execute(
                sql.SQL("ALTER SEQUENCE {} RESTART WITH {}").format(own, sql.Literal(taken + step))
            )


def _listed(schema: str, names: Collection[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(schema, name) for name in names)
