"""Names of enum types: that of the table and the column, as near as is free."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from migration_assets.core.naming import shorten
from migration_assets.core.plan import TablePlan


def with_enum_names(
    plans: Mapping[str, TablePlan], taken: Collection[str]
) -> tuple[dict[str, TablePlan], set[str]]:
    """Give each enum type its name.

    Args:
        plans: source table name -> plan.
        taken: names of other relations; every table and view is the name of a type as well.

    Returns:
        the plans, and the names that were given.
    """
    used = {*taken, *(plan.name for plan in plans.values())}
    given: set[str] = set()

    def free(wanted: str) -> str:
        number, name = 0, shorten(wanted)
        while name in used:
            number += 1
            name = shorten(f"{wanted}_{number}")
        used.add(name)
        given.add(name)
        return name

    return {
        source: replace(
            plan,
            columns=tuple(
                replace(c, type=replace(c.type, name=free(f"{plan.name}_{c.name}")))
                if c.type.labels
                else c
                for c in plan.columns
            ),
        )
        for source, plan in plans.items()
    }, given
