"""Rows of the source for people: their keys, and their values as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import pyarrow as pa

from migration_assets.convert.column import Rows
from migration_assets.core.catalog import Table
from migration_assets.core.profile import Lane

BatchLanes = Mapping[int, Mapping[Lane, pa.Array]]
"""Position of a column -> its lanes in one raw batch."""


def lanes_of(raw: pa.RecordBatch) -> dict[int, dict[Lane, pa.Array]]:
    """The lanes of a raw batch by the position of their column."""
    lanes: dict[int, dict[Lane, pa.Array]] = {}
    for field, array in zip(raw.schema, raw.columns, strict=True):
        position, _, lane = field.name.partition(":")
        lanes.setdefault(int(position), {})[Lane(lane)] = array
    return lanes


def row_keys(lanes: BatchLanes, key: Sequence[int], before: int, rows: Rows) -> list[str]:
    """The keys of a few rows as JSON arrays, or their numbers where there is no key.

    Args:
        lanes: of the batch.
        key: positions of the key's columns, empty for none.
        before: rows of the table that stand before the batch.
        rows: rows of the batch.
    """
    if not key:
        return [f"[{before + row + 1}]" for row in rows.tolist()]
    parts = [source_form(lanes.get(place, {}), rows) for place in key]
    return [json.dumps(part, ensure_ascii=False) for part in zip(*parts, strict=True)]


def source_rows(table: Table, lanes: BatchLanes, rows: Rows) -> list[str]:
    """A few rows as JSON objects: source column -> value as the source has it.

    Numbers, texts and NULL stand for themselves. Everything else is an object of one member:
    ``{"blob": "<hex>"}``, ``{"text": "<hex>"}`` for a text whose bytes are not UTF-8, and
    ``{"real": "Infinity"}`` for a real that is not finite.
    """
    columns = {
        column.name: _values(lanes.get(place, {}), rows)
        for place, column in enumerate(table.columns)
    }
    return [
        json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False)
        for row in zip(*columns.values(), strict=True)
    ]


def _values(lanes: Mapping[Lane, pa.Array], rows: Rows) -> list[object]:
    out: list[object] = [None] * len(rows)
    for lane, array in lanes.items():
        for place, value in enumerate(array.take(pa.array(rows)).to_pylist()):
            if value is not None:
                out[place] = _value(lane, value)
    return out


def _value(lane: Lane, value: int | float | bytes) -> object:
    if isinstance(value, bytes):
        if lane is Lane.BLOB:
            return {"blob": value.hex()}
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"text": value.hex()}
    if isinstance(value, float) and not math.isfinite(value):
        word = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return {"real": word}
    return value


def hexadecimal(value: bytes) -> str:
    """Bytes in hex, as ledger and keys show them."""
    return value.hex()


def readable(value: bytes) -> str:
    r"""A text as it is, or in hex after ``\x`` where its bytes are not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "\\x" + value.hex()


def source_form(lanes: Mapping[Lane, pa.Array], rows: Sequence[int] | Rows) -> list[object]:
    """The values of a few rows as JSON values: numbers, texts, bytes in hex, None for NULL."""
    places = pa.array(rows, pa.int64())
    out: list[object] = [None] * len(places)
    for lane, array in lanes.items():
        for place, value in enumerate(array.take(places).to_pylist()):
            if value is None:
                continue
            if lane is Lane.TEXT:
                value = readable(value)
            elif lane is Lane.BLOB:
                value = hexadecimal(value)
            elif lane is Lane.REAL and value - value != 0:
                value = str(value)
            out[place] = value
    return out


def rendered(lanes: Mapping[Lane, pa.Array], rows: Rows) -> list[str | None]:
    """The values of a few rows as texts for the ledger, None for NULL."""
    values = source_form(lanes, rows)
    return [value if value is None or isinstance(value, str) else str(value) for value in values]
