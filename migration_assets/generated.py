"""Load of tables with generated columns: PostgreSQL computes them only if it computes the same.

The source's values of a generated column are extracted as those of any other. The table is loaded
with PostgreSQL's own expression, and every value that it computed is compared with the extracted
one. A column whose expression PostgreSQL refuses, or that comes out differently in one row, is
withdrawn: the table is loaded again, with the source's values in an ordinary column.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import psycopg2
import pyarrow.parquet as pq
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from migration_assets import load
from migration_assets.core.catalog import SkippedObject
from migration_assets.core.generated import KIND, ORDINARY
from migration_assets.core.plan import ColumnPlan, TablePlan
from migration_assets.core.results import ContentResult, LoadResult
from migration_assets.errors import NotProvenError
from migration_assets.postgres import ddl
from migration_assets.postgres.connect import Target, session
from migration_assets.progress import Progress
from migration_assets.verify import content


def load_table(
    target: Target,
    incoming: str,
    plan: TablePlan,
    parquet: pq.ParquetFile,
    progress: Progress,
    connection: Connection | None = None,
    digest: str = "",
) -> tuple[LoadResult, tuple[SkippedObject, ...]]:
    """Load one table as :func:`migration_assets.load.load_table`, and try its generated columns.

    Returns:
        the result, and the generated columns that are ordinary ones in PostgreSQL, with reasons;
        none of those that an existing schema has, of which the content check judges.
    """
    if plan.existing:
        return load.load_table(target, incoming, plan, parquet, progress, connection, digest), ()
    reasons = _refused(target, incoming, plan)
    kept = _without(plan, reasons)
    if not _generated(kept):
        result = load.load_table(target, incoming, kept, parquet, progress, connection, digest)
        return result, _withdrawn(plan, reasons)
    try:
        result = load.load_table(target, incoming, kept, parquet, progress, connection, digest)
    except NotProvenError:
        # Some expression fails for a row, or the rows themselves do; then this load fails too.
        ordinary = _without(plan, [column.name for column in plan.columns])
        result = load.load_table(target, incoming, ordinary, parquet, progress, connection, digest)
        reasons |= _failing(target, incoming, kept)
        kept = _without(plan, reasons)
        if not _generated(kept):
            return result, _withdrawn(plan, reasons)
        result = load.load_table(target, incoming, kept, parquet, progress, connection, digest)
    different = _different(target, incoming, kept, parquet)
    if different:
        reasons |= different
        kept = _without(plan, reasons)
        result = load.load_table(target, incoming, kept, parquet, progress, connection, digest)
    return result, _withdrawn(plan, reasons)


def _generated(plan: TablePlan) -> list[ColumnPlan]:
    return [column for column in plan.columns if column.generated is not None]


def _without(plan: TablePlan, names: Collection[str]) -> TablePlan:
    """The table with ordinary columns in place of ``names``."""
    return replace(
        plan,
        columns=tuple(replace(c, generated=None) if c.name in names else c for c in plan.columns),
    )


def _withdrawn(plan: TablePlan, reasons: Mapping[str, str]) -> tuple[SkippedObject, ...]:
    return tuple(
        SkippedObject(
            KIND,
            column.source,
            f"{ORDINARY}{reasons[column.name]}",
            plan.source,
            column.source_generated,
        )
        for column in _generated(plan)
        if column.name in reasons
    )


def _refused(target: Target, incoming: str, plan: TablePlan) -> dict[str, str]:
    """Columns that PostgreSQL does not generate at all, each tried alone; leaves no trace."""
    reasons: dict[str, str] = {}
    columns = _generated(plan)
    if not columns:
        return reasons
    names = [column.name for column in columns]
    with (
        session(target, "the trial of generated columns") as connection,
        connection.cursor() as cursor,
    ):
        for column in columns:
            alone = _without(plan, [name for name in names if name != column.name])
            statement = ddl.create_table(incoming, replace(alone, name=ddl.TRIAL))
            try:
                cursor.execute(statement)
            except psycopg2.Error as error:
                if connection.closed or (error.pgcode or "")[:2] not in {"0A", "22", "42", "54"}:
                    raise
                reasons[column.name] = f"PostgreSQL refuses it: {error.diag.message_primary}"
            connection.rollback()
    return reasons


def _failing(target: Target, incoming: str, plan: TablePlan) -> dict[str, str]:
    """Columns whose expression fails for a row of the loaded table, all of them ordinary there."""
    reasons: dict[str, str] = {}
    with (
        session(target, "the trial of generated columns") as connection,
        connection.cursor() as cursor,
    ):
        for column in _generated(plan):
            try:
                cursor.execute(
                    sql.SQL("SELECT count(({})::{}) FROM {}").format(
                        sql.SQL(column.generated or ""),
                        sql.SQL(column.type.sql),
                        sql.Identifier(incoming, plan.name),
                    )
                )
            except psycopg2.DataError as error:
                said = load.shown_message(error, plan)
                reasons[column.name] = f"PostgreSQL can not compute it for every row: {said}"
            connection.rollback()
    return reasons


def _different(
    target: Target, incoming: str, plan: TablePlan, parquet: pq.ParquetFile
) -> dict[str, str]:
    """Generated columns with other values than the extracted ones."""
    columns = _generated(plan)
    if _compared(target, incoming, plan, columns, parquet).passed:
        return {}
    reasons = {}
    for column in columns:
        result = _compared(target, incoming, plan, [column], parquet)
        if not result.passed:
            reasons[column.name] = _difference(result, column)
    return reasons


def _compared(
    target: Target,
    incoming: str,
    plan: TablePlan,
    columns: list[ColumnPlan],
    parquet: pq.ParquetFile,
) -> ContentResult:
    wanted = {*plan.key, *(column.name for column in columns)}
    part = replace(plan, columns=tuple(c for c in plan.columns if c.name in wanted))
    return content.compare_table(target, incoming, part, parquet, Progress())


def _difference(result: ContentResult, column: ColumnPlan) -> str:
    counted = f"{result.changed or result.missing} rows"
    for found in result.differences:
        if found.kind == "changed" and found.column == column.name:
            return (
                f"PostgreSQL computes other values in {counted}, first in the row with key "
                f"{found.key}: {found.found!r} instead of {found.expected!r}"
            )
    return f"PostgreSQL computes other values in {counted}"
