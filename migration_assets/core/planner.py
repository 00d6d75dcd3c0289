"""Make the plan: a pure function of what is declared, what is there, and what the user wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from migration_assets.core import naming
from migration_assets.core.catalog import UNREADABLE, Catalog, Column, SkippedObject, Table
from migration_assets.core.choose import Choice, choose
from migration_assets.core.config import PlanConfig
from migration_assets.core.constraint_plan import ConstraintPlanner
from migration_assets.core.defaults import translate_default
from migration_assets.core.generated import with_generated
from migration_assets.core.overrides import Overrides
from migration_assets.core.plan import ColumnPlan, Decision, Plan, TablePlan, ViewPlan
from migration_assets.core.profile import ColumnProfile, Profile, TableProfile
from migration_assets.core.timezones import in_zone, loosened, without_effect, zoned
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

MAX_COLUMNS = 1600
"""Columns of a table (PostgreSQL manual, "PostgreSQL Limits")."""
SYSTEM_COLUMNS = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}
"""Names a column cannot have (PostgreSQL manual, "System Columns")."""


def build_plan(catalog: Catalog, profile: Profile | None, config: PlanConfig) -> Plan:
    """Decide what becomes of everything in ``catalog``.

    Args:
        catalog: what the source declares.
        profile: what its values are; None plans by the declarations alone.
        config: what the user wants.

    Raises:
        InputError: names that meet within PostgreSQL's 63 bytes, or a table it cannot hold.
    """
    tables, left_out = _selected(catalog, config)
    overrides = Overrides(config)
    overrides.check(catalog, [table.name for table in tables])
    names = _target_names(tables)
    choices = _choices(tables, profile, overrides)
    slugs = naming.slugs(table.name for table in catalog.tables)
    skipped = list(left_out)
    decisions = [*overrides.policy_decisions(tables), *without_effect(choices, overrides)]
    plans: dict[str, TablePlan] = {}
    for table in tables:
        columns = _columns(table, catalog.dialect, profile, choices, overrides, skipped, decisions)
        plan = TablePlan(
            source=table.name,
            name=names[table.name],
            slug=slugs[table.name],
            columns=columns,
            comment=table.comment,
            policies=overrides.table_policies(table.name),
        )
        plans[table.name] = with_generated(plan, table, catalog.dialect, skipped)
        if names[table.name] != table.name:
            decisions.append(
                Decision(
                    table.name, None, names[table.name], "PostgreSQL's names have 1 to 63 bytes"
                )
            )
    constraints = ConstraintPlanner(catalog, plans, profile, skipped, decisions)
    finished = [constraints.table(table) for table in tables]
    views = _views(catalog, finished, constraints.relation_names, skipped)
    return Plan(tuple(finished), tuple(views), tuple(skipped), tuple(decisions))


def _selected(catalog: Catalog, config: PlanConfig) -> tuple[list[Table], list[SkippedObject]]:
    """Tables the user wants, and what does not come: left out by pattern, or by its nature."""
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
    return wanted, [*by_nature, *left_out]


def _wanted(name: str, config: PlanConfig) -> bool:
    included = any(fnmatchcase(name, pattern) for pattern in config.tables.include)
    return included and not any(fnmatchcase(name, pattern) for pattern in config.tables.exclude)


def _target_names(tables: list[Table]) -> dict[str, str]:
    """Source table name -> target name; raises InputError where two meet."""
    return _fitting_names([table.name for table in tables], "tables", None)


def _fitting_names(names: list[str], what: str, table: str | None) -> dict[str, str]:
    """Give every name one PostgreSQL takes, the same where it already is."""
    fitting: dict[str, str] = {}
    taken: dict[str, str] = {}
    where = f' of table "{table}"' if table else ""
    for name in names:
        if "\0" in name:
            raise InputError(f"{what}{where}: the name {name!r} holds a NUL character; rename it")
        target = naming.truncated(name) or "_"
        if table and target in SYSTEM_COLUMNS:
            target += "_"
        if target in taken:
            raise InputError(
                f'{what}{where} "{taken[target]}" and "{name}" are the same name in PostgreSQL '
                f"(its names have 63 bytes at most); rename one of them in the source"
            )
        taken[target] = name
        fitting[name] = target
    return fitting


def _choices(
    tables: list[Table], profile: Profile | None, overrides: Overrides
) -> dict[ColumnId, Choice]:
    """Every column's type, foreign keys unified."""
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
    pairs: list[tuple[ColumnId, ColumnId]] = [
        ((table.name, child), (key.ref_table, parent))
        for table in tables
        for key in table.foreign_keys
        for child, parent in zip(key.columns, key.ref_columns, strict=True)
        if (key.ref_table, parent) in columns
    ]
    tied = groups(pairs)
    for members in tied:
        choices.update(unify(members, columns, choices, profiles, identities))
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
    skipped: list[SkippedObject],
    decisions: list[Decision],
) -> tuple[ColumnPlan, ...]:
    if len(table.columns) > MAX_COLUMNS:
        raise InputError(
            f'table "{table.name}" has {len(table.columns)} columns, PostgreSQL holds at most '
            f"{MAX_COLUMNS}; leave it out with tables: exclude in defs.yaml"
        )
    names = _fitting_names([column.name for column in table.columns], "columns", table.name)
    facts = _facts(profile, table)
    plans = []
    for column in table.columns:
        choice = choices[table.name, column.name]
        decisions.append(
            Decision(table.name, column.name, choice.type.sql, choice.reason, choice.deciding)
        )
        if names[column.name] != column.name:
            decisions.append(
                Decision(table.name, column.name, names[column.name], "a name PostgreSQL takes")
            )
        identity = column.name == table.auto_column
        nulls = facts.columns.get(column.name, ColumnProfile()).nulls
        plan = ColumnPlan(
            source=column.name,
            name=names[column.name],
            source_type=column.source_type,
            type=choice.type,
            conversion=choice.conversion,
            nullable=not (identity or (column.not_null and not nulls)),
            identity=identity,
            reason=choice.reason,
            deciding=choice.deciding,
            comment=column.comment,
            policies=overrides.column_policies(table.name, column.name),
            source_timezone=choice.zone,
        )
        plan = loosened(plan, table.name, decisions)
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
        plans.append(_with_default(plan, column, table, dialect, skipped))
    return tuple(plans)


def _with_default(
    plan: ColumnPlan,
    column: Column,
    table: Table,
    dialect: str | None,
    skipped: list[SkippedObject],
) -> ColumnPlan:
    if column.default is None or plan.identity:
        return plan
    try:
        default, test = translate_default(column.default, plan.type, dialect)
        default = in_zone(default, plan.source_timezone)
        return replace(plan, default=default, default_test=test, source_default=column.default)
    except UntranslatableError as error:
        skipped.append(
            SkippedObject("default", column.name, str(error), table.name, column.default)
        )
        return plan


def _views(
    catalog: Catalog,
    tables: list[TablePlan],
    taken: set[str],
    skipped: list[SkippedObject],
) -> list[ViewPlan]:
    """Translate the views, each after those it reads."""
    dialect = catalog.dialect
    if dialect is None:
        return []
    relations = [(table.source, Relation.of(table)) for table in tables]
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
            target = naming.truncated(view.name)
            try:
                if target in taken:
                    raise UntranslatableError(f'another relation is called "{target}"')
                query = view_query(view.sql, dialect, relations)
                columns = view_columns(view.sql, dialect)
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
