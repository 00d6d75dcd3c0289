"""Relations of one of our schemas: listed, locked, moved."""

from __future__ import annotations

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.postgres.parts import set_schema_of_parts


def lock_tables(cursor: Cursor, schema: str, names: list[str], mode: str) -> None:
    """Lock tables of ``schema`` in ``mode``, such as ``ACCESS EXCLUSIVE``."""
    if names:
        cursor.execute(
            sql.SQL("LOCK TABLE {} IN {} MODE").format(
                sql.SQL(", ").join(sql.Identifier(schema, name) for name in names), sql.SQL(mode)
            )
        )


def set_schema(
    cursor: Cursor, relations: list[tuple[str, str]], source: str, destination: str
) -> None:
    """Move relations (name and kind) to another schema, with what they have beside them."""
    set_schema_of_parts(cursor, [name for name, _ in relations], source, destination)
    for name, kind in relations:
        cursor.execute(
            sql.SQL("ALTER {} {} SET SCHEMA {}").format(
                sql.SQL("VIEW" if kind == "v" else "TABLE"),
                sql.Identifier(source, name),
                sql.Identifier(destination),
            )
        )


def rename_schema(cursor: Cursor, old: str, new: str) -> None:
    """Give a schema another name."""
    cursor.execute(
        sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new))
    )


def own_relations(
    cursor: Cursor, schema: str, kinds: str, oids: list[int] | None
) -> list[tuple[str, str]]:
    """Name and kind of relations in ``schema``, in a fixed order, so that swaps do not deadlock."""
    cursor.execute(
        "SELECT c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relkind = ANY(%s) AND (%s::oid[] IS NULL OR c.oid = "
        "ANY(%s::oid[]))"
        " ORDER BY c.relname",
        (schema, list(kinds), oids, oids),
    )
    return [(name, kind) for name, kind in cursor.fetchall()]
