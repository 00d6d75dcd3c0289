"""Any Arrow column in the form of a PostgreSQL type: exactly, or said not to fit."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.convert.fit import fitted, text_of
from migration_assets.core.types import parse_type

ID = UUID("00010203-0405-0607-0809-0a0b0c0d0e0f")


@pytest.mark.parametrize(
    ("values", "arrow", "type_", "expected", "unfit"),
    [
        ([1, None, 40000], pa.int32(), "smallint", [1, None, None], [2]),
        ([1, 2], pa.uint8(), "bigint", [1, 2], []),
        (["7", "x", "-0", "1.0"], pa.string(), "integer", [7, None, None, None], [1, 2, 3]),
        ([True, None], pa.bool_(), "integer", [1, None], []),
        ([True, False], pa.bool_(), "text", ["true", "false"], []),
        ([0, 1, 2], pa.int64(), "boolean", [False, True, None], [2]),
        (["true", "0", "yes"], pa.string(), "boolean", [True, False, None], [2]),
        ([1.5, 2.0], pa.float64(), "bigint", [None, 2], [0]),
        ([2**53 + 1, 1], pa.int64(), "double precision", [None, 1.0], [0]),
        ([Decimal("1.50"), Decimal("2.00")], pa.decimal128(9, 2), "integer", [None, 2], [0]),
        ([Decimal("1.555")], pa.decimal128(9, 3), "numeric(9,2)", [None], [0]),
        ([Decimal("1.500")], pa.decimal128(9, 3), "numeric(9,2)", [Decimal("1.50")], []),
        ([0.1], pa.float64(), "numeric", ["0.1"], []),
        (["ab", "abc"], pa.large_string(), "varchar(2)", ["ab", None], [1]),
        (["a\0b"], pa.string(), "text", [None], [0]),
        ([b"\xff"], pa.binary(), "text", [None], [0]),
        ([ID.bytes], pa.binary(16), "text", [str(ID)], []),
        ([str(ID), "x"], pa.string(), "uuid", [ID.bytes, None], [1]),
        (["2024-02-29", "2023-02-29"], pa.string(), "date", [date(2024, 2, 29), None], [1]),
        ([date(2024, 2, 29)], pa.date32(), "timestamp", [datetime(2024, 2, 29)], []),
        ([datetime(2024, 2, 29, 1)], pa.timestamp("us"), "date", [None], [0]),
        ([datetime(2024, 2, 29)], pa.timestamp("us"), "timestamptz", [None], [0]),
        ([date(2024, 2, 29), None], pa.date32(), "time", [None, None], [0]),
        ([time(1, 2)], pa.time64("us"), "date", [None], [0]),
        ([datetime(2024, 2, 29, 1)], pa.timestamp("us"), "time", [None], [0]),
        ([datetime(2024, 2, 29)], pa.timestamp("us"), "text", ["2024-02-29 00:00:00"], []),
        (['{"a": 1}', "{"], pa.string(), "jsonb", ['{"a": 1}', None], [1]),
        ([[1]], pa.list_(pa.int64()), "text", [None], [0]),
        ([None, None], pa.null(), "uuid", [None, None], []),
    ],
)
def test_value_fits_exactly_or_is_named(values, arrow, type_, expected, unfit):
    kind = parse_type(type_)
    found = fitted(pa.array(values, arrow), kind)
    assert found.array.type == kind.arrow
    assert found.array.to_pylist() == expected
    assert sorted(row for rows, _ in found.unfit for row in rows.tolist()) == unfit


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1))
def test_integers_are_the_same_as_texts_and_back(values):
    texts = fitted(pa.array(values, pa.int64()), parse_type("text"))
    assert not texts.unfit
    back = fitted(texts.array, parse_type("bigint"))
    assert not back.unfit
    assert back.array.to_pylist() == values


def test_texts_of_values_are_those_of_the_ledger():
    instant = pa.array([datetime(2024, 10, 27, 0, 30, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    assert text_of(instant).to_pylist() == ["2024-10-27 00:30:00+00"]
    assert text_of(pa.array([0.1, 1.0, None])).to_pylist() == ["0.1", "1.0", None]
    assert text_of(pa.array([b"\x00a"])).to_pylist() == ["0061"]
