"""One table's raw batches into the batches of its Parquet file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.convert import inverse, members, numbers, octets, texts, times, uuids
from migration_assets.convert.anomalies import Aside, ForbiddenError, Settled, settle
from migration_assets.convert.column import (
    Convert,
    Converted,
    Lanes,
    Mask,
    Rows,
    UnfitError,
    mask_of,
    without,
)
from migration_assets.convert.rows import BatchLanes, lanes_of, row_keys, source_rows
from migration_assets.convert.zones import Zone
from migration_assets.core.catalog import Table
from migration_assets.core.plan import ColumnPlan, Conversion, TablePlan
from migration_assets.core.profile import Lane
from migration_assets.core.sensitive import shown_key
from migration_assets.errors import NotProvenError
from migration_assets.ledger import LedgerWriter, QuarantineWriter
from migration_assets.transforms.table import TableTransforms, transforms_of

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
    Conversion.UTC: times.to_utc,
    Conversion.INTERVAL: times.to_interval,
    Conversion.BITS: octets.to_bits,
    Conversion.ENUM: members.to_enum,
    Conversion.SET: members.to_set,
    Conversion.GEOMETRY: octets.to_ewkb,
}


def parquet_schema(plan: TablePlan) -> pa.Schema:
    """The fields of a table's Parquet file: the stored columns by their target names."""
    return pa.schema([pa.field(column.name, column.type.arrow) for column in plan.stored_columns])


@dataclass(frozen=True)
class ConvertedBatch:
    """One batch in the form of the plan.

    Attributes:
        batch: its rows without those that were set aside.
        taken: position of a source column -> rows of the raw batch whose value did not go into
            ``batch``: all those of rows set aside, and single values that became NULL. Columns
            that lost nothing are absent.
        untouched: ``batch`` before the user's own transforms; the same where there are none.
    """

    batch: pa.RecordBatch
    taken: Mapping[int, Mask]
    untouched: pa.RecordBatch


class TableConverter:
    """Converts a table batch by batch, in the order of its rows.

    Args:
        table: as declared; its columns' positions name the lanes of the raw batches.
        plan: what becomes of the table, and of its anomalies.
        ledger: takes every value that changes.
        quarantine: takes every row that is set aside; without one such a row is an error.
        folder: the migration's, where functions of transforms may be.

    Raises:
        InputError: a transform that can not be used.
    """

    def __init__(
        self,
        table: Table,
        plan: TablePlan,
        ledger: LedgerWriter,
        quarantine: QuarantineWriter | None = None,
        folder: Path | None = None,
    ) -> None:
        self.grown: dict[str, int] = {}
        """By how many bytes the texts of a source column grew through entries in the ledger."""
        self.led_back: dict[str, int] = {}
        """Values that inverses of transforms lead back, by ``<rule>:<source column>``."""
        self._table = table
        self._plan = plan
        self._ledger = ledger
        self._quarantine = quarantine
        self._columns = tuple(
            replace(column, type=column.converted_type) if column.converted else column
            for column in plan.stored_columns
        )
        self._schema = pa.schema([(c.name, c.type.arrow) for c in self._columns])
        self._transforms = transforms_of(plan, folder)
        self._position = {column.name: place for place, column in enumerate(table.columns)}
        self._zones = {
            column.source: Zone(column.source_timezone)
            for column in plan.stored_columns
            if column.source_timezone is not None
        }
        self._key = tuple(plan.column(name).source for name in plan.key)
        self.rows = 0
        """Rows converted so far, those set aside included."""

    def convert(self, raw: pa.RecordBatch) -> pa.RecordBatch:
        """The batch of :meth:`convert_whole`."""
        return self.convert_whole(raw).batch

    def convert_whole(self, raw: pa.RecordBatch) -> ConvertedBatch:
        """Convert one raw batch; changes and rows set aside are written when this returns.

        Raises:
            NotProvenError: a value whose policy is ``fail``, a converted value that does not lead
                back to the source's, or a transform that failed; names table, column and key.
        """
        lanes = lanes_of(raw)
        done = [(column, self._column(column, lanes, raw.num_rows)) for column in self._columns]
        batch = pa.RecordBatch.from_arrays([part.array for _, part in done], schema=self._schema)
        aside = Aside(raw.num_rows)
        taken: dict[int, Mask] = {}
        for column, part in done:
            aside.add(column, part.aside)
            if len(part.emptied):
                taken[self._position[column.source]] = mask_of(part.emptied, raw.num_rows)
        if aside.rows:
            batch = batch.filter(pa.array(~aside.mask))
        untouched = batch
        if self._transforms is not None:
            batch, untouched = self._transformed(self._transforms, batch, lanes, aside)
        if aside.rows:
            self._set_aside(aside, lanes)
            gone = aside.mask
            for column in self._columns:
                place = self._position[column.source]
                taken[place] = taken[place] | gone if place in taken else gone
        for column, part in done:
            if part.changes:
                self._enter(column, part, lanes, aside)
        self.rows += raw.num_rows
        return ConvertedBatch(batch, taken, untouched)

    def _transformed(
        self, transforms: TableTransforms, batch: pa.RecordBatch, lanes: BatchLanes, aside: Aside
    ) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """The batch after the user's transforms and before them, both without rows set aside.

        Args:
            transforms: of the table.
            batch: the rows that stay so far.
            lanes: of the whole raw batch.
            aside: is added to.
        """
        length = aside.length
        kept = np.flatnonzero(~aside.mask) if aside.rows else np.arange(length)
        made = transforms.apply(batch, lambda rows: self._shown_keys(lanes, kept[rows]))
        after = pa.RecordBatch.from_arrays(
            list(made.columns.values()), schema=parquet_schema(self._plan)
        )
        for name, mask in made.led_back:
            self.led_back[name] = self.led_back.get(name, 0) + int(np.count_nonzero(mask))
        for column, found in made.aside:
            aside.add(column, [replace(found, rows=kept[found.rows])])
        gone = aside.mask if made.aside else np.zeros(length, np.bool_)
        for source, change in made.changes:
            left = change.without(gone[kept])
            keys = self._keys(lanes, kept[left.rows])
            self._ledger.add(keys, source, left.before, left.after, left.rule)
        if not made.aside:
            return after, batch
        staying = pa.array(~gone[kept])
        return after.filter(staying), batch.filter(staying)

    def _column(self, plan: ColumnPlan, lanes: BatchLanes, rows: int) -> Settled:
        found = {
            lane: array
            for lane, array in lanes.get(self._position[plan.source], {}).items()
            if array.null_count < len(array)
        }
        present: Lanes = found
        unfit: list[tuple[Rows, str]] = []
        converted = Converted(pa.nulls(rows, plan.type.arrow))
        zone = self._zones.get(plan.source)
        convert = (
            times.in_zone(zone, plan.policy("ambiguous_time") == "later")
            if zone is not None
            else _conversion(plan)
        )
        while present:
            try:
                converted = convert(present, plan.type)
            except UnfitError as error:
                unfit.append((error.rows, error.reason))
                present = without(present, error.rows)
            else:
                wrong = inverse.first_unequal(
                    plan.conversion, present, _leading_back(converted), zone
                )
                if wrong is not None:
                    raise self._error(
                        plan,
                        lanes,
                        wrong,
                        "the converted value does not lead back to the source's; this is a fault "
                        f"of the conversion {plan.conversion}",
                    )
                break
        try:
            return settle(plan, found, converted, unfit)
        except ForbiddenError as error:
            raise self._error(plan, lanes, error.row, str(error)) from None

    def _error(self, plan: ColumnPlan, lanes: BatchLanes, row: int, problem: str) -> NotProvenError:
        key = self._shown_keys(lanes, np.array([row]))[0]
        return NotProvenError(
            f'table "{self._table.name}", column "{plan.source}", key {key}: {problem}'
        )

    def _set_aside(self, aside: Aside, lanes: BatchLanes) -> None:
        rows, errors, causes = aside.listed()
        if self._quarantine is None:
            key = self._shown_keys(lanes, rows[:1])[0]
            raise NotProvenError(f'table "{self._table.name}", key {key}: {errors[0]}')
        values = source_rows(self._table, lanes, rows)
        places = (rows + self.rows).tolist()
        self._quarantine.add(self._keys(lanes, rows), errors, values, causes, places)

    def _enter(self, plan: ColumnPlan, part: Settled, lanes: BatchLanes, aside: Aside) -> None:
        """Write the changes of the rows that stay, and by how much their texts grew."""
        changed = []
        for change in part.changes:
            if aside.rows:
                change = change.without(aside.mask)
            if len(change.rows):
                keys = self._keys(lanes, change.rows)
                self._ledger.add(keys, plan.source, change.before, change.after, change.rule)
                changed.append(change.rows)
        here = lanes.get(self._position[plan.source], {})
        sized = pa.types.is_string(part.array.type) or pa.types.is_binary(part.array.type)
        if not changed or not sized or Lane.TEXT not in here:
            return
        rows = pa.array(np.setdiff1d(np.concatenate(changed), part.emptied))
        grown = _size(part.array.take(rows)) - _size(here[Lane.TEXT].take(rows))
        self.grown[plan.source] = self.grown.get(plan.source, 0) + grown

    def _keys(self, lanes: BatchLanes, rows: Rows) -> list[str]:
        """The keys of a few rows as JSON arrays, or their numbers in a table without a key."""
        return row_keys(lanes, [self._position[name] for name in self._key], self.rows, rows)

    def _shown_keys(self, lanes: BatchLanes, rows: Rows) -> list[str]:
        """As :meth:`_keys`, without sensitive values."""
        return [shown_key(self._plan, key) for key in self._keys(lanes, rows)]


def _leading_back(converted: Converted) -> pa.Array:
    """The column with NULL for times that were moved because they do not exist."""
    moved = [change.rows for change in converted.changes if change.rule == "nonexistent_time"]
    if not moved:
        return converted.array
    mask = mask_of(np.concatenate(moved), len(converted.array))
    return pc.if_else(pa.array(mask), pa.scalar(None, converted.array.type), converted.array)


def _conversion(plan: ColumnPlan) -> Convert:
    """How a column is converted; documents are parsed only where the profile has not done it."""
    if plan.unsure and plan.conversion is Conversion.JSON:
        return texts.to_json
    return CONVERSIONS[plan.conversion]


def _size(values: pa.Array) -> int:
    """Sum of the lengths of texts or blobs."""
    return int(pc.sum(pc.binary_length(values)).as_py() or 0)
