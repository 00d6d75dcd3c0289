"""Every object that the source declares, and what became of it: nothing goes missing unsaid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from migration_assets.core.catalog import UNREADABLE, Catalog, SkippedObject, Table
from migration_assets.core.naming import quote
from migration_assets.core.plan import Origin, Plan, TablePlan

KINDS = (
    "table", "column", "primary key", "unique key", "foreign key", "check", "default",
    "generated column", "on update", "index", "view", "trigger", "virtual table", "shadow table",
)  # fmt: skip
"""Kinds of objects, in the order of a report."""


@dataclass(frozen=True)
class Carrier:
    """What carries an object in PostgreSQL: its kind there, its table (None for a view), its name.

    ``kind`` is ``table``, ``column``, ``default``, ``generated``, ``p``, ``u``, ``f``, ``c`` (as
    ``pg_constraint.contype``), ``index`` or ``view``.
    """

    kind: str
    table: str | None
    name: str


@dataclass(frozen=True)
class Accounted:
    """One object of the source, by its own names.

    ``carrier`` is what it becomes; without one it is ``reported``, or nothing is known of it.
    """

    kind: str
    table: str | None
    name: str
    carrier: Carrier | None = None
    reported: bool = False


def objects(catalog: Catalog, plan: Plan) -> Iterator[Accounted]:
    """Yield every object of ``catalog`` with what ``plan`` makes of it.

    A table that is left out stands for all that belongs to it.
    """
    left = list(plan.skipped)
    for item in catalog.skipped:
        if item in left:
            left.remove(item)
        kind = "table" if item.kind == UNREADABLE else item.kind
        # One that defs.yaml leaves out is reported as such.
        yield Accounted(kind, item.table, item.name, None, True)
    planned = {table.source: table for table in plan.tables}
    for table in catalog.tables:
        there = planned.get(table.name)
        if there is None:
            yield _reported(left, "table", None, table.name)
            continue
        yield Accounted("table", None, table.name, Carrier("table", None, there.name))
        yield from _objects(table, there, plan, left)
    views = {view.source or view.name: view.name for view in plan.views}
    for view in catalog.views:
        if view.name in views:
            yield Accounted("view", None, view.name, Carrier("view", None, views[view.name]))
        else:
            yield _reported(left, "view", None, view.name, view.sql)


def _reported(
    left: list[SkippedObject], kind: str, table: str | None, name: str, sql: str | None = None
) -> Accounted:
    """An object that is not made: reported if there is an entry for it, which is used up."""
    for item in left:
        if (item.kind, item.table) == (kind, table) and (
            item.name == name or (sql is not None and item.sql == sql)
        ):
            left.remove(item)
            return Accounted(kind, table, name, None, True)
    return Accounted(kind, table, name)


def _objects(
    table: Table, plan: TablePlan, whole: Plan, left: list[SkippedObject]
) -> Iterator[Accounted]:
    names = {column.source: column.name for column in plan.columns}

    def made(kind: str, name: str, carrier: Carrier | None, sql: str | None = None) -> Accounted:
        if carrier is not None:
            return Accounted(kind, table.name, name, carrier)
        return _reported(left, kind, table.name, name, sql)

    for column in table.columns:
        target = next((c for c in plan.columns if c.source == column.name), None)
        at = Carrier("column", plan.name, target.name) if target else None
        yield made("column", column.name, at)
        if target is None:
            continue
        if column.default is not None:
            kept: Carrier | None = None
            if target.default is not None:
                kept = Carrier("default", plan.name, target.name)
            elif target.identity or column.default.strip("() ").lower() == "null":
                kept = at
            yield made("default", column.name, kept, column.default)
        if column.on_update is not None:
            yield made("on update", column.name, at if target.on_update else None, column.on_update)
        if column.generated is not None:
            kept = Carrier("generated", plan.name, target.name) if target.generated else None
            yield made("generated column", column.name, kept, column.generated)
    if table.primary_key:
        key = Carrier("p", plan.name, plan.primary_key_name or "") if plan.primary_key else None
        yield made("primary key", ", ".join(table.primary_key), key)
    for unique in table.unique_keys:
        columns = tuple(names.get(column, "") for column in unique.columns)
        yield made("unique key", ", ".join(unique.columns), _unique(plan, columns))
    indexes = [i for i in plan.indexes if i.origin is Origin.SOURCE]
    for index in table.indexes:
        found = next((i for i in indexes if i.source_sql == index.sql), None)
        if found is not None:
            indexes.remove(found)
        carrier = Carrier("index", plan.name, found.name) if found else None
        yield made("index", index.name, carrier, index.sql)
    checks = [c for c in plan.checks if c.origin is Origin.SOURCE]
    for number, check in enumerate(table.checks, start=1):
        same = next((c for c in checks if c.source_expression == check.expression), None)
        carrier = None
        if same is not None:
            checks.remove(same)
            carrier = Carrier("c", plan.name, same.name)
        elif (typed := _said_by_type(table, plan, whole, check.expression)) is not None:
            carrier = Carrier("column", plan.name, typed)
        yield made("check", check.name or f"check {number}", carrier, check.expression)
    keys = list(plan.foreign_keys)
    targets = {t.source: t for t in whole.tables}
    for key_ in table.foreign_keys:
        parent = targets.get(key_.ref_table)
        refs = {c.source: c.name for c in parent.columns} if parent else {}
        shape = (
            tuple(names.get(c, "") for c in key_.columns),
            parent.name if parent else None,
            tuple(refs.get(c, "") for c in key_.ref_columns),
        )
        same_key = next((k for k in keys if (k.columns, k.ref_table, k.ref_columns) == shape), None)
        if same_key is not None:
            keys.remove(same_key)
        carrier = Carrier("f", plan.name, same_key.name) if same_key else None
        label = key_.name or f"({', '.join(key_.columns)}) -> {key_.ref_table}"
        yield made("foreign key", label, carrier)


def _unique(plan: TablePlan, columns: tuple[str, ...]) -> Carrier | None:
    """What keeps ``columns`` unique: a key, or an index over folded values."""
    wanted = sorted(columns)
    if wanted == sorted(plan.primary_key):
        return Carrier("p", plan.name, plan.primary_key_name or "")
    for unique in plan.uniques:
        if sorted(unique.columns) == wanted:
            return Carrier("u", plan.name, unique.name)
    for index in plan.indexes:
        if (
            index.unique
            and index.where is None
            and len(index.terms) == len(columns)
            and all(any(quote(column) in term for term in index.terms) for column in columns)
        ):
            return Carrier("index", plan.name, index.name)
    return None


def _said_by_type(table: Table, plan: TablePlan, whole: Plan, expression: str) -> str | None:
    """The column whose type says what a check says, None for none."""
    for decision in whole.decisions:
        if (decision.table, decision.choice) == (table.name, "no check") and (
            (decision.column or "").lower() in expression.lower()
        ):
            return next((c.name for c in plan.columns if c.source == decision.column), None)
    return None
