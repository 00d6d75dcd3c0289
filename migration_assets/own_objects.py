"""Indexes and constraints of ``defs.yaml``: bad ones are found before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.plan import Origin, Plan, TablePlan
from migration_assets.core.results import StatementResult
from migration_assets.core.sensitive import names, shown_values
from migration_assets.errors import InputError
from migration_assets.postgres import ddl
from migration_assets.postgres.connect import Target, session

INDEX_TRIAL = f"{ddl.TRIAL}_index"


def try_out(target: Target, incoming: str, plan: Plan) -> None:
    """Make them on empty tables of the same columns, and leave no trace.

    Raises:
        InputError: PostgreSQL refuses one; it is named with PostgreSQL's reason.
    """
    wanted = [table for table in plan.tables if any(True for _ in _own(table))]
    if not wanted:
        return
    with (
        session(target, "the trial of indexes and constraints") as connection,
        connection.cursor() as cursor,
    ):
        for table in wanted:
            cursor.execute(
                sql.SQL("SET LOCAL search_path TO {}; ").format(sql.Identifier(incoming))
            )
            ordinary = tuple(
                replace(c, generated=None, default=None, identity=False) for c in table.columns
            )
            cursor.execute(
                ddl.create_table(incoming, replace(table, name=ddl.TRIAL, columns=ordinary))
            )
            for what, statement in _own(replace(table, name=ddl.TRIAL), incoming):
                try:
                    cursor.execute(statement)
                except psycopg2.Error as error:
                    if connection.closed or (error.pgcode or "")[:2] in {"57", "08", "53"}:
                        raise
                    raise InputError(
                        f'defs.yaml: {what} of table "{table.name}": '
                        f"{error.diag.message_primary or error}"
                    ) from error
                if what.startswith("index"):
                    cursor.execute(
                        sql.SQL("DROP INDEX {}").format(sql.Identifier(incoming, INDEX_TRIAL))
                    )
            connection.rollback()


def _own(table: TablePlan, schema: str = "") -> Iterator[tuple[str, sql.Composable]]:
    """What it is, and the statement that makes it on ``table``."""
    for index in table.indexes:
        if index.origin is Origin.DEFINITION:
            made = ddl.create_index(schema, table, replace(index, name=INDEX_TRIAL))
            yield f'index "{index.name}"', made
    for check in table.checks:
        if check.origin is Origin.DEFINITION:
            yield (
                f'check "{check.name}"',
                sql.SQL("ALTER TABLE {} ADD CHECK ({})").format(
                    sql.Identifier(schema, table.name), sql.SQL(check.expression)
                ),
            )


def with_offenders(
    cursor: Cursor, incoming: str, plan: Plan, results: list[StatementResult]
) -> list[StatementResult]:
    """Name a row that a check of ``defs.yaml`` does not hold for, where PostgreSQL names none."""
    own = {
        (table.name, check.name): (table, check)
        for table in plan.tables
        for check in table.checks
        if check.origin is Origin.DEFINITION
    }
    named = []
    for result in results:
        found = own.get((result.table or "", result.name))
        if result.error is not None and result.kind == "check" and found is not None:
            table, check = found
            key = table.key or tuple(c.name for c in table.columns)
            cursor.execute(
                sql.SQL("SELECT {} FROM {} WHERE NOT ({}) LIMIT 1").format(
                    sql.SQL(", ").join(sql.Identifier(name) for name in key),
                    sql.Identifier(incoming, table.name),
                    sql.SQL(check.expression),
                )
            )
            row = cursor.fetchone()
            values = shown_values(names(table), key, row or ())
            result = replace(result, error=f"{result.error}: the row with {values}")
        named.append(result)
    return named
