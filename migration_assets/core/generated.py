"""Generated columns: the source's expressions into PostgreSQL's, chains written out."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from migration_assets.core.catalog import POSTGRES, Column, SkippedObject, Table
from migration_assets.core.plan import ColumnPlan, TablePlan
from migration_assets.core.translate import (
    Relation,
    UntranslatableError,
    expression,
    expression_tree,
    parse_expression,
    render,
)

KIND = "generated column"
ORDINARY = "its values come as an ordinary column: "
"""What every reason of a generated column that is none in PostgreSQL begins with."""

_TRUTHS = (exp.Predicate, exp.Connector, exp.Not, exp.Boolean)
"""Trees whose value is a boolean in PostgreSQL, and 0 or 1 in SQLite and MySQL."""
_NUMBERS = {"smallint", "integer", "bigint", "numeric", "double precision"}
_TEXTS = {"text", "varchar"}
_DOCUMENTS = {"json", "jsonb"}


def with_generated(
    plan: TablePlan, table: Table, dialect: str | None, skipped: list[SkippedObject]
) -> TablePlan:
    """Translate the generated columns of one table; those that can not be go to ``skipped``.

    PostgreSQL lets no generated column name another, so the expression of the one is written into
    that of the other. What is translated is only tried: whether it computes the source's values is
    seen when the table is loaded.

    Args:
        plan: the table with the types of its columns.
        table: as declared.
        dialect: of the source's SQL.
        skipped: is added to.
    """
    waiting = {c.name.lower(): c for c in table.columns if c.generated is not None}
    if not waiting:
        return plan
    if dialect == POSTGRES:
        return _with_own(plan, table, skipped)
    planned = {column.source.lower(): column for column in plan.columns}
    waiting = {name: column for name, column in waiting.items() if name in planned}
    trees: dict[str, exp.Expr] = {}
    made: dict[str, ColumnPlan] = {}

    def work(name: str, above: tuple[str, ...]) -> None:
        column = waiting.pop(name)
        try:
            for other in _named(column, dialect):
                if other in above or other == name:
                    raise UntranslatableError("is defined by itself")
                if other in waiting:
                    work(other, (*above, name))
            refusal = _refusal(table, column)
            if refusal is not None:
                raise UntranslatableError(refusal)
            tree = _tree(column, plan, planned[name], dialect, trees)
            made[name] = replace(
                planned[name],
                generated=render(tree),
                source_generated=column.generated,
                default=None,
            )
            trees[planned[name].name] = _typed(tree, planned[name])
        except UntranslatableError as error:
            skipped.append(
                SkippedObject(KIND, column.name, f"{ORDINARY}{error}", table.name, column.generated)
            )

    while waiting:
        work(next(iter(waiting)), ())
    return replace(
        plan, columns=tuple(made.get(column.source.lower(), column) for column in plan.columns)
    )


def _with_own(plan: TablePlan, table: Table, skipped: list[SkippedObject]) -> TablePlan:
    """Take over expressions that are PostgreSQL's own."""
    relation, columns = Relation.of(plan), []
    for column in plan.columns:
        sql = table.column(column.source).generated
        if sql is not None:
            try:
                generated = expression(sql, POSTGRES, relation)
                column = replace(column, generated=generated, source_generated=sql, default=None)
            except UntranslatableError as error:
                reason = f"{ORDINARY}{error}"
                skipped.append(SkippedObject(KIND, column.source, reason, table.name, sql))
        columns.append(column)
    return replace(plan, columns=tuple(columns))


def _named(column: Column, dialect: str | None) -> list[str]:
    """Folded names in a column's expression."""
    if dialect is None:
        return []
    tree = parse_expression(column.generated or "", dialect)
    return [found.name.lower() for found in tree.find_all(exp.Column)]


def _refusal(table: Table, column: Column) -> str | None:
    """Why PostgreSQL can not generate a column with such a foreign key, None if it can."""
    for key in table.foreign_keys:
        changed = {key.on_update, key.on_delete} & {"SET NULL", "SET DEFAULT"}
        if key.on_update == "CASCADE":
            changed.add("CASCADE")
        if column.name in key.columns and changed:
            return f"its foreign key changes it ({min(changed)}), which PostgreSQL allows of none"
    return None


def _tree(
    column: Column,
    plan: TablePlan,
    planned: ColumnPlan,
    dialect: str | None,
    trees: dict[str, exp.Expr],
) -> exp.Expr:
    if dialect is None or not column.generated or column.generated == "?":
        raise UntranslatableError("its expression could not be read")
    tree = expression_tree(column.generated, dialect, Relation.of(plan))
    types = {c.name: c.type.name for c in plan.columns}
    holder = exp.Paren(this=tree)
    for reference in list(holder.find_all(exp.Column)):
        if reference.table:
            reference.set("table", None)
    for joined in list(holder.find_all(exp.DPipe)):
        for side in (joined.this, joined.expression):
            # Text and anything else are joined by a function that may depend on settings.
            if isinstance(side, exp.Column) and types.get(side.name) not in _TEXTS:
                side.replace(exp.cast(side.copy(), "text"))
    for path in list(holder.find_all(exp.JSONExtract, exp.JSONExtractScalar)):
        if (document := _document(path, types)) is not None:
            path.replace(document)
    for reference in list(holder.find_all(exp.Column)):
        if reference.name in trees:
            reference.replace(trees[reference.name].copy())
    return _as_type(holder.this.pop(), planned.type.name)


def _document(path: exp.Expr, types: dict[str, str]) -> exp.Expr | None:
    """A member of a json column as text, by operators that do not depend on settings."""
    document, steps = path.this, path.args.get("expression")
    if not isinstance(document, exp.Column) or types.get(document.name) not in _DOCUMENTS:
        return None
    if not isinstance(steps, exp.JSONPath):
        return None
    keys = []
    for step in steps.expressions:
        if isinstance(step, exp.JSONPathRoot):
            continue
        if not isinstance(step, exp.JSONPathKey | exp.JSONPathSubscript):
            return None
        if not isinstance(step.this, str | int):
            return None
        keys.append(str(step.this))
    if not keys or any(set(key) & set('",{}\\ ') or key.lower() == "null" for key in keys):
        return None
    return exp.Paren(
        this=exp.JSONBExtractScalar(
            this=document.copy(), expression=exp.Literal.string("{" + ",".join(keys) + "}")
        )
    )


def _as_type(tree: exp.Expr, kind: str) -> exp.Expr:
    """Turn what PostgreSQL would not assign by itself into the column's type."""
    bare = tree.unnest()
    if kind in _NUMBERS and isinstance(bare, _TRUTHS):
        return exp.cast(exp.Paren(this=bare.copy()), "int")
    if isinstance(bare, exp.JSONBExtractScalar) and kind not in _TEXTS:
        return exp.cast(exp.Paren(this=bare.copy()), kind, dialect="postgres")
    return tree


def _typed(tree: exp.Expr, planned: ColumnPlan) -> exp.Expr:
    """A tree as the value that the column of it holds."""
    return exp.cast(exp.Paren(this=tree.copy()), planned.type.sql, dialect="postgres")
