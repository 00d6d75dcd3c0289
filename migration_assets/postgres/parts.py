"""What tables have beside them in their schema: enum types and trigger functions."""

from __future__ import annotations

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor


def set_schema_of_parts(
    cursor: Cursor, relations: list[str], source: str, destination: str
) -> None:
    """Move the enum types and trigger functions that relations have in their schema."""
    cursor.execute(
        """
        SELECT DISTINCT 'TYPE', t.oid::regtype::text
        FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid
        JOIN pg_type t ON t.oid = a.atttypid AND t.typtype = 'e'
        WHERE c.relnamespace = %(source)s::regnamespace AND t.typnamespace = c.relnamespace
          AND c.relname = ANY(%(relations)s)
        UNION ALL
        SELECT DISTINCT 'FUNCTION', p.oid::regprocedure::text
        FROM pg_trigger g
        JOIN pg_class c ON c.oid = g.tgrelid
        JOIN pg_proc p ON p.oid = g.tgfoid
        WHERE c.relnamespace = %(source)s::regnamespace AND p.pronamespace = c.relnamespace
          AND NOT g.tgisinternal AND c.relname = ANY(%(relations)s)
        """,
        {"source": sql.Identifier(source).as_string(cursor), "relations": relations},
    )
    for kind, name in cursor.fetchall():
        cursor.execute(
            sql.SQL("ALTER {} {} SET SCHEMA {}").format(
                sql.SQL(kind), sql.SQL(name), sql.Identifier(destination)
            )
        )
