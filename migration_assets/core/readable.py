"""Figures and times for people."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

_UNITS = ("B", "KB", "MB", "GB", "TB")


def count(number: int | None) -> str:
    """A number of things, with separators; a dash for none known."""
    return "–" if number is None else f"{number:,}"


def size(number: int | None) -> str:
    """Bytes in the unit that leaves one to three digits."""
    if number is None:
        return "–"
    value = float(number)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def seconds(number: float | None) -> str:
    """Seconds with the digits that matter."""
    if number is None:
        return "–"
    if number >= 120:
        return f"{int(number // 60)} min {int(number % 60)} s"
    return f"{number:.1f} s" if number >= 1 else f"{number * 1000:.0f} ms"


def moment(text: str | None, zone: str = "UTC") -> str:
    """A point in time as a clock of ``zone`` shows it, to the second; a dash for none.

    Args:
        text: ISO 8601 with an offset.
        zone: name of a time zone.

    >>> moment("2026-07-01T12:00:00.5Z", "Europe/Berlin")
    '2026-07-01 14:00:00 CEST'
    """
    if not text:
        return "–"
    return datetime.fromisoformat(text).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S %Z")
