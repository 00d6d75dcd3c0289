"""Which tables of a source come along."""

from __future__ import annotations

from fnmatch import fnmatchcase

from migration_assets.core.catalog import UNREADABLE, Catalog, SkippedObject, Table
from migration_assets.core.config import PlanConfig
from migration_assets.errors import InputError


def selected(catalog: Catalog, config: PlanConfig) -> tuple[list[Table], list[SkippedObject]]:
    """Tables the user wants, and what does not come: left out by pattern, or by its nature.

    With ``schema_mode: existing`` the bookkeeping tables of frameworks do not come.

    Raises:
        InputError: the patterns leave no table.
    """
    wanted = [table for table in catalog.tables if _wanted(table.name, config)]
    if catalog.tables and not wanted:
        raise InputError(
            f"the tables: patterns of defs.yaml leave none of the source's {len(catalog.tables)} "
            "tables; widen include or narrow exclude"
        )
    left_out = [
        SkippedObject("table", name, "left out by the tables: patterns of defs.yaml")
        for name in (
            *(table.name for table in catalog.tables),
            *(item.name for item in catalog.skipped if item.kind == UNREADABLE),
        )
        if not _wanted(name, config)
    ]
    by_nature = [
        item for item in catalog.skipped if item.kind != UNREADABLE or _wanted(item.name, config)
    ]
    if config.schema_mode == "existing":
        from migration_assets.core.target_mapping import without_bookkeeping  # needed seldom

        wanted, kept_there = without_bookkeeping(wanted)
        left_out += kept_there
    return wanted, [*by_nature, *left_out]


def _wanted(name: str, config: PlanConfig) -> bool:
    included = any(fnmatchcase(name, pattern) for pattern in config.tables.include)
    return included and not any(fnmatchcase(name, pattern) for pattern in config.tables.exclude)
