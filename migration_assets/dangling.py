"""Foreign keys that lost their parents to the quarantine."""

from __future__ import annotations

from collections.abc import Collection

from psycopg2 import sql

from migration_assets.core.kept_plan import Dangling
from migration_assets.core.plan import ForeignKeyPlan, Plan, TablePlan
from migration_assets.errors import NotProvenError
from migration_assets.postgres.connect import Target, session


def find(
    target: Target, incoming: str, plan: Plan, quarantined: Collection[str]
) -> tuple[Dangling, ...]:
    """Count the loaded rows that refer to rows which were set aside.

    Args:
        target: the database.
        incoming: the schema with the loaded tables.
        plan: the foreign keys; those that are NOT VALID anyway are passed over.
        quarantined: target names of the tables that rows were set aside of.

    Returns:
        the keys with such rows; what becomes of them is the table's policy of ``orphans``.

    Raises:
        NotProvenError: that policy is ``fail``; names table and key.
        BrokenOffError: the target was lost.
    """
    found = []
    with (
        session(target, "the look for references to rows in quarantine") as connection,
        connection.cursor() as cursor,
    ):
        for table in plan.tables:
            for key in table.foreign_keys:
                if not key.valid or key.ref_table not in quarantined:
                    continue
                cursor.execute(_orphans(incoming, table, key))
                row = cursor.fetchone()
                count = row[0] if row else 0
                if count and table.policy("orphans") == "fail":
                    raise NotProvenError(
                        f'table "{table.source}", foreign key "{key.name}": {count} rows refer to '
                        f'rows of "{key.ref_table}" that are in quarantine, and the policy of '
                        'orphans is "fail"'
                    )
                if count:
                    found.append(Dangling(table.source, key.name, count))
    return tuple(found)


def _orphans(incoming: str, table: TablePlan, key: ForeignKeyPlan) -> sql.Composed:
    """How many rows have no parent; a key with a NULL in it needs none (MATCH SIMPLE)."""
    pairs = list(zip(key.columns, key.ref_columns, strict=True))
    present = [sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(child)) for child, _ in pairs]
    same = [
        sql.SQL("p.{} = c.{}").format(sql.Identifier(parent), sql.Identifier(child))
        for child, parent in pairs
    ]
    return sql.SQL(
        "SELECT count(*) FROM {} c WHERE {} AND NOT EXISTS (SELECT FROM {} p WHERE {})"
    ).format(
        sql.Identifier(incoming, table.name),
        sql.SQL(" AND ").join(present),
        sql.Identifier(incoming, key.ref_table),
        sql.SQL(" AND ").join(same),
    )
