"""The way back: every converted value must give the source's own value again.

What the conversions compute with their own code is computed here once more by another way, Arrow's
parsers and plain arithmetic, so that a fault in one of them can not pass unseen. Integers, reals,
texts and blobs that are taken as they are need no way back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.convert.zones import Zone
from migration_assets.core.ewkb import without_srid
from migration_assets.core.plan import Conversion
from migration_assets.core.profile import Lane

_DASHES = (8, 13, 18, 23)
_PADDING = r"(\.\d{6})0+"
"""Zeros beyond the microsecond, which Arrow's parser does not take."""


def first_unequal(
    conversion: Conversion,
    lanes: Mapping[Lane, pa.Array],
    converted: pa.Array,
    zone: Zone | None = None,
) -> int | None:
    """The first row that does not lead back to its source value, None if all do.

    Args:
        conversion: how ``converted`` was made.
        lanes: the source's values.
        converted: the Parquet column, NULL where a change is declared that does not lead back.
        zone: that the source's datetimes are meant in.
    """
    if zone is not None:
        shown = zone.clock(pc.fill_null(converted.view(pa.int64()), 0).view(converted.type))
        converted = pc.if_else(converted.is_valid(), shown, pa.scalar(None, shown.type))
    whole = converted
    for lane, values in lanes.items():
        back = _WAYS.get((conversion, lane))
        if back is None:
            continue
        if len(lanes) > 1:
            # Rows of the other lanes are theirs to lead back.
            converted = pc.if_else(values.is_valid(), whole, pa.scalar(None, whole.type))
        equal = pc.fill_null(back(values, converted), True)
        if not pc.all(equal, min_count=0).as_py():
            return int(pc.index(equal, False).as_py())
    return None


def _parsed_again(texts: pa.Array, converted: pa.Array) -> pa.Array:
    """Arrow's own parser, of the same texts but those that are no time and became NULL."""
    if converted.null_count > texts.null_count:
        texts = pc.if_else(converted.is_valid(), texts, pa.scalar(None, texts.type))
    strings = texts.cast(pa.string())
    try:
        again = strings.cast(converted.type)
    except pa.ArrowInvalid:
        strings = pc.replace_substring_regex(strings, _PADDING, r"\1")
        again = strings.cast(converted.type)
    return pc.equal(again, converted)


def _instant_again(texts: pa.Array, converted: pa.Array) -> pa.Array:
    """An instant may be kept on the clock of UTC, without saying so."""
    return _parsed_again(texts, converted.view(pa.timestamp("us", tz="UTC")))


def _time_again(texts: pa.Array, converted: pa.Array) -> pa.Array:
    """Arrow parses no times, but instants of the first day of 1970."""
    first_day = pc.binary_join_element_wise("1970-01-01 ", texts.cast(pa.string()), "")
    return _parsed_again(first_day, converted.view(pa.int64()).view(pa.timestamp("us")))


def _uuid_text(texts: pa.Array, converted: pa.Array) -> pa.Array:
    """The 16 bytes in hex, against the text without its dashes."""
    valid = texts.is_valid()
    strings, held = texts.drop_null(), converted.drop_null()
    rows = len(strings)
    if rows == 0 or len(held) != rows:
        return pc.equal(texts.is_valid(), converted.is_valid())
    start = np.frombuffer(strings.buffers()[1], np.int32)[strings.offset]
    written = np.frombuffer(strings.buffers()[2], np.uint8, rows * 36, start).reshape(rows, 36)
    octets = memoryview(held.buffers()[1])[held.offset * 16 : (held.offset + rows) * 16]
    digits = np.frombuffer(octets.hex().encode(), np.uint8).reshape(rows, 32)
    same = (digits == np.delete(written, _DASHES, axis=1)).all(axis=1)
    equal = np.ones(len(texts), bool)
    equal[valid.to_numpy(zero_copy_only=False)] = same
    return pa.array(equal)


def _epoch(micros: int) -> Callable[[pa.Array, pa.Array], pa.Array]:
    def back(values: pa.Array, converted: pa.Array) -> pa.Array:
        instants = converted.view(pa.int64())
        return pc.and_(
            pc.equal(pc.divide(instants, micros), values),
            pc.equal(pc.multiply(pc.divide(instants, micros), micros), instants),
        )

    return back


def _double_again(reals: pa.Array, converted: pa.Array) -> pa.Array:
    """The decimal's text, read as a double; -0.0 is a declared change."""
    again = converted.cast(pa.string()).cast(pa.float64())
    same = pc.equal(again, reals)
    if pc.all(same, min_count=0).as_py():
        return same
    return pc.or_(same, pc.and_(pc.is_nan(again), pc.is_nan(reals)))


def _integer_again(values: pa.Array, converted: pa.Array) -> pa.Array:
    return pc.equal(converted.cast(pa.int64()), values)


def _utc_again(texts: pa.Array, converted: pa.Array) -> pa.Array:
    return _parsed_again(texts, converted.view(pa.timestamp("us")))


def _span_again(texts: pa.Array, converted: pa.Array) -> pa.Array:
    """The span written out once more, as timedelta has it."""
    spans = zip(texts.cast(pa.string()).to_pylist(), converted.to_pylist(), strict=True)
    return pa.array([_same_span(text, span) for text, span in spans], pa.bool_())


def _same_span(text: str | None, span: timedelta | None) -> bool | None:
    if text is None or span is None:
        return None
    seconds, micros = divmod(abs(span) // timedelta(microseconds=1), 1_000_000)
    sign = "-" if span < timedelta() else ""
    written = f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    whole, _, fraction = text.partition(".")
    if not span:
        whole = whole.removeprefix("-")
    return (whole, f"{fraction:0<6}") == (written, f"{micros:06}")


def _bits_again(blobs: pa.Array, converted: pa.Array) -> pa.Array:
    pairs = zip(blobs.to_pylist(), converted.to_pylist(), strict=True)
    return pa.array(
        [
            None if blob is None or bits is None else int.from_bytes(blob, "big") == int(bits, 2)
            for blob, bits in pairs
        ],
        pa.bool_(),
    )


def _geometry_again(blobs: pa.Array, converted: pa.Array) -> pa.Array:
    pairs = zip(blobs.to_pylist(), converted.to_pylist(), strict=True)
    return pa.array(
        [
            None if blob is None or made is None else without_srid(made) == blob
            for blob, made in pairs
        ],
        pa.bool_(),
    )


def _joined_again(texts: pa.Array, converted: pa.Array) -> pa.Array:
    return pc.equal(pc.binary_join(converted, ","), texts.cast(pa.string()))


_WAYS: Mapping[tuple[Conversion, Lane], Callable[[pa.Array, pa.Array], pa.Array]] = {
    (Conversion.DATE, Lane.TEXT): _parsed_again,
    (Conversion.TIME, Lane.TEXT): _time_again,
    (Conversion.TIMESTAMP, Lane.TEXT): _parsed_again,
    (Conversion.TIMESTAMPTZ, Lane.TEXT): _instant_again,
    (Conversion.ZONED, Lane.TEXT): _parsed_again,
    (Conversion.UTC, Lane.TEXT): _utc_again,
    (Conversion.INTERVAL, Lane.TEXT): _span_again,
    (Conversion.BITS, Lane.BLOB): _bits_again,
    (Conversion.GEOMETRY, Lane.BLOB): _geometry_again,
    (Conversion.SET, Lane.TEXT): _joined_again,
    (Conversion.UUID_TEXT, Lane.TEXT): _uuid_text,
    (Conversion.EPOCH_S, Lane.INT): _epoch(1_000_000),
    (Conversion.EPOCH_MS, Lane.INT): _epoch(1_000),
    (Conversion.EPOCH_US, Lane.INT): _epoch(1),
    (Conversion.DECIMAL, Lane.REAL): _double_again,
    (Conversion.DECIMAL, Lane.INT): _integer_again,
}
