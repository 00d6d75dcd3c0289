"""Any Arrow column into the physical form of a PostgreSQL type, exactly or not at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.convert import members, numbers, octets, texts, times, uuids
from migration_assets.convert.column import (
    Convert,
    Converted,
    Lanes,
    Rows,
    UnfitError,
    misfits,
    where,
    without,
)
from migration_assets.convert.jsonforms import json_forms
from migration_assets.core.profile import Lane
from migration_assets.core.types import PgType

_BY_TYPE: dict[str, tuple[Convert, ...]] = {
    "smallint": (numbers.to_integer,),
    "integer": (numbers.to_integer,),
    "bigint": (numbers.to_integer,),
    "boolean": (numbers.to_boolean,),
    "double precision": (numbers.to_double,),
    "real": (numbers.to_double,),
    "numeric": (numbers.to_decimal,),
    "text": (texts.to_text,),
    "varchar": (texts.to_text,),
    "bytea": (texts.to_bytes,),
    "json": (texts.to_text,),
    "jsonb": (texts.to_text,),
    "uuid": (uuids.from_text, uuids.from_bytes),
    "date": (times.to_date,),
    "time": (times.to_time,),
    "timestamp": (times.to_timestamp,),
    "timestamptz": (times.to_timestamptz,),
    "interval": (times.to_interval,),
    "bit": (octets.to_bits,),
    "enum": (members.to_enum,),
    "text[]": (members.to_set,),
}
_WHOLE = r"^(0|-?[1-9][0-9]{0,18})$"


@dataclass(frozen=True)
class Fitted:
    """A column in the form of a type.

    Attributes:
        array: NULL where the value does not fit.
        unfit: rows that do not, and why, continuing "the value ...".
    """

    array: pa.Array
    unfit: tuple[tuple[Rows, str], ...] = ()


def fitted(array: pa.Array, kind: PgType) -> Fitted:
    """Bring a column into the form of ``kind``; what does not fit exactly is left out.

    Numbers may become other numbers, texts what they say (ISO dates, canonical UUIDs, decimals,
    ``true`` and ``false``), and everything but bytes may become text.

    Args:
        array: of any type.
        kind: the planned type.
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.null_count == len(array) or len(array) == 0:
        return Fitted(pa.nulls(len(array), kind.arrow))
    if _kept(array, kind):
        return Fitted(array)
    if pa.types.is_temporal(array.type) and pa.types.is_temporal(kind.arrow):
        return _temporal(array, kind)
    if pa.types.is_decimal(array.type) and pa.types.is_decimal(kind.arrow):
        return _rescaled(array, kind)
    lanes = _lanes(array, kind)
    if lanes is None:
        return _nothing(array, kind, f"is of the type {array.type}")
    return _through(lanes, kind, len(array))


def text_of(array: pa.Array) -> pa.StringArray:
    """The values of a column as texts, as ledger, value maps and comparisons see them.

    Numbers in their shortest form, ``true`` and ``false``, ISO dates and times (instants in UTC
    with ``+00``), UUIDs in canonical form, other bytes in hex.
    """
    kind = array.type
    if kind in (pa.string(), pa.large_string()):
        return array.cast(pa.string())
    if pa.types.is_timestamp(kind):
        written = times.instant_texts(array)
        if kind.tz is None:
            written = [None if text is None else text.removesuffix("+00") for text in written]
        return pa.array(written, pa.string())
    if pa.types.is_floating(kind):
        return texts.real_text(array.cast(pa.float64()))
    if kind == pa.binary(16):
        return pa.array([_uuid(value) for value in array.to_pylist()], pa.string())
    if pa.types.is_binary(kind):
        hexed = [None if value is None else value.hex() for value in array.to_pylist()]
        return pa.array(hexed, pa.string())
    return array.cast(pa.string())


def _uuid(value: bytes | None) -> str | None:
    if value is None:
        return None
    digits = value.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _kept(array: pa.Array, kind: PgType) -> bool:
    """Whether the array has the form already and no value could be wrong in it."""
    checked = kind.args or kind.name in {"json", "jsonb", "text", "varchar", "numeric"}
    return array.type == kind.arrow and (not checked or pa.types.is_decimal(kind.arrow))


def _temporal(array: pa.Array, kind: PgType) -> Fitted:
    zoned = getattr(array.type, "tz", None) is not None
    target = kind.arrow
    if zoned != (kind.name == "timestamptz") or not _both_ways(array.type, target):
        return _nothing(array, kind, f"is of the type {array.type}")
    if zoned:
        array = array.cast(pa.timestamp(array.type.unit, "UTC"))
    wrong = misfits(array, lambda part: _casts_back(part, target))
    held = _emptied(array, wrong)
    return Fitted(held.cast(target), ((wrong, "is finer than that"),) if len(wrong) else ())


def _casts_back(array: pa.Array, target: pa.DataType) -> bool:
    """Whether nothing is lost; Arrow drops the time of day without a word."""
    try:
        return bool(array.cast(target).cast(array.type).equals(array))
    except pa.ArrowInvalid:
        return False


def _both_ways(given: pa.DataType, target: pa.DataType) -> bool:
    """Whether Arrow has a cast for any value, and one back: a date is no time of day."""
    try:
        pa.nulls(0, given).cast(target).cast(given)
    except pa.ArrowNotImplementedError:
        return False
    return True


def _rescaled(array: pa.Array, kind: PgType) -> Fitted:
    target = kind.arrow
    wrong = misfits(array, lambda part: _casts(part, target))
    held = _emptied(array, wrong)
    reason = "does not fit the precision and scale"
    return Fitted(held.cast(target), ((wrong, reason),) if len(wrong) else ())


def _casts(array: pa.Array, target: pa.DataType) -> bool:
    try:
        array.cast(target)
    except pa.ArrowInvalid:
        return False
    return True


def _emptied(array: pa.Array, rows: Rows) -> pa.Array:
    if len(rows) == 0:
        return array
    mask = np.zeros(len(array), np.bool_)
    mask[rows] = True
    return pc.if_else(pa.array(mask), pa.scalar(None, array.type), array)


def _nothing(array: pa.Array, kind: PgType, reason: str) -> Fitted:
    return Fitted(pa.nulls(len(array), kind.arrow), ((where(array.is_valid()), reason),))


def _lanes(array: pa.Array, kind: PgType) -> dict[Lane, pa.Array] | None:
    """The column as a source would hold it, None for types that none has."""
    type_ = array.type
    wordy = kind.name in {"text", "varchar", "json", "jsonb"}
    if pa.types.is_boolean(type_):
        return {Lane.TEXT: _bytes(text_of(array))} if wordy else {Lane.INT: array.cast(pa.int64())}
    if pa.types.is_integer(type_) and (type_ != pa.uint64() or _casts(array, pa.int64())):
        return {Lane.INT: array.cast(pa.int64())}
    if pa.types.is_floating(type_):
        return {Lane.REAL: array.cast(pa.float64())}
    if pa.types.is_decimal(type_) or type_ == pa.uint64():
        plain = array.cast(pa.string())
        if kind.name in {"numeric", "text", "varchar"}:
            return {Lane.TEXT: _bytes(plain)}
        return _numbers(pc.replace_substring_regex(plain, r"(\.[0-9]*?)0+$", r"\1"), kind, r"\.$")
    if type_ in (pa.string(), pa.large_string(), pa.string_view()):
        plain = array.cast(pa.string())
        if kind.name in {"smallint", "integer", "bigint", "boolean", "double precision", "real"}:
            return _numbers(plain, kind)
        return {Lane.TEXT: _bytes(plain)}
    if pa.types.is_binary(type_) or pa.types.is_fixed_size_binary(type_):
        if type_ == pa.binary(16) and wordy:
            return {Lane.TEXT: _bytes(text_of(array))}
        return {Lane.BLOB: array.cast(pa.binary())}
    if pa.types.is_large_binary(type_):
        return {Lane.BLOB: array.cast(pa.binary())}
    if wordy and pa.types.is_temporal(type_) and not pa.types.is_interval(type_):
        return {Lane.TEXT: _bytes(text_of(array))}
    return None


def _numbers(plain: pa.Array, kind: PgType, trailing: str | None = None) -> dict[Lane, pa.Array]:
    """Texts of numbers in the lane that ``kind`` takes; those that are none stay texts."""
    if trailing is not None:
        plain = pc.replace_substring_regex(plain, trailing, "")
    if kind.name == "boolean":
        plain = pc.if_else(pc.equal(plain, "true"), "1", plain)
        plain = pc.if_else(pc.equal(plain, "false"), "0", plain)
    whole = pc.match_substring_regex(plain, _WHOLE)
    nothing = pa.scalar(None, pa.string())
    ints = pc.if_else(whole, plain, nothing)
    lanes: dict[Lane, pa.Array] = {}
    wrong = misfits(ints, lambda part: _casts(part, pa.int64()))
    lanes[Lane.INT] = _emptied(ints, wrong).cast(pa.int64())
    rest = pc.if_else(lanes[Lane.INT].is_valid(), nothing, plain)
    if kind.name in {"double precision", "real"} and rest.null_count < len(rest):
        fraction = pc.match_substring_regex(rest, r"^-?[0-9]+\.[0-9]+$")
        lanes[Lane.REAL] = pc.if_else(fraction, rest, nothing).cast(pa.float64())
        rest = pc.if_else(lanes[Lane.REAL].is_valid(), nothing, rest)
    lanes[Lane.TEXT] = _bytes(rest)
    return lanes


def _bytes(array: pa.Array) -> pa.Array:
    return array.cast(pa.binary())


def _through(lanes: Lanes, kind: PgType, rows: int) -> Fitted:
    """By the conversions that a source's values go through."""
    unfit: list[tuple[Rows, str]] = []
    present: Lanes = {lane: a for lane, a in lanes.items() if a.null_count < rows}
    if kind.name in {"json", "jsonb"} and Lane.TEXT in present:
        parses, lossless = json_forms(present[Lane.TEXT].fill_null(b"null"))
        wrong = where(pc.invert(lossless if kind.name == "jsonb" else parses))
        if len(wrong):
            unfit.append((wrong, "is no JSON that the type keeps whole"))
            present = without(present, wrong)
    if kind.name == "uuid":
        convert = _BY_TYPE["uuid"][1 if Lane.BLOB in present else 0]
    else:
        convert = _BY_TYPE[kind.family][0]
    converted = Converted(pa.nulls(rows, kind.arrow))
    while present:
        try:
            converted = convert(present, kind)
            break
        except UnfitError as error:
            unfit.append((error.rows, error.reason))
            present = without(present, error.rows)
    array = converted.array
    for change in converted.changes:
        if change.rule != "negative_zero":
            unfit.append((change.rows, "has a NUL character or bytes that are not UTF-8"))
            array = _emptied(array, change.rows)
    return Fitted(array, tuple(unfit))
