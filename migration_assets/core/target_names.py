"""Target names of tables, columns and views; two that meet stop the plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from migration_assets.core import naming
from migration_assets.core.plan import Decision
from migration_assets.errors import InputError

SYSTEM_COLUMNS = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}
"""Names a column cannot have (PostgreSQL manual, "System Columns")."""


def target_names(
    names: Iterable[str],
    style: str,
    wishes: Mapping[str, str],
    table: str | None = None,
    what: str = "tables",
) -> dict[str, str]:
    """Give every name one that PostgreSQL takes, the same where it already is and may stay.

    Args:
        names: of the source.
        style: ``keep`` or ``snake_case``.
        wishes: source name -> name that the user wants.
        table: the table that they are columns of, None for relations.
        what: they are, in the plural.

    Raises:
        InputError: two of them meet, or one cannot be a name at all.
    """
    fitting: dict[str, str] = {}
    taken: dict[str, str] = {}
    where = f' of table "{table}"' if table else ""
    styled = naming.styled(style)
    for name in names:
        if "\0" in name:
            raise InputError(f"{what}{where}: the name {name!r} holds a NUL character; rename it")
        target = wishes.get(name) or naming.truncated(styled(name)) or "_"
        if table and target in SYSTEM_COLUMNS:
            if name in wishes:
                raise InputError(
                    f'defs.yaml, key "overrides.{table}.columns.{name}.rename": PostgreSQL keeps '
                    f'the name "{target}" for itself; choose another'
                )
            target += "_"
        if target in taken:
            raise InputError(
                f'{what}{where} "{taken[target]}" and "{name}" are both "{target}" in PostgreSQL '
                f"{_why(style, name in wishes or taken[target] in wishes)}; give one of them "
                "another name with overrides: rename in defs.yaml"
            )
        taken[target] = name
        fitting[name] = target
    return fitting


def _why(style: str, wished: bool) -> str:
    if wished:
        return "(by overrides: of defs.yaml)"
    if style == "snake_case":
        return "(naming: snake_case)"
    return f"(its names have {naming.MAX_IDENTIFIER_BYTES} bytes at most)"


def renaming(
    table: str, column: str | None, source: str, target: str, style: str, wished: bool
) -> list[Decision]:
    """The decision about a name that changes; none for one that stays."""
    if source == target:
        return []
    reason = "a name PostgreSQL takes: 1 to 63 bytes, no system column's"
    if wished:
        reason = "overrides: rename"
    elif naming.styled(style)(source) != source:
        reason = f"naming: {style}"
    return [Decision(table, column, f"called {target}", reason)]
