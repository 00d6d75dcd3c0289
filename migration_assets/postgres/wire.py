"""PostgreSQL wire bytes built in numpy, for what the COPY encoder cannot send by itself.

An Arrow ``binary`` column passes through the encoder untouched, so a column of ready wire bytes
can be of any PostgreSQL type.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NUMERIC_BASE_DIGITS = 4
MAX_INTEGER_DIGITS = 131_072
MAX_SCALE = 16_383
"""PostgreSQL manual, "Arbitrary Precision Numbers"."""

_PLAIN = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)$"
_SPECIAL = {"NaN": 0xC000, "Infinity": 0xD000, "-Infinity": 0xF000}
"""Sign words of ``numeric_recv`` (PostgreSQL source, ``numeric.c``)."""

_NEGATIVE = 0x4000
_CHUNK_ROWS = 16_384
"""Positions of every digit are held as 8-byte numbers meanwhile; small chunks keep that small."""


def numeric(texts: pa.Array) -> pa.Array:
    """Decimal texts as the bytes that ``numeric_recv`` reads; the scale is kept as written.

    Args:
        texts: ``string`` array of plain or scientific decimals, ``NaN``, ``Infinity``,
            ``-Infinity``; NULLs stay.

    Returns:
        a ``binary`` array of the same length.

    Raises:
        ValueError: a text is no decimal, or too long for PostgreSQL; the text is named.
    """
    if len(texts) <= _CHUNK_ROWS:
        return _numeric(texts)
    chunks = [_numeric(texts.slice(at, _CHUNK_ROWS)) for at in range(0, len(texts), _CHUNK_ROWS)]
    return pa.concat_arrays(chunks)


def _numeric(texts: pa.Array) -> pa.Array:
    signs = np.zeros(len(texts), np.uint16)
    special = np.zeros(len(texts), bool)
    plain = pc.fill_null(pc.match_substring_regex(texts, _PLAIN), True).to_numpy(
        zero_copy_only=False
    )
    if not plain.all():
        values = texts.to_pylist()
        for row in np.flatnonzero(~plain).tolist():
            if values[row] in _SPECIAL:
                signs[row], special[row] = _SPECIAL[values[row]], True
            values[row] = "0" if special[row] else _without_exponent(values[row])
        texts = pa.array(values, texts.type)
    filled = pc.fill_null(texts, "0")

    offsets = np.frombuffer(filled.buffers()[1], np.int32)[
        filled.offset : filled.offset + len(filled) + 1
    ]
    characters = np.frombuffer(filled.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    starts = (offsets[:-1] - offsets[0]).astype(np.int64)
    lengths = np.diff(offsets).astype(np.int64)
    rows = np.repeat(np.arange(len(filled)), lengths)

    dots = np.flatnonzero(characters == ord("."))
    signed = (characters[starts] == ord("-")) | (characters[starts] == ord("+"))
    scales = np.zeros(len(filled), np.int64)
    scales[rows[dots]] = starts[rows[dots]] + lengths[rows[dots]] - dots - 1
    has_dot = np.zeros(len(filled), np.int64)
    has_dot[rows[dots]] = 1
    whole = lengths - signed - has_dot - scales
    _check_size(filled, whole, scales)
    signs[(characters[starts] == ord("-")) & ~special] = _NEGATIVE

    # Digits in groups of four on both sides of the point: zeros before the whole part and after
    # the fraction fill the groups.
    whole_groups = -(-whole // NUMERIC_BASE_DIGITS)
    groups = whole_groups + -(-scales // NUMERIC_BASE_DIGITS)
    first_group = np.cumsum(groups) - groups
    is_digit = (characters >= ord("0")) & (characters <= ord("9"))
    digit_rows = rows[is_digit]
    digit_counts = whole + scales
    rank = np.arange(len(digit_rows)) - np.repeat(
        np.cumsum(digit_counts) - digit_counts, digit_counts
    )
    padding = whole_groups * NUMERIC_BASE_DIGITS - whole
    digits = np.zeros(int(groups.sum()) * NUMERIC_BASE_DIGITS, np.int16)
    digits[(first_group * NUMERIC_BASE_DIGITS + padding)[digit_rows] + rank] = characters[
        is_digit
    ] - ord("0")
    quads = digits.reshape(-1, NUMERIC_BASE_DIGITS) @ np.array([1000, 100, 10, 1], np.int16)

    groups = np.where(special, 0, groups)
    words = np.empty(int(groups.sum()) + 4 * len(filled), ">u2")
    body = np.ones(len(words), bool)
    head = np.cumsum(groups + 4) - (groups + 4)
    for place, values_of in enumerate(
        (groups, np.where(special, 0, whole_groups - 1), signs, scales)
    ):
        words[head + place] = values_of.astype(np.int64) & 0xFFFF
        body[head + place] = False
    if special.any():
        quads = np.delete(quads, first_group[special])  # each stood there as one zero group
    words[body] = quads

    ends = np.zeros(len(filled) + 1, np.int32)
    ends[1:] = (head + groups + 4) * 2
    validity = None if texts.null_count == 0 else pc.is_valid(texts).buffers()[1]
    return pa.Array.from_buffers(
        pa.binary(),
        len(filled),
        [validity, pa.py_buffer(ends.tobytes()), pa.py_buffer(words.tobytes())],
    )


def bits(texts: pa.Array) -> pa.Array:
    """Texts of one length of the digits 0 and 1 as the bytes that ``bit_recv`` reads."""
    whole = texts.drop_null().to_pylist()
    if not whole:
        return pa.nulls(len(texts), pa.binary())
    length = len(whole[0])
    digits = np.frombuffer("".join(whole).encode(), np.uint8).reshape(len(whole), length)
    packed = np.packbits(digits == ord("1"), axis=1)
    head = length.to_bytes(4, "big")
    values = iter(head + row.tobytes() for row in packed)
    return pa.array(
        [next(values) if valid else None for valid in texts.is_valid().to_pylist()], pa.binary()
    )


def _without_exponent(text: str) -> str:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or "_" in text or text != text.strip():
        raise ValueError(f"{text[:80]!r} is not a number")
    if abs(number.adjusted()) > MAX_INTEGER_DIGITS:
        raise ValueError(f"{text[:80]!r} has more digits than numeric holds")
    return format(number, "f")


def _check_size(texts: pa.Array, whole: np.ndarray, scales: np.ndarray) -> None:
    over = (whole > MAX_INTEGER_DIGITS) | (scales > MAX_SCALE)
    if over.any():
        text = texts[int(np.flatnonzero(over)[0])].as_py()
        raise ValueError(
            f"{text[:40]}... ({len(text)} characters) has more digits than numeric holds"
        )
