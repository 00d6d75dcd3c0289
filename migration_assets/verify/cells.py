"""One column of a batch, read from PostgreSQL, beside the Parquet column it must equal.

What equal means per type is in ``docs/types.md``: floats by their bits (NaN equals NaN, -0 is not
0), everything else by value. A value that does not fit the planned type at all is a *misfit*: it
equals nothing, and it never breaks a comparison.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]

RENDERED_CHARACTERS = 200
"""Longest rendering of one value; a longer one is cut."""


@dataclass(frozen=True)
class Cells:
    """Values of one column, in the planned physical type.

    Attributes:
        values: the array; a misfit is null in it.
        misfits: True where the value could not be brought into the planned type; None for none.
    """

    values: pa.Array
    misfits: Mask | None = None

    def slice(self, offset: int, length: int) -> Cells:
        """The same cells from ``offset`` on, without a copy."""
        misfits = None if self.misfits is None else self.misfits[offset : offset + length]
        return Cells(self.values.slice(offset, length), misfits)

    def take(self, positions: npt.NDArray[np.int64]) -> Cells:
        """The cells at ``positions``."""
        misfits = None if self.misfits is None else self.misfits[positions]
        return Cells(self.values.take(pa.array(positions)), misfits)


def as_planned(found: pa.Array, planned: pa.DataType) -> Cells:
    """Bring what PostgreSQL returned into the planned physical type.

    Only conversions that cannot make two different values equal are done; anything else is a
    misfit.
    """
    if isinstance(found, pa.ExtensionArray):
        found = found.storage
    if found.type == planned:
        return Cells(found)
    if not _comparable(found.type, planned):
        return Cells(pa.nulls(len(found), planned), _valid(found))
    try:
        return Cells(found.cast(planned))
    except pa.ArrowInvalid:
        return _cast_what_fits(found, planned)


def as_extracted(values: pa.Array, planned: pa.DataType) -> Cells:
    """A Parquet column in the planned type; raises ArrowInvalid if it was written otherwise."""
    if pa.types.is_list(values.type):
        return Cells(pc.binary_join(values, ","))
    if pa.types.is_duration(values.type):
        return Cells(values.view(planned))
    return Cells(values if values.type == planned else values.cast(planned))


def differing(expected: Cells, found: Cells) -> Mask | None:
    """True where two columns of equal length differ; None if they do not."""
    left, right = _bits(expected.values), _bits(found.values)
    if expected.misfits is None and found.misfits is None and left.equals(right):
        return None
    mask = _numpy(pc.fill_null(pc.not_equal(left, right), False))
    if pa.types.is_floating(expected.values.type):
        mask &= ~_numpy(
            pc.fill_null(pc.and_(pc.is_nan(expected.values), pc.is_nan(found.values)), False)
        )
    if left.null_count or right.null_count:
        mask |= _valid(left) ^ _valid(right)
    for misfits in (expected.misfits, found.misfits):
        if misfits is not None:
            mask |= misfits
    return mask if mask.any() else None


def render(values: pa.Array, row: int) -> str | None:
    """One value as text for people, cut to RENDERED_CHARACTERS; None for NULL.

    Bytes are hex, floats the shortest text that reads back to the same bits.
    """
    text = render_whole(values, row)
    if text is not None and len(text) > RENDERED_CHARACTERS:
        return text[: RENDERED_CHARACTERS - 1] + "…"
    return text


def render_whole(values: pa.Array, row: int) -> str | None:
    """As :func:`render`, without a cut."""
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    cell = values[row]
    if not cell.is_valid:
        return None
    kind = values.type
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width == 16:
        return str(uuid.UUID(bytes=cell.as_py()))
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return str(cell.as_py().hex())
    if pa.types.is_floating(kind):
        return _float_text(cell)
    if pa.types.is_decimal(kind):
        return format(cell.as_py(), "f")
    if pa.types.is_boolean(kind):
        return "true" if cell.as_py() else "false"
    return str(cell.cast(pa.string()).as_py())


def _float_text(cell: pa.Scalar) -> str:
    value = cell.as_py()
    if not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    if cell.type == pa.float32():
        return str(np.float32(value))
    return repr(value)


def _comparable(found: pa.DataType, planned: pa.DataType) -> bool:
    """True where a safe Arrow cast keeps different values different."""
    kinds = pa.types
    text = kinds.is_string(found) or kinds.is_large_string(found) or kinds.is_string_view(found)
    allowed = (
        (kinds.is_decimal, text or kinds.is_integer(found)),
        (kinds.is_integer, kinds.is_integer(found)),
        (kinds.is_floating, kinds.is_floating(found)),
        (kinds.is_string, text),
        (kinds.is_binary, kinds.is_large_binary(found) or kinds.is_fixed_size_binary(found)),
        (kinds.is_fixed_size_binary, kinds.is_binary(found)),
    )
    if kinds.is_timestamp(planned) and kinds.is_timestamp(found):
        return (planned.tz is None) == (found.tz is None)
    return any(is_kind(planned) and may for is_kind, may in allowed)


def _cast_what_fits(found: pa.Array, planned: pa.DataType) -> Cells:
    """Cast all that can be; halves that fail are halved again until the misfits stand alone."""
    parts: list[pa.Array] = []
    misfits = np.zeros(len(found), dtype=np.bool_)
    spans = [(0, len(found))]
    while spans:
        start, length = spans.pop()
        part = found.slice(start, length)
        try:
            parts.append(part.cast(planned))
        except pa.ArrowInvalid:
            if length == 1:
                misfits[start] = True
                parts.append(pa.nulls(1, planned))
            else:
                half = length // 2
                spans += [(start + half, length - half), (start, half)]
    return Cells(pa.concat_arrays(parts), misfits)


def _bits(values: pa.Array) -> pa.Array:
    if values.type == pa.float64():
        return values.view(pa.int64())
    if values.type == pa.float32():
        return values.view(pa.int32())
    return values


def _valid(values: pa.Array) -> Mask:
    return _numpy(values.is_valid())


def _numpy(mask: pa.Array) -> Mask:
    return np.array(mask, dtype=np.bool_)
