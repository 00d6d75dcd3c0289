"""Make the plan: a pure function of what is declared, what is there, and what the user wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from migration_assets.core import naming
from migration_assets.core.case_advice import case_advice
from migration_assets.core.catalog import POSTGRES, Catalog, Column, SkippedObject, Table, View
from migration_assets.core.choose import Choice, choose
from migration_assets.core.config import PlanConfig
from migration_assets.core.constraint_plan import ConstraintPlanner
from migration_assets.core.default_mysql import now
from migration_assets.core.defaults import translate_default
from migration_assets.core.enums import with_enum_names
from migration_assets.core.generated import with_generated
from migration_assets.core.override_types import holds, named, overridden
from migration_assets.core.overrides import Overrides
from migration_assets.core.own_objects import with_own
from migration_assets.core.plan import ColumnPlan, Conversion, Decision, Plan, TablePlan, ViewPlan
from migration_assets.core.policies import Resolved, choice_of
from migration_assets.core.profile import ColumnProfile, Lane, Profile, TableProfile
from migration_assets.core.selection import selected
from migration_assets.core.sensitive import columns_of, marked
from migration_assets.core.target_names import renaming, target_names
from migration_assets.core.timezones import in_zone, loosened, means_zone, without_effect, zoned
from migration_assets.core.transform_plan import with_transforms
from migration_assets.core.translate import (
    Relation,
    UntranslatableError,
    view_columns,
    view_query,
    view_relation,
    view_sources,
)
from migration_assets.core.unify import ColumnId, groups, unify
from migration_assets.errors import InputError

if TYPE_CHECKING:
    from migration_assets.core.structure import Structure

_DATES = {Conversion.DATE, Conversion.TIMESTAMP, Conversion.UTC, Conversion.ZONED}
MAX_COLUMNS = 1600
"""Columns of a table (PostgreSQL manual, "PostgreSQL Limits")."""


def build_plan(
    catalog: Catalog,
    profile: Profile | None,
    config: PlanConfig,
    structure: Structure | None = None,
) -> Plan:
    """Decide what becomes of everything in ``catalog``.

    Args:
        catalog: what the source declares.
        profile: what its values are; None plans by the declarations alone.
        config: what the user wants.
        structure: the schema that decides with ``schema_mode: existing``; None if it was not
            looked at, which plans as if there were none.

    Raises:
        InputError: names that meet within PostgreSQL's 63 bytes, a table it cannot hold, what has
            no home in an existing schema, or a sensitive column that is not there.
    """
    known = columns_of(catalog, config.sensitive)
    return marked(_planned(catalog, profile, config, structure), known)


def _planned(
    catalog: Catalog, profile: Profile | None, config: PlanConfig, structure: Structure | None
) -> Plan:
    if structure is not None and config.schema_mode == "existing":
        from migration_assets.core.existing_plan import existing_plan  # needed seldom

        return existing_plan(catalog, profile, config, structure)
    tables, left_out = selected(catalog, config)
    overrides = Overrides(config)
    overrides.check(catalog, [table.name for table in tables])
    wished = overrides.renamed_tables()
    names = target_names((table.name for table in tables), config.naming, wished)
    choices = _choices(tables, profile, overrides)
    slugs = naming.slugs(table.name for table in catalog.tables)
    skipped = list(left_out)
    decisions = [*overrides.policy_decisions(tables), *without_effect(choices, overrides)]
    decisions += case_advice(tables, profile, choices, catalog.dialect == "sqlite")
    plans: dict[str, TablePlan] = {}
    for table in tables:
        columns = _columns(
            table,
            catalog.dialect,
            profile,
            choices,
            overrides,
            config.naming,
            skipped,
            decisions,
        )
        plan = TablePlan(
            source=table.name,
            name=names[table.name],
            slug=slugs[table.name],
            columns=columns,
            comment=table.comment,
            policies=overrides.table_policies(table.name),
            dropped=overrides.dropped(table),
        )
        plans[table.name] = with_generated(plan, table, catalog.dialect, skipped)
        name, target = table.name, names[table.name]
        decisions += renaming(name, None, name, target, config.naming, name in wished)
    plans = with_transforms(plans, catalog, config, skipped, decisions)
    plans, enums = with_enum_names(
        plans, {naming.styled(config.naming)(v.name) for v in catalog.views}
    )
    constraints = ConstraintPlanner(catalog, plans, profile, skipped, decisions, config.naming)
    constraints.relation_names |= enums
    finished = with_own(
        [constraints.table(table) for table in tables],
        config,
        constraints.relation_names,
        constraints.free,
        decisions,
    )
    views = _views(catalog, finished, constraints.relation_names, skipped, config.naming)
    return Plan(tuple(finished), tuple(views), tuple(skipped), tuple(decisions))


def _choices(
    tables: list[Table], profile: Profile | None, overrides: Overrides
) -> dict[ColumnId, Choice]:
    """Every column's type, the user's where there is one, foreign keys unified."""
    columns: dict[ColumnId, Column] = {}
    profiles: dict[ColumnId, ColumnProfile] = {}
    identities: set[ColumnId] = set()
    for table in tables:
        facts = _facts(profile, table)
        for column in table.columns:
            member = (table.name, column.name)
            columns[member] = column
            profiles[member] = facts.columns.get(column.name, ColumnProfile())
            if column.name == table.auto_column:
                identities.add(member)
    choices = {m: choose(columns[m], profiles[m], m in identities) for m in columns}
    own = {m: column.target for m, column in columns.items() if column.target is not None}
    choices |= {m: named(kind, profiles[m], choices[m]) for m, kind in own.items()}
    fixed = {m for m in columns if overrides.typed(*m) and not means_zone(m, choices[m], overrides)}
    for member in fixed:
        choices[member] = overridden(
            member[0],
            columns[member],
            profiles[member],
            overrides.column(*member),
            choices[member],
            choice_of(overrides.column_policies(*member), "unfit"),
            identity=member in identities,
        )
    pairs: list[tuple[ColumnId, ColumnId]] = [
        ((table.name, child), (key.ref_table, parent))
        for table in tables
        for key in table.foreign_keys
        for child, parent in zip(key.columns, key.ref_columns, strict=True)
        if (key.ref_table, parent) in columns
        and not overrides.column(table.name, child).drop
        and not overrides.column(key.ref_table, parent).drop
    ]
    tied = groups(pairs)
    for members in tied:
        choices.update(
            unify(
                members, columns, choices, profiles, identities, fixed.intersection(members) or own
            )
        )
    return choices | zoned(choices, tied, overrides)


def _facts(profile: Profile | None, table: Table) -> TableProfile:
    empty = TableProfile(rows=0, columns={})
    return profile.tables.get(table.name, empty) if profile else empty


def _columns(
    table: Table,
    dialect: str | None,
    profile: Profile | None,
    choices: Mapping[ColumnId, Choice],
    overrides: Overrides,
    style: str,
    skipped: list[SkippedObject],
    decisions: list[Decision],
) -> tuple[ColumnPlan, ...]:
    dropped = overrides.dropped(table)
    coming = [column for column in table.columns if column.name not in dropped]
    if not coming:
        raise InputError(
            f'defs.yaml, key "overrides.{table.name}.columns": every column is dropped; leave the '
            "table out with tables: exclude instead"
        )
    if len(coming) > MAX_COLUMNS:
        raise InputError(
            f'table "{table.name}" has {len(coming)} columns, PostgreSQL holds at most '
            f"{MAX_COLUMNS}; leave it out with tables: exclude in defs.yaml, or drop columns with "
            "overrides:"
        )
    skipped += [
        SkippedObject("column", column, "dropped by overrides: of defs.yaml", table.name)
        for column in dropped
    ]
    wished = overrides.renamed_columns(table.name)
    names = target_names(
        (column.name for column in coming), style, wished, table.name, what="columns"
    )
    facts = _facts(profile, table)
    plans = []
    for column in coming:
        choice = choices[table.name, column.name]
        decisions.append(
            Decision(table.name, column.name, choice.type.plain, choice.reason, choice.deciding)
        )
        decisions += renaming(
            table.name,
            column.name,
            column.name,
            names[column.name],
            style,
            column.name in wished,
        )
        identity = column.name == table.auto_column
        policies = overrides.column_policies(table.name, column.name)
        held = facts.columns.get(column.name, ColumnProfile())
        nulls = held.nulls if choice_of(policies, "null_in_not_null") == "nullable" else 0
        becoming = (
            None
            if identity
            else _becoming_null(policies, held, overrides.typed(table.name, column.name), choice)
        )
        plan = ColumnPlan(
            source=column.name,
            name=names[column.name],
            source_type=column.source_type,
            type=choice.type,
            conversion=choice.conversion,
            nullable=not (identity or (column.not_null and not nulls and becoming is None)),
            identity=identity,
            reason=choice.reason,
            deciding=choice.deciding,
            comment=column.comment,
            policies=policies,
            unsure=overrides.typed(table.name, column.name) and not holds(choice.type, held),
            source_timezone=choice.zone,
        )
        plan = loosened(plan, table.name, decisions)
        if column.not_null and becoming is not None:
            reason = f"declared NOT NULL, yet the policy {becoming} makes NULLs"
            decisions.append(Decision(table.name, column.name, "NULL allowed", reason))
        if column.not_null and nulls:
            decisions.append(
                Decision(
                    table.name,
                    column.name,
                    "NULL allowed",
                    "declared NOT NULL, yet has NULLs",
                    f"{nulls} rows",
                )
            )
        plan = _with_on_update(plan, column, table, skipped)
        plans.append(_with_default(plan, column, table, dialect, skipped))
    return tuple(plans)


def _becoming_null(
    policies: Resolved, facts: ColumnProfile, typed: bool, choice: Choice
) -> str | None:
    """The policy by which values of a column become NULL, None if there is no such value."""
    there = {
        "nul_characters": facts.text_nul > 0,
        "invalid_utf8": facts.text_invalid > 0,
        "negative_zero": facts.count(Lane.REAL) > 0,
        "unfit": typed,
        "zero_date": facts.text_zero > 0 and choice.conversion in _DATES,
        "invalid_enum": choice.conversion is Conversion.ENUM
        and facts.text_forms.get("enum", 0) < facts.count(Lane.TEXT),
    }
    for anomaly, occurs in there.items():
        if occurs and choice_of(policies, anomaly) == "null":
            return f"{anomaly}: null"
    return None


def _with_on_update(
    plan: ColumnPlan, column: Column, table: Table, skipped: list[SkippedObject]
) -> ColumnPlan:
    if column.on_update is None:
        return plan
    try:
        made = now(column.on_update, plan.type)
        if made is None:
            raise UntranslatableError("is not the moment of the change")
        return replace(plan, on_update=made, source_on_update=column.on_update)
    except UntranslatableError as error:
        skipped.append(
            SkippedObject("on update", column.name, str(error), table.name, column.on_update)
        )
        return plan


def _with_default(
    plan: ColumnPlan,
    column: Column,
    table: Table,
    dialect: str | None,
    skipped: list[SkippedObject],
) -> ColumnPlan:
    own = dialect == POSTGRES and column.target == plan.type
    if own:
        plan = replace(plan, on_update=column.on_update, source_on_update=column.on_update)
    if column.default is None or plan.identity:
        return plan
    if own:
        return replace(plan, default=column.default, source_default=column.default)
    try:
        default, test = translate_default(column.default, plan.type, dialect)
        utc = "UTC" if plan.conversion is Conversion.UTC else None
        default = in_zone(default, plan.source_timezone or utc)
        return replace(plan, default=default, default_test=test, source_default=column.default)
    except UntranslatableError as error:
        skipped.append(
            SkippedObject("default", column.name, str(error), table.name, column.default)
        )
        return plan


def _own_view(view: View, target: str, tables: list[TablePlan]) -> ViewPlan:
    """A view in PostgreSQL's own SQL, as it is; raises UntranslatableError."""
    if target != view.name or any(Relation.of(table).renamed for table in tables):
        raise UntranslatableError("reads tables or columns that have another name now")
    return ViewPlan(target, view.sql, view.sql, view.name)


def _views(
    catalog: Catalog,
    tables: list[TablePlan],
    taken: set[str],
    skipped: list[SkippedObject],
    style: str,
) -> list[ViewPlan]:
    """Translate the views, each after those it reads."""
    dialect = catalog.dialect
    if dialect is None:
        return []
    styled = naming.styled(style)
    relations = [(table.source, Relation.of(table)) for table in tables]
    names = target_names((view.name for view in catalog.views), style, {}, what="views")
    waiting = {view.name.lower(): view for view in catalog.views}
    planned: list[ViewPlan] = []
    while waiting:
        ready = [
            name
            for name, view in waiting.items()
            if not (view_sources(view.sql, dialect) - {name}) & waiting.keys()
        ]
        for name in ready or list(waiting):
            view = waiting.pop(name)
            target = names[view.name]
            if target in {table.name for table in tables}:
                raise InputError(
                    f'the view "{view.name}" and a table are both "{target}" in PostgreSQL; give '
                    "the table another name with overrides: rename in defs.yaml"
                )
            try:
                if target in taken:
                    raise UntranslatableError(f'another relation is called "{target}"')
                if dialect == POSTGRES:
                    planned.append(_own_view(view, target, tables))
                    continue
                query = view_query(view.sql, dialect, relations, styled)
                columns = tuple(styled(name) for name in view_columns(view.sql, dialect))
            except UntranslatableError as error:
                skipped.append(SkippedObject("view", view.name, str(error), sql=view.sql))
                continue
            taken.add(target)
            if columns:
                # A view's column list names the query's outputs by position.
                listed = ", ".join(naming.quote(column) for column in columns)
                query = f"SELECT * FROM ({query}) AS {naming.quote('q')} ({listed})"
            planned.append(ViewPlan(target, query, view.sql, view.name))
            relation = view_relation(target, query, columns, relations)
            if relation is not None:
                relations.append((view.name, relation))
    return planned
