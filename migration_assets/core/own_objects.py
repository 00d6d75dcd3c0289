"""Indexes and constraints beyond the source's: for foreign keys, and those of ``defs.yaml``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from migration_assets.core import naming
from migration_assets.core.config import ConstraintConfig, IndexConfig, PlanConfig
from migration_assets.core.plan import (
    CheckPlan,
    Decision,
    ForeignKeyPlan,
    IndexPlan,
    Origin,
    TablePlan,
    UniquePlan,
)
from migration_assets.errors import InputError

Free = Callable[[str], str]
"""Takes a relation name that is free, as near to the wanted one as can be."""


def with_own(
    plans: list[TablePlan],
    config: PlanConfig,
    taken: set[str],
    free: Free,
    decisions: list[Decision],
) -> list[TablePlan]:
    """Add what the source does not have.

    Args:
        plans: all tables with the source's keys and indexes.
        config: what the user wants.
        taken: names of relations.
        free: takes such a name.
        decisions: is added to.

    Raises:
        InputError: defs.yaml names a table or column that does not come along, or a name twice.
    """
    known = {plan.name for plan in plans}
    for key, wanted in (("indexes", config.indexes), ("constraints", config.constraints)):
        for name in wanted:
            if name not in known:
                raise InputError(
                    f'defs.yaml, {key}: "{name}" is no table that comes along; '
                    "names are those in PostgreSQL, case included"
                )
    made = []
    for plan in plans:
        for place, constraint in enumerate(config.constraints.get(plan.name, ())):
            where = f"defs.yaml, constraints.{plan.name}[{place}]"
            plan = _with_constraint(plan, constraint, where, taken, free, decisions)
        for place, index in enumerate(config.indexes.get(plan.name, ())):
            where = f"defs.yaml, indexes.{plan.name}[{place}]"
            plan = _with_index(plan, index, where, taken, free, decisions)
        if config.foreign_key_indexes:
            plan = _with_foreign_key_indexes(plan, free, decisions)
        made.append(plan)
    return made


def serves(plan: TablePlan, key: ForeignKeyPlan) -> bool:
    """Whether a key or index of the table begins with the columns of a foreign key."""
    wanted = set(key.columns)
    leading = [plan.primary_key, *(unique.columns for unique in plan.uniques)]
    names = {naming.quote(column.name): column.name for column in plan.columns}
    for index in plan.indexes:
        if index.where is None and index.method == "btree" and not index.translated:
            plain = [names.get(term.removesuffix(" DESC NULLS LAST")) for term in index.terms]
            leading.append(tuple(name or "" for name in plain))
    return any(set(columns[: len(key.columns)]) == wanted for columns in leading)


def _with_foreign_key_indexes(plan: TablePlan, free: Free, decisions: list[Decision]) -> TablePlan:
    for key in plan.foreign_keys:
        if serves(plan, key):
            continue
        index = IndexPlan(
            free("_".join((plan.name, *key.columns, "idx"))),
            tuple(naming.quote(column) for column in key.columns),
            reason=f"serves the foreign key {key.name}, which no other index does",
            origin=Origin.FOREIGN_KEY,
        )
        decisions.append(
            Decision(plan.source, ", ".join(key.columns), f"index {index.name}", index.reason)
        )
        plan = replace(plan, indexes=(*plan.indexes, index))
    return plan


def _with_index(
    plan: TablePlan,
    index: IndexConfig,
    where: str,
    taken: set[str],
    free: Free,
    decisions: list[Decision],
) -> TablePlan:
    _check_columns(plan, index.columns, where)
    named = index.name or "_".join((plan.name, *(index.columns or ["expression"]), "idx"))
    reason = index.reason or "wanted by defs.yaml"
    made = IndexPlan(
        _name(index.name, named, where, taken, free),
        tuple(naming.quote(c) for c in index.columns) or tuple(index.expressions),
        unique=index.unique,
        where=index.where,
        reason=reason,
        method=index.method,
        origin=Origin.DEFINITION,
    )
    what = f"index {made.name} ({made.method} on {', '.join(made.terms)})"
    decisions.append(Decision(plan.source, None, what, reason))
    return replace(plan, indexes=(*plan.indexes, made))


def _with_constraint(
    plan: TablePlan,
    constraint: ConstraintConfig,
    where: str,
    taken: set[str],
    free: Free,
    decisions: list[Decision],
) -> TablePlan:
    reason = "wanted by defs.yaml"
    if constraint.check is None:
        _check_columns(plan, constraint.unique, where)
        named = constraint.name or "_".join((plan.name, *constraint.unique, "key"))
        unique = UniquePlan(
            _name(constraint.name, named, where, taken, free),
            tuple(constraint.unique),
            Origin.DEFINITION,
            reason,
        )
        what = f"unique {unique.name} ({', '.join(unique.columns)})"
        decisions.append(Decision(plan.source, None, what, reason))
        return replace(plan, uniques=(*plan.uniques, unique))
    of_table = {plan.primary_key_name}
    of_table |= {c.name for c in plan.checks} | {c.name for c in plan.foreign_keys}
    of_table |= {c.name for c in plan.uniques}
    name, number = naming.shorten(constraint.name or f"{plan.name}_own_check"), 0
    while name in of_table:
        if constraint.name:
            raise InputError(f'{where}: the name "{name}" is taken; choose another')
        number += 1
        name = naming.shorten(f"{plan.name}_own_check_{number}")
    check = CheckPlan(name, constraint.check, origin=Origin.DEFINITION, reason=reason)
    decisions.append(Decision(plan.source, None, f"check {name} ({check.expression})", reason))
    return replace(plan, checks=(*plan.checks, check))


def _name(wanted: str | None, named: str, where: str, taken: set[str], free: Free) -> str:
    if wanted is not None and wanted in taken:
        raise InputError(f'{where}: the name "{wanted}" is taken; choose another')
    return free(named)


def _check_columns(plan: TablePlan, columns: Iterable[str], where: str) -> None:
    known = {column.name for column in plan.columns}
    for column in columns:
        if column not in known:
            raise InputError(f'{where}: table "{plan.name}" has no column "{column}" in PostgreSQL')
