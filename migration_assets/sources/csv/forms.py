"""The text form of each kind of column: what Arrow makes of it, its lanes, and misfits."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.convert import forms
from migration_assets.convert.column import misfits
from migration_assets.convert.jsonforms import json_forms
from migration_assets.core.catalog import Column, Kind
from migration_assets.core.profile import Lane
from migration_assets.core.types import PgType
from migration_assets.sources.csv.files import FALSE, TRUE

NOT_FINITE = ("Infinity", "-Infinity", "NaN")
"""Numbers of an unconstrained numeric that are no decimals; they travel as reals."""
_BYTES = r"^\\x([0-9a-fA-F]{2})*\z"

ARROW = {
    Lane.INT: pa.int64(),
    Lane.REAL: pa.float64(),
    Lane.TEXT: pa.binary(),
    Lane.BLOB: pa.binary(),
}
"""The Arrow type of a lane."""


def lanes_of(column: Column) -> tuple[Lane, ...]:
    """The lanes that hold all values of a column."""
    match column.type.kind:
        case Kind.INTEGER | Kind.BOOLEAN:
            return (Lane.INT,)
        case Kind.FLOAT:
            return (Lane.REAL,)
        case Kind.BINARY | Kind.BIT:
            return (Lane.BLOB,)
        case Kind.DECIMAL if column.target == PgType("numeric"):
            return (Lane.REAL, Lane.TEXT)
        case _:
            return (Lane.TEXT,)


def parsed_as(column: Column) -> pa.DataType:
    """What Arrow's CSV reader makes of the column's fields."""
    match column.type.kind:
        case Kind.INTEGER:
            return pa.int64()
        case Kind.BOOLEAN:
            return pa.bool_()
        case Kind.FLOAT:
            return pa.float32() if column.target == PgType("real") else pa.float64()
        case _:
            return pa.string()


def split(column: Column, array: pa.Array) -> dict[Lane, pa.Array]:
    """The parsed values of a column by lane."""
    lanes = lanes_of(column)
    match lanes:
        case (Lane.INT,):
            return {Lane.INT: array.cast(pa.int64())}
        case (Lane.REAL,):
            return {Lane.REAL: array.cast(pa.float64())}
        case (Lane.BLOB,):
            made = octets(array) if column.type.kind is Kind.BIT else unhex(array)
            return {Lane.BLOB: made}
        case (Lane.TEXT,):
            return {Lane.TEXT: array.view(pa.binary())}
    odd = pc.is_in(array, pa.array(NOT_FINITE))
    if not pc.any(odd).as_py():
        nothing = pa.nulls(len(array), pa.float64())
        return {Lane.REAL: nothing, Lane.TEXT: array.view(pa.binary())}
    text = pa.scalar(None, pa.string())
    return {
        Lane.REAL: pc.if_else(odd, array, text).cast(pa.float64()),
        Lane.TEXT: pc.if_else(odd, text, array).view(pa.binary()),
    }


def unhex(texts: pa.Array) -> pa.Array:
    r"""The bytes of ``\x00ff``, by one step over all of them.

    Raises:
        pa.ArrowInvalid: a text is none of that form.
    """
    if not pc.all(pc.match_substring_regex(texts, _BYTES), min_count=0).as_py():
        raise pa.ArrowInvalid("a value is not of the form \\x00ff")
    digits = pc.utf8_slice_codeunits(pc.fill_null(texts, "\\x"), 2)
    ends = np.frombuffer(digits.buffers()[1], np.int32)[digits.offset :][: len(digits) + 1]
    data = digits.buffers()[2]
    octets = binascii.unhexlify(memoryview(data)[int(ends[0]) : int(ends[-1])]) if data else b""
    offsets = (ends - ends[0]) // 2
    valid = texts.is_valid().buffers()[1] if texts.null_count else None
    return pa.Array.from_buffers(
        pa.binary(),
        len(texts),
        [valid, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(octets)],
    )


def octets(digits: pa.Array) -> pa.Array:
    """Binary digits, equally many in each value, as big-endian bytes."""
    filled = digits.drop_null()
    length = len(filled[0].as_py()) if len(filled) else 1
    size = -(-length // 8)
    if not _all(pc.equal(pc.binary_length(filled), length)):
        raise pa.ArrowInvalid("bit strings are not of one length")
    text = "".join(filled.to_pylist()).encode()
    bits = (np.frombuffer(text, np.uint8) - ord("0")).reshape(-1, length)
    padded = np.pad(bits, ((0, 0), (size * 8 - length, 0)))
    values = iter(np.packbits(padded, axis=1))
    return pa.array(
        [next(values).tobytes() if valid else None for valid in digits.is_valid().to_pylist()],
        pa.binary(),
    )


def first_misfit(column: Column, texts: pa.Array) -> int | None:
    """The first row whose text is no value of the column's type, None if all are."""
    if not column.target and column.type.kind is Kind.TEXT:
        return None
    fits = _FITS[column.type.kind]
    kind = column.target or PgType("")

    def whole(part: pa.Array) -> bool:
        return fits(part.drop_null(), kind)

    if whole(texts):
        return None
    return int(misfits(texts, whole)[0])


def _castable(texts: pa.Array, kind: pa.DataType) -> bool:
    try:
        pc.utf8_trim_whitespace(texts).cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _integers(texts: pa.Array, kind: PgType) -> bool:
    narrow = {"smallint": pa.int16(), "integer": pa.int32()}.get(kind.name, pa.int64())
    return _castable(texts, narrow)


def _floats(texts: pa.Array, kind: PgType) -> bool:
    return _castable(texts, pa.float32() if kind.name == "real" else pa.float64())


def _booleans(texts: pa.Array, kind: PgType) -> bool:
    return _all(pc.is_in(texts, pa.array([*TRUE, *FALSE])))


def _decimals(texts: pa.Array, kind: PgType) -> bool:
    if not kind.args:
        texts = texts.filter(pc.invert(pc.is_in(texts, pa.array(NOT_FINITE))))
    if not _all(forms.is_decimal(texts)):
        return False
    if len(kind.args) != 2 or len(texts) == 0:
        return True
    digits, scale = forms.decimal_size(texts)
    return digits <= kind.args[0] - kind.args[1] and scale <= kind.args[1]


def _texts(texts: pa.Array, kind: PgType) -> bool:
    return not kind.args or _all(pc.less_equal(pc.utf8_length(texts), kind.args[0]))


def _documents(texts: pa.Array, kind: PgType) -> bool:
    parses, lossless = json_forms(texts.view(pa.binary()))
    return _all(lossless if kind.name == "jsonb" else parses)


def _of(probe: Callable[[pa.Array], pa.Array]) -> Callable[[pa.Array, PgType], bool]:
    return lambda texts, kind: _all(probe(texts))


def _instants(texts: pa.Array, kind: PgType) -> bool:
    zoned = kind.name == "timestamptz"
    return _all(forms.is_datetime_tz(texts) if zoned else forms.is_datetime(texts))


def _all(mask: pa.Array) -> bool:
    return bool(pc.all(mask, min_count=0).as_py())


_FITS: Mapping[Kind, Callable[[pa.Array, PgType], bool]] = {
    Kind.INTEGER: _integers,
    Kind.FLOAT: _floats,
    Kind.BOOLEAN: _booleans,
    Kind.DECIMAL: _decimals,
    Kind.TEXT: _texts,
    Kind.BINARY: lambda texts, kind: _all(pc.match_substring_regex(texts, _BYTES)),
    Kind.UUID: _of(forms.is_uuid),
    Kind.JSON: _documents,
    Kind.DATE: _of(forms.is_date),
    Kind.TIME: lambda texts, kind: _all(
        forms.is_interval(texts) if kind.name == "interval" else forms.is_time(texts)
    ),
    Kind.BIT: lambda texts, kind: _all(
        pc.match_substring_regex(texts, rf"^[01]{{{kind.args[0]}}}\z")
    ),
    Kind.ENUM: lambda texts, kind: _all(pc.is_in(texts, pa.array(kind.labels, pa.string()))),
    Kind.SET: lambda texts, kind: True,
    Kind.DATETIME: _instants,
}
