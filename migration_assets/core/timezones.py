"""Which columns become instants because the user says what their naive times mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from migration_assets.core.choose import Choice
from migration_assets.core.overrides import Overrides
from migration_assets.core.plan import ColumnPlan, Conversion, Decision
from migration_assets.core.types import PgType
from migration_assets.core.unify import ColumnId
from migration_assets.errors import InputError

_LITERAL = re.compile(r"('[^']*')::timestamptz")
_OFFSET = re.compile(r":[0-9.]+ ?(?:[+-]\d{2}(?::?\d{2})?|[Zz])'$")
_NO_EFFECT = {
    Conversion.TIMESTAMPTZ: "its times carry an offset of their own",
    Conversion.EPOCH_S: "it counts from an instant",
    Conversion.EPOCH_MS: "it counts from an instant",
    Conversion.EPOCH_US: "it counts from an instant",
}


def zoned(
    choices: Mapping[ColumnId, Choice], tied: Iterable[list[ColumnId]], overrides: Overrides
) -> dict[ColumnId, Choice]:
    """The choices of the columns whose naive times are declared to be of a zone.

    Args:
        choices: of all columns.
        tied: columns that foreign keys tie together.
        overrides: says which zone.

    Raises:
        InputError: two columns tied by a foreign key are declared to be of two zones, or a column
            is declared to be of a zone and to stay ``timestamp``.
    """
    found: dict[ColumnId, Choice] = {}
    for member, choice in choices.items():
        zone = overrides.source_timezone(*member)
        if zone is None or choice.conversion is not Conversion.TIMESTAMP:
            continue
        override = overrides.column(*member)
        if override.type == "timestamp":
            if override.source_timezone is not None:
                raise InputError(
                    f'defs.yaml, key "overrides.{member[0]}.columns.{member[1]}": with a '
                    "source_timezone the type is timestamptz; take out one of the two"
                )
            continue
        reason = choice.reason.partition(";")[0]
        found[member] = replace(
            choice,
            type=PgType("timestamptz"),
            conversion=Conversion.ZONED,
            reason=f"{reason}; meant in {zone} by source_timezone",
            zone=zone,
        )
    for members in tied:
        zones = {(found[m].zone if m in found else None) for m in members if _is_time(choices[m])}
        if len(zones) > 1:
            named = " and ".join(f'"{table}.{column}"' for table, column in members)
            raise InputError(
                f"source_timezone of defs.yaml: {named} are tied by a foreign key, so their times "
                "must be of one zone"
            )
    return found


def means_zone(member: ColumnId, choice: Choice, overrides: Overrides) -> bool:
    """Whether the user asks only for what the zone makes of a column of naive times anyway."""
    override = overrides.column(*member)
    return (
        override.type == "timestamptz"
        and override.conversion is None
        and choice.conversion is Conversion.TIMESTAMP
        and overrides.source_timezone(*member) is not None
    )


def without_effect(choices: Mapping[ColumnId, Choice], overrides: Overrides) -> Iterator[Decision]:
    """Decisions about columns that the user gave a zone of their own which changes nothing."""
    for member, choice in choices.items():
        if overrides.column(*member).source_timezone is None or choice.zone is not None:
            continue
        why = _NO_EFFECT.get(choice.conversion, f"it becomes {choice.type.sql}")
        yield Decision(*member, "source_timezone has no effect", why)


def loosened(plan: ColumnPlan, table: str, decisions: list[Decision]) -> ColumnPlan:
    """The column with NULL allowed, where a policy makes NULL of times that mean no one instant.

    Args:
        plan: the column.
        table: its table's source name.
        decisions: is added to.
    """
    choices = [(a, plan.policy(a)) for a in ("ambiguous_time", "nonexistent_time")]
    by = [f"{anomaly}: {choice}" for anomaly, choice in choices if choice == "null"]
    if plan.source_timezone is None or plan.nullable or not by:
        return plan
    reason = f"declared NOT NULL, but values become NULL by the policy {by[0]}"
    decisions.append(Decision(table, plan.source, "NULL allowed", reason))
    return replace(plan, nullable=True)


def in_zone(default: str | None, zone: str | None) -> str | None:
    """A default of type timestamptz, its literal read on the clocks of ``zone``."""
    match = _LITERAL.fullmatch(default or "")
    if zone is None or match is None or _OFFSET.search(match[1]):
        return default
    return f"timezone('{zone}', {match[1]}::timestamp)"


def _is_time(choice: Choice) -> bool:
    return choice.conversion is Conversion.TIMESTAMP
