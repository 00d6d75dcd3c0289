"""Arrow columns as fields of a CSV file, each in a form that reads back to the identical value."""

from __future__ import annotations

import binascii
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.core.types import PgType

_QUOTED = '[",\r\n]|^$'
"""What must stand in quotes; an empty text does so that a line is never empty."""
_ZEROS = r"(\.\d*[1-9])0+$|\.0+$"
_HOUR = 3_600_000_000
_NAMES = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
"""PostgreSQL's words for what Arrow calls otherwise."""


def text_of(array: pa.Array, kind: PgType) -> pa.Array:
    """The values of a column as texts, NULLs kept.

    Args:
        array: in the form of ``kind.arrow``.
        kind: the column's PostgreSQL type.

    Raises:
        ValueError: the type, or a value, has no form that reads back; says why.
    """
    made = array.type
    if made in (pa.string(), pa.large_string()):
        return array.cast(pa.string())
    if pa.types.is_floating(made):
        return _words(array.cast(pa.string()))
    if pa.types.is_decimal(made):
        return _plain(array)
    if pa.types.is_fixed_size_binary(made):
        return _uuids(array)
    if pa.types.is_binary(made):
        return pc.binary_join_element_wise("\\x", _hex(array), "")
    if pa.types.is_time(made):
        return _short(array.cast(pa.string()))
    if pa.types.is_timestamp(made):
        clock = _short(array.cast(pa.timestamp("us")).cast(pa.string()))
        return clock if made.tz is None else pc.binary_join_element_wise(clock, "+00:00", "")
    if pa.types.is_integer(made) or pa.types.is_boolean(made) or pa.types.is_date(made):
        return array.cast(pa.string())
    if pa.types.is_duration(made):
        return _spans(array)
    if kind.name == "text[]":
        return _members(array)
    raise ValueError(f"{kind.sql} has no form in CSV yet")


def lines(columns: Sequence[pa.Array], null: str) -> pa.Buffer | bytes:
    """The lines of a file, one for each row.

    Args:
        columns: texts.
        null: the field that stands for NULL.
    """
    fields = [pc.fill_null(_quoted(column), null) for column in columns]
    rows = pc.binary_join_element_wise(*fields, ",") if len(fields) > 1 else fields[0]
    ended = pc.binary_join_element_wise(rows, "", "\n")
    ends = np.frombuffer(ended.buffers()[1], np.int32)[ended.offset :][: len(ended) + 1]
    data = ended.buffers()[2]
    if data is None:
        return b""
    return data.slice(int(ends[0]), int(ends[-1] - ends[0]))


def header(names: Sequence[str]) -> bytes:
    """The first line."""
    fields = [_quoted(pa.array([name], pa.string())) for name in names]
    return ",".join(field[0].as_py() for field in fields).encode() + b"\n"


def _quoted(texts: pa.Array) -> pa.Array:
    wanting = pc.match_substring_regex(texts, _QUOTED)
    if not pc.any(wanting).as_py():
        return texts
    inside = pc.replace_substring(texts, '"', '""')
    return pc.if_else(wanting, pc.binary_join_element_wise('"', inside, '"', ""), texts)


def _words(texts: pa.Array) -> pa.Array:
    odd = pc.match_substring_regex(texts, "[in]")
    if not pc.any(odd).as_py():
        return texts
    for arrow, postgres in _NAMES.items():
        texts = pc.if_else(pc.equal(texts, arrow), postgres, texts)
    return texts


def _plain(array: pa.Array) -> pa.Array:
    """Decimals without an exponent, which Arrow gives very small ones."""
    texts = array.cast(pa.string())
    odd = pc.fill_null(pc.match_substring(texts, "E"), False)
    if not pc.any(odd).as_py():
        return texts
    plain = [format(value, "f") for value in array.filter(odd).to_pylist()]
    return pc.replace_with_mask(texts, odd, pa.array(plain, pa.string()))


def _short(texts: pa.Array) -> pa.Array:
    """Times without superfluous zeros of a second."""
    return pc.replace_substring_regex(texts, _ZEROS, r"\1")


def _spans(array: pa.Array) -> pa.Array:
    """Microseconds as ``[-]HHH:MM:SS[.f]``."""
    micros = array.cast(pa.int64())
    sign = pc.if_else(pc.less(micros, 0), "-", "")
    size = pc.abs(micros)
    clock = pc.subtract(size, pc.multiply(pc.divide(size, _HOUR), _HOUR))
    hours = pc.utf8_lpad(pc.divide(size, _HOUR).cast(pa.string()), 2, "0")
    rest = pc.utf8_slice_codeunits(_short(clock.cast(pa.time64("us")).cast(pa.string())), 2)
    return pc.binary_join_element_wise(sign, hours, rest, "")


def _members(array: pa.Array) -> pa.Array:
    """Members parted by commas, which is how sets are read."""
    members = array.flatten()
    odd = pc.or_(pc.match_substring(members, ","), pc.equal(members, ""))
    if members.null_count or pc.any(odd).as_py():
        raise ValueError("an array with an empty member, a NULL or a comma has no form in CSV")
    return pc.binary_join(array, ",")


def _hex(array: pa.Array) -> pa.Array:
    """Bytes as hex digits, by one step over all of them."""
    filled = pc.fill_null(array, b"")
    ends = np.frombuffer(filled.buffers()[1], np.int32)[filled.offset :][: len(filled) + 1]
    data = filled.buffers()[2]
    digits = binascii.hexlify(memoryview(data)[int(ends[0]) : int(ends[-1])]) if data else b""
    offsets = (ends - ends[0]).astype(np.int64) * 2
    valid = array.is_valid().buffers()[1] if array.null_count else None
    return pa.Array.from_buffers(
        pa.large_string(), len(array), [valid, pa.py_buffer(offsets), pa.py_buffer(digits)]
    ).cast(pa.string())


def _uuids(array: pa.Array) -> pa.Array:
    digits = _hex(array.cast(pa.binary()))
    cuts = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
    parts = [pc.utf8_slice_codeunits(digits, start, stop) for start, stop in cuts]
    return pc.binary_join_element_wise(*parts, "-")
