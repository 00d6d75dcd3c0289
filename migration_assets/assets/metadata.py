"""Metadata of assets in the words of Dagster's UI: columns, rates, locations."""

import dagster as dg

from migration_assets.core.catalog import Table
from migration_assets.core.plan import TablePlan


def column_schema(table: TablePlan, by_source: Table | None = None) -> dg.TableSchema:
    """The columns of a table with types, nullability and keys.

    Args:
        table: its plan; names and types are PostgreSQL's.
        by_source: where given, the stored columns only, described by what the source declares.
    """
    unique = {key.columns[0] for key in table.uniques if len(key.columns) == 1}
    columns = table.stored_columns if by_source else table.columns
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=column.type.sql,
                description=(
                    f"{column.source} {column.source_type}".strip() if by_source else column.comment
                ),
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable,
                    unique=column.name in unique or table.primary_key == (column.name,),
                    other=_constraints(table, column.name),
                ),
            )
            for column in columns
        ]
    )


def _constraints(table: TablePlan, column: str) -> list[str]:
    found = ["primary key"] if column in table.primary_key else []
    found += [f"references {k.ref_table}" for k in table.foreign_keys if column in k.columns]
    planned = table.column(column)
    if planned.identity:
        found.append("identity")
    if planned.default is not None:
        found.append(f"default {planned.default}")
    if planned.generated is not None:
        found.append("generated")
    return found


def rate(rows: int, seconds: float) -> float:
    """Rows per second, 0 where no time was measured."""
    return round(rows / seconds, 1) if seconds > 0 else 0.0


def code_version(digest: str) -> dict[str, str]:
    """The tag that says which plan a table was made by: the run's own, which may be newer.

    The definitions of a first run know no profile yet, so their version could only be a guess.
    """
    return {"dagster/code_version": digest}
