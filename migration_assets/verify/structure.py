"""The loaded schema against the plan: tables, columns, keys, indexes, references, identity values.

Keys, unique constraints, indexes and foreign keys may have another name than planned, if they do
the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from migration_assets.core.plan import (
    ColumnPlan,
    ForeignKeyPlan,
    IndexPlan,
    Origin,
    Plan,
    TablePlan,
)
from migration_assets.core.profile import Profile
from migration_assets.core.results import Finding
from migration_assets.postgres import connect, ddl
from migration_assets.postgres.swap import previous_schema
from migration_assets.verify import definitions, identity
from migration_assets.verify.real_schema import (
    TABLE_KINDS,
    RealColumn,
    RealConstraint,
    RealIndex,
    RealSchema,
    RealTable,
    read_schema,
)

PLAIN_TERM = re.compile(
    r'^"((?:[^"]|"")+)"(?:\s+COLLATE\s+\S+)?(?:\s+(?:ASC|DESC))?(?:\s+NULLS\s+(?:FIRST|LAST))?$',
    re.IGNORECASE,
)
"""An index term that is a column and not an expression."""


def findings(target: connect.Target, schema: str, plan: Plan, profile: Profile) -> list[Finding]:
    """Compare a loaded schema with its plan; an empty list is proof.

    Args:
        target: the database.
        schema: the schema the plan was loaded into.
        plan: what must be there.
        profile: gives the next identity values.

    Raises:
        InputError: the target can not be reached.
        BrokenOffError: the target was lost in the middle.
    """
    real = read_schema(target, schema)
    found = [*_schema(plan, real), *_keys(plan, real), *_references(plan, real, schema)]
    found += definitions.findings(target, schema, plan)
    found += [*_acting(plan, real), *_secured(target, schema, real)]
    found += [
        Finding("keys", proof.table, proof.column, proof.problem)
        for proof in identity.prove(target, schema, _present(plan, real), profile)
        if proof.problem is not None
    ]
    return found


def _present(plan: Plan, real: RealSchema) -> list[TablePlan]:
    """Planned tables that are there with their identity columns."""
    return [
        table
        for table in plan.tables
        if table.name in real.tables
        and all(
            any(c.name == column.name and c.identity for c in real.tables[table.name].columns)
            for column in table.columns
            if column.identity
        )
    ]


def _schema(plan: Plan, real: RealSchema) -> Iterator[Finding]:
    planned = {table.name for table in plan.tables}
    for name, table in sorted(real.tables.items()):
        if name not in planned:
            yield Finding("schema", name, name, f"{TABLE_KINDS[table.kind]} is not in the plan")
    for table_plan in plan.tables:
        name = table_plan.name
        if name not in real.tables:
            yield Finding("schema", name, name, "table is missing")
            continue
        yield from _columns(table_plan, real.tables[name].columns)
    for view in plan.views:
        if view.name not in real.views:
            yield Finding("schema", view.name, view.name, "view is missing")


def _columns(plan: TablePlan, real: Sequence[RealColumn]) -> Iterator[Finding]:
    by_name = {column.name: column for column in real}
    planned = [column.name for column in plan.columns]
    for column in plan.columns:
        if column.name not in by_name:
            yield Finding("schema", plan.name, column.name, "column is missing")
            continue
        for problem in _column(plan, column, by_name[column.name]):
            yield Finding("schema", plan.name, column.name, problem)
    for name in by_name:
        if name not in planned:
            yield Finding("schema", plan.name, name, "column is not in the plan")
    order = [name for name in by_name if name in planned]
    if order != [name for name in planned if name in by_name]:
        yield Finding(
            "schema",
            plan.name,
            plan.name,
            f"columns stand in the order {', '.join(order)}; planned {', '.join(planned)}",
        )


def _column(table: TablePlan, plan: ColumnPlan, real: RealColumn) -> Iterator[str]:
    if real.type != plan.type.catalog_name:
        yield f"type is {real.type}, planned {plan.type.catalog_name}"
    required = not plan.nullable or plan.identity or plan.name in table.primary_key
    if required != real.not_null:
        yield "NOT NULL is missing" if required else "is NOT NULL, planned nullable"
    ordinary = not plan.identity and plan.generated is None
    for what, planned, there in (
        ("identity", plan.identity, bool(real.identity)),
        ("generation expression", plan.generated is not None, real.generated),
        ("default", ordinary and plan.default is not None, real.default),
    ):
        if planned != there:
            yield f"{what} is missing" if planned else f"has a {what} that is not in the plan"
    if plan.identity and real.identity == "a":
        yield "identity is GENERATED ALWAYS, planned BY DEFAULT: it refuses values that are given"
    if plan.identity and real.increment not in (None, 1):
        yield f"identity counts by {real.increment}, planned 1"
    if plan.identity and real.cycles:
        yield "identity begins anew when its values are used up, planned an error"


def _acting(plan: Plan, real: RealSchema) -> Iterator[Finding]:
    """Triggers and rules: those of the plan are there and act, and no others are."""
    planned = {(t.name, name) for t in plan.tables if (name := t.on_update_trigger) is not None}
    there = {(action.table, action.name) for action in real.actions if action.own}
    acting = {(a.table, a.name) for a in real.actions if a.own and a.enabled}
    for table, name in sorted(planned - acting):
        problem = "trigger of ON UPDATE is missing or switched off"
        yield Finding("schema", table, name, problem)
    for action in real.actions:
        if (action.table, action.name) not in there:
            off = "" if action.enabled else " (switched off)"
            problem = f"{action.kind}{off} is not in the plan: it may change or refuse rows"
            yield Finding("schema", action.table, action.name, problem)


def _secured(target: connect.Target, schema: str, real: RealSchema) -> Iterator[Finding]:
    """Row security that no run has taken over from what was live before."""
    if not real.secured:
        return
    from migration_assets.postgres.swap_back import rolled_back_schema  # needed seldom

    former = (previous_schema(schema), rolled_back_schema(schema))
    kept = {table for name in former for table in read_schema(target, name).secured}
    for table in real.secured:
        if table not in kept:
            problem = "row security is on and not in the plan: others than the owner may see less"
            yield Finding("schema", table, table, problem)


def _keys(plan: Plan, real: RealSchema) -> Iterator[Finding]:
    for table in plan.tables:
        if table.name not in real.tables:
            continue
        there = real.tables[table.name]
        yield from _primary_key(table, there)
        for unique in table.uniques:
            same = [c for c in there.constraints if c.kind == "u" and c.columns == unique.columns]
            if not same:
                yield Finding(
                    "keys",
                    table.name,
                    unique.name,
                    f"unique constraint on {_list(unique.columns)} is missing",
                )
        for index in table.indexes:
            yield from _index(table, index, there.indexes)
        for made in there.indexes:
            if not made.valid:
                yield Finding("keys", table.name, made.name, "index is not valid")


def _primary_key(table: TablePlan, there: RealTable) -> Iterator[Finding]:
    real = next((c for c in there.constraints if c.kind == "p"), None)
    name = table.primary_key_name or (real.name if real else "primary key")
    if table.primary_key and real is None:
        problem = f"primary key on {_list(table.primary_key)} is missing"
    elif real is not None and real.columns != table.primary_key:
        planned = f"on {_list(table.primary_key)}" if table.primary_key else "none"
        problem = f"primary key is on {_list(real.columns)}, planned {planned}"
    else:
        return
    yield Finding("keys", table.name, name, problem)


def _index(table: TablePlan, plan: IndexPlan, real: Sequence[RealIndex]) -> Iterator[Finding]:
    terms = tuple(_term_column(term) for term in plan.terms)
    shape = (plan.unique, plan.where is not None, terms)
    named = next((index for index in real if index.name == plan.name), None)
    if named is None:
        if not any((i.unique, i.partial, i.terms) == shape for i in real):
            yield Finding(
                "keys", table.name, plan.name, f"index on {', '.join(plan.terms)} is missing"
            )
        return
    if named.unique != plan.unique:
        problem = "index is not unique" if plan.unique else "index is unique, planned not"
        yield Finding("keys", table.name, plan.name, problem)
    if named.partial != (plan.where is not None):
        problem = (
            "index has a predicate, planned none"
            if named.partial
            else f"index lost its predicate {plan.where}"
        )
        yield Finding("keys", table.name, plan.name, problem)
    if plan.origin is not Origin.DEFINITION and named.terms != terms:
        there = ", ".join("an expression" if t is None else f'"{t}"' for t in named.terms)
        yield Finding(
            "keys", table.name, plan.name, f"index is on {there}, planned {', '.join(plan.terms)}"
        )


def _references(plan: Plan, real: RealSchema, schema: str) -> Iterator[Finding]:
    for table in plan.tables:
        if table.name not in real.tables:
            continue
        constraints = real.tables[table.name].constraints
        for key in table.foreign_keys:
            for problem in _foreign_key(key, constraints, schema):
                yield Finding("references", table.name, key.name, problem)
        for check in table.checks:
            found = next((c for c in constraints if (c.kind, c.name) == ("c", check.name)), None)
            if found is None:
                problem = f"check {check.expression} is missing"
                yield Finding("references", table.name, check.name, problem)
            elif not found.valid:
                yield Finding("references", table.name, check.name, "check is NOT VALID")


def _foreign_key(
    plan: ForeignKeyPlan, constraints: Sequence[RealConstraint], schema: str
) -> Iterator[str]:
    real = _first(
        (c for c in constraints if c.kind == "f"),
        lambda c: c.name == plan.name,
        lambda c: (
            (c.columns, c.ref_schema, c.ref_table, c.ref_columns)
            == (plan.columns, schema, plan.ref_table, plan.ref_columns)
        ),
    )
    to = f'"{plan.ref_table}" {_list(plan.ref_columns)}'
    if real is None:
        yield f"foreign key {_list(plan.columns)} to {to} is missing"
        return
    if real.columns != plan.columns:
        yield f"foreign key is on {_list(real.columns)}, planned {_list(plan.columns)}"
    if (real.ref_schema, real.ref_table, real.ref_columns) != (
        schema,
        plan.ref_table,
        plan.ref_columns,
    ):
        there = f'"{real.ref_schema}"."{real.ref_table}" {_list(real.ref_columns)}'
        yield f"foreign key points to {there}, planned {to}"
    for event, code, planned in (
        ("UPDATE", real.on_update, plan.on_update),
        ("DELETE", real.on_delete, plan.on_delete),
    ):
        if ddl.ACTIONS[code] != planned.upper():
            yield f"ON {event} is {ddl.ACTIONS[code]}, planned {planned.upper()}"
    if (real.deferrable, real.deferred) != (plan.deferrable, plan.initially_deferred):
        yield (
            f"is {_deferral(real.deferrable, real.deferred)}, "
            f"planned {_deferral(plan.deferrable, plan.initially_deferred)}"
        )
    if plan.valid and not real.valid:
        yield "foreign key is NOT VALID, planned valid"


def _first(
    constraints: Iterator[RealConstraint], *tests: Callable[[RealConstraint], bool]
) -> RealConstraint | None:
    """The first constraint that passes the first test, else the second, and so on."""
    every = list(constraints)
    return next((c for test in tests for c in every if test(c)), None)


def _term_column(term: str) -> str | None:
    plain = PLAIN_TERM.match(term.strip())
    return plain[1].replace('""', '"') if plain else None


def _deferral(deferrable: bool, deferred: bool) -> str:
    if not deferrable:
        return "NOT DEFERRABLE"
    return f"DEFERRABLE INITIALLY {'DEFERRED' if deferred else 'IMMEDIATE'}"


def _list(columns: Sequence[str]) -> str:
    return "(" + ", ".join(columns) + ")"
