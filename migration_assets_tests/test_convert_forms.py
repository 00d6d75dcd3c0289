from __future__ import annotations

import json
import math
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.convert import forms
from migration_assets.convert.jsonforms import json_forms

EPOCH = datetime(1970, 1, 1)
MICROSECOND = timedelta(microseconds=1)


def texts(*values: str | bytes | None) -> pa.Array:
    return pa.array([v.encode() if isinstance(v, str) else v for v in values], pa.binary())


def accepted(recognise, *values: str | bytes | None) -> list[bool]:
    return recognise(texts(*values)).to_pylist()


@pytest.mark.parametrize(
    "text",
    ["0001-01-01", "1899-12-31", "1970-01-01", "2000-02-29", "2024-02-29", "9999-12-31"],
)
def test_real_date_is_parsed(text: str) -> None:
    parsed = forms.parse_date(texts(text))
    assert parsed.ok.tolist() == [True]
    assert parsed.values.tolist() == [(date.fromisoformat(text) - date(1970, 1, 1)).days]


@pytest.mark.parametrize(
    "text",
    [
        "2023-02-30", "2023-02-29", "1900-02-29", "2023-00-10", "2023-13-01", "2023-01-00",
        "2023-01-32", "2023-04-31", "0000-01-01", "2023-1-01", "2023/01/01", "20230101",
        "2023-01-01 ", " 2023-01-01", "", "2023-0a-01", "2023-01-\xb9", "not a date", "-023-01-01",
    ],
)  # fmt: skip
def test_text_that_is_no_real_date_is_not_a_date(text: str) -> None:
    assert accepted(forms.is_date, text) == [False]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-01-02 03:04", datetime(2024, 1, 2, 3, 4)),
        ("2024-01-02T03:04:05", datetime(2024, 1, 2, 3, 4, 5)),
        ("2024-01-02 03:04:05.5", datetime(2024, 1, 2, 3, 4, 5, 500000)),
        ("2024-01-02 03:04:05.123456", datetime(2024, 1, 2, 3, 4, 5, 123456)),
        ("2024-01-02 03:04:05.123456000", datetime(2024, 1, 2, 3, 4, 5, 123456)),
        ("0001-01-01 00:00:00", datetime(1, 1, 1)),
        ("9999-12-31 23:59:59.999999", datetime(9999, 12, 31, 23, 59, 59, 999999)),
    ],
)
def test_datetime_is_parsed_to_the_microsecond(text: str, value: datetime) -> None:
    parsed = forms.parse_datetime(texts(text))
    assert parsed.ok.tolist() == [True]
    assert parsed.values.tolist() == [(value - EPOCH) // MICROSECOND]


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-02", "2024-01-02 03", "2024-01-02 24:00:00", "2024-01-02 03:04:60",
        "2024-01-02 03:60:00", "2024-01-02 03:04:05.", "2024-01-02 03:04:05.1234567",
        "2024-01-02 03:04:05.1234560001", "2024-01-02t03:04:05", "2024-01-02 03:04:05Z",
        "2024-02-30 00:00:00", "2024-01-02 03:04:05,5", "2024-01-02  3:04:05", "now",
    ],
)  # fmt: skip
def test_text_that_postgresql_would_give_back_otherwise_is_not_a_datetime(text: str) -> None:
    assert accepted(forms.is_datetime, text) == [False]


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2024-01-02 03:04Z", datetime(2024, 1, 2, 3, 4)),
        ("2024-01-02T03:04:05+00", datetime(2024, 1, 2, 3, 4, 5)),
        ("2024-01-02T03:04:05.25+0530", datetime(2024, 1, 1, 21, 34, 5, 250000)),
        ("2024-01-02T03:04:05-03:30", datetime(2024, 1, 2, 6, 34, 5)),
        ("9999-12-31 23:59:59.999999+00:00", datetime(9999, 12, 31, 23, 59, 59, 999999)),
    ],
)
def test_datetime_with_offset_is_the_instant_in_utc(text: str, utc: datetime) -> None:
    parsed = forms.parse_datetime_tz(texts(text))
    assert parsed.ok.tolist() == [True]
    assert parsed.values.tolist() == [(utc - EPOCH) // MICROSECOND]


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-02 03:04:05", "2024-01-02 03:04:05+16:00", "2024-01-02 03:04:05+05:60",
        "2024-01-02 03:04:05+5", "2024-01-02 03:04:05 UTC", "2024-01-02Z", "2024-01-02 03:04:05z",
        "9999-12-31 23:59:59-01:00", "0001-01-01 00:00:00+01:00", "2024-01-02 03:04:05.1234567Z",
        "2024-01-02 03:04:05+05-30", "2024-01-02 03:04:05+05:3Z",
    ],
)  # fmt: skip
def test_text_without_a_whole_offset_is_not_a_datetime_with_offset(text: str) -> None:
    assert accepted(forms.is_datetime_tz, text) == [False]


def test_time_below_midnight_is_a_time() -> None:
    good = ["00:00", "23:59:59.999999", "12:00:00.5"]
    bad = ["24:00:00", "12:60", "1:00", "12:00:00Z", "12:00:60", "-1:00:00"]
    assert accepted(forms.is_time, *good, *bad) == [True] * 3 + [False] * 6


def test_null_has_no_form_and_rows_of_many_lengths_keep_their_places() -> None:
    column = texts(None, "2024-01-02 03:04", "x", None, "2024-01-02 03:04:05", "", "2024-01-02")
    assert forms.is_datetime(column).to_pylist() == [False, True, False, False, True, False, False]
    assert forms.is_datetime(column.slice(1, 4)).to_pylist() == [True, False, False, True]
    assert forms.is_date(column.slice(5)).to_pylist() == [False, True]


def test_bytes_under_a_null_are_not_looked_at() -> None:
    offsets = pa.array([0, 10, 20], pa.int32()).buffers()[1]
    column = pa.Array.from_buffers(
        pa.binary(), 2, [pa.py_buffer(b"\x01"), offsets, pa.py_buffer(b"2024-01-01not a date")]
    )
    assert forms.is_date(column).to_pylist() == [True, False]


def test_empty_column_has_no_rows() -> None:
    for recognise in (
        forms.is_date, forms.is_datetime, forms.is_datetime_tz, forms.is_time, forms.is_uuid,
        forms.is_decimal,
    ):  # fmt: skip
        assert recognise(texts()).to_pylist() == []
        assert recognise(texts(None)).to_pylist() == [False]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)), min_size=1, max_size=20))
def test_every_datetime_that_python_writes_is_read_back(values: list[datetime]) -> None:
    parsed = forms.parse_datetime(texts(*(value.isoformat(" ") for value in values)))
    assert parsed.ok.all()
    assert [EPOCH + timedelta(microseconds=v) for v in parsed.values.tolist()] == values


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.datetimes(
            datetime(2, 1, 1),
            datetime(9998, 1, 1),
            timezones=st.integers(-15 * 60, 15 * 60).map(
                lambda minutes: timezone(timedelta(minutes=minutes))
            ),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_every_instant_that_python_writes_is_read_back(values: list[datetime]) -> None:
    parsed = forms.parse_datetime_tz(texts(*(value.isoformat() for value in values)))
    assert parsed.ok.all()
    start = EPOCH.replace(tzinfo=UTC)
    assert [start + timedelta(microseconds=v) for v in parsed.values.tolist()] == values


@settings(max_examples=300, deadline=None)
@given(st.text("0123456789-: T.Z+a\xe9", max_size=30))
def test_text_that_python_refuses_is_no_datetime(text: str) -> None:
    value = texts(text)
    for parsed in (forms.parse_datetime(value), forms.parse_datetime_tz(value)):
        if parsed.ok[0]:
            datetime.fromisoformat(text[:19].rstrip("Z+-.") + "Z")
    if forms.parse_date(value).ok[0]:
        date.fromisoformat(text)
    if forms.parse_time(value).ok[0]:
        time.fromisoformat(text[:15])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.uuids(), min_size=1, max_size=10))
def test_canonical_uuid_is_its_16_bytes(values: list[uuid.UUID]) -> None:
    raw, ok = forms.parse_uuid(texts(*(str(value) for value in values)))
    assert ok.all()
    assert [bytes(row) for row in raw] == [value.bytes for value in values]


def test_uuid_in_any_other_form_is_not_canonical() -> None:
    value = str(uuid.UUID(int=2**127 + 0xABCDEF))
    others = [value.upper(), value.replace("-", ""), f"{{{value}}}"[:36], value[:-1] + "g", ""]
    assert accepted(forms.is_uuid, value, *others) == [True] + [False] * 5


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("0", True), ("-1", True), ("1.50", True), ("0.001", True), ("-0.5", True), ("10", True),
        ("+1", False), ("01", False), (".5", False), ("1.", False), ("1e5", False), ("-0", False),
        ("-0.00", False), ("", False), (" 1", False), ("1\n", False), ("1,5", False),
        ("NaN", False), ("9" * 20_000, True), ("0." + "1" * 16_383, True),
        ("0." + "1" * 16_384, False), ("9" * 131_073, False),
    ],
)  # fmt: skip
def test_decimal_is_what_numeric_gives_back_digit_by_digit(text: str, is_one: bool) -> None:
    assert accepted(forms.is_decimal, text) == [is_one]


EXTREME_REALS = [
    0.1 + 0.2, 1e15, 1e16, 1e22, 1e23, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308,
    123456789012345678.0, 1.2345678901234568e15, -1e-5, 1e-7, 100.0, -0.001, 2.0**63,
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_shortest_decimal_reads_back_to_the_same_double(values: list[float]) -> None:
    values = values + EXTREME_REALS
    found = forms.shortest_decimal(pa.array(values)).to_pylist()
    for value, text in zip(values, found, strict=True):
        assert float(text) == value
        assert Decimal(text) == Decimal(repr(value))
        assert forms.is_decimal(texts(text)).to_pylist() == [True]
        assert "." not in text or not text.endswith("0")


def test_shortest_decimal_writes_what_is_no_number_as_postgresql_does() -> None:
    values = pa.array([math.nan, math.inf, -math.inf, -0.0, None])
    assert forms.shortest_decimal(values).to_pylist() == ["NaN", "Infinity", "-Infinity", "0", None]


_DECIMALS = st.builds(
    lambda digits, scale: float(Decimal(digits).scaleb(-scale)),
    st.integers(-(10**17), 10**17) | st.integers(-(10**6), 10**6),
    st.integers(0, 8),
)


@given(st.lists(_DECIMALS | st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_size_of_doubles_is_that_of_their_shortest_decimals(values: list[float]) -> None:
    reals = pa.array(values, pa.float64())
    assert forms.real_size(reals) == forms.decimal_size(forms.shortest_decimal(reals))


@given(st.lists(_DECIMALS | st.floats(), min_size=1), st.integers(0, 15))
def test_scaled_integers_are_the_shortest_decimals_or_nothing(
    values: list[float], scale: int
) -> None:
    scaled = forms.scaled_integers(np.array(values), scale)
    if scaled is not None:
        shortest = forms.shortest_decimal(pa.array(values, pa.float64())).to_pylist()
        assert [Decimal(int(n)).scaleb(-scale) for n in scaled] == [Decimal(t) for t in shortest]


def test_decimal_size_counts_the_digits_that_numeric_must_hold() -> None:
    assert forms.decimal_size(pa.array(["0.001", "-12.5", None, "100"])) == (3, 3)
    assert forms.decimal_size(pa.array(["-0.25", "0"])) == (0, 2)
    assert forms.decimal_size(pa.array(["1", "-23.456"]).slice(1)) == (2, 3)
    assert forms.decimal_size(pa.array([], pa.string())) == (0, 0)


@pytest.mark.parametrize(
    ("text", "parses", "lossless"),
    [
        ("{}", True, True), ('{"a": [1, 2.5e3, null, true, "x"]}', True, True),
        (" [1] ", True, True), ("-0.05e1", True, True), ('{"day":"2024-01-05"}', True, True),
        ("[1.5,\n-0]", True, False), ("1" * 5000 + "x", False, False),
        ('"\\ud83d\\ude00"', True, True), ("1e400", True, True), ("-0.5", True, True),
        ('"-0"', True, True), ('"\\\\u0000"', True, True), ("9" * 5000, True, True),
        ('{"a":1,"a":2}', True, False), ('[{"b":{"c":1,"c":1}}]', True, False),
        ('{"a":1,"\\u0061":2}', True, False), ('"\\u0000"', True, False),
        ('{"\\u0000":1}', True, False), ('"\\ud800"', True, False), ('"\\ude00 x"', True, False),
        ("-0", True, False), ("[1, -0.0]", True, False), ("1e200000", True, False),
        ("1e-20000", True, False), ("", False, False), ("NaN", False, False),
        ("[Infinity]", False, False), ("-Infinity", False, False), ("01", False, False),
        ("1.", False, False), ("'a'", False, False), ('{"a":1,}', False, False),
        ("1,2", False, False), ('"a\tb"', False, False), ("\ufeff{}", False, False),
        ("[" * 100_000, False, False), ("{} x", False, False), ('"\\x41"', False, False),
    ],
)  # fmt: skip
def test_json_is_told_from_what_jsonb_keeps(text: str, parses: bool, lossless: bool) -> None:
    found = json_forms(texts(text, None, b"\xff", text))
    assert [column.to_pylist() for column in found] == [
        [parses, False, False, parses],
        [lossless, False, False, lossless],
    ]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(JSON_VALUES)
def test_whatever_json_writes_parses(value: object) -> None:
    document = json.dumps(value)
    parses, lossless = json_forms(texts(document))
    assert parses.to_pylist() == [True]
    assert lossless.to_pylist() == ["\\u0000" not in document.replace("\\\\", "")]
