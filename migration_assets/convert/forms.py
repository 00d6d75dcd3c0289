"""Forms of texts that are dates, times, UUIDs or decimals: recognised and parsed by the same code.

The profiler counts with the ``is_*`` functions and the conversion parses with the ``parse_*``
functions below them, so a column planned by its profile can not fail on the way. Everything works
on whole arrays: values of one length are seen as a matrix of bytes.

The forms are those whose value PostgreSQL gives back as the same instant or number (PostgreSQL
manual, "Date/Time Types" and "Numeric Types"): years 0001 to 9999, at most six significant
fraction digits, no leap second, no 24:00.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MICROSECOND_DIGITS = 6
"""Fraction digits of a second that PostgreSQL keeps."""
DAY = 86_400_000_000
"""Microseconds of a day."""
MAX_INTEGER_DIGITS = 131_072
MAX_FRACTION_DIGITS = 16_383
"""Limits of an unconstrained numeric (PostgreSQL manual, "Numeric Types")."""

_USUAL_SCALE = 6
"""Fraction digits up to which doubles are looked at as scaled integers."""
_FRACTIONS = range(1, 10)
_OFFSETS = (1, 3, 5, 6)  # Z, +HH, +HHMM, +HH:MM
_DECIMAL = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?\z"
_ZERO_DATE = r"^(0000-[0-9]{2}-[0-9]{2}|[0-9]{4}-00-[0-9]{2}|[0-9]{4}-[0-9]{2}-00)([ T]|$)"
_SPAN = (
    r"^(?P<minus>-?)(?P<h>[0-9]{2,3}):(?P<m>[0-5][0-9]):(?P<s>[0-5][0-9])(?:\.(?P<f>[0-9]{1,6}))?$"
)
_NEGATIVE_ZERO = r"^-0(\.0+)?\z"


@dataclass(frozen=True)
class Parsed:
    """Parsed values: ``ok`` tells which rows had the form; the others hold 0."""

    values: Ints
    ok: Bools


def is_date(array: pa.Array) -> pa.BooleanArray:
    """Which texts are ``YYYY-MM-DD`` and a real date; false for NULL."""
    return pa.array(parse_date(array).ok)


def is_time(array: pa.Array) -> pa.BooleanArray:
    """Which texts are ``HH:MM[:SS[.f]]`` below 24:00; false for NULL."""
    return pa.array(parse_time(array).ok)


def is_datetime(array: pa.Array) -> pa.BooleanArray:
    """Which texts are ``YYYY-MM-DD[ T]HH:MM[:SS[.f]]`` without offset; false for NULL."""
    return pa.array(parse_datetime(array).ok)


def is_datetime_tz(array: pa.Array) -> pa.BooleanArray:
    """Which texts are a datetime with ``Z``, ``+HH``, ``+HHMM`` or ``+HH:MM``; false for NULL."""
    return pa.array(parse_datetime_tz(array).ok)


def is_interval(array: pa.Array) -> pa.BooleanArray:
    """Which texts are ``[-]HHH:MM:SS[.f]`` of up to three digits of hours; false for NULL."""
    return pa.array(parse_interval(array).ok)


def is_zero_date(array: pa.Array) -> pa.BooleanArray:
    """Which texts begin with a date whose year, month or day is zero; false for NULL."""
    return pc.fill_null(pc.match_substring_regex(array, _ZERO_DATE), False)


def is_uuid(array: pa.Array) -> pa.BooleanArray:
    """Which texts are UUIDs in canonical lower case; false for NULL."""
    return pa.array(parse_uuid(array)[1])


def is_decimal(array: pa.Array) -> pa.BooleanArray:
    """Which texts are decimals that numeric gives back digit by digit; false for NULL.

    No exponent, plus sign or leading zeros, no negative zero, no bare point.
    """
    if array.type == pa.string():
        array = array.view(pa.binary())
    ok = pc.match_substring_regex(array, _DECIMAL)
    if pc.any(pc.starts_with(array, "-0")).as_py():
        ok = pc.and_not(ok, pc.match_substring_regex(array, _NEGATIVE_ZERO))
    long = pc.fill_null(pc.greater(pc.binary_length(array), MAX_FRACTION_DIGITS), False)
    if pc.any(long).as_py():
        fits = pa.array([_is_storable(text) for text in array.filter(long).to_pylist()])
        ok = pc.and_(ok, pc.replace_with_mask(pc.invert(long), long, fits))
    return pc.fill_null(ok, False)


def parse_date(array: pa.Array) -> Parsed:
    """Days since 1970-01-01 of the texts that :func:`is_date` accepts."""
    out = _nothing(len(array))
    for rows, text in _by_length(array, {10}):
        out.values[rows], out.ok[rows] = _date(text)
    return out


def parse_time(array: pa.Array) -> Parsed:
    """Microseconds since midnight of the texts that :func:`is_time` accepts."""
    out = _nothing(len(array))
    for rows, text in _by_length(array, {5, 8, *(9 + n for n in _FRACTIONS)}):
        out.values[rows], out.ok[rows] = _time(text)
    return out


def parse_datetime(array: pa.Array) -> Parsed:
    """Microseconds since 1970-01-01 00:00 of the texts that :func:`is_datetime` accepts."""
    out = _nothing(len(array))
    for rows, text in _by_length(array, {16, 19, *(20 + n for n in _FRACTIONS)}):
        out.values[rows], out.ok[rows] = _datetime(text)
    return out


def parse_datetime_tz(array: pa.Array) -> Parsed:
    """Microseconds since 1970-01-01 00:00 UTC of the texts that :func:`is_datetime_tz` accepts."""
    out = _nothing(len(array))
    bases = {16, 19, *(20 + n for n in _FRACTIONS)}
    for rows, text in _by_length(array, {base + n for base in bases for n in _OFFSETS}):
        values = np.zeros(text.shape[1], np.int64)
        ok = np.zeros(text.shape[1], np.bool_)
        for width in _OFFSETS:
            if len(text) - width not in bases:
                continue
            sign = text[-width]
            here = sign == ord("Z") if width == 1 else (sign == ord("+")) | (sign == ord("-"))
            here &= ~ok
            if not here.any():
                continue
            part = text if here.all() else text[:, here]
            local, good = _datetime(part[:-width])
            east, real = _offset(part[-width:])
            utc = local - east
            good &= real & (utc >= _FIRST) & (utc <= LAST_MICROSECOND)
            values[here], ok[here] = np.where(good, utc, 0), good
        out.values[rows], out.ok[rows] = values, ok
    return out


def parse_interval(array: pa.Array) -> Parsed:
    """Parse spans of hours, minutes and seconds, below a day or beyond, into microseconds."""
    found = pc.extract_regex(array.cast(pa.binary()), _SPAN)
    ok = found.is_valid()
    if not ok.true_count:
        return _nothing(len(array))
    h, m, s, f = (
        pc.fill_null(pc.struct_field(found, name).cast(pa.string()), "0") for name in "hmsf"
    )
    fraction = pc.utf8_rpad(pc.if_else(pc.equal(f, ""), "0", f), 6, "0")
    parts = [part.cast(pa.int64()) for part in (h, m, s, fraction)]
    seconds = pc.add(pc.multiply(pc.add(pc.multiply(parts[0], 60), parts[1]), 60), parts[2])
    micros = pc.add(pc.multiply(seconds, 1_000_000), parts[3])
    minus = pc.fill_null(pc.equal(pc.struct_field(found, "minus").cast(pa.string()), "-"), False)
    return Parsed(
        pc.if_else(minus, pc.negate(micros), micros).to_numpy(zero_copy_only=False),
        ok.to_numpy(zero_copy_only=False),
    )


def parse_uuid(array: pa.Array) -> tuple[Bytes, Bools]:
    """The 16 bytes of the texts that :func:`is_uuid` accepts, as a matrix, and which those are."""
    out = np.zeros((len(array), 16), np.uint8)
    ok = np.zeros(len(array), np.bool_)
    for rows, text in _by_length(array, {36}):
        digits = _HEX[text[_UUID_DIGITS]]
        good = (digits.max(axis=0) < 16) & (text[_UUID_DASHES] == ord("-")).all(axis=0)
        both = (digits[0::2] << 4) | (digits[1::2] & 15)
        out[rows], ok[rows] = np.where(good, both, 0).T, good
    return out, ok


def shortest_decimal(reals: pa.Array) -> pa.StringArray:
    """Doubles as the shortest decimals that read back to the same double.

    No exponent, no plus sign, no superfluous zeros; ``NaN``, ``Infinity`` and ``-Infinity`` as
    PostgreSQL writes them; negative zero becomes ``0``.
    """
    text = reals.cast(pa.string())
    odd = pc.fill_null(pc.or_(pc.match_substring_regex(text, "[ein]"), pc.equal(text, "-0")), False)
    if not pc.any(odd).as_py():
        return text
    return pc.replace_with_mask(text, odd, _plain(text.filter(odd)))


def scaled_integers(reals: npt.NDArray[np.float64], scale: int) -> npt.NDArray[np.int64] | None:
    """The shortest decimals of doubles, times 10**scale; None if one is no such whole number.

    Also None from 10**15 on. Below it no two decimals of that scale are the same double, so that
    one which reads back to the double is its shortest: 0.02 s a million, by way of texts 0.3 s.
    """
    power = 10.0**scale
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.rint(reals * power)
        # The quotient is the double nearest to the decimal, for both numbers are exact.
        if not ((np.abs(scaled) < 1e15) & (scaled / power == reals)).all():
            return None
    return scaled.astype(np.int64)


def real_size(reals: pa.DoubleArray) -> tuple[int, int]:
    """As :func:`decimal_size`, of the shortest decimals of finite doubles without a null."""
    values = reals.to_numpy(zero_copy_only=False)
    for scale in range(_USUAL_SCALE + 1):
        scaled = scaled_integers(values, scale)
        if scaled is not None:
            whole = int(np.abs(scaled).max(initial=0)) // 10**scale
            return (len(str(whole)) if whole else 0), scale
    return decimal_size(shortest_decimal(reals))


def decimal_size(text: pa.StringArray) -> tuple[int, int]:
    """Most integer digits (a lone 0 counts none) and most fraction digits of plain decimals."""
    text = text.drop_null()
    if len(text) == 0:
        return 0, 0
    offsets, data = _buffers(text)
    lengths = np.diff(offsets)
    whole = lengths.copy()
    dots = np.flatnonzero(data[offsets[0] : offsets[-1]] == ord(".")) + offsets[0]
    rows = np.searchsorted(offsets, dots, side="right") - 1
    whole[rows] = dots - offsets[rows]
    scale = np.where(whole < lengths, lengths - whole - 1, 0)
    negative = data[offsets[:-1]] == ord("-")
    whole -= negative
    whole -= data[offsets[:-1] + negative] == ord("0")
    return int(whole.max()), int(scale.max())


def _is_storable(text: bytes) -> bool:
    """Whether the digits of a very long decimal are within the limits of numeric."""
    whole, _, fraction = text.lstrip(b"-").partition(b".")
    return len(whole) <= MAX_INTEGER_DIGITS and len(fraction) <= MAX_FRACTION_DIGITS


def _plain(text: pa.StringArray) -> pa.StringArray:
    """Decimals with an exponent, and words, in plain form; one vector step per exponent."""
    parts = pc.extract_regex(text, r"^(?P<s>-?)(?P<i>\d+)\.?(?P<f>\d*)e(?P<e>[-+]?\d+)$")
    words = pc.if_else(
        pc.equal(text, "-0"),
        "0",
        pc.if_else(
            pc.equal(text, "inf"),
            "Infinity",
            pc.if_else(pc.equal(text, "-inf"), "-Infinity", "NaN"),
        ),
    )
    out = words
    exponents = pc.struct_field(parts, "e")
    for exponent in pc.unique(exponents.drop_null()).to_pylist():
        here = pc.fill_null(pc.equal(exponents, exponent), False)
        sign, whole, fraction = (pc.struct_field(parts, n).filter(here) for n in "sif")
        digits, power = pc.binary_join_element_wise(whole, fraction, ""), int(exponent)
        if power < 0:
            plain = pc.binary_join_element_wise(sign, "0." + "0" * (-power - 1), digits, "")
        else:
            padded = pc.ascii_rpad(digits, power + 1, "0")
            rest = pc.utf8_slice_codeunits(padded, power + 1)
            point = pc.if_else(pc.equal(rest, ""), "", ".")
            head = pc.utf8_slice_codeunits(padded, 0, power + 1)
            plain = pc.binary_join_element_wise(sign, head, point, rest, "")
        out = pc.replace_with_mask(out, here, plain)
    return out


def _buffers(array: pa.Array) -> tuple[npt.NDArray[np.int32], Bytes]:
    """Offsets of the array's own rows, and the bytes they point into."""
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    return ends, np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)


def _nothing(rows: int) -> Parsed:
    return Parsed(np.zeros(rows, np.int64), np.zeros(rows, np.bool_))


def _by_length(
    array: pa.Array, lengths: set[int]
) -> Iterator[tuple[slice | npt.NDArray[np.intp], Bytes]]:
    """Yield (rows, matrix of byte position x row) for the rows of each of the given lengths."""
    if len(array) == array.null_count:
        return
    offsets, data = _buffers(array)
    sizes = np.diff(offsets)
    full = array.null_count == 0
    valid = None if full else array.is_valid().to_numpy(zero_copy_only=False)
    if valid is not None:
        sizes = np.where(valid, sizes, -1)
    counts = np.bincount(np.minimum(sizes + 1, max(lengths) + 2))[1:]
    for length in np.flatnonzero(counts).tolist():
        if length not in lengths:
            continue
        count = int(counts[length])
        rows = slice(None) if count == len(array) else np.flatnonzero(sizes == length)
        start, stop = int(offsets[0]), int(offsets[-1])
        # Values of one length without others between them lie in one block, NULLs or not.
        if stop - start == count * length:
            yield rows, np.ascontiguousarray(data[start:stop].reshape(count, length).T)
        else:
            places = np.arange(length)[:, None] + offsets[rows][None, :].astype(np.int64)
            yield rows, data[places]


def _digits(text: Bytes, *places: int) -> tuple[Bytes, Bools]:
    """The digits at ``places`` and the rows in which all of them are digits."""
    digits = text[list(places)] - np.uint8(48)
    return digits, digits.max(axis=0) <= 9


def _date(text: Bytes) -> tuple[Ints, Bools]:
    """Days since 1970-01-01 of ``YYYY-MM-DD`` at the start of the matrix."""
    d, ok = _digits(text, 0, 1, 2, 3, 5, 6, 8, 9)
    ok &= (text[4] == ord("-")) & (text[7] == ord("-"))
    d = np.where(ok, d, 0)
    year = d[0].astype(np.int16) * 1000 + d[1].astype(np.int16) * 100 + (d[2] * 10 + d[3])
    place = _LEAP[year] * np.uint8(100) + d[4] * 10 + d[5]
    day = d[6] * 10 + d[7]
    ok &= (year > 0) & (day > 0) & (day <= _MONTH_DAYS[place])
    days = _YEAR_START[year] + _MONTH_START[place] + day - 1
    return np.where(ok, days, 0).astype(np.int64), ok


def _time(text: Bytes) -> tuple[Ints, Bools]:
    """Microseconds since midnight of ``HH:MM[:SS[.f]]``; the matrix is exactly that wide."""
    seconds = len(text) >= 8
    d, ok = _digits(text, 0, 1, 3, 4, *((6, 7) if seconds else ()))
    hour, minute = d[0] * 10 + d[1], d[2] * 10 + d[3]
    ok &= (text[2] == ord(":")) & (hour < 24) & (minute < 60)
    total = hour.astype(np.int64) * 3600 + minute.astype(np.int64) * 60
    if seconds:
        second = d[4] * 10 + d[5]
        ok &= (text[5] == ord(":")) & (second < 60)
        total += second
    total *= 1_000_000
    if len(text) > 8:
        fraction, good = _digits(text, *range(9, len(text)))
        ok &= good & (text[8] == ord("."))
        if len(fraction) > 6:
            ok &= (fraction[6:] == 0).all(axis=0)
        micros = np.zeros(text.shape[1], np.int32)
        for place, digits in enumerate(fraction[:6]):
            micros += digits.astype(np.int32) * 10 ** (5 - place)
        total += micros
    return np.where(ok, total, 0), ok


def _datetime(text: Bytes) -> tuple[Ints, Bools]:
    """Microseconds since 1970-01-01 of a datetime without offset."""
    days, ok = _date(text[:10])
    micros, good = _time(text[11:])
    ok &= good & ((text[10] == ord(" ")) | (text[10] == ord("T")))
    return np.where(ok, days * DAY + micros, 0), ok


def _offset(text: Bytes) -> tuple[Ints, Bools]:
    """Microseconds east of UTC of ``Z``, ``+HH``, ``+HHMM`` or ``+HH:MM``."""
    width = len(text)
    if width == 1:
        return np.zeros(text.shape[1], np.int64), text[0] == ord("Z")
    minutes = {3: (), 5: (3, 4), 6: (4, 5)}[width]
    d, ok = _digits(text, 1, 2, *minutes)
    hour = d[0] * 10 + d[1]
    minute = d[2] * 10 + d[3] if minutes else np.zeros_like(hour)
    # PostgreSQL takes offsets below 16 hours (datetime.h, MAX_TZDISP_HOUR).
    ok &= (hour < 16) & (minute < 60)
    if width == 6:
        ok &= text[3] == ord(":")
    east = (hour.astype(np.int64) * 60 + minute) * 60_000_000
    return np.where(text[0] == ord("-"), -east, east), ok


def _calendar() -> tuple[Bools, npt.NDArray[np.int32], npt.NDArray[np.int32], Bytes]:
    """Tables of the proleptic Gregorian calendar.

    Returns:
        leap years by year; days from 1970-01-01 to the first of January by year; days before a
        month and days in it by (100 if leap) + month, 0 days for months that are none.
    """
    years = np.arange(10_000)
    leap = (years % 4 == 0) & ((years % 100 != 0) | (years % 400 == 0))
    before = years - 1
    start = before * 365 + before // 4 - before // 100 + before // 400
    lengths = np.zeros(200, np.uint8)
    starts = np.zeros(200, np.int32)
    for base, february in ((0, 28), (100, 29)):
        lengths[base + 1 : base + 13] = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        starts[base + 2 : base + 13] = np.cumsum(lengths[base + 1 : base + 12])
    return leap.astype(np.uint8), (start - start[1970]).astype(np.int32), starts, lengths


def _hex_digits() -> Bytes:
    """The value of each lower-case hex digit by its character, 255 for others."""
    table = np.full(256, 255, np.uint8)
    for value, character in enumerate(b"0123456789abcdef"):
        table[character] = value
    return table


_LEAP, _YEAR_START, _MONTH_START, _MONTH_DAYS = _calendar()
_FIRST = int(_YEAR_START[1]) * DAY
LAST_MICROSECOND = (int(_YEAR_START[9999]) + 365) * DAY - 1
"""The last instant of the year 9999."""
_HEX = _hex_digits()
_UUID_DASHES = [8, 13, 18, 23]
_UUID_DIGITS = [n for n in range(36) if n not in _UUID_DASHES]
