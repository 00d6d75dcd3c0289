"""One value in a form that the source's engine and PostgreSQL share."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from typing import Any

_DIGITS = 12
"""Significant digits of a computed number that must agree: sums depend on the order of rows."""

_REAL_DIGITS = 6
"""As many as MySQL writes of a FLOAT."""

BOOLEAN, BYTEA, JSON, JSONB, REAL = 16, 17, 114, 3802, 700
BITS, INTERVAL, TEXT_ARRAY = 1560, 1186, 1009
TEXTS = {18, 19, 25, 1042, 1043}
TIMES = {1082, 1083, 1114, 1184}
NUMBERS = {20, 21, 23, 26, 700, 701, 1700}
"""Type OIDs, from ``pg_type.dat``."""
_ZERO_DATE = re.compile(r"0000-\d\d-\d\d|\d{4}-00-\d\d|\d{4}-\d\d-00")
_SPAN = re.compile(r"(-?)(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d")


def canonical(value: Any, oid: int) -> str | None:
    """One value in a form that both sides share, by the type it has in PostgreSQL.

    Args:
        value: as either driver gives it.
        oid: the type's OID in PostgreSQL.
    """
    if value is None:
        return None
    if isinstance(value, memoryview):
        value = bytes(value)
    if oid == BOOLEAN:
        return str(int(value)) if isinstance(value, bool | int) else str(value)
    if oid in NUMBERS and isinstance(value, int | float | Decimal):
        return _number(value, _REAL_DIGITS if oid == REAL else _DIGITS)
    if oid in TIMES:
        # The ledger says that it is NULL.
        return None if isinstance(value, str) and _ZERO_DATE.match(value) else _moment(value)
    if oid == BITS:
        return str(int(value, 2) if isinstance(value, str) else value)
    if oid == INTERVAL:
        return _span(value)
    if oid == TEXT_ARRAY and isinstance(value, list):
        return ",".join(value)
    if oid in {JSON, JSONB}:
        try:
            document = json.loads(value, parse_float=Decimal) if isinstance(value, str) else value
        except ValueError:
            return str(value)
        return json.dumps(document, sort_keys=True, default=str)
    if isinstance(value, bytes):
        return value.hex() if oid == BYTEA else value.decode(errors="backslashreplace")
    if oid == BYTEA:
        return str(value).encode().hex()
    return str(value)


def _span(value: object) -> str:
    """A span of time in microseconds."""
    if isinstance(value, timedelta):
        return str(value // timedelta(microseconds=1))
    match = _SPAN.fullmatch(str(value))
    if match is None:
        return str(value)
    seconds = int(match[2]) * 3600 + int(match[3]) * 60 + Decimal(match[4])
    return str(int(seconds * 1_000_000) * (-1 if match[1] else 1))


def _number(value: float | Decimal, digits: int) -> str:
    if isinstance(value, int):
        return str(value)
    if value == value and abs(value) != float("inf") and value == int(value):
        return str(int(value))
    return f"{float(value):.{digits}g}"


def _moment(value: object) -> str:
    """Dates and times as ISO text; instants with an offset in UTC."""
    if isinstance(value, str) and _ISO.match(value):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return str(value)
    elif isinstance(value, str) and _CLOCK.fullmatch(value):
        value = clock.fromisoformat(value)
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            value = value.astimezone(UTC).replace(tzinfo=None)
        return value.isoformat(sep=" ")
    return value.isoformat() if isinstance(value, date | clock) else str(value)
