"""Policies: what is done about each anomaly, and where a choice was made.

The most special level that names an anomaly decides: column, table, migration, default.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

POLICIES: Mapping[str, tuple[str, ...]] = {
    "nul_characters": ("remove", "null", "quarantine", "fail"),
    "invalid_utf8": ("escape", "null", "quarantine", "fail"),
    "negative_zero": ("zero", "null", "quarantine", "fail"),
    "zero_date": ("null", "epoch", "quarantine", "fail"),
    "invalid_enum": ("null", "quarantine", "fail"),
    "null_in_not_null": ("nullable", "quarantine", "fail"),
    "unfit": ("quarantine", "null", "fail"),
    "ambiguous_time": ("earlier", "later", "null", "quarantine", "fail"),
    "nonexistent_time": ("shift", "null", "quarantine", "fail"),
    "orphans": ("not_valid", "drop_key", "fail"),
    "load_refused": ("quarantine", "fail"),
}
"""Anomaly -> what may be done about it, the default first."""

TABLE_POLICIES = frozenset({"orphans", "load_refused"})
"""Anomalies of whole rows or keys, about which a column has nothing to say."""

Resolved = tuple[tuple[str, str], ...]
"""(anomaly, choice) of all choices that are not the default, sorted by anomaly."""


def default(anomaly: str) -> str:
    """The default choice; raises KeyError for an anomaly that is none."""
    return POLICIES[anomaly][0]


def choice_of(resolved: Resolved, anomaly: str) -> str:
    """What ``resolved`` says about ``anomaly``, else the default; raises KeyError."""
    return dict(resolved).get(anomaly, default(anomaly))


def read_policies(value: object, known: frozenset[str] = frozenset(POLICIES)) -> object:
    """Check a ``policies:`` mapping as it stands in YAML, where ``null`` is no text but nothing.

    Args:
        value: the mapping; anything else is left to the model it is read for.
        known: the anomalies that may be named in this place.

    Raises:
        ValueError: an unknown anomaly or choice; says which there are.
    """
    if not isinstance(value, Mapping):
        return value
    checked: dict[str, str] = {}
    for anomaly, written in value.items():
        if anomaly not in POLICIES:
            raise ValueError(f'unknown anomaly "{anomaly}"; known are {", ".join(POLICIES)}')
        if anomaly not in known:
            raise ValueError(f'"{anomaly}" is decided for a table or the migration, not a column')
        choice = "null" if written is None else written
        if anomaly == "zero_date" and _is_date(str(choice)):
            checked[anomaly] = str(choice)
            continue
        if choice not in POLICIES[anomaly]:
            raise ValueError(
                f'"{anomaly}" can not be "{choice}"; choose {", ".join(POLICIES[anomaly])}'
            )
        checked[str(anomaly)] = str(choice)
    return checked


def _is_date(text: str) -> bool:
    """Whether the text is a date, as it may stand in the place of a date of zeros."""
    try:
        return len(text) == len("2000-01-01") and date.fromisoformat(text) is not None
    except ValueError:
        return False


def resolve(*levels: Mapping[str, str]) -> Resolved:
    """Lay levels over each other, the most special last; the defaults are left out."""
    merged: dict[str, str] = {}
    for level in levels:
        merged |= level
    return tuple(sorted((a, c) for a, c in merged.items() if c != default(a)))
