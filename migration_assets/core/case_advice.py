"""Advice about columns in which the source takes letters of either case for equal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from migration_assets.core.catalog import Table
from migration_assets.core.choose import Choice
from migration_assets.core.plan import Decision
from migration_assets.core.profile import Profile
from migration_assets.core.unify import ColumnId

CHOICE = "case counts"
"""What a decision of this module says."""


def case_advice(
    tables: Iterable[Table], profile: Profile | None, choices: Mapping[ColumnId, Choice]
) -> Iterator[Decision]:
    """Yield a decision for each such column that is in a key, or has values that only case parts.

    Args:
        tables: that come along.
        profile: counts the values, None if not read.
        choices: of all columns; those that become no text have no case.
    """
    for table in tables:
        keys = {c for key in table.unique_keys for c in key.columns} | set(table.primary_key)
        facts = profile.tables.get(table.name) if profile else None
        for column in table.columns:
            kind = choices[table.name, column.name].type.name
            if not column.ignores_case or kind not in {"text", "varchar"}:
                continue
            held = facts.columns.get(column.name) if facts else None
            folds = held.case_folds if held else 0
            if folds or column.name in keys:
                yield Decision(
                    table.name,
                    column.name,
                    CHOICE,
                    "the source takes letters of either case for equal, PostgreSQL does not: "
                    "compare lower(column), or use the type citext",
                    f"{folds} values equal others but for the case" if folds else None,
                )
