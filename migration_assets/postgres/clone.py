"""An application's own tables, copied into the incoming schema without their rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.structure import Sequence, Structure, TargetColumn
from migration_assets.postgres.structure import look_in


def make(cursor: Cursor, structure: Structure, incoming: str, tables: Collection[str]) -> None:
    """Copy tables of a schema without their rows; what is there already stays.

    Columns, defaults, generated columns and checks come now; keys, indexes and references are
    made after the load. A sequence behind a default is copied as well, so that the load takes no
    number of the application's.

    Args:
        cursor: whose ``search_path`` is changed to the end of the transaction.
        structure: the schema.
        incoming: where the copies go.
        tables: which.
    """
    look_in(cursor, incoming, structure.schema)
    cursor.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace",
        (sql.Identifier(incoming).as_string(cursor),),
    )
    there = {name for (name,) in cursor.fetchall()}
    for table in structure.tables:
        if table.name not in tables or table.name in there:
            continue
        name = sql.Identifier(incoming, table.name)
        cursor.execute(
            sql.SQL(
                "CREATE TABLE {} (LIKE {} INCLUDING ALL EXCLUDING INDEXES EXCLUDING STATISTICS)"
            ).format(name, sql.Identifier(structure.schema, table.name))
        )
        for column in table.columns:
            if column.sequence is None or column.sequence.identity:
                continue
            cursor.execute(_sequence(incoming, column.sequence))
            cursor.execute(
                sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {}").format(
                    name, sql.Identifier(column.name), sql.SQL(column.default or "")
                )
            )


def _sequence(schema: str, sequence: Sequence) -> sql.Composed:
    return sql.SQL(
        "CREATE SEQUENCE IF NOT EXISTS {} AS {} INCREMENT BY {} MINVALUE {} MAXVALUE {} START {}"
        " CACHE {} {}"
    ).format(
        sql.Identifier(schema, sequence.name),
        sql.SQL(sequence.type),
        sql.Literal(sequence.increment),
        sql.Literal(sequence.minimum),
        sql.Literal(sequence.maximum),
        sql.Literal(sequence.start),
        sql.Literal(sequence.cache),
        sql.SQL("CYCLE" if sequence.cycle else "NO CYCLE"),
    )


def drop_references(cursor: Cursor, schema: str) -> None:
    """Drop all foreign keys of a schema; those that its structure names are made after the load."""
    cursor.execute(
        "SELECT c.relname, o.conname FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid"
        " WHERE o.connamespace = %s::regnamespace AND o.contype = 'f' AND o.conparentid = 0",
        (sql.Identifier(schema).as_string(cursor),),
    )
    for table, name in cursor.fetchall():
        cursor.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
                sql.Identifier(schema, table), sql.Identifier(name)
            )
        )


def numbered(structure: Structure, tables: Collection[str]) -> Iterator[tuple[str, TargetColumn]]:
    """Table and column of those columns of ``tables`` that take numbers of a sequence."""
    for table in structure.tables:
        if table.name in tables:
            for column in table.columns:
                if column.sequence is not None:
                    yield table.name, column


def sequence_of(cursor: Cursor, schema: str, table: str, column: TargetColumn) -> sql.Identifier:
    """The sequence that a column takes its numbers of in ``schema``.

    Those of identity columns have another name in each copy of their table.
    """
    assert column.sequence is not None, "numbered() gave it"
    if not column.sequence.identity:
        return sql.Identifier(schema, column.sequence.name)
    cursor.execute(
        "SELECT s.relname FROM pg_class s JOIN pg_depend d ON d.objid = s.oid"
        " AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass"
        " AND d.deptype = 'i' JOIN pg_attribute a ON a.attrelid = d.refobjid"
        " AND a.attnum = d.refobjsubid WHERE d.refobjid = %s::regclass AND a.attname = %s",
        (sql.Identifier(schema, table).as_string(cursor), column.name),
    )
    row = cursor.fetchone()
    if row is None:
        raise LookupError(f'identity column "{table}"."{column.name}" has no sequence')
    return sql.Identifier(schema, row[0])
