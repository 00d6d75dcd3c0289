"""How each column is asked for, and what becomes of the bytes that come: its lanes.

Texts come in their column's charset. Those of UTF-8 are taken as they are; others are converted by
the server, whose own tables say what a byte means (its latin1 is cp1252), except for values of
which the conversion would lose something: those come as stored, and are no valid UTF-8 then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.core.catalog import Column, Kind
from migration_assets.core.profile import Lane
from migration_assets.sources.mysql.connect import quote

_UTF8 = frozenset({"utf8", "utf8mb3", "utf8mb4", "ascii", "binary"})
_TEXTS = frozenset({Kind.TEXT, Kind.ENUM, Kind.SET, Kind.JSON})
_TIMES = frozenset({Kind.DATE, Kind.DATETIME, Kind.TIME})
_MOST = 2**63 - 1


@dataclass(frozen=True)
class Form:
    """How one column is read.

    Attributes:
        expressions: what is selected: one, or for some charsets two, of which the second is NULL
            unless the first would lose something.
        lane: where its values are expected.
        others: lanes that its values may need beside.
        untold: SQL that is true of values of which the server can not tell whether the conversion
            would lose something; None where there are none.
    """

    expressions: tuple[str, ...]
    lane: Lane
    others: tuple[Lane, ...] = ()
    untold: str | None = None

    @property
    def lossless(self) -> str:
        """SQL of the value as it is read, where all of it can be."""
        return self.expressions[0]


def form(column: Column, charset: str | None) -> Form:
    """How ``column`` is read, whose texts are in ``charset``."""
    name, kind = quote(column.name), column.type.kind
    if kind is Kind.YEAR:
        return Form((f"{name} + 0",), Lane.INT)  # one of two digits has an order of its own
    if kind is Kind.INTEGER:
        wide = column.type.unsigned and column.type.bits == 64
        return Form((name,), Lane.INT, (Lane.TEXT,) if wide else ())
    if kind is Kind.FLOAT:
        # Where the server writes it as text, as it does for facts and digests, a FLOAT is rounded
        # to six digits and one of fixed digits to those; multiplied, it is the double it stands
        # for.
        rounded = column.type.bits == 32 or "(" in column.source_type
        return Form((f"{name} * 1e0" if rounded else name,), Lane.REAL)
    if kind in _TIMES:
        return Form((f"CAST({name} AS CHAR)",), Lane.TEXT)
    if kind is Kind.BIT:
        return Form((f"{name} + 0",), Lane.INT) if column.type.bits == 1 else _blob(name)
    if kind in {Kind.BINARY, Kind.GEOMETRY}:
        return _blob(name)
    if kind is Kind.DECIMAL and "zerofill" in column.source_type.lower():
        return Form((f"{name} + 0",), Lane.TEXT)  # without the zeros before it
    if kind not in _TEXTS or charset is None or charset in _UTF8:
        return Form((name,), Lane.TEXT)
    converted = f"CONVERT({name} USING utf8mb4)"
    if charset == "latin1":
        return Form((converted,), Lane.TEXT)
    # NULL for NULL, and for what is too long for the server's own functions.
    same = f"CAST(CONVERT({converted} USING {charset}) AS BINARY) = CAST({name} AS BINARY)"
    return Form(
        (f"IF({same}, {converted}, NULL)", f"IF({same}, NULL, CAST({name} AS BINARY))"),
        Lane.TEXT,
        untold=f"{name} IS NOT NULL AND ({same}) IS NULL",
    )


def _blob(name: str) -> Form:
    return Form((name,), Lane.BLOB)


class LaneMissingError(Exception):
    """A value fits none of the lanes asked for."""


def lanes(form: Form, asked: Sequence[Lane], values: Sequence[pa.Array]) -> list[pa.Array]:
    """The arrays of the lanes ``asked`` for, in that order.

    Args:
        form: of the column.
        asked: lanes.
        values: the column's values as they come, one array for each expression.

    Raises:
        LaneMissingError: a value is of none of them.
    """
    first = values[0]
    if len(values) > 1 and values[1].null_count < len(first):
        first = pc.coalesce(first, values[1])
    found = _lanes(form, asked, first)
    rows = len(first)
    return [found[lane] if lane in found else _empty(lane, rows) for lane in asked]


def _lanes(form: Form, asked: Sequence[Lane], raw: pa.Array) -> dict[Lane, pa.Array]:
    if form.lane in {Lane.TEXT, Lane.BLOB}:
        if form.lane not in asked and raw.null_count < len(raw):
            raise LaneMissingError
        return {form.lane: raw}
    if form.lane is Lane.REAL:
        if Lane.REAL not in asked and raw.null_count < len(raw):
            raise LaneMissingError
        return {Lane.REAL: raw}
    return _integers(form, asked, raw)


def _integers(form: Form, asked: Sequence[Lane], raw: pa.Array) -> dict[Lane, pa.Array]:
    if raw.type != pa.uint64():
        if Lane.INT not in asked and raw.null_count < len(raw):
            raise LaneMissingError
        return {Lane.INT: raw}
    beyond = pc.greater(raw, pa.scalar(_MOST, pa.uint64()))
    within = pc.if_else(beyond, pa.scalar(None, pa.uint64()), raw).cast(pa.int64())
    if Lane.INT not in asked and within.null_count < len(within):
        raise LaneMissingError
    if not pc.any(beyond).as_py():
        return {Lane.INT: within}
    if Lane.TEXT not in asked:
        raise LaneMissingError
    digits = raw.cast(pa.string()).cast(pa.binary())
    return {
        Lane.INT: within,
        Lane.TEXT: pc.if_else(beyond, digits, pa.scalar(None, pa.binary())),
    }


def _empty(lane: Lane, rows: int) -> pa.Array:
    return pa.nulls(rows, ARROW[lane])


ARROW = {
    Lane.INT: pa.int64(),
    Lane.REAL: pa.float64(),
    Lane.TEXT: pa.binary(),
    Lane.BLOB: pa.binary(),
}
"""The Arrow type of each lane."""
