"""Empty tables for a load: new ones, or an application's own, whose triggers are silent then."""

from __future__ import annotations

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.plan import TablePlan
from migration_assets.postgres import ddl

_FIRING = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}
"""``pg_trigger.tgenabled`` -> how it gets there (PostgreSQL manual, "ALTER TABLE")."""


def empty_table(cursor: Cursor, schema: str, plan: TablePlan) -> tuple[bool, list[sql.Composed]]:
    """An empty table for a load: made as planned, or the application's own without its rows.

    Returns:
        whether rows may be frozen while they are copied, and what is to be done after the load:
        triggers of the application's are silent until then.
    """
    name = sql.Identifier(schema, plan.name)
    if not plan.existing:
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(name))
        cursor.execute(ddl.create_table(schema, plan))
        return True, []
    waking = silence(cursor, schema, plan.name)
    cursor.execute(sql.SQL("TRUNCATE {}").format(name))
    cursor.execute(
        "SELECT relkind = 'r' FROM pg_class WHERE oid = %s::regclass", (name.as_string(cursor),)
    )
    row = cursor.fetchone()
    return bool(row and row[0]), waking


def silence(cursor: Cursor, schema: str, table: str) -> list[sql.Composed]:
    """Keep a table's own triggers from firing; returns the statements that undo it."""
    name = sql.Identifier(schema, table)
    cursor.execute(
        "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = %s::regclass"
        " AND NOT tgisinternal AND tgenabled <> 'D' AND tgparentid = 0 ORDER BY 1",
        (name.as_string(cursor),),
    )
    waking = []
    for trigger, how in cursor.fetchall():
        quiet = sql.SQL("ALTER TABLE {} DISABLE TRIGGER {}")
        cursor.execute(quiet.format(name, sql.Identifier(trigger)))
        waking.append(
            sql.SQL("ALTER TABLE {} {} TRIGGER {}").format(
                name, sql.SQL(_FIRING[how]), sql.Identifier(trigger)
            )
        )
    return waking
