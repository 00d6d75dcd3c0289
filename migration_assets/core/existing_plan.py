"""The plan for a schema that is there already: its catalog decides."""

from __future__ import annotations

from dataclasses import replace

from migration_assets.core import naming
from migration_assets.core.catalog import Catalog, SkippedObject, Table
from migration_assets.core.choose import choose
from migration_assets.core.config import PlanConfig
from migration_assets.core.existing_constraints import with_constraints
from migration_assets.core.existing_types import fitted, is_unsure
from migration_assets.core.overrides import Overrides
from migration_assets.core.plan import ColumnPlan, Decision, Plan, TablePlan
from migration_assets.core.policies import Resolved, choice_of
from migration_assets.core.profile import ColumnProfile, Profile, TableProfile
from migration_assets.core.selection import selected
from migration_assets.core.structure import Structure, TargetColumn
from migration_assets.core.target_mapping import (
    TableMapping,
    UnmappedError,
    map_tables,
    untouched,
)
from migration_assets.core.transform_plan import with_transforms

DECIDES = "the existing schema decides"


def existing_plan(
    catalog: Catalog, profile: Profile | None, config: PlanConfig, structure: Structure
) -> Plan:
    """Decide where everything in ``catalog`` goes.

    Args:
        catalog: what the source declares.
        profile: what its values are; None plans by the declarations alone.
        config: what the user wants.
        structure: the schema.

    Raises:
        UnmappedError: something has no home, or a required column gets no value.
        InputError: an entry of ``defs.yaml`` that can not be.
    """
    tables, skipped = selected(catalog, config)
    overrides = Overrides(config)
    overrides.check(catalog, [table.name for table in tables])
    homes = map_tables(tables, structure, overrides)
    slugs = naming.slugs(table.name for table in catalog.tables)
    decisions = [*overrides.policy_decisions(tables)]
    typed = {
        (table, transform.column)
        for table, transforms in config.transforms.items()
        for transform in transforms
        if transform.type is not None
    }
    plans: dict[str, TablePlan] = {}
    problems: list[str] = []
    for table in tables:
        home = homes[table.name]
        columns = _columns(table, home, profile, overrides, typed, decisions, problems)
        plans[table.name] = TablePlan(
            source=table.name,
            name=home.target.name,
            slug=slugs[table.name],
            columns=columns,
            policies=overrides.table_policies(table.name),
            dropped=overrides.dropped(table),
            existing=True,
        )
        decisions.append(Decision(table.name, None, f"goes to {home.target.name}", home.how))
        skipped += [
            SkippedObject("column", column, "dropped by overrides: of defs.yaml", table.name)
            for column in overrides.dropped(table)
        ]
        decisions += _by_default(table, home)
    if problems:
        raise UnmappedError(problems)
    made = with_transforms(plans, catalog, config, [], decisions)
    plans = {name: _pinned(plan, homes[name]) for name, plan in made.items()}
    plans = with_constraints(plans, tables, homes, skipped, decisions)
    decisions += [
        Decision(None, None, f'table "{name}" of the schema', reason)
        for name, reason in untouched(structure, (home.target.name for home in homes.values()))
    ]
    skipped += [
        SkippedObject(
            "view",
            view.name,
            f"{DECIDES}, which has a view of this name"
            if view.name in structure.views
            else f"{DECIDES}, which has no view of this name",
            sql=view.sql,
        )
        for view in catalog.views
    ]
    return Plan(tuple(plans.values()), (), tuple(skipped), tuple(decisions))


def _columns(
    table: Table,
    home: TableMapping,
    profile: Profile | None,
    overrides: Overrides,
    typed: set[tuple[str, str | None]],
    decisions: list[Decision],
    problems: list[str],
) -> tuple[ColumnPlan, ...]:
    empty = TableProfile(rows=0, columns={})
    facts = profile.tables.get(table.name, empty) if profile else empty
    plans = []
    for column in table.columns:
        if column.name not in home.columns:
            continue
        target, how = home.columns[column.name]
        held = facts.columns.get(column.name, ColumnProfile())
        usual = choose(column, held)
        override = overrides.column(table.name, column.name)
        zone = overrides.source_timezone(table.name, column.name)
        free = (table.name, column.name) in typed
        choice = fitted(table.name, column, held, override, target, usual, zone, free)
        if isinstance(choice, str):
            problems.append(choice)
            continue
        decisions.append(
            Decision(
                table.name,
                column.name,
                choice.type.sql,
                f'goes to "{target.name}", {how}; {choice.reason}',
            )
        )
        policies = _policies(target, overrides.column_policies(table.name, column.name))
        plans.append(
            ColumnPlan(
                source=column.name,
                name=target.name,
                source_type=column.source_type,
                type=choice.type,
                conversion=choice.conversion,
                nullable=not target.not_null,
                identity=target.sequence is not None,
                default=target.default,
                generated=target.generated,
                reason=f"{how}; {choice.reason}",
                policies=policies,
                unsure=is_unsure(choice.type, held),
                source_default=column.default,
                source_generated=column.generated,
                source_timezone=choice.zone,
            )
        )
        if target.not_null and held.nulls:
            decisions.append(
                Decision(
                    table.name,
                    column.name,
                    f"null_in_not_null: {choice_of(policies, 'null_in_not_null')}",
                    "the existing schema does not allow NULL",
                    f"{held.nulls} rows",
                )
            )
    return tuple(plans)


def _policies(target: TargetColumn, policies: Resolved) -> Resolved:
    """The policies of a column; one that is NOT NULL in the schema can not be made nullable."""
    if target.not_null and choice_of(policies, "null_in_not_null") == "nullable":
        return tuple(sorted((*policies, ("null_in_not_null", "quarantine"))))
    return policies


def _by_default(table: Table, home: TableMapping) -> list[Decision]:
    """Columns of the schema that no value of the source goes to."""
    taken = {target.name for target, _ in home.columns.values()}
    return [
        Decision(
            table.name,
            None,
            f"column {column.name} of {home.target.name} is {_filling(column)}",
            "the source has no column for it",
        )
        for column in home.target.columns
        if column.name not in taken
    ]


def _filling(column: TargetColumn) -> str:
    if column.generated is not None:
        return f"computed as {column.generated}"
    if column.identity:
        return "the next number of its sequence"
    return f"its default {column.default}" if column.default is not None else "NULL"


def _pinned(plan: TablePlan, home: TableMapping) -> TablePlan:
    """The table after the transforms, what the schema says unchanged by them.

    Raises:
        UnmappedError: a transform leads to another type than the schema's.
    """
    columns, problems = [], []
    for column in plan.columns:
        target, _ = home.columns[column.source]
        if column.type != target.type and target.type is not None:
            problems.append(
                f'defs.yaml, key "transforms.{plan.source}": after the transforms the column '
                f'"{column.source}" is {column.type.sql}, the existing schema has '
                f"{target.type_name}; give the last of them that type"
            )
        columns.append(
            replace(
                column,
                nullable=not target.not_null,
                default=target.default,
                default_test=None,
                generated=target.generated,
            )
        )
    if problems:
        raise UnmappedError(problems)
    return replace(plan, columns=tuple(columns))
