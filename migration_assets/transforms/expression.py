"""Expressions over the columns of a batch, computed by DuckDB without a way out of it.

DuckDB is asked only here and only where an expression is used. It may read no file and no network,
load no extension and see no other variable, and its settings are locked. An expression gives one
value for each row by that row alone: subqueries, aggregates, windows and functions of time or
chance are refused, since their results would depend on how rows are dealt into batches.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

MEMORY = "256MB"
_REFUSED = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "STAR": "*",
    "PARAMETER": "a parameter",
}
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "allow_community_extensions": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "enable_external_access": "false",
    "memory_limit": MEMORY,
    "python_enable_replacements": "false",
    "temp_directory": "",
    "threads": "1",
}


class ExpressionError(Exception):
    """An expression that can not be used, or that failed on some values; says why."""


class Expression:
    """One expression.

    Args:
        text: in DuckDB's SQL.
        schema: of the batches that it will see.

    Raises:
        ExpressionError: it is none, names a column that is not there, or is not allowed.
    """

    def __init__(self, text: str, schema: pa.Schema) -> None:
        import duckdb  # 0.3 s and 20 MB, for those who write expressions

        self._text = text
        self._duckdb = duckdb
        self._connection = duckdb.connect(":memory:", config=_SETTINGS)
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute("SET lock_configuration = true")
        folded = [name.casefold() for name in schema.names]
        if len(set(folded)) < len(folded):
            raise ExpressionError("two columns of the table differ in case only")
        self._check(set(folded))
        self.compute(schema.empty_table())

    def compute(self, batch: pa.RecordBatch | pa.Table) -> pa.Array:
        """The expression's value for each row.

        Args:
            batch: columns by the names and types of the schema.

        Raises:
            ExpressionError: it fails, such as by a division or a cast of one value.
        """
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        try:
            expression = self._duckdb.SQLExpression(self._text).alias("value")
            relation = self._connection.from_arrow(_with_uuids(table)).select(expression)
            return relation.to_arrow_table().column(0).combine_chunks()
        except self._duckdb.Error as error:
            raise ExpressionError(" ".join(str(error).partition("\n")[0].split())) from None

    def _check(self, columns: set[str]) -> None:
        statement = f"SELECT ({self._text}\n)"
        row = self._connection.execute("SELECT json_serialize_sql(?)", [statement]).fetchone()
        tree: Any = json.loads(row[0]) if row else {"error": True}
        if tree["error"] or len(tree["statements"]) != 1:
            raise ExpressionError(tree.get("error_message", "is not one expression"))
        node = tree["statements"][0]["node"]
        if len(node.get("select_list", ())) != 1 or node["from_table"]["type"] != "EMPTY":
            raise ExpressionError("is not one expression")
        nodes = list(_nodes(node["select_list"]))
        lambdas = any(item["class"] == "LAMBDA" for item in nodes)
        known = self._functions()
        for item in nodes:
            kind = item["class"]
            if kind in _REFUSED:
                raise ExpressionError(
                    f"{_REFUSED[kind]} is not allowed: a value is made of its row"
                )
            if kind == "FUNCTION" and item["function_name"] not in known:
                raise ExpressionError(
                    f'"{item["function_name"]}" is no function that makes a value of its row alone'
                )
            if kind == "COLUMN_REF" and not lambdas:
                name = item["column_names"][-1]
                if name.casefold() not in columns:
                    raise ExpressionError(f'there is no column "{name}"')

    def _functions(self) -> set[str]:
        found = self._connection.execute(
            "SELECT function_name FROM duckdb_functions() WHERE function_type = 'macro' "
            "OR (function_type = 'scalar' AND stability = 'CONSISTENT')"
        ).fetchall()
        return {name for (name,) in found}


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "class" in value:
            yield value
        for item in value.values():
            yield from _nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _nodes(item)


def _with_uuids(table: pa.Table) -> pa.Table:
    """UUIDs as such, which DuckDB shows and compares as texts."""
    for place, field in enumerate(table.schema):
        if field.type == pa.binary(16):
            storage = table.column(place).combine_chunks()
            array = pa.ExtensionArray.from_storage(pa.uuid(), storage)
            table = table.set_column(place, field.name, array)
    return table
