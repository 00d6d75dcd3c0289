"""The maintenance window: when an approved cutover may be started without a person."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from migration_assets.core.cutover_config import DAYS, WindowConfig


def is_open(window: WindowConfig | None, now: datetime) -> bool:
    """True if ``now`` (with a zone) is inside the window; None is open at any time.

    >>> window = WindowConfig.model_validate({"days": ["sat"], "from": "22:00", "to": "02:00"})
    >>> is_open(window, datetime(2026, 3, 8, 1, 59, tzinfo=UTC))  # a Sunday
    True
    """
    if window is None:
        return True
    return any(begin <= now < end for begin, end in _around(window, now))


def next_opening(window: WindowConfig, now: datetime) -> datetime:
    """When the window opens next after ``now``, in UTC."""
    return min(begin for begin, _ in _around(window, now) if begin > now)


def _around(window: WindowConfig, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The windows of the days from yesterday to a week from now, in UTC."""
    zone = ZoneInfo(window.timezone)
    start, end = window.times
    today = now.astimezone(zone).date()
    for day in (today + timedelta(days=n) for n in range(-1, 9)):
        if DAYS[day.weekday()] not in window.days:
            continue
        last = day if end > start else day + timedelta(days=1)
        begin = datetime.combine(day, start, zone).astimezone(UTC)
        yield begin, datetime.combine(last, end, zone).astimezone(UTC)
