from __future__ import annotations

import math
import struct
import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from migration_assets.convert import TableConverter, texts
from migration_assets.convert.column import UnfitError
from migration_assets.convert.table import CONVERSIONS
from migration_assets.convert.texts import real_text
from migration_assets.core.catalog import Column, DeclaredType, Kind, Table
from migration_assets.core.plan import ColumnPlan, Conversion, TablePlan
from migration_assets.core.profile import Lane
from migration_assets.core.types import PgType
from migration_assets.errors import NotProvenError
from migration_assets.ledger import LedgerWriter

ARROW = {
    Lane.INT: pa.int64(),
    Lane.REAL: pa.float64(),
    Lane.TEXT: pa.binary(),
    Lane.BLOB: pa.binary(),
}
TEXT = PgType("text")
BIGINT = PgType("bigint")
NUMERIC = PgType("numeric")


def convert(conversion: Conversion, kind: PgType, **lanes: list) -> pa.Array:
    arrays = {Lane(name): pa.array(values, ARROW[Lane(name)]) for name, values in lanes.items()}
    return CONVERSIONS[conversion](arrays, kind).array


def refused(conversion: Conversion, kind: PgType, **lanes: list) -> int:
    """The first row whose value is refused."""
    with pytest.raises(UnfitError) as caught:
        convert(conversion, kind, **lanes)
    return int(caught.value.rows[0])


def convert_table(
    path: Path, kinds: list[tuple[Conversion, PgType]], key: tuple[str, ...], *batches: dict
) -> tuple[list[pa.RecordBatch], list[dict], TableConverter]:
    """Convert batches of a table with columns c0, c1, ...; returns them and the ledger's rows."""
    columns = tuple(Column(f"c{n}", "", DeclaredType(Kind.ANY)) for n in range(len(kinds)))
    plans = tuple(
        ColumnPlan(f"c{n}", f"t{n}", "", kind, conversion)
        for n, (conversion, kind) in enumerate(kinds)
    )
    with LedgerWriter(path, "a table") as ledger:
        converter = TableConverter(
            Table("a table", columns), TablePlan("a table", "t", "t", plans, key=key), ledger
        )
        out = []
        for batch in batches:
            arrays = {
                name: pa.array(values, ARROW[Lane(name.partition(":")[2])])
                for name, values in batch.items()
            }
            out.append(converter.convert(pa.record_batch(arrays)))
    return out, pq.read_table(path).to_pylist() if path.exists() else [], converter


def test_integer_keeps_every_64_bit_value() -> None:
    values = [-(2**63), -1, 0, None, 2**63 - 1]
    assert convert(Conversion.INTEGER, BIGINT, int=values).to_pylist() == values


def test_integer_outside_the_planned_width_is_refused() -> None:
    narrow = PgType("smallint")
    assert convert(Conversion.INTEGER, narrow, int=[-32768, 32767]).type == pa.int16()
    assert refused(Conversion.INTEGER, narrow, int=[0, None, 32768]) == 2
    assert refused(Conversion.INTEGER, PgType("integer"), int=[2**31 - 1, -(2**31) - 1]) == 1


def test_whole_reals_among_integers_become_integers() -> None:
    found = convert(Conversion.INTEGER, BIGINT, int=[1, None, None], real=[None, 2.0**60, -3.0])
    assert found.to_pylist() == [1, 2**60, -3]
    assert refused(Conversion.INTEGER, BIGINT, real=[1.0, 1.5]) == 1
    assert refused(Conversion.INTEGER, BIGINT, real=[2.0**63]) == 0
    assert refused(Conversion.INTEGER, BIGINT, real=[math.inf]) == 0


def test_boolean_is_0_or_1() -> None:
    assert convert(Conversion.BOOLEAN, PgType("boolean"), int=[1, 0, None]).to_pylist() == [
        True, False, None,
    ]  # fmt: skip
    assert refused(Conversion.BOOLEAN, PgType("boolean"), int=[1, 2]) == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(), min_size=1))
def test_double_keeps_its_bits(values: list[float]) -> None:
    found = convert(Conversion.DOUBLE, PgType("double precision"), real=[*values, -0.0])
    bits = [struct.pack("d", value) for value in found.to_pylist()]
    assert bits == [struct.pack("d", value) for value in [*values, -0.0]]


def test_integer_that_no_double_holds_is_refused() -> None:
    double = PgType("double precision")
    exact = [2**53, -(2**53), 2**60, -(2**63)]
    assert convert(Conversion.DOUBLE, double, int=exact).to_pylist() == [float(v) for v in exact]
    assert refused(Conversion.DOUBLE, double, int=[1, 2**53 + 1]) == 1
    assert refused(Conversion.DOUBLE, double, int=[2**63 - 1]) == 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.decimals(-(10**9), 10**9, places=4), min_size=1, max_size=20))
def test_real_becomes_the_decimal_it_was_written_as(values: list[Decimal]) -> None:
    found = convert(Conversion.DECIMAL, PgType("numeric", (14, 4)), real=[float(v) for v in values])
    assert found.to_pylist() == values


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
@example([5e-324, 1e22, 0.1 + 0.2, 1.7976931348623157e308])
def test_unconstrained_numeric_reads_back_to_the_same_double(values: list[float]) -> None:
    found = convert(Conversion.DECIMAL, NUMERIC, real=values)
    assert found.type == pa.string()
    assert [float(text) for text in found.to_pylist()] == values
    assert [Decimal(text) for text in found.to_pylist()] == [Decimal(repr(v)) for v in values]


def test_decimal_lanes_are_laid_over_each_other() -> None:
    found = convert(
        Conversion.DECIMAL,
        PgType("numeric", (20, 3)),
        int=[2**50, None, None, None],
        real=[None, 0.1, None, None],
        text=[None, None, b"-12.50", None],
    )
    assert found.to_pylist() == [Decimal(2**50), Decimal("0.1"), Decimal("-12.5"), None]
    wide = convert(
        Conversion.DECIMAL, NUMERIC, int=[7, None, None], real=[None, 1e-7, None],
        text=[None, None, b"1.50"],
    )  # fmt: skip
    assert wide.to_pylist() == ["7", "0.0000001", "1.50"]


def test_number_that_numeric_would_round_or_refuse_is_refused() -> None:
    money = PgType("numeric", (6, 2))
    assert convert(Conversion.DECIMAL, money, int=[9999]).to_pylist() == [Decimal("9999.00")]
    assert refused(Conversion.DECIMAL, money, int=[1, 10_000]) == 1
    assert refused(Conversion.DECIMAL, money, real=[1.0, 0.125]) == 1
    assert refused(Conversion.DECIMAL, money, real=[math.inf]) == 0
    assert refused(Conversion.DECIMAL, money, text=[b"1.00", b"1.005"]) == 1
    assert refused(Conversion.DECIMAL, NUMERIC, text=[b"1.5", None, b"1e5"]) == 2
    wide = PgType("numeric", (40, 2))
    assert convert(Conversion.DECIMAL, wide, real=[1.25]).to_pylist() == ["1.25"]
    assert refused(Conversion.DECIMAL, wide, real=[1.25, 1.125]) == 1
    assert refused(Conversion.DECIMAL, wide, real=[1.25, math.nan, math.inf]) >= 1
    tight = PgType("numeric", (38, 30))
    assert convert(Conversion.DECIMAL, tight, int=[99_999_999]).to_pylist() == [99_999_999]
    assert refused(Conversion.DECIMAL, tight, int=[100_000_000]) == 0


def test_numbers_in_a_text_column_are_written_as_sqlite_writes_them() -> None:
    found = convert(
        Conversion.TEXT, TEXT, text=[b"1", None, None], int=[None, -5, None],
        real=[None, None, 1.0],
    )  # fmt: skip
    assert found.to_pylist() == ["1", "-5", "1.0"]
    odd = pa.array([1e20, -1e-7, math.inf, -math.inf, 0.1 + 0.2, -0.0, None, 1e15, 0.0001, 2.5])
    assert real_text(odd).to_pylist() == [
        "1e+20", "-1e-07", "Inf", "-Inf", "0.30000000000000004", "-0.0", None,
        "1000000000000000.0", "0.0001", "2.5",
    ]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_real_as_text_reads_back_to_the_same_bits(values: list[float]) -> None:
    found = real_text(pa.array(values)).to_pylist()
    assert [struct.pack("d", float(text)) for text in found] == [
        struct.pack("d", value) for value in values
    ]


def test_blob_or_too_long_text_is_refused_in_a_text_column() -> None:
    assert refused(Conversion.TEXT, TEXT, text=[b"a", None], blob=[None, b"\0"]) == 1
    assert refused(Conversion.TEXT, PgType("varchar", (2,)), text=["äö".encode(), b"abc"]) == 1


def test_bytes_take_every_storage_class() -> None:
    found = convert(
        Conversion.BYTES, PgType("bytea"), blob=[b"\0\xff", None, None, None],
        text=[None, b"a\0\xff", None, None], int=[None, None, 7, None], real=[None] * 3 + [0.5],
    )  # fmt: skip
    assert found.to_pylist() == [b"\0\xff", b"a\0\xff", b"7", b"0.5"]


def test_iso_texts_become_dates_and_times() -> None:
    def one(conversion: Conversion, kind: str, text: bytes) -> object:
        return convert(conversion, PgType(kind), text=[None, text]).to_pylist()[1]

    assert one(Conversion.DATE, "date", b"1969-12-31") == date(1969, 12, 31)
    assert one(Conversion.TIME, "time", b"23:59:59.5") == time(23, 59, 59, 500000)
    moment = datetime(2024, 2, 29, 1, 2, 3, 4)
    assert one(Conversion.TIMESTAMP, "timestamp", b"2024-02-29T01:02:03.000004") == moment
    found = one(Conversion.TIMESTAMPTZ, "timestamptz", b"2024-02-29 03:02:03.000004+02:00")
    assert found == moment.replace(tzinfo=UTC)


def test_text_of_another_form_is_refused() -> None:
    assert refused(Conversion.DATE, PgType("date"), text=[b"2024-01-01", None, b"2024-1-1"]) == 2
    assert refused(Conversion.TIMESTAMP, PgType("timestamp"), text=[b"2024-01-01"]) == 0
    assert refused(Conversion.TIMESTAMP, PgType("timestamp"), int=[5]) == 0


@pytest.mark.parametrize(
    ("conversion", "value"),
    [
        (Conversion.EPOCH_S, 1_700_000_000),
        (Conversion.EPOCH_MS, 1_700_000_000_000),
        (Conversion.EPOCH_US, 1_700_000_000_000_000),
    ],
)
def test_epoch_is_the_same_instant_in_utc(conversion: Conversion, value: int) -> None:
    found = convert(conversion, PgType("timestamptz"), int=[value, None]).to_pylist()
    assert found == [datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), None]
    assert refused(conversion, PgType("timestamptz"), int=[value, 2**62]) == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.none() | st.uuids(), min_size=1, max_size=20).filter(any))
def test_uuid_is_the_same_from_text_and_from_bytes(values: list[uuid.UUID | None]) -> None:
    expected = [value and value.bytes for value in values]
    texts = [value and str(value).encode() for value in values]
    assert convert(Conversion.UUID_TEXT, PgType("uuid"), text=texts).to_pylist() == expected
    assert convert(Conversion.UUID_BYTES, PgType("uuid"), blob=expected).to_pylist() == expected


def test_what_is_no_uuid_is_refused() -> None:
    good = str(uuid.UUID(int=0xA)).encode()
    assert refused(Conversion.UUID_TEXT, PgType("uuid"), text=[good, good.upper()]) == 1
    assert refused(Conversion.UUID_BYTES, PgType("uuid"), blob=[b"0" * 16, b"0" * 15]) == 1


def test_column_without_values_is_null_in_the_planned_type(tmp_path: Path) -> None:
    kinds = [(Conversion.DATE, PgType("date")), (Conversion.TEXT, TEXT)]
    batches, ledger, _ = convert_table(tmp_path / "l", kinds, (), {"0:text": [None], "1:int": [7]})
    assert batches[0].schema == pa.schema([("t0", pa.date32()), ("t1", pa.string())])
    assert batches[0].to_pylist() == [{"t0": None, "t1": "7"}]
    assert ledger == []


def test_nul_character_is_removed_and_in_the_ledger(tmp_path: Path) -> None:
    kinds = [(Conversion.INTEGER, BIGINT), (Conversion.TEXT, TEXT)]
    batches, ledger, converter = convert_table(
        tmp_path / "l", kinds, ("t0",),
        {"0:int": [1, 2, 3, 4], "1:text": [b"clean", b"a\0b\0", None, b"\0"]},
    )  # fmt: skip
    assert batches[0]["t1"].to_pylist() == ["clean", "ab", None, ""]
    entry = {"table": "a table", "column": "c1", "rule": "nul_removed"}
    assert ledger == [
        entry | {"key": "[2]", "before": "a\0b\0", "after": "ab"},
        entry | {"key": "[4]", "before": "\0", "after": ""},
    ]
    assert converter.grown == {"c1": -3}


BYTES_AROUND_EACH_RULE = bytes.fromhex("00417f808f909fa0bfc0c1c2dfe0e1edeeeff0f1f3f4f5ff")
VALUES = st.one_of(
    st.none(),
    st.text(alphabet="aé価𝄞\ud7ff\ue000\U0010ffff\0", max_size=4).map(str.encode),
    st.lists(st.sampled_from(BYTES_AROUND_EACH_RULE), max_size=5).map(bytes),
)


@given(st.lists(VALUES, max_size=30), st.integers(0, 3))
def test_rows_that_are_not_utf8_and_rows_with_a_nul_are_those_python_finds(
    values: list[bytes | None], skip: int
) -> None:
    raw = pa.array(values, pa.binary()).slice(skip)
    rows = list(enumerate(raw.to_pylist()))
    undecodable = [r for r, v in rows if v is not None and "\ufffd" in v.decode(errors="replace")]
    assert texts.invalid_rows(raw).tolist() == undecodable
    assert texts.nul_rows(raw).tolist() == [r for r, v in rows if v is not None and b"\0" in v]


def test_invalid_byte_is_escaped_and_in_the_ledger_with_its_bytes(tmp_path: Path) -> None:
    values = [f"row {n}".encode() for n in range(100)]
    values[57] = b"caf\xe9 \xff"
    values[58] = "café".encode()
    batches, ledger, converter = convert_table(
        tmp_path / "l", [(Conversion.TEXT, TEXT)], (), {"0:text": values}, {"0:text": [b"\x80"]}
    )
    assert batches[0]["t0"].to_pylist()[56:60] == ["row 56", r"caf\xe9 \xff", "café", "row 59"]
    entry = {"table": "a table", "column": "c0", "rule": "invalid_utf8"}
    assert ledger == [
        entry | {"key": "[58]", "before": "\\x636166e920ff", "after": r"caf\xe9 \xff"},
        entry | {"key": "[101]", "before": "\\x80", "after": r"\x80"},
    ]
    assert converter.grown == {"c0": 9}


def test_text_that_breaks_both_rules_has_an_entry_for_each(tmp_path: Path) -> None:
    batches, ledger, converter = convert_table(
        tmp_path / "l", [(Conversion.TEXT, TEXT)], (), {"0:text": [b"\xff\0"]}
    )
    assert batches[0]["t0"].to_pylist() == [r"\xff"]
    assert [(e["rule"], e["before"], e["after"]) for e in ledger] == [
        ("invalid_utf8", "\\xff00", r"\xff"),
        ("nul_removed", "\\xff00", r"\xff"),
    ]
    assert converter.grown == {"c0": 2}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.none() | st.binary(max_size=12), min_size=1, max_size=40).filter(any))
def test_every_text_is_kept_or_declared(values: list[bytes | None]) -> None:
    out = CONVERSIONS[Conversion.TEXT]({Lane.TEXT: pa.array(values, pa.binary())}, TEXT)
    found = out.array.to_pylist()
    declared = {row for change in out.changes for row in change.rows.tolist()}
    for row, (value, text) in enumerate(zip(values, found, strict=True)):
        same = value is None if text is None else value == text.encode()
        assert same is (row not in declared)


def test_negative_zero_in_a_numeric_is_in_the_ledger(tmp_path: Path) -> None:
    for kind, zero in ((NUMERIC, "0"), (PgType("numeric", (5, 2)), Decimal("0.00"))):
        batches, ledger, _ = convert_table(
            tmp_path / "l", [(Conversion.DECIMAL, kind)], (), {"0:real": [1.5, None, -0.0, 0.0]}
        )
        assert batches[0]["t0"].to_pylist()[2:] == [zero, zero]
        assert [(e["key"], e["before"], e["after"]) for e in ledger] == [("[3]", "-0.0", "0")]


def test_ledger_key_shows_the_keys_in_their_source_form(tmp_path: Path) -> None:
    kinds = [(Conversion.TEXT, TEXT), (Conversion.BYTES, PgType("bytea")), (Conversion.TEXT, TEXT)]
    _, ledger, _ = convert_table(
        tmp_path / "l", kinds, ("t1", "t0"),
        {
            "0:int": [1, None, None, None],
            "0:real": [None, 0.5, None, None],
            "0:text": [None, None, "é\"".encode(), b"\xff"],
            "1:blob": [b"\0\xff", None, b"", b"a"],
            "2:text": [b"\0"] * 4,
        },
    )  # fmt: skip
    assert [entry["key"] for entry in ledger if entry["column"] == "c2"] == [
        '["00ff", 1]', "[null, 0.5]", '["", "é\\""]', '["61", "\\\\xff"]',
    ]  # fmt: skip


def test_value_that_does_not_fit_names_table_column_and_key(tmp_path: Path) -> None:
    kinds = [(Conversion.INTEGER, BIGINT), (Conversion.DATE, PgType("date"))]
    with pytest.raises(NotProvenError, match=r'table "a table", key \[8\]: column "c1": .* date'):
        convert_table(
            tmp_path / "l", kinds, ("t0",), {"0:int": [7, 8], "1:text": [b"2024-01-01", b"?"]}
        )
    assert not (tmp_path / "l").exists()
