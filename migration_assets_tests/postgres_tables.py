"""Plans, Parquet files and questions to PostgreSQL for the tests of what is written there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2 import sql

from migration_assets.core.plan import ColumnPlan, Conversion, Plan, TablePlan
from migration_assets.core.profile import Profile, TableProfile
from migration_assets.core.types import PgType
from migration_assets.load import load_table, prepare
from migration_assets.postgres.connect import Target, connect
from migration_assets.progress import Progress


def column(name: str, type_: str, *args: int, **facts: Any) -> ColumnPlan:
    """A column of a PostgreSQL type."""
    return ColumnPlan(name, name, "", PgType(type_, args), Conversion.TEXT, **facts)


def table(name: str, *columns: ColumnPlan, **facts: Any) -> TablePlan:
    """A table whose source has the same name."""
    return TablePlan(name, name, name, columns, **facts)


def parquet(
    folder: Path, plan: TablePlan, *lanes: Sequence[Any], group: int = 100_000
) -> pq.ParquetFile:
    """A Parquet file of the plan's stored columns."""
    columns = plan.stored_columns
    arrays = [pa.array(values, c.type.arrow) for c, values in zip(columns, lanes, strict=True)]
    schema = pa.schema([(c.name, c.type.arrow) for c in columns])
    path = folder / f"{plan.slug}.parquet"
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, row_group_size=group)
    return pq.ParquetFile(path)


def load_all(
    url: str,
    schema: str,
    folder: Path,
    rows: dict[TablePlan, list[Sequence[Any]]],
    run: str = "run00001",
) -> tuple[Target, str]:
    """Load tables into the incoming schema of ``run``; returns target and incoming schema."""
    target = Target(url, schema)
    incoming = f"{schema}__in_{run[:8]}"
    prepare(target, incoming, run, "shop")
    for plan, lanes in rows.items():
        load_table(target, incoming, plan, parquet(folder, plan, *lanes), Progress())
    return target, incoming


def plan_of(*tables: TablePlan, **facts: Any) -> Plan:
    """A plan of these tables."""
    return Plan(tables, **facts)


def profile_of(next_values: dict[str, int | None], rows: int = 1) -> Profile:
    """A profile that knows rows and next values."""
    return Profile(
        {name: TableProfile(rows, {}, next_value) for name, next_value in next_values.items()}
    )


def ask(url: str, question: str | sql.Composable, *values: Any) -> list[Any]:
    """The rows of a query in a connection of its own, committed; single columns unpacked."""
    connection = connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(question, values or None)
            found = cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
    return [row[0] if len(row) == 1 else row for row in found]
