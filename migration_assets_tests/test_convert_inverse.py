"""A fault in a conversion is found by its way back, whatever the counts say."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.convert import TableConverter
from migration_assets.convert.column import Converted
from migration_assets.convert.inverse import first_unequal
from migration_assets.convert.table import CONVERSIONS
from migration_assets.core.catalog import Column, DeclaredType, Kind, Table
from migration_assets.core.plan import ColumnPlan, Conversion, TablePlan
from migration_assets.core.profile import Lane
from migration_assets.core.types import PgType
from migration_assets.errors import NotProvenError
from migration_assets.ledger import LedgerWriter

ARROW = {Lane.INT: pa.int64(), Lane.REAL: pa.float64(), Lane.TEXT: pa.binary()}
DAY = 86_400_000_000

CASES = [
    (Conversion.DATE, PgType("date"), Lane.TEXT, [b"2024-02-29", None, b"0001-01-01"]),
    (Conversion.TIME, PgType("time"), Lane.TEXT, [b"03:04", b"23:59:59.999999", None]),
    (
        Conversion.TIMESTAMP,
        PgType("timestamp"),
        Lane.TEXT,
        [b"2024-01-02 03:04", b"2024-01-02T03:04:05.120000000", None, b"9999-12-31 23:59:59.9"],
    ),
    (
        Conversion.TIMESTAMPTZ,
        PgType("timestamptz"),
        Lane.TEXT,
        [b"2024-01-02 03:04Z", b"2024-01-02T03:04:05.1+05:45", b"2024-01-02 03:04:05-08"],
    ),
    (
        Conversion.UUID_TEXT,
        PgType("uuid"),
        Lane.TEXT,
        [None, b"550e8400-e29b-41d4-a716-446655440000", b"00000000-0000-0000-0000-000000000001"],
    ),
    (Conversion.EPOCH_S, PgType("timestamptz"), Lane.INT, [0, 1_700_000_000, None]),
    (Conversion.EPOCH_MS, PgType("timestamptz"), Lane.INT, [-1, 1_700_000_000_001]),
    (Conversion.EPOCH_US, PgType("timestamptz"), Lane.INT, [1_700_000_000_000_001]),
    (Conversion.DECIMAL, PgType("numeric", (20, 4)), Lane.REAL, [0.1, -0.0, 1e10, None]),
    (Conversion.DECIMAL, PgType("numeric"), Lane.REAL, [5e-324, 1e308, float("inf")]),
    (Conversion.DECIMAL, PgType("numeric"), Lane.INT, [2**63 - 1, -(2**63), None]),
]


def spoiled(array: pa.Array, row: int) -> pa.Array:
    """``array`` with another value in ``row``."""
    values = array.to_pylist()
    others = [v for v in values if v is not None and v != values[row]]
    mask = pa.array([at == row for at in range(len(array))])
    if others:
        return pc.replace_with_mask(array, mask, pa.array([others[0]], array.type))
    moved = pc.add(array.view(pa.int64()), DAY).view(array.type)
    return pc.if_else(mask, moved, array)


@pytest.mark.parametrize(("conversion", "kind", "lane", "values"), CASES)
def test_a_value_that_does_not_lead_back_is_found(
    conversion: Conversion, kind: PgType, lane: Lane, values: list[object]
) -> None:
    lanes = {lane: pa.array(values, ARROW[lane])}
    converted = CONVERSIONS[conversion](lanes, kind).array
    assert first_unequal(conversion, lanes, converted) is None
    row = next(at for at, value in enumerate(values) if value is not None)
    assert first_unequal(conversion, lanes, spoiled(converted, row)) == row


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))))
def test_numbers_of_both_lanes_lead_back(values: list[float | None]) -> None:
    lanes = {
        Lane.INT: pa.array([v if isinstance(v, int) else None for v in values], pa.int64()),
        Lane.REAL: pa.array([v if isinstance(v, float) else None for v in values], pa.float64()),
    }
    present = {lane: array for lane, array in lanes.items() if array.null_count < len(array)}
    if present:
        converted = CONVERSIONS[Conversion.DECIMAL](present, PgType("numeric")).array
        assert first_unequal(Conversion.DECIMAL, present, converted) is None


def test_a_fault_of_a_conversion_stops_the_table_and_names_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = CONVERSIONS[Conversion.TIMESTAMP]

    def an_hour_late(lanes: dict[Lane, pa.Array], kind: PgType) -> Converted:
        instants = right(lanes, kind).array.view(pa.int64())
        return Converted(pc.add(instants, 3_600_000_000).view(kind.arrow))

    monkeypatch.setitem(CONVERSIONS, Conversion.TIMESTAMP, an_hour_late)  # type: ignore[arg-type]
    table = Table("t", (Column("at", "DATETIME", DeclaredType(Kind.DATETIME)),))
    column = ColumnPlan("at", "at", "DATETIME", PgType("timestamp"), Conversion.TIMESTAMP)
    raw = pa.record_batch([pa.array([b"2024-01-02 03:04:05"], pa.binary())], ["0:text"])
    with LedgerWriter(tmp_path / "ledger", "t") as ledger:
        converter = TableConverter(table, TablePlan("t", "t", "t", (column,)), ledger)
        with pytest.raises(NotProvenError, match=r'table "t", column "at", key \[1\]'):
            converter.convert(raw)
