"""When a SQLite value and a PostgreSQL value are equal: the fidelity page's table, written again.

Nothing here comes from the package under test. The SQLite side is what ``sqlite3`` hands over,
texts as :class:`Text` so that they are told from blobs; the PostgreSQL side is the server's own
text of the value (``column::text`` under ``DateStyle`` ISO and the time zone UTC).
"""

from __future__ import annotations

import json
import re
import struct
import uuid
from decimal import Decimal
from typing import Any

MICROS_PER_DAY = 86_400_000_000
EPOCH_UNITS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_DATE = re.compile(r"([0-9]{4,})-([0-9]{2})-([0-9]{2})( BC)?")
_CLOCK = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,6}))?)?")
_SPAN = re.compile(r"(-)?([0-9]{2,3}):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,6}))?")
_MOMENT = re.compile(
    r"([0-9]{4,}-[0-9]{2}-[0-9]{2})[T ]([0-9:.]+?)( ?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?))?( BC)?"
)


class Text(bytes):
    """The bytes of a SQLite value whose storage class is text."""


class Unequal(Exception):
    """The value has no form in the PostgreSQL type that would be equal to it."""


SourceValue = int | float | Text | bytes | None


def is_equal(source: SourceValue, found: str | None, pg_type: str, conversion: str | None) -> bool:
    """Tell whether ``found``, PostgreSQL's text of a ``pg_type``, equals ``source``.

    Args:
        source: the value as ``sqlite3`` read it.
        found: the server's own text of the loaded value.
        pg_type: ``pg_type.typname`` of the column, such as ``int8`` or ``timestamptz``.
        conversion: the plan's word, which only decides the unit of an integer that is a time.
    """
    if source is None or found is None:
        return source is None and found is None
    if pg_type in ("text", "varchar"):
        return _text_equals(source, found)
    if pg_type == "bytea" and isinstance(source, float):
        return _text_equals(source, canonical_found(found, pg_type).decode("latin-1"))
    try:
        expected = _canonical_source(source, pg_type, conversion)
        actual = canonical_found(found, pg_type)
    except Unequal:
        return False
    return bool(expected == actual)


def renderings(source: SourceValue) -> set[str | None]:
    """The texts that may stand for ``source`` as *before* or as part of a key in the ledger."""
    if source is None:
        return {None}
    if isinstance(source, Text):
        texts: set[str | None] = {source.hex()}
        try:
            texts.add(source.decode("utf-8"))
        except UnicodeDecodeError:
            texts.add("\\x" + source.hex())
        return texts
    if isinstance(source, bytes):
        return {source.hex(), str(uuid.UUID(bytes=source)) if len(source) == 16 else source.hex()}
    if isinstance(source, float):
        return {repr(source), f"{source:.0f}" if source.is_integer() else repr(source)}
    return {str(source)}


def is_after(after: str | None, found: str | None, pg_type: str) -> bool:
    """Tell whether the ledger's *after* is what PostgreSQL holds."""
    if after is None or found is None:
        return after is None and found is None
    if after == found:
        return True
    if pg_type == "bytea":
        return found == "\\x" + after
    if pg_type in ("text", "varchar"):
        return False
    try:
        return bool(
            _canonical_source(Text(after.encode()), pg_type, None)
            == canonical_found(found, pg_type)
        )
    except Unequal:
        return False


def _text_equals(source: SourceValue, found: str) -> bool:
    if isinstance(source, Text):
        return source == found.encode("utf-8")
    if isinstance(source, int):
        return found == str(source)
    if isinstance(source, float):
        # Any form that reads back to the same bits and is not the form of an integer.
        if found == found.strip() and re.search(r"[.eEnN]", found):
            try:
                return _bits(float(found)) == _bits(source)
            except ValueError:
                return False
        return False
    return False  # a blob is never a text


def _canonical_source(source: SourceValue, pg_type: str, conversion: str | None) -> Any:
    match pg_type:
        case "int2" | "int4" | "int8" | "numeric":
            return _number(source)
        case "float8" | "float4":
            return _double(source)
        case "bool":
            return _boolean(source)
        case "bytea" if conversion == "geometry":
            return _ewkb(source)
        case "bytea":
            return _octets(source)
        case "bit" | "enum":
            return _string(source)
        case "_text":
            return [part for part in _string(source).split(",") if part]
        case "interval":
            return _span(_string(source))
        case "uuid":
            return _uuid(source)
        case "json" | "jsonb":
            return _json(_string(source))
        case "date":
            return _date(_string(source))
        case "time":
            return _clock(_string(source))
        case "timestamp" | "timestamptz":
            if isinstance(source, int):
                if conversion not in EPOCH_UNITS:
                    raise Unequal
                return source * EPOCH_UNITS[conversion]
            return _moment(_string(source), zoned=pg_type == "timestamptz")
    raise Unequal(f"no rule for the type {pg_type}")


def canonical_found(found: str, pg_type: str) -> Any:
    """The value behind PostgreSQL's text, comparable with the source's."""
    match pg_type:
        case "int2" | "int4" | "int8" | "numeric":
            return found.lower() if found[-1].isalpha() else Decimal(found)
        case "float8":
            return _bits(float(found))
        case "float4":
            return _bits(struct.unpack("<f", struct.pack("<f", float(found)))[0])
        case "bool":
            return found == "true"
        case "bytea":
            return bytes.fromhex(found.removeprefix("\\x"))
        case "_text":
            return json.loads(found)
        case "interval":
            return _span(found)
        case "uuid":
            return uuid.UUID(found).int
        case "json" | "jsonb":
            return _json(found)
        case "date":
            return _date(found)
        case "time":
            return _clock(found)
        case "timestamp" | "timestamptz":
            return _moment(found, zoned=pg_type == "timestamptz")
    return found


def _string(source: SourceValue) -> str:
    if not isinstance(source, Text):
        raise Unequal
    try:
        return source.decode("utf-8")
    except UnicodeDecodeError:
        raise Unequal from None


def _number(source: SourceValue) -> Decimal | str:
    if isinstance(source, int):
        return Decimal(source)
    if isinstance(source, float):
        if source in (float("inf"), float("-inf")):
            return "infinity" if source > 0 else "-infinity"
        if source == 0 and repr(source) == "-0.0":
            raise Unequal  # the sign is lost, so the ledger has to say so
        return Decimal(repr(source))
    text = _string(source)
    if not _NUMBER.fullmatch(text):
        raise Unequal
    return Decimal(text)


def _double(source: SourceValue) -> bytes:
    if isinstance(source, float):
        return _bits(source)
    if isinstance(source, int):
        try:
            exact = int(float(source)) == source
        except OverflowError:
            exact = False
        if exact:
            return _bits(float(source))
    raise Unequal


def _bits(value: float) -> bytes:
    return b"NaN" if value != value else struct.pack(">d", value)


def _boolean(source: SourceValue) -> bool:
    if isinstance(source, int) and source in (0, 1):
        return bool(source)
    if isinstance(source, Text) and source in (b"true", b"false"):
        return source == b"true"
    raise Unequal


def _octets(source: SourceValue) -> bytes:
    if isinstance(source, bytes):  # a text by its bytes
        return bytes(source)
    return repr(source).encode()


def _ewkb(source: SourceValue) -> bytes:
    """MySQL's geometry (SRID, then WKB) as PostGIS writes it, the SRID behind the type."""
    if isinstance(source, Text) or not isinstance(source, bytes):
        raise Unequal
    srid, order, kind = struct.unpack_from("<IBI", source)
    if order != 1:
        raise Unequal
    head = struct.pack("<BII", 1, kind | 0x20000000, srid) if srid else struct.pack("<BI", 1, kind)
    return head + source[9:]


def _span(text: str) -> int:
    """Microseconds of ``[-]HHH:MM:SS[.ffffff]``."""
    match = _SPAN.fullmatch(text)
    if not match:
        raise Unequal
    seconds = int(match[2]) * 3600 + int(match[3]) * 60 + int(match[4])
    micros = seconds * 1_000_000 + int((match[5] or "").ljust(6, "0"))
    return -micros if match[1] else micros


def _uuid(source: SourceValue) -> int:
    if isinstance(source, Text):
        text = _string(source)
        try:
            value = uuid.UUID(text)
        except ValueError:
            raise Unequal from None
        if str(value) != text:
            raise Unequal
        return value.int
    if isinstance(source, bytes) and len(source) == 16:
        return uuid.UUID(bytes=source).int
    raise Unequal


def _json(text: str) -> Any:
    """The document with exact numbers; objects as sorted pairs, so that a lost duplicate shows."""

    def refuse(word: str) -> Any:
        raise Unequal(word)

    try:
        return _frozen(
            json.loads(
                text,
                parse_int=Decimal,
                parse_float=Decimal,
                parse_constant=refuse,
                object_pairs_hook=lambda pairs: ("object", pairs),
            )
        )
    except (ValueError, ArithmeticError, RecursionError):
        raise Unequal from None


def _frozen(value: Any) -> Any:
    if isinstance(value, tuple):
        return ("object", tuple(sorted(((k, _frozen(v)) for k, v in value[1]), key=repr)))
    if isinstance(value, list):
        return ("array", tuple(_frozen(v) for v in value))
    if isinstance(value, Decimal):
        # Normalized by hand: Decimal.normalize() rounds to the context's 28 digits.
        sign, digits, exponent = value.as_tuple()
        text = "".join(map(str, digits)).lstrip("0")
        stripped = text.rstrip("0")
        if not stripped:
            return ("number", 0, "0", 0)
        return ("number", sign, stripped, int(exponent) + len(text) - len(stripped))
    return (type(value).__name__, value)


def _date(text: str) -> int:
    """Days since 1970-01-01 of an ISO date."""
    match = _DATE.fullmatch(text)
    if not match:
        raise Unequal
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    return _days(1 - year if match[4] else year, month, day)


def _clock(text: str) -> int:
    """Microseconds since midnight of ``HH:MM[:SS[.ffffff]]``."""
    match = _CLOCK.fullmatch(text)
    if not match:
        raise Unequal
    hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
    if hour > 23 or minute > 59 or second > 59:
        raise Unequal
    return (hour * 3600 + minute * 60 + second) * 1_000_000 + int((match[4] or "").ljust(6, "0"))


def _moment(text: str, zoned: bool) -> int:
    """Microseconds since 1970-01-01 00:00:00; with an offset exactly if ``zoned``."""
    match = _MOMENT.fullmatch(text)
    if not match or bool(match[3]) != zoned:
        raise Unequal
    micros = _date(match[1] + (match[4] or "")) * MICROS_PER_DAY + _clock(match[2])
    offset = (match[3] or "").strip()
    if offset not in ("", "Z"):
        digits = offset[1:].replace(":", "").ljust(4, "0")
        minutes = int(digits[:2]) * 60 + int(digits[2:])
        micros -= (-1 if offset[0] == "-" else 1) * minutes * 60_000_000
    return micros


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar, for any year."""
    lengths = (31, 29 if _leap(year) else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if not 1 <= month <= 12 or not 1 <= day <= lengths[month - 1]:
        raise Unequal
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400
    return days + sum(lengths[: month - 1]) + day - 719_163


def _leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
