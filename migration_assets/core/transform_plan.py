"""Transforms of the user's own as a part of the plan."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from migration_assets.core.catalog import Catalog, SkippedObject
from migration_assets.core.config import PlanConfig, TransformConfig
from migration_assets.core.plan import (
    ColumnPlan,
    Decision,
    Recipe,
    TablePlan,
    TransformPlan,
    Word,
)
from migration_assets.core.types import parse_type
from migration_assets.core.unify import ColumnId, groups
from migration_assets.errors import InputError

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def with_transforms(
    plans: Mapping[str, TablePlan],
    catalog: Catalog,
    config: PlanConfig,
    skipped: list[SkippedObject],
    decisions: list[Decision],
) -> dict[str, TablePlan]:
    """The tables with the transforms that the user wants.

    A value map of a column that foreign keys tie to others is applied to them as well. Any other
    transform of such a column needs one of its own on each of them.

    Args:
        plans: source name -> table, without constraints.
        catalog: names the foreign keys.
        config: what the user wants.
        skipped: is added to.
        decisions: is added to.

    Raises:
        InputError: a transform that can not be; names its place in ``defs.yaml``.
    """
    if not config.transforms:
        return dict(plans)
    wanted: dict[str, list[TransformPlan]] = {name: [] for name in plans}
    places: dict[tuple[str, int], str] = {}
    for table, transforms in config.transforms.items():
        for number, transform in enumerate(transforms):
            place = f'defs.yaml, key "transforms.{table}.{number}"'
            places[table, number] = place
            made = _transform(plans[table], transform, config.modules, wanted[table], place)
            wanted[table].append(made)
    ties = tied(plans, catalog)
    for name in plans:
        fixed = {c.source for c in plans[name].columns if c.identity}
        fixed |= {column for members in ties for table, column in members if table == name}
        wanted[name] = [
            replace(made, fixed=tuple(sorted(fixed))) if made.column is None else made
            for made in wanted[name]
        ]
    carried = list(_carried(plans, ties, wanted, places))
    for (table, column), made in carried:
        wanted[table].append(replace(made, column=column))
    return {
        name: _applied(plan, tuple(wanted[name]), skipped, decisions)
        for name, plan in plans.items()
    }


def _transform(
    plan: TablePlan,
    config: TransformConfig,
    modules: Mapping[str, str],
    before: list[TransformPlan],
    place: str,
) -> TransformPlan:
    kind = None
    if config.column is not None:
        column = next((c for c in plan.columns if c.source == config.column), None)
        if column is None:
            raise InputError(f'{place}: the column "{config.column}" does not come along')
        if column.identity:
            raise InputError(
                f'{place}: "{config.column}" takes its next number by itself, which a transform '
                "would not know of"
            )
        if column.generated is not None:
            raise InputError(
                f'{place}: "{config.column}" is computed by PostgreSQL from other columns'
            )
        held = next((t.type for t in reversed(before) if t.column == config.column), None)
        kind = parse_type(config.type) if config.type else held or column.type
    recipe = Recipe(
        values=tuple(config.values.items()) if config.values is not None else None,
        expression=config.expression,
        function=config.function,
        module_hash=modules.get(config.function) if config.function else None,
    )
    return TransformPlan(
        name=_name(config, before),
        column=config.column,
        recipe=recipe,
        otherwise=config.otherwise,
        type=kind,
        inverse=_inverse(config, recipe, modules, place),
    )


def _name(config: TransformConfig, before: list[TransformPlan]) -> str:
    kind = "values" if config.values is not None else "expression"
    usual = config.function.replace(":", ".") if config.function else f"{config.column} {kind}"
    name = wanted = config.name or usual.replace(":", ".")
    taken = {transform.name for transform in before}
    number = 2
    while name in taken:
        name = f"{wanted} {number}"
        number += 1
    return name


def _inverse(
    config: TransformConfig, recipe: Recipe, modules: Mapping[str, str], place: str
) -> Recipe | None:
    given = config.inverse
    if given is None or given is False:
        return None
    if given is True:
        if recipe.values is None:
            raise InputError(
                f"{place}.inverse: only a value map is inverted by itself; write the expression "
                "or function that leads back"
            )
        return Recipe(values=_inverted(recipe.values, place))
    if isinstance(given, str):
        if _FUNCTION.fullmatch(given):
            return Recipe(function=given, module_hash=modules.get(given))
        inverse = Recipe(expression=given)
    else:
        inverse = Recipe(values=tuple((str(key), word) for key, word in given.items()))
    if config.column is None:
        raise InputError(
            f"{place}.inverse: what a function does to a whole table only a function leads back"
        )
    return inverse


def _inverted(values: tuple[tuple[str, Word], ...], place: str) -> tuple[tuple[str, Word], ...]:
    back: dict[str, Word] = {}
    for key, word in values:
        text = str(word).lower() if isinstance(word, bool) else str(word)
        if word is None or text in back:
            raise InputError(
                f"{place}.inverse: {key!r} and another value become {text!r}, which leads back to "
                "one of them only; without inverse: every changed value is in the ledger"
                if word is not None
                else f"{place}.inverse: {key!r} becomes NULL, which leads back to nothing"
            )
        back[text] = key
    return tuple(back.items())


def functions(config: PlanConfig) -> Iterator[tuple[str, str]]:
    """(place in ``defs.yaml``, import path) of every function that is named there."""
    for table, transforms in config.transforms.items():
        for number, transform in enumerate(transforms):
            place = f'defs.yaml, key "transforms.{table}.{number}'
            if transform.function:
                yield f'{place}.function"', transform.function
            inverse = transform.inverse
            if isinstance(inverse, str) and _FUNCTION.fullmatch(inverse):
                yield f'{place}.inverse"', inverse


def _carried(
    plans: Mapping[str, TablePlan],
    ties: list[list[ColumnId]],
    wanted: Mapping[str, list[TransformPlan]],
    places: Mapping[tuple[str, int], str],
) -> Iterator[tuple[ColumnId, TransformPlan]]:
    """The value maps of tied columns, for each column that has no transform of its own."""
    for members in ties:
        owners = [m for m in members if any(t.column == m[1] for t in wanted[m[0]])]
        others = [m for m in members if m not in owners]
        for table, column in owners:
            for number, transform in enumerate(wanted[table]):
                if transform.column != column or not others:
                    continue
                other = others[0]
                place = places[table, number]
                identity = next((m for m in others if _identity(plans, m)), None)
                if identity is not None:
                    raise InputError(
                        f'{place}: "{column}" is tied by a foreign key to '
                        f'"{identity[0]}.{identity[1]}", which takes its next number by itself '
                        "and stays as it is"
                    )
                if transform.recipe.values is None or len(owners) > 1:
                    raise InputError(
                        f'{place}: "{column}" is tied by a foreign key to "{other[0]}.{other[1]}", '
                        "whose values must change in the same way: give that column a transform "
                        "as well, or use a value map, which is applied to both"
                    )
                yield from ((other, transform) for other in others)


def _identity(plans: Mapping[str, TablePlan], member: ColumnId) -> bool:
    return any(c.identity for c in plans[member[0]].columns if c.source == member[1])


def tied(plans: Mapping[str, TablePlan], catalog: Catalog) -> list[list[ColumnId]]:
    """Columns that foreign keys between planned tables tie together."""
    come = {(name, c.source) for name, plan in plans.items() for c in plan.columns}
    pairs = [
        ((table.name, child), (key.ref_table, parent))
        for table in catalog.tables
        for key in table.foreign_keys
        for child, parent in zip(key.columns, key.ref_columns, strict=True)
        if (table.name, child) in come and (key.ref_table, parent) in come
    ]
    return groups(pairs)


def _applied(
    plan: TablePlan,
    transforms: tuple[TransformPlan, ...],
    skipped: list[SkippedObject],
    decisions: list[Decision],
) -> TablePlan:
    if not transforms:
        return plan
    plan = replace(plan, transforms=transforms)
    for transform in transforms:
        how = "each value is led back and compared" if transform.inverse else "without inverse"
        decisions.append(
            Decision(
                plan.source,
                transform.column,
                f'transform "{transform.name}"',
                f"transforms: of defs.yaml; {how}",
            )
        )
    columns = tuple(
        _column(column, plan, skipped) if plan.transformed(column.source) else column
        for column in plan.columns
    )
    return replace(plan, columns=columns)


def _column(column: ColumnPlan, plan: TablePlan, skipped: list[SkippedObject]) -> ColumnPlan:
    own = [t for t in plan.transforms if t.column == column.source]
    kind = next((t.type for t in reversed(own) if t.type is not None), column.type)
    empties = column.policy("unfit") == "null" or any(_makes_null(t) for t in own)
    changed: dict[str, Any] = {"type": kind, "nullable": column.nullable or bool(own and empties)}
    if own:
        names = ", ".join(f'"{transform.name}"' for transform in own)
        changed["reason"] = f"{column.reason}; changed by transform {names}"
    if kind != column.type:
        changed["converted"] = column.type
        changed["reason"] += f" from {column.type.sql}"
    if own and column.default is not None:
        changed |= {"default": None, "default_test": None}
        skipped.append(
            SkippedObject(
                "default",
                column.source,
                "a transform changes the column's values, and perhaps this one",
                plan.source,
                column.source_default or column.default,
            )
        )
    return replace(column, **changed)


def _makes_null(transform: TransformPlan) -> bool:
    words = transform.recipe.values or ()
    return bool(words) and (transform.otherwise == "null" or any(w is None for _, w in words))
