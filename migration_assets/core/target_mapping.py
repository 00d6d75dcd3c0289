"""Which table and column of an existing schema each one of the source goes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from migration_assets.core.bookkeeping import framework_of
from migration_assets.core.catalog import SkippedObject, Table
from migration_assets.core.overrides import Overrides
from migration_assets.core.structure import Structure, TargetColumn, TargetTable
from migration_assets.errors import InputError

LOADABLE = {"r", "p"}
"""Kinds of relations that rows are loaded into: tables, partitioned ones included."""
_KINDS = {"v": "view", "m": "materialized view", "f": "foreign table"}


@dataclass(frozen=True)
class Match:
    """A target's name and how it was found: for people."""

    name: str
    how: str


@dataclass(frozen=True)
class TableMapping:
    """One table of the source and where it goes; ``columns`` by source name."""

    target: TargetTable
    how: str
    columns: Mapping[str, tuple[TargetColumn, str]]


class UnmappedError(InputError):
    """Something has no home, or nothing for it; ``problems`` are lines of their own."""

    def __init__(self, problems: Sequence[str]) -> None:
        more = len(problems) - 1
        hint = f" (and {more} more: migration-assets plan lists all)" if more else ""
        super().__init__(f"{problems[0]}{hint}")
        self.problems = tuple(problems)


def without_bookkeeping(tables: Iterable[Table]) -> tuple[list[Table], list[SkippedObject]]:
    """The application's tables, and those of its framework, which the target has its own of."""
    kept, skipped = [], []
    for table in tables:
        framework = framework_of(table.name, (column.name for column in table.columns))
        if framework is None:
            kept.append(table)
        else:
            reason = f"bookkeeping of {framework}: the existing schema keeps its own"
            skipped.append(SkippedObject("table", table.name, reason))
    return kept, skipped


def untouched(structure: Structure, mapped: Iterable[str]) -> list[tuple[str, str]]:
    """Tables of the schema that no row goes to, each with the reason.

    Args:
        structure: the schema.
        mapped: names of the tables that rows go to.
    """
    found, taken = [], set(mapped)
    for table in structure.tables:
        if table.name in taken or table.kind not in LOADABLE:
            continue
        framework = framework_of(table.name, (column.name for column in table.columns))
        reason = f"bookkeeping of {framework}" if framework else "the source has no such table"
        found.append((table.name, f"{reason}; stays as it is"))
    return found


def map_tables(
    tables: Iterable[Table], structure: Structure, overrides: Overrides
) -> dict[str, TableMapping]:
    """Find a home for every table and column.

    A name is looked for as ``overrides:`` say, then exactly, then but for case and underscores.

    Raises:
        UnmappedError: something has none, or a required column of the schema gets no value; each
            line names it and what to write.
    """
    problems: list[str] = []
    found: dict[str, TableMapping] = {}
    homes: dict[str, str] = {}
    names = [table.name for table in structure.tables]
    for table in tables:
        wish = overrides.table(table.name).rename
        where = f'schema "{structure.schema}"'
        advice = (
            f"write overrides: {{{_yaml(table.name)}: {{rename: <its table>}}}} or "
            f"tables: {{exclude: [{_yaml(table.name)}]}}"
        )
        what = f'table "{table.name}"'
        match = _match(table.name, wish, names, what, where, "table", advice, problems)
        if match is None:
            continue
        target = structure.table(match.name)
        if target.kind not in LOADABLE:
            kind = _KINDS.get(target.kind, "relation")
            problems.append(
                f'{what} would go to "{target.name}", which is a {kind} of {where}; {advice}'
            )
            continue
        if target.name in homes:
            problems.append(
                f'tables "{homes[target.name]}" and "{table.name}" would both go to '
                f'"{target.name}" of {where}; {advice}'
            )
            continue
        homes[target.name] = table.name
        columns = _map_columns(table, target, structure.schema, overrides, problems)
        found[table.name] = TableMapping(target, match.how, columns)
    if problems:
        raise UnmappedError(problems)
    return found


def _map_columns(
    table: Table, target: TargetTable, schema: str, overrides: Overrides, problems: list[str]
) -> dict[str, tuple[TargetColumn, str]]:
    where = f'"{schema}"."{target.name}"'
    names = [column.name for column in target.columns]
    found: dict[str, tuple[TargetColumn, str]] = {}
    homes: dict[str, str] = {}
    dropped = overrides.dropped(table)
    key = f"overrides.{_yaml(table.name)}.columns"
    for column in table.columns:
        if column.name in dropped:
            continue
        what = f'column "{table.name}"."{column.name}"'
        name = _yaml(column.name)
        advice = f"write {key}: {{{name}: {{rename: <its column>}}}} or {{{name}: {{drop: true}}}}"
        wish = overrides.column(table.name, column.name).rename
        match = _match(column.name, wish, names, what, where, "column", advice, problems)
        if match is None:
            continue
        if match.name in homes:
            problems.append(
                f'columns "{homes[match.name]}" and "{column.name}" of "{table.name}" would both '
                f'go to "{match.name}" of {where}; {advice}'
            )
            continue
        homes[match.name] = column.name
        home = target.column(match.name)
        if home.type is None:
            problems.append(
                f'{what} would go to {where}."{home.name}" of type {home.type_name}, which can '
                f"not be loaded and compared here; {advice}"
            )
            continue
        found[column.name] = (home, match.how)
    for home in target.columns:
        if home.name not in homes and not home.filled:
            problems.append(
                f'{where}."{home.name}" is NOT NULL without a default, and no column of '
                f'"{table.name}" goes there; write {key}: {{<column>: {{rename: '
                f"{_yaml(home.name)}}}}}, or give it a default in PostgreSQL"
            )
    return found


def _match(
    name: str,
    wish: str | None,
    names: Sequence[str],
    what: str,
    where: str,
    kind: str,
    advice: str,
    problems: list[str],
) -> Match | None:
    """The name among ``names`` that ``name`` goes to; None, and a problem, if there is no one."""
    if wish is not None:
        if wish in names:
            return Match(wish, "overrides: rename")
        problems.append(f'{what} is to go to "{wish}", which is no {kind} of {where}; {advice}')
        return None
    if name in names:
        return Match(name, "same name")
    alike = [other for other in names if _folded(other) == _folded(name)]
    if len(alike) == 1:
        return Match(alike[0], "same name but for case and underscores")
    if alike:
        either = " and ".join(f'"{other}"' for other in alike)
        problems.append(f"{what} could go to {either} of {where}; {advice}")
    else:
        problems.append(f"{what} has no {kind} in {where}; {advice}")
    return None


def _folded(name: str) -> str:
    plain = "".join(character for character in name.casefold() if character.isalnum())
    return plain or name


def _yaml(name: str) -> str:
    """A name as one writes it in YAML."""
    return name if name.isidentifier() else '"' + name.replace('"', '\\"') + '"'
