"""Integers, booleans, doubles and decimals: the same number, or an error, or a declared change."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.convert.column import (
    Converted,
    Lanes,
    UnfitError,
    converted_lanes,
    misfits,
    negative_zero_change,
    only,
    require,
    where,
)
from migration_assets.convert.forms import (
    decimal_size,
    is_decimal,
    scaled_integers,
    shortest_decimal,
)
from migration_assets.core.profile import Lane
from migration_assets.core.types import PgType

_INT64_DIGITS = 19
_MAX_PRECISION = 38
_EXACT_SCALE = 15
"""Powers of ten up to this one are far inside what a double holds exactly."""


def to_integer(lanes: Lanes, kind: PgType) -> Converted:
    """Integers, and reals that are whole.

    Raises:
        UnfitError: for a number out of range, a fraction, a text or a blob.
    """
    return converted_lanes(lanes, kind, {Lane.INT: _int_integer, Lane.REAL: _real_integer})


def to_boolean(lanes: Lanes, kind: PgType) -> Converted:
    """The integers 0 and 1; raises UnfitError for all else."""
    return converted_lanes(lanes, kind, {Lane.INT: _int_boolean})


def to_double(lanes: Lanes, kind: PgType) -> Converted:
    """Reals by their bits, and integers that a double holds exactly; else UnfitError."""
    return converted_lanes(lanes, kind, {Lane.REAL: _real_double, Lane.INT: _int_double})


def to_decimal(lanes: Lanes, kind: PgType) -> Converted:
    """Integers, reals by their shortest decimal, texts that are decimals.

    A negative zero becomes 0, a declared change: numeric has none.

    Raises:
        UnfitError: for a number that numeric(p,s) would round or refuse.
    """
    if kind.arrow == pa.string():
        out = converted_lanes(
            lanes, kind, {Lane.INT: _int_text, Lane.REAL: _real_text, Lane.TEXT: _text_text}
        )
        if kind.args:
            _require_size(out.array, *kind.args)
        return out
    return converted_lanes(
        lanes, kind, {Lane.INT: _int_decimal, Lane.REAL: _real_decimal, Lane.TEXT: _text_decimal}
    )


def _int_integer(lanes: Lanes, kind: PgType) -> Converted:
    values, target = only(lanes), kind.arrow
    if target == pa.int64():
        return Converted(values)
    limit = 2 ** (target.bit_width - 1)
    extremes = pc.min_max(values)
    if extremes["min"].as_py() < -limit or extremes["max"].as_py() >= limit:
        outside = pc.or_(pc.less(values, -limit), pc.greater_equal(values, limit))
        raise UnfitError(where(outside), f"is out of the range of {kind.sql}")
    return Converted(values.cast(target))


def _real_integer(lanes: Lanes, kind: PgType) -> Converted:
    reals = only(lanes)
    whole = pc.and_(
        pc.equal(reals, pc.trunc(reals)),
        pc.and_(pc.greater_equal(reals, -(2.0**63)), pc.less(reals, 2.0**63)),
    )
    require(whole, f"is not a whole number in the range of {kind.sql}")
    integers = _int_integer({Lane.INT: reals.cast(pa.int64(), safe=False)}, kind)
    return Converted(integers.array, negative_zero_change(reals))


def _int_boolean(lanes: Lanes, kind: PgType) -> Converted:
    values = only(lanes)
    extremes = pc.min_max(values)
    if extremes["min"].as_py() < 0 or extremes["max"].as_py() > 1:
        outside = pc.or_(pc.less(values, 0), pc.greater(values, 1))
        raise UnfitError(where(outside), "is neither 0 nor 1")
    return Converted(values.cast(pa.bool_()))


def _real_double(lanes: Lanes, kind: PgType) -> Converted:
    reals = only(lanes)
    if kind.arrow == pa.float64():
        return Converted(reals)
    narrow = reals.cast(kind.arrow)
    same = pc.or_(pc.equal(narrow.cast(pa.float64()), reals), pc.is_nan(reals))
    require(same, f"loses digits in {kind.sql}")
    return Converted(narrow)


def _int_double(lanes: Lanes, kind: PgType) -> Converted:
    values = only(lanes)
    reals = values.cast(pa.float64(), safe=False)
    # 2^63 itself is a double, but no longer an integer of 64 bits to compare with.
    below = pc.less(reals, 2.0**63)
    back = pc.if_else(below, reals, 0.0).cast(pa.int64(), safe=False)
    require(pc.and_(below, pc.equal(back, values)), "is an integer that no double holds exactly")
    return _real_double({Lane.REAL: reals}, kind)


def _int_decimal(lanes: Lanes, kind: PgType) -> Converted:
    values, target = only(lanes), kind.arrow
    if _INT64_DIGITS + target.scale > _MAX_PRECISION:
        return _cast(values.cast(pa.string()), kind)
    return _cast(values.cast(pa.decimal128(_MAX_PRECISION, target.scale)), kind)


def _real_decimal(lanes: Lanes, kind: PgType) -> Converted:
    reals = only(lanes)
    quick = _exact_decimal(reals, kind.arrow)
    if quick is not None:
        return Converted(quick, negative_zero_change(reals))
    require(pc.is_finite(reals), f"is not a number that {kind.sql} holds")
    # Arrow's cast to text is the shortest that reads back; its cast to decimal would round.
    converted = _cast(reals.cast(pa.string()), kind)
    return Converted(converted.array, negative_zero_change(reals))


def _exact_decimal(reals: pa.Array, target: pa.DataType) -> pa.Array | None:
    """The reals in decimal128 by way of integers; None if that is not sure to be exact."""
    if target.scale > _EXACT_SCALE:
        return None
    filled = pc.fill_null(reals, 0.0).to_numpy(zero_copy_only=False)
    scaled = scaled_integers(filled, target.scale)
    if scaled is None or int(np.abs(scaled).max(initial=0)) >= 10**target.precision:
        return None
    words = np.empty((len(scaled), 2), "<i8")  # 128 bits, the low ones first
    words[:, 0], words[:, 1] = scaled, scaled >> 63
    valid = reals.is_valid().buffers()[1] if reals.null_count else None
    return pa.Array.from_buffers(target, len(scaled), [valid, pa.py_buffer(words)])


def _text_decimal(lanes: Lanes, kind: PgType) -> Converted:
    texts = only(lanes)
    require(pc.or_(is_decimal(texts), texts.is_null()), "is not a plain decimal")
    return _cast(texts.cast(pa.string()), kind)


def _cast(values: pa.Array, kind: PgType) -> Converted:
    """Cast to decimal128; Arrow refuses to drop a digit that is not zero."""

    def fits(part: pa.Array) -> bool:
        try:
            part.cast(kind.arrow)
        except pa.ArrowInvalid:
            return False
        return True

    try:
        return Converted(values.cast(kind.arrow))
    except pa.ArrowInvalid:
        raise UnfitError(misfits(values, fits), f"does not fit {kind.sql}") from None


def _int_text(lanes: Lanes, kind: PgType) -> Converted:
    return Converted(only(lanes).cast(pa.string()))


def _real_text(lanes: Lanes, kind: PgType) -> Converted:
    reals = only(lanes)
    return Converted(shortest_decimal(reals), negative_zero_change(reals))


def _text_text(lanes: Lanes, kind: PgType) -> Converted:
    texts = only(lanes)
    require(pc.or_(is_decimal(texts), texts.is_null()), "is not a plain decimal")
    return Converted(texts.cast(pa.string()))


def _require_size(text: pa.Array, precision: int, scale: int = 0) -> None:
    """Raise UnfitError if a decimal text does not fit numeric(precision, scale)."""
    finite = pc.invert(pc.match_substring(text, "N"))
    require(pc.and_(finite, pc.invert(pc.match_substring(text, "I"))), "is not finite")

    def fits(part: pa.Array) -> bool:
        digits, fraction = decimal_size(part)
        return digits <= precision - scale and fraction <= scale

    if not fits(text):
        raise UnfitError(misfits(text, fits), f"does not fit numeric({precision},{scale})")
