"""Texts that are members of a declared list: enums, and sets as arrays of text."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.convert.column import Change, Converted, Lanes, converted_lanes, only, where
from migration_assets.convert.rows import readable
from migration_assets.core.profile import Lane
from migration_assets.core.types import PgType

INVALID_ENUM = "invalid_enum"
"""Rule of values that are no label, such as the empty one that MySQL keeps for a wrong one."""


def to_enum(lanes: Lanes, kind: PgType) -> Converted:
    """Labels as they are; a text that is none becomes NULL, a declared change."""
    return converted_lanes(lanes, kind, {Lane.TEXT: _label})


def to_set(lanes: Lanes, kind: PgType) -> Converted:
    """Members parted by commas as a list; the empty text is the empty list."""
    return converted_lanes(lanes, kind, {Lane.TEXT: _members})


def is_member(texts: pa.Array, labels: tuple[str, ...]) -> pa.BooleanArray:
    """Which texts are one of the labels, byte for byte; false for NULL."""
    known = pa.array([label.encode() for label in labels], pa.binary())
    return pc.and_(pc.is_in(texts.cast(pa.binary()), known), texts.is_valid())


def _label(lanes: Lanes, kind: PgType) -> Converted:
    texts = only(lanes)
    known = is_member(texts, kind.labels)
    if known.true_count == len(texts) - texts.null_count:
        return Converted(texts.cast(pa.string()))
    wrong = pc.and_(texts.is_valid(), pc.invert(known))
    rows = where(wrong)
    before = [readable(value) for value in texts.take(pa.array(rows)).to_pylist()]
    kept = pc.if_else(wrong, pa.scalar(None, texts.type), texts).cast(pa.string())
    return Converted(kept, (Change(INVALID_ENUM, rows, list(before), [None] * len(rows)),))


def _members(lanes: Lanes, kind: PgType) -> Converted:
    texts = only(lanes).cast(pa.string())
    lists = pc.split_pattern(texts, ",")
    empty = pc.equal(texts, "")
    if pc.any(empty).as_py():
        lists = pc.if_else(empty, pa.scalar([], lists.type), lists)
    return Converted(lists.cast(kind.arrow))
