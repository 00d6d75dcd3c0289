r"""Texts, bytes and JSON.

PostgreSQL's text holds no NUL character and only valid UTF-8 (PostgreSQL manual, "Character
Types" and "Character Set Support"). Invalid bytes become ``\xNN`` each, NUL characters go; both
are changes. Clean batches are checked as a whole, only dirty rows are looked at one by one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.convert.column import (
    Change,
    Converted,
    Lanes,
    Rows,
    converted_lanes,
    only,
    require,
)
from migration_assets.convert.jsonforms import json_forms
from migration_assets.convert.rows import readable
from migration_assets.core.profile import Lane
from migration_assets.core.types import PgType

INVALID_UTF8 = "invalid_utf8"
NUL_REMOVED = "nul_removed"


def to_text(lanes: Lanes, kind: PgType) -> Converted:
    """Texts as they are, integers and reals in the engine's text form.

    Raises:
        UnfitError: for a blob, and a text too long for varchar(n) or too short for char(n), which
            would be padded.
    """
    out = converted_lanes(
        lanes, kind, {Lane.TEXT: _clean, Lane.INT: _int_text, Lane.REAL: _real_text}
    )
    if kind.name == "character":
        fits = pc.equal(pc.utf8_length(out.array), kind.args[0])
        require(fits, f"has not exactly {kind.args[0]} characters")
    elif kind.args:
        fits = pc.less_equal(pc.utf8_length(out.array), kind.args[0])
        require(fits, f"is longer than {kind.args[0]} characters")
    return out


def to_json(lanes: Lanes, kind: PgType) -> Converted:
    """As :func:`to_text`, for documents that nobody has looked at yet.

    Raises:
        UnfitError: for what is no JSON, and for what jsonb would not keep whole.
    """
    out = to_text(lanes, kind)
    parses, kept = json_forms(out.array)
    missing = out.array.is_null()
    require(pc.or_(parses, missing), "is not JSON")
    if kind.name == "jsonb":
        require(pc.or_(kept, missing), "is a document of which jsonb would lose something")
    return out


def to_bytes(lanes: Lanes, kind: PgType) -> Converted:
    """Blobs as they are, texts by their bytes, numbers by the bytes of their text."""
    return converted_lanes(
        lanes,
        kind,
        {
            Lane.BLOB: _as_it_is,
            Lane.TEXT: _as_it_is,
            Lane.INT: _int_bytes,
            Lane.REAL: _real_bytes,
        },
    )


def real_text(reals: pa.Array) -> pa.StringArray:
    """Doubles as ``1.0``, ``0.1``, ``1e+20``, ``Inf``: the shortest that reads back the same."""
    text = reals.cast(pa.string())
    whole = pc.invert(pc.match_substring_regex(text, "[.ein]"))
    text = pc.if_else(whole, pc.binary_join_element_wise(text, ".0", ""), text)
    # Small and large numbers: few, and Arrow takes to exponents earlier than SQLite and Python.
    size = pc.abs(reals)
    tiny = pc.and_(pc.less(size, 1e-4), pc.greater(size, 0))
    odd = pc.or_(pc.match_substring_regex(text, "[ein]"), tiny)
    odd = pc.fill_null(odd, False)
    if pc.any(odd).as_py():
        words = [_real_word(value) for value in reals.filter(odd).to_pylist()]
        text = pc.replace_with_mask(text, odd, pa.array(words, pa.string()))
    return text


def _real_word(value: float) -> str:
    return {"inf": "Inf", "-inf": "-Inf"}.get(word := repr(value), word)


def _as_it_is(lanes: Lanes, kind: PgType) -> Converted:
    return Converted(only(lanes))


def _int_text(lanes: Lanes, kind: PgType) -> Converted:
    return Converted(only(lanes).cast(pa.string()))


def _real_text(lanes: Lanes, kind: PgType) -> Converted:
    return Converted(real_text(only(lanes)))


def _int_bytes(lanes: Lanes, kind: PgType) -> Converted:
    return Converted(only(lanes).cast(pa.string()).cast(pa.binary()))


def _real_bytes(lanes: Lanes, kind: PgType) -> Converted:
    return Converted(real_text(only(lanes)).cast(pa.binary()))


def _clean(lanes: Lanes, kind: PgType) -> Converted:
    """Texts without NUL characters and invalid bytes, and which rows had them."""
    raw = only(lanes)
    try:
        text, invalid = raw.cast(pa.string()), np.zeros(0, np.intp)
    except pa.ArrowInvalid:
        text, invalid = None, invalid_rows(raw)
    nul = nul_rows(raw)
    dirty = np.union1d(invalid, nul)
    if len(dirty) == 0:
        return Converted(text)
    before = raw.take(pa.array(dirty)).to_pylist()
    after = [value.decode(errors="backslashreplace").replace("\0", "") for value in before]
    mask = np.zeros(len(raw), np.bool_)
    mask[dirty] = True
    clean = pc.replace_with_mask(
        raw, pa.array(mask), pa.array(after, pa.string()).cast(pa.binary())
    )
    changes = []
    for rule, rows in ((INVALID_UTF8, invalid), (NUL_REMOVED, nul)):
        if len(rows) == 0:
            continue
        places = np.searchsorted(dirty, rows).tolist()
        changes.append(
            Change(
                rule,
                rows,
                [readable(before[place]) for place in places],
                [after[place] for place in places],
            )
        )
    return Converted(clean.cast(pa.string()), tuple(changes))


def invalid_rows(raw: pa.Array) -> Rows:
    """The rows that are not valid UTF-8 (Unicode Standard, table 3-7).

    Only bytes beyond ASCII are looked at. One that begins a character needs its number of
    following bytes behind it in the same row; a following byte needs to be one of these.
    """
    ends, block = _bytes_of(raw)
    places = np.flatnonzero(block.view(np.int8) < 0)
    rows = np.searchsorted(ends, places + ends[0], "right") - 1
    values = block[places]
    follow = _FOLLOW[values]
    good = follow != _NEVER
    taken = np.zeros(len(values) + 3, np.bool_)
    for step in (1, 2, 3):
        wants = np.flatnonzero(good & (follow >= step) & (follow != _NEVER))
        there = wants[wants + step < len(values)]
        behind = there + step
        fits = (
            (places[behind] == places[there] + step)
            & (rows[behind] == rows[there])
            & (follow[behind] == 0)
        )
        if step == 1:
            first = values[there]
            fits &= (values[behind] >= _LEAST[first]) & (values[behind] <= _MOST[first])
        good[wants] = False
        good[there[fits]] = True
        taken[behind[fits]] = True
    wrong = ~good | ((follow == 0) & ~taken[: len(values)])
    return _valid(raw, np.unique(rows[wrong]))


def nul_rows(raw: pa.Array) -> Rows:
    """The rows with a NUL byte."""
    ends, block = _bytes_of(raw)
    if block.all():
        return np.zeros(0, np.intp)
    places = np.flatnonzero(block == 0) + ends[0]
    return _valid(raw, np.unique(np.searchsorted(ends, places, "right") - 1))


def _bytes_of(raw: pa.Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """Where the rows of texts begin and end, and their bytes, which begin at the first of these."""
    _, offsets, data = raw.buffers()
    ends = np.frombuffer(offsets, np.int32)[raw.offset : raw.offset + len(raw) + 1]
    if data is None:
        return ends, np.zeros(0, np.uint8)
    return ends, np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]


def _valid(raw: pa.Array, rows: Rows) -> Rows:
    """The rows that are not NULL, under which any bytes may stand."""
    if not raw.null_count:
        return rows
    return rows.compress(raw.is_valid().to_numpy(zero_copy_only=False)[rows])


def _utf8_tables() -> tuple[npt.NDArray[np.uint8], ...]:
    """By the first byte of a character: bytes that follow, least and greatest second byte."""
    follow = np.full(256, _NEVER, np.uint8)
    follow[0x80:0xC0], follow[0xC2:0xE0], follow[0xE0:0xF0], follow[0xF0:0xF5] = 0, 1, 2, 3
    least, most = np.full(256, 0x80, np.uint8), np.full(256, 0xBF, np.uint8)
    least[0xE0], least[0xF0], most[0xED], most[0xF4] = 0xA0, 0x90, 0x9F, 0x8F
    return follow, least, most


_NEVER = 9
"""Of a byte that UTF-8 never has."""
_FOLLOW, _LEAST, _MOST = _utf8_tables()
