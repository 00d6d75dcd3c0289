"""Translated objects: kept only if PostgreSQL takes them and they mean the same over the data.

A view, a check, a default or an index over an expression was written for another engine. One that
PostgreSQL refuses, a view that gives other rows than in the source, a condition that holds for
another number of rows and a default that gives another value are withdrawn from the loaded schema
and reported with their original SQL; what was declared as plain keys and columns is never
withdrawn.
"""

from __future__ import annotations

from collections.abc import Mapping

from psycopg2 import sql

from migration_assets.core.catalog import SkippedObject
from migration_assets.core.plan import Origin, Plan, TablePlan
from migration_assets.core.results import StatementResult
from migration_assets.postgres.connect import Target, session
from migration_assets.sources.base import SnapshotReader
from migration_assets.verify.agreement import Disagreement, disagreements, views_in


def withdraw(
    reader: SnapshotReader,
    target: Target,
    schema: str,
    plan: Plan,
    results: list[StatementResult],
    quarantined: Mapping[str, int] | None = None,
) -> tuple[tuple[SkippedObject, ...], list[StatementResult]]:
    """Drop what does not mean the same.

    Args:
        reader: the run's snapshot, which says what is meant.
        target: where the loaded schema is.
        schema: the loaded schema.
        plan: what was planned.
        results: of the statements that made the objects.
        quarantined: slugs of tables of which rows were set aside, and how many.

    Returns:
        What was withdrawn, and the results of all else.
    """
    originals = _originals(plan)
    found = [
        Disagreement(r.kind, r.name, r.table, f"PostgreSQL refuses it: {r.error}")
        for r in results
        if r.error is not None and (r.kind, r.table, r.name) in originals
    ]
    if not originals:
        return (), results
    wrong = disagreements(reader, target, schema, plan, quarantined)
    with (
        session(target, "withdrawal of what does not mean the same") as connection,
        connection.cursor() as cursor,
    ):
        for item in wrong:
            cursor.execute(_drop(schema, item))
        left = views_in(cursor, schema)
    refused = {(item.kind, item.table, item.name) for item in found}
    found += [item for item in wrong if (item.kind, item.table, item.name) not in refused]
    gone = {item.name for item in found if item.kind == "view"}
    found += [
        Disagreement("view", view.name, None, "reads a view that does not come along")
        for view in plan.views
        if view.name not in left and view.name not in gone
    ]
    names = {(item.kind, item.table, item.name) for item in found}
    sources = {table.name: table.source for table in plan.tables}
    columns = {(t.name, c.name): c.source for t in plan.tables for c in t.columns}
    withdrawn = tuple(
        SkippedObject(
            item.kind,
            columns[item.table or "", item.name] if item.kind == "default" else item.name,
            item.reason,
            sources[item.table] if item.table else None,
            originals[item.kind, item.table, item.name],
        )
        for item in found
    )
    return withdrawn, [r for r in results if (r.kind, r.table, r.name) not in names]


def _originals(plan: Plan) -> Mapping[tuple[str, str | None, str], str | None]:
    """(kind, target table, name) of every translated object -> its text in the source."""
    found: dict[tuple[str, str | None, str], str | None] = {
        ("view", None, view.name): view.source_sql for view in plan.views
    }
    for table in plan.tables:
        found |= _originals_of(table)
    return found


def _originals_of(table: TablePlan) -> dict[tuple[str, str | None, str], str | None]:
    found: dict[tuple[str, str | None, str], str | None] = {}
    for check in table.checks:
        if check.origin is not Origin.SOURCE:
            continue
        found["check", table.name, check.name] = check.source_expression
    for column in table.columns:
        if column.default is not None and column.default_test is not None:
            found["default", table.name, column.name] = column.source_default
    for index in table.indexes:
        if index.translated:
            found["index", table.name, index.name] = index.source_sql
    return found


def _drop(schema: str, item: Disagreement) -> sql.Composed:
    name = sql.Identifier(schema, item.name)
    if item.kind == "view":
        return sql.SQL("DROP VIEW IF EXISTS {} CASCADE").format(name)
    if item.kind == "default":
        return sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT").format(
            sql.Identifier(schema, item.table or ""), sql.Identifier(item.name)
        )
    if item.kind == "index":
        return sql.SQL("DROP INDEX IF EXISTS {}").format(name)
    return sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}").format(
        sql.Identifier(schema, item.table or ""), sql.Identifier(item.name)
    )
