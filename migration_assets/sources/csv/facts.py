"""Facts of a file, counted by a second reading of it as plain texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.core.catalog import Column, Kind, Table
from migration_assets.core.profile import Lane
from migration_assets.core.results import ColumnFacts
from migration_assets.core.types import PgType
from migration_assets.sources.base import SourceFacts
from migration_assets.sources.csv.files import TRUE, CsvFile, batches
from migration_assets.sources.csv.forms import NOT_FINITE, lanes_of


@dataclass
class _Lane:
    """What is known of one lane so far."""

    values: int = 0
    low: int = 0
    high: int = 0
    least: int | float | None = None
    most: int | float | None = None
    bytes: int = 0
    nan: bool = False

    def add_integers(self, values: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        self.low += int((values & 0xFFFFFFFF).sum())
        self.high += int((values >> 32).sum())
        self._widen(int(values.min()), int(values.max()))

    def add_reals(self, values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
        self.nan |= bool(np.isnan(values).any())
        if not self.nan:
            self._widen(float(values.min()), float(values.max()))

    def _widen(self, least: int | float, most: int | float) -> None:
        self.least = least if self.least is None else min(self.least, least)
        self.most = most if self.most is None else max(self.most, most)

    def finish(self, lane: Lane) -> ColumnFacts:
        """The facts that can be compared exactly; a NaN has no place in an order."""
        if lane is Lane.INT:
            return ColumnFacts(self.values, self.low, self.high, repr(self.least), repr(self.most))
        if lane is Lane.REAL:
            if self.nan:
                return ColumnFacts(self.values)
            return ColumnFacts(self.values, minimum=repr(self.least), maximum=repr(self.most))
        return ColumnFacts(self.values, bytes=self.bytes)


def file_facts(file: CsvFile, names: Sequence[str], table: Table) -> SourceFacts:
    """Count and sum a file.

    Args:
        file: that was read whole without an error.
        names: of its first line.
        table: its columns.
    """
    rows = 0
    non_null = {column.name: 0 for column in table.columns}
    found: dict[str, dict[Lane, _Lane]] = {column.name: {} for column in table.columns}
    for batch in batches(file, names, {column.name: pa.string() for column in table.columns}):
        rows += batch.num_rows
        for column in table.columns:
            texts = batch.column(column.name).drop_null()
            non_null[column.name] += len(texts)
            for lane, part in _parts(column, texts).items():
                if len(part):
                    _add(found[column.name].setdefault(lane, _Lane()), lane, column, part)
    return SourceFacts(
        rows,
        non_null,
        {
            name: {lane: facts.finish(lane) for lane, facts in lanes.items()}
            for name, lanes in found.items()
        },
    )


def _parts(column: Column, texts: pa.Array) -> Mapping[Lane, pa.Array]:
    lanes = lanes_of(column)
    if len(lanes) == 1:
        return {lanes[0]: texts}
    odd = pc.is_in(texts, pa.array(NOT_FINITE))
    return {Lane.REAL: texts.filter(odd), Lane.TEXT: texts.filter(pc.invert(odd))}


def _add(facts: _Lane, lane: Lane, column: Column, texts: pa.Array) -> None:
    facts.values += len(texts)
    match lane:
        case Lane.INT if column.type.kind is Kind.BOOLEAN:
            true = pc.is_in(texts, pa.array(TRUE))
            facts.add_integers(true.cast(pa.int64()).to_numpy(zero_copy_only=False))
        case Lane.INT:
            numbers = pc.utf8_trim_whitespace(texts).cast(pa.int64())
            facts.add_integers(numbers.to_numpy(zero_copy_only=False))
        case Lane.REAL:
            numbers = pc.utf8_trim_whitespace(texts).cast(pa.float64())
            if column.target == PgType("real"):
                numbers = numbers.cast(pa.float32()).cast(pa.float64())
            facts.add_reals(numbers.to_numpy(zero_copy_only=False))
        case Lane.BLOB if column.type.kind is Kind.BIT:
            facts.bytes += len(texts) * -(-(column.type.bits or 1) // 8)
        case Lane.BLOB:
            # Two hex digits a byte, after \x.
            digits = int(pc.sum(pc.binary_length(texts)).as_py())
            facts.bytes += (digits - 2 * len(texts)) // 2
        case Lane.TEXT:
            facts.bytes += int(pc.sum(pc.binary_length(texts)).as_py())
