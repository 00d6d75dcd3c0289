"""Keys of ``defs.yaml`` that are described but not built: refused, never silently ignored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

KEYS: frozenset[str] = frozenset()
"""Keys of any level that nothing reads so far."""

_ORDINARY: tuple[object, ...] = (None, False, "keep", {}, [])

CHOICES: Mapping[str, frozenset[str]] = {}
"""Anomaly -> choices that nothing acts on so far."""


def first_unhonoured(config: Mapping[str, Any]) -> str | None:
    """The place of the first key or choice that nothing acts on, None if there is none.

    Args:
        config: a dumped ``PlanConfig``.
    """
    return next(_places(config, ""), None)


def _places(level: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, value in level.items():
        here = f"{path}{key}"
        if key in KEYS and value not in _ORDINARY:
            yield here
        elif key == "policies":
            for anomaly, choice in value.items():
                if choice in CHOICES.get(anomaly, ()):
                    yield f"{here}.{anomaly}: {choice}"
        elif key in {"overrides", "columns"} and isinstance(value, Mapping):
            for name, item in value.items():
                yield from _places(item, f"{here}.{name}.")
