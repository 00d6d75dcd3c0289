"""Advice about columns in which the source takes different texts for equal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from migration_assets.core.catalog import Table
from migration_assets.core.choose import Choice
from migration_assets.core.plan import Decision
from migration_assets.core.profile import Profile
from migration_assets.core.unify import ColumnId

CHOICE = "case counts"
"""What a decision says of a column whose values only case parts."""

BY_COLLATION = "compared exactly"
"""What a decision says of a column with a collation of its own."""

_MEANING = {
    "NOCASE": "takes letters of either case for equal: compare lower(column), or use citext",
    "RTRIM": "ignores spaces at the end: compare rtrim(column, ' ')",
}


def case_advice(
    tables: Iterable[Table],
    profile: Profile | None,
    choices: Mapping[ColumnId, Choice],
    declared: bool,
) -> Iterator[Decision]:
    """Yield a decision for each column with a declared collation that compares otherwise.

    One whose collation is the engine's way with text (MySQL) is named where it is in a key, or has
    values that only case parts.

    Args:
        tables: that come along.
        profile: counts the values, None if not read.
        choices: of all columns; those that become no text have no case.
        declared: the source compares exactly where no collation is declared (SQLite).
    """
    for table in tables:
        keys = {c for key in table.unique_keys for c in key.columns} | set(table.primary_key)
        facts = profile.tables.get(table.name) if profile else None
        for column in table.columns:
            kind = choices[table.name, column.name].type.name
            if kind not in {"text", "varchar"}:
                continue
            if not column.ignores_case:
                if declared and column.collation:
                    yield Decision(table.name, column.name, BY_COLLATION, _reason(column.collation))
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


def _reason(collation: str) -> str:
    meaning = _MEANING.get(collation.upper(), "has its own order and equality")
    return f"the source's collation {collation} {meaning}; PostgreSQL compares the exact text"
