"""Numbers as wire bytes, against what PostgreSQL itself makes of the same text."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migration_assets.core.plan import ColumnPlan, Conversion
from migration_assets.core.types import PgType
from migration_assets.postgres import wire
from migration_assets.postgres.connect import connect
from migration_assets.postgres.encode import CopyEncoder

DIGITS = st.text("0123456789", max_size=60)
NUMBERS = st.one_of(
    st.none(),
    st.sampled_from(
        ["NaN", "Infinity", "-Infinity", "0", "-0", "0.000", ".5", "5.", "-.0001", "1e-9"]
    ),
    st.tuples(st.sampled_from(["", "-", "+"]), DIGITS, DIGITS)
    .map(lambda p: f"{p[0]}{p[1]}.{p[2]}" if p[2] else f"{p[0]}{p[1]}")
    .filter(lambda text: any(c.isdigit() for c in text)),
    st.tuples(st.integers(), st.integers(-300, 300)).map(lambda p: f"{p[0]}E{p[1]}"),
)


def sent(url: str, texts: Sequence[str | None]) -> list[tuple[str | None, str | None]]:
    """Each text as PostgreSQL shows it: after our encoding, and after its own cast."""
    column = ColumnPlan("n", "n", "", PgType("numeric"), Conversion.DECIMAL)
    encoder = CopyEncoder([column])
    batch = pa.record_batch([pa.array(texts, pa.string())], ["n"])
    data = encoder.header() + encoder.encode(batch) + encoder.finish()
    connection = connect(url)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE ours (at serial, n numeric)")
        cursor.copy_expert("COPY ours (n) FROM STDIN WITH (FORMAT binary)", io.BytesIO(data))
        cursor.execute(
            "SELECT o.n::text, t.x::numeric::text FROM ours o"
            " JOIN unnest(%s::text[]) WITH ORDINALITY t(x, at) USING (at) ORDER BY at",
            (list(texts),),
        )
        found = cursor.fetchall()
    connection.close()
    return found


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(NUMBERS, min_size=1, max_size=30))
def test_every_decimal_text_is_the_number_postgresql_reads(
    pg_url: str, texts: list[str | None]
) -> None:
    for ours, theirs in sent(pg_url, texts):
        assert ours == theirs


def test_longest_numbers_of_postgresql_are_sent_whole(pg_url: str) -> None:
    texts = ["9" * 131_072, "1." + "7" * 16_383, "-" + "8" * 50_000 + "." + "3" * 9_999, "1"]
    for ours, theirs in sent(pg_url, texts):
        assert ours == theirs


@pytest.mark.parametrize(
    "text", ["", "abc", "1.2.3", "--1", "1_000", " 1", "0x10", "nan(1)", "1e999999"]
)
def test_text_that_is_no_number_is_an_error_and_not_null(text: str) -> None:
    with pytest.raises(ValueError, match="not a number|more digits"):
        wire.numeric(pa.array(["1", text]))


def test_more_digits_than_numeric_holds_are_an_error() -> None:
    with pytest.raises(ValueError, match="more digits than numeric holds"):
        wire.numeric(pa.array(["1" * 131_073]))
    with pytest.raises(ValueError, match="more digits than numeric holds"):
        wire.numeric(pa.array(["0." + "1" * 16_384]))


def test_a_slice_and_a_long_array_are_encoded_like_their_parts() -> None:
    texts = pa.array([None if i % 5 == 0 else f"{i}.{i % 7}" for i in range(40_000)])
    whole = wire.numeric(texts)
    assert whole.slice(17_000, 50).equals(wire.numeric(texts.slice(17_000, 50)))
    assert struct.unpack(">hhHhhh", whole[6].as_py()) == (2, 0, 0, 1, 6, 6000)
    assert whole.null_count == 8_000
