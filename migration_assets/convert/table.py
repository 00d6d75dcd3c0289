"""One table's raw batches into the batches of its Parquet file."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from migration_assets.convert import inverse, numbers, texts, times, uuids
from migration_assets.convert.column import Convert, Rows, UnfitError, source_form
from migration_assets.core.catalog import Table
from migration_assets.core.plan import ColumnPlan, Conversion, TablePlan
from migration_assets.core.profile import Lane
from migration_assets.errors import InputError, NotProvenError
from migration_assets.ledger import LedgerWriter

CONVERSIONS: Mapping[Conversion, Convert] = {
    Conversion.INTEGER: numbers.to_integer,
    Conversion.BOOLEAN: numbers.to_boolean,
    Conversion.DOUBLE: numbers.to_double,
    Conversion.DECIMAL: numbers.to_decimal,
    Conversion.TEXT: texts.to_text,
    Conversion.BYTES: texts.to_bytes,
    Conversion.DATE: times.to_date,
    Conversion.TIME: times.to_time,
    Conversion.TIMESTAMP: times.to_timestamp,
    Conversion.TIMESTAMPTZ: times.to_timestamptz,
    Conversion.EPOCH_S: times.from_epoch(1_000_000),
    Conversion.EPOCH_MS: times.from_epoch(1_000),
    Conversion.EPOCH_US: times.from_epoch(1),
    Conversion.UUID_TEXT: uuids.from_text,
    Conversion.UUID_BYTES: uuids.from_bytes,
    Conversion.JSON: texts.to_text,
}


def parquet_schema(plan: TablePlan) -> pa.Schema:
    """The fields of a table's Parquet file: the stored columns by their target names."""
    return pa.schema([pa.field(column.name, column.type.arrow) for column in plan.stored_columns])


class TableConverter:
    """Converts a table batch by batch, in the order of its rows.

    Args:
        table: as declared; its columns' positions name the lanes of the raw batches.
        plan: what becomes of the table.
        ledger: takes every value that changes.
    """

    def __init__(self, table: Table, plan: TablePlan, ledger: LedgerWriter) -> None:
        self.grown: dict[str, int] = {}
        """By how many bytes the texts of a source column grew through entries in the ledger."""
        self._table = table
        self._plan = plan
        self._ledger = ledger
        self._schema = parquet_schema(plan)
        self._position = {column.name: place for place, column in enumerate(table.columns)}
        self._key = tuple(plan.column(name).source for name in plan.key)
        self.rows = 0
        """Rows converted so far."""

    def convert(self, raw: pa.RecordBatch) -> pa.RecordBatch:
        """Convert one raw batch; its changes are in the ledger when this returns.

        Raises:
            InputError: for a value that the planned type can not hold; names table, column, key.
            NotProvenError: a converted value does not lead back to the source's.
        """
        lanes = lanes_of(raw)
        columns = [
            self._column(column, lanes, raw.num_rows) for column in self._plan.stored_columns
        ]
        self.rows += raw.num_rows
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _column(
        self, plan: ColumnPlan, lanes: Mapping[int, Mapping[Lane, pa.Array]], rows: int
    ) -> pa.Array:
        present = {
            lane: array
            for lane, array in lanes.get(self._position[plan.source], {}).items()
            if array.null_count < len(array)
        }
        if not present:
            return pa.nulls(rows, plan.type.arrow)
        try:
            converted = CONVERSIONS[plan.conversion](present, plan.type)
        except UnfitError as error:
            raise InputError(
                f'table "{self._table.name}", column "{plan.source}", '
                f"key {self._keys(lanes, np.array([error.row]))[0]}: the value {error.reason}, "
                f"but the plan is {plan.type.sql}; plan again from this snapshot"
            ) from None
        wrong = inverse.first_unequal(plan.conversion, present, converted.array)
        if wrong is not None:
            raise NotProvenError(
                f'table "{self._table.name}", column "{plan.source}", '
                f"key {self._keys(lanes, np.array([wrong]))[0]}: the converted value does not lead "
                f"back to the source's; this is a fault of the conversion {plan.conversion}"
            )
        for change in converted.changes:
            keys = self._keys(lanes, change.rows)
            self._ledger.add(keys, plan.source, change.before, change.after, change.rule)
            self.grown[plan.source] = self.grown.get(plan.source, 0) + change.bytes
        return converted.array

    def _keys(self, lanes: Mapping[int, Mapping[Lane, pa.Array]], rows: Rows) -> list[str]:
        """The keys of a few rows as JSON arrays, or their numbers in a table without a key."""
        if not self._key:
            return [f"[{self.rows + row + 1}]" for row in rows.tolist()]
        parts = [source_form(lanes[self._position[name]], rows) for name in self._key]
        return [json.dumps(key, ensure_ascii=False) for key in zip(*parts, strict=True)]


def lanes_of(raw: pa.RecordBatch) -> dict[int, dict[Lane, pa.Array]]:
    """The lanes of a raw batch by the position of their column."""
    lanes: dict[int, dict[Lane, pa.Array]] = {}
    for field, array in zip(raw.schema, raw.columns, strict=True):
        position, _, lane = field.name.partition(":")
        lanes.setdefault(int(position), {})[Lane(lane)] = array
    return lanes
