"""What the conversions of single columns share: lanes in, one array and its changes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.core.profile import Lane
from migration_assets.core.types import PgType

Lanes = Mapping[Lane, pa.Array]
"""The lanes of one column in one batch that hold any value."""

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Change:
    """Values that the conversion could not keep, for the ledger.

    Attributes:
        rule: the rule that changed them.
        rows: their rows in the batch.
        before, after: one rendered value per row.
        bytes: by how many bytes the values grew (negative: shrank) as texts.
    """

    rule: str
    rows: Rows
    before: list[str | None]
    after: list[str | None]
    bytes: int = 0


@dataclass(frozen=True)
class Converted:
    """One column in the form of the plan."""

    array: pa.Array
    changes: tuple[Change, ...] = ()


class UnfitError(Exception):
    """A value that the planned type can not hold, so the plan is not one for these values.

    Attributes:
        row: its row in the batch.
        reason: what is wrong with it, continuing "the value ...".
    """

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row = row
        self.reason = reason


Convert = Callable[[Lanes, PgType], Converted]


def converted_lanes(
    lanes: Lanes, kind: PgType, by_lane: Mapping[Lane, Convert | None]
) -> Converted:
    """Convert each lane by its own function and lay the results over each other.

    Args:
        lanes: at least one lane, no two of them with a value in one row.
        kind: the planned type.
        by_lane: how each lane is converted; None or no entry where the type has no place for it.

    Raises:
        UnfitError: a lane has a value and the type has no place for it.
    """
    parts = []
    for lane, array in lanes.items():
        convert = by_lane.get(lane)
        if convert is None:
            raise UnfitError(first(array.is_valid()), f"is {_WORDS[lane]}")
        parts.append(convert({lane: array}, kind))
    array = parts[0].array if len(parts) == 1 else pc.coalesce(*(part.array for part in parts))
    return Converted(array, tuple(change for part in parts for change in part.changes))


def only(lanes: Lanes) -> pa.Array:
    """The one lane there is."""
    (array,) = lanes.values()
    return array


def first(mask: pa.Array) -> int:
    """The first true row of a mask that has one."""
    return int(pc.index(mask, True).as_py())


def require(ok: pa.Array, reason: str) -> None:
    """Raise UnfitError for the first row that is false; NULL rows are fine."""
    if not pc.all(ok, min_count=0).as_py():
        raise UnfitError(int(pc.index(ok, False).as_py()), reason)


def with_validity(values: npt.NDArray[np.generic], like: pa.Array, kind: pa.DataType) -> pa.Array:
    """Lay a numpy block under the NULLs of ``like``, without a copy."""
    bitmap = like.is_valid().buffers()[1] if like.null_count else None
    return pa.Array.from_buffers(
        kind, len(like), [bitmap, pa.py_buffer(np.ascontiguousarray(values))]
    )


def negative_zeros(reals: pa.Array) -> Rows:
    """The rows of a real lane that hold -0.0."""
    values = reals.to_numpy(zero_copy_only=False)
    zero = values == 0
    if not zero.any():
        return np.zeros(0, np.intp)
    # A NULL's slot may hold anything.
    valid = reals.is_valid().to_numpy(zero_copy_only=False)
    return np.flatnonzero(zero & np.signbit(values) & valid)


def negative_zero_change(reals: pa.Array) -> tuple[Change, ...]:
    """Declare the -0.0 values of a real lane that become 0."""
    rows = negative_zeros(reals)
    if len(rows) == 0:
        return ()
    return (Change("negative_zero", rows, ["-0.0"] * len(rows), ["0"] * len(rows)),)


def hexadecimal(value: bytes) -> str:
    """Bytes in hex, as ledger and keys show them."""
    return value.hex()


def readable(value: bytes) -> str:
    r"""A text as it is, or in hex after ``\x`` where its bytes are not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "\\x" + value.hex()


def source_form(lanes: Mapping[Lane, pa.Array], rows: Sequence[int] | Rows) -> list[object]:
    """The values of a few rows as JSON values: numbers, texts, bytes in hex, None for NULL."""
    places = pa.array(rows, pa.int64())
    out: list[object] = [None] * len(places)
    for lane, array in lanes.items():
        for place, value in enumerate(array.take(places).to_pylist()):
            if value is None:
                continue
            if lane is Lane.TEXT:
                value = readable(value)
            elif lane is Lane.BLOB:
                value = hexadecimal(value)
            elif lane is Lane.REAL and value - value != 0:
                value = str(value)
            out[place] = value
    return out


_WORDS = {
    Lane.INT: "an integer",
    Lane.REAL: "a real number",
    Lane.TEXT: "a text",
    Lane.BLOB: "a blob",
}
