"""Keys, indexes and references of an existing schema, and what the source has beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from migration_assets.core.catalog import ForeignKey, Index, SkippedObject, Table
from migration_assets.core.plan import (
    Decision,
    ForeignKeyPlan,
    IndexPlan,
    TablePlan,
    UniquePlan,
)
from migration_assets.core.structure import TargetIndex, TargetTable
from migration_assets.core.target_mapping import TableMapping

NONE_THERE = "the existing schema decides, which has none like it"


def with_constraints(
    plans: Mapping[str, TablePlan],
    tables: Sequence[Table],
    homes: Mapping[str, TableMapping],
    skipped: list[SkippedObject],
    decisions: list[Decision],
) -> dict[str, TablePlan]:
    """Give every table the constraints that the schema has, as far as their columns get values.

    Args:
        plans: source name -> table with its columns.
        tables: as the source declares them.
        homes: source name -> where it goes.
        skipped: is added what the source declares and the schema does not have.
        decisions: is added to.
    """
    by_target = {plan.name: plan for plan in plans.values()}
    made: dict[str, TablePlan] = {}
    for table in tables:
        plan = _with_target(plans[table.name], homes[table.name].target, by_target)
        plan = _matched(plan, table, skipped)
        made[table.name] = replace(plan, key=_telling_key(plan, table))
        decisions += _key_decision(made[table.name], table)
    for table in tables:
        skipped += _missing(made[table.name], table, made)
    return made


def _with_target(
    plan: TablePlan, target: TargetTable, by_target: Mapping[str, TablePlan]
) -> TablePlan:
    there = {column.name for column in plan.columns}
    primary = target.primary_key
    if primary is not None and set(primary.columns) <= there:
        plan = replace(plan, primary_key=primary.columns, primary_key_name=primary.name)
    uniques = tuple(
        UniquePlan(c.name, c.columns)
        for c in target.constraints
        if c.kind == "u" and set(c.columns) <= there
    )
    indexes = tuple(
        IndexPlan(
            index.name,
            index.terms,
            index.unique,
            index.where,
            "of the existing schema",
            method=index.method,
        )
        for index in target.indexes
        if _on(index, there)
    )
    keys = tuple(
        ForeignKeyPlan(
            name=c.name,
            columns=c.columns,
            ref_table=c.ref_table,
            ref_columns=c.ref_columns,
            on_update=c.on_update,
            on_delete=c.on_delete,
            deferrable=c.deferrable,
            initially_deferred=c.deferred,
            valid=c.valid,
        )
        for c in target.constraints
        if c.kind == "f"
        and c.ref_table is not None
        and set(c.columns) <= there
        and set(c.ref_columns) <= _columns(by_target.get(c.ref_table))
    )
    return replace(plan, uniques=uniques, indexes=indexes, foreign_keys=keys)


def _columns(plan: TablePlan | None) -> set[str]:
    return {column.name for column in plan.columns} if plan else set()


def _on(index: TargetIndex, there: set[str]) -> bool:
    return all(column is None or column in there for column in index.columns)


def _targets(plan: TablePlan, columns: Sequence[str]) -> tuple[str, ...]:
    """Target names of source columns; one that is dropped is left out."""
    names = {column.source: column.name for column in plan.columns}
    return tuple(names[column] for column in columns if column in names)


def _matched(plan: TablePlan, table: Table, skipped: list[SkippedObject]) -> TablePlan:
    """Tell which index of the schema stands for which one of the source."""
    indexes = list(plan.indexes)
    for index in table.indexes:
        place = next((i for i, own in enumerate(indexes) if _alike(own, index, plan)), None)
        if place is None:
            skipped.append(
                SkippedObject("index", index.name, _why(plan, index), table.name, index.sql)
            )
        else:
            indexes[place] = replace(indexes[place], source_sql=index.sql)
    return replace(plan, indexes=tuple(indexes))


def _alike(own: IndexPlan, index: Index, plan: TablePlan) -> bool:
    columns = tuple(term.column for term in index.terms if term.column is not None)
    if own.source_sql is not None or own.unique != index.unique:
        return False
    if len(columns) != len(index.terms) or index.where is not None or own.where is not None:
        return own.name.lower() == index.name.lower()
    wanted = _targets(plan, columns)
    return len(wanted) == len(columns) and _plain_columns(own) == wanted


def _plain_columns(index: IndexPlan) -> tuple[str, ...]:
    """The columns of an index, an expression as it stands there."""
    return tuple(
        term[1:-1].replace('""', '"') if term.startswith('"') else term for term in index.terms
    )


def _why(plan: TablePlan, index: Index) -> str:
    columns = tuple(term.column for term in index.terms if term.column is not None)
    wanted = sorted(_targets(plan, columns))
    for unique in plan.uniques:
        if index.unique and sorted(unique.columns) == wanted:
            return f'the existing schema has the unique constraint "{unique.name}" in its place'
    if wanted and wanted == sorted(plan.primary_key):
        return f'the existing schema has the primary key "{plan.primary_key_name}" in its place'
    return NONE_THERE


def _telling_key(plan: TablePlan, table: Table) -> tuple[str, ...]:
    """What tells rows apart for people: the schema's primary key, else the source's."""
    own = _targets(plan, table.primary_key)
    return plan.primary_key or (own if len(own) == len(table.primary_key) else ())


def _key_decision(plan: TablePlan, table: Table) -> Iterator[Decision]:
    own = _targets(plan, table.primary_key)
    if plan.primary_key and table.primary_key and sorted(own) != sorted(plan.primary_key):
        yield Decision(
            table.name,
            None,
            f"primary key ({', '.join(plan.primary_key)})",
            f"the existing schema decides; it is ({', '.join(table.primary_key)}) in the source",
        )


def _missing(
    plan: TablePlan, table: Table, plans: Mapping[str, TablePlan]
) -> Iterator[SkippedObject]:
    """What the source declares and the schema does not have."""
    name = table.name
    if table.primary_key and not plan.primary_key:
        yield SkippedObject("primary key", ", ".join(table.primary_key), NONE_THERE, name)
    unique = [sorted(u.columns) for u in plan.uniques] + [sorted(plan.primary_key)]
    unique += [sorted(_plain_columns(i)) for i in plan.indexes if i.unique and i.where is None]
    for key in table.unique_keys:
        if sorted(_targets(plan, key.columns)) not in unique:
            yield SkippedObject("unique key", ", ".join(key.columns), NONE_THERE, name)
    for column in table.columns:
        target = next((c for c in plan.columns if c.source == column.name), None)
        if target is None:
            continue
        null = (column.default or "NULL").strip("() ").upper() == "NULL"
        if not null and target.default is None and not target.identity:
            yield SkippedObject("default", column.name, NONE_THERE, name, column.default)
        if column.on_update is not None:
            reason = "the existing schema decides, whose own triggers stay as they are"
            yield SkippedObject("on update", column.name, reason, name, column.on_update)
        if column.generated is not None and target.generated is None:
            reason = "the existing schema has an ordinary column: the source's values are in it"
            yield SkippedObject("generated column", column.name, reason, name, column.generated)
    for number, check in enumerate(table.checks, start=1):
        reason = "the existing schema decides, whose own checks hold"
        yield SkippedObject(
            "check", check.name or f"check {number}", reason, name, check.expression
        )
    for foreign in table.foreign_keys:
        if not _has(plan, foreign, plans):
            label = foreign.name or f"({', '.join(foreign.columns)}) -> {foreign.ref_table}"
            yield SkippedObject("foreign key", label, NONE_THERE, name)


def _has(plan: TablePlan, key: ForeignKey, plans: Mapping[str, TablePlan]) -> bool:
    parent = plans.get(key.ref_table)
    if parent is None:
        return False
    shape = (_targets(plan, key.columns), parent.name, _targets(parent, key.ref_columns))
    return any((k.columns, k.ref_table, k.ref_columns) == shape for k in plan.foreign_keys)
