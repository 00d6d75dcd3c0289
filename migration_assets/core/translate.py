"""Translate expressions, predicates and views of the source's dialect into PostgreSQL SQL.

Translation is by sqlglot; what is added here is what only a migration knows: the true names and
types of the target's columns. What cannot be translated raises :class:`UntranslatableError`, and
the planner reports it with its original text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from migration_assets.core.catalog import POSTGRES
from migration_assets.core.plan import TablePlan


class UntranslatableError(Exception):
    """The text has no PostgreSQL form that is known to mean the same; says why."""


@dataclass(frozen=True)
class Relation:
    """A table's (or view's) true name and columns: folded source name -> (name, type name)."""

    name: str
    columns: Mapping[str, tuple[str, str]]
    dropped: frozenset[str] = frozenset()
    """Folded source names of columns that do not come along."""
    renamed: bool = False
    """Whether the table or a column is called otherwise than in the source."""

    @staticmethod
    def of(table: TablePlan) -> Relation:
        """The relation that a planned table becomes."""
        return Relation(
            table.name,
            {c.source.lower(): (c.name, c.type.name) for c in table.columns},
            frozenset(name.lower() for name in table.dropped),
            table.name != table.source or any(c.name != c.source for c in table.columns),
        )


def expression(sql: str, dialect: str, relation: Relation) -> str:
    """Translate an expression over one table's columns, such as a CHECK or an index predicate.

    Args:
        sql: the expression in the source's dialect.
        dialect: sqlglot's name of it.
        relation: the table it stands in.

    Raises:
        UntranslatableError: with the reason.
    """
    if dialect == POSTGRES and not relation.renamed and not relation.dropped:
        return sql
    return render(expression_tree(sql, dialect, relation))


def expression_tree(sql: str, dialect: str, relation: Relation) -> exp.Expr:
    """As :func:`expression`, but the tree of it, with PostgreSQL's names, to be rendered later."""
    tree = parse_expression(sql, dialect)
    for column in tree.find_all(exp.Column):
        column.set("table", None)  # There is one table, which may be called otherwise now.
    holder = exp.Paren(this=tree)  # The root itself may be replaced.
    _adapted(holder, {relation.name.lower(): relation}, str, dialect)
    adapted: exp.Expr = holder.this
    return adapted.pop()


def parse_expression(sql: str, dialect: str) -> exp.Expr:
    """Parse one expression in the source's dialect; raises UntranslatableError."""
    # By itself a text such as replace(a, 'x', 'y') would be taken for a statement.
    select = _parse(f"SELECT {sql}", dialect)
    if not isinstance(select, exp.Select) or len(select.expressions) != 1:
        raise UntranslatableError("is not one expression")
    tree: exp.Expr = select.expressions[0]
    return tree.pop()


def view_query(
    sql: str,
    dialect: str,
    relations: Iterable[tuple[str, Relation]],
    styled: Callable[[str], str] = str,
) -> str:
    """Translate a CREATE VIEW statement into the query of a PostgreSQL view.

    Args:
        sql: the whole statement.
        dialect: sqlglot's name of its dialect.
        relations: (source name, relation) of all tables and views it may name.
        styled: how names that it gives itself are written in the target.

    Raises:
        UntranslatableError: with the reason.
    """
    tree = _parse(sql, dialect)
    query = tree.expression if isinstance(tree, exp.Create) else None
    if query is None or not isinstance(query, exp.Query):
        raise UntranslatableError("is not a CREATE VIEW of a query")
    outputs = _plain_outputs(query)
    adapted = _adapted(
        query, {name.lower(): relation for name, relation in relations}, styled, dialect
    )
    _keep_outputs(adapted, [name and styled(name) for name in outputs])
    return render(adapted)


def _first_select(query: exp.Expr) -> exp.Select | None:
    """The SELECT that names the outputs of a query: the first of a union."""
    while isinstance(query, exp.SetOperation):
        query = query.this.unnest()
    return query if isinstance(query, exp.Select) else None


def _plain_outputs(query: exp.Expr) -> list[str | None]:
    """The names of the outputs that are plain columns, None for all others."""
    select = _first_select(query)
    return [
        output.name
        if isinstance(output, exp.Column) and not isinstance(output.this, exp.Star)
        else None
        for output in (select.expressions if select else ())
    ]


def _keep_outputs(query: exp.Expr, names: list[str | None]) -> None:
    """Give outputs whose column is called otherwise now the name that readers of the view know."""
    select = _first_select(query)
    for output, name in zip(list(select.expressions) if select else (), names, strict=True):
        if name and isinstance(output, exp.Column) and output.name.lower() != name.lower():
            output.replace(exp.alias_(output.copy(), name, quoted=True))


def view_sources(sql: str, dialect: str) -> set[str]:
    """Folded names of the tables and views that a view reads; empty if it cannot be parsed."""
    try:
        tree = _parse(sql, dialect)
    except UntranslatableError:
        return set()
    query = tree.expression if isinstance(tree, exp.Create) else tree
    return {t.name.lower() for t in query.find_all(exp.Table)} if query is not None else set()


def view_relation(
    name: str, query: str, listed: tuple[str, ...], relations: Iterable[tuple[str, Relation]]
) -> Relation | None:
    """The relation that a translated view is to the views after it.

    Args:
        name: the view's name.
        query: its PostgreSQL query, as :func:`view_query` made it.
        listed: its declared column list, empty for none.
        relations: what it was translated with.

    Returns:
        None if its columns cannot be told from its text.
    """
    if listed:
        return Relation(name, {column.lower(): (column, "unknown") for column in listed})
    known = {relation.name: relation for _, relation in relations}
    tree = sqlglot.parse_one(query, read="postgres")
    while isinstance(tree, exp.SetOperation):
        # The first query of a union names its columns.
        tree = tree.this.unnest()
    if not isinstance(tree, exp.Select):
        return None
    sources = {t.alias or t.name: known.get(t.name) for t in tree.find_all(exp.Table)}
    columns: dict[str, tuple[str, str]] = {}
    for output in tree.expressions:
        star = isinstance(output, exp.Star) or isinstance(getattr(output, "this", None), exp.Star)
        if not star:
            columns.setdefault(output.alias_or_name.lower(), (output.alias_or_name, "unknown"))
            continue
        wanted = [output.table] if isinstance(output, exp.Column) else list(sources)
        for source in wanted:
            relation = sources.get(source)
            if relation is None:
                return None
            for folded, column in relation.columns.items():
                columns.setdefault(folded, column)
    return Relation(name, columns)


def view_columns(sql: str, dialect: str) -> tuple[str, ...]:
    """The column list of ``CREATE VIEW name(a, b)``, empty if it has none."""
    tree = _parse(sql, dialect)
    schema = tree.this if isinstance(tree, exp.Create) else None
    if not isinstance(schema, exp.Schema):
        return ()
    return tuple(column.name for column in schema.expressions)


def _parse(sql: str, dialect: str) -> exp.Expr:
    try:
        tree = sqlglot.parse_one(sql, read=dialect)
    except (SqlglotError, RecursionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UntranslatableError(f"cannot be parsed: {reason}") from error
    if tree is None or isinstance(tree, exp.Command):
        raise UntranslatableError("is not a statement that can be parsed")
    return tree


def render(tree: exp.Expr) -> str:
    """Write a tree as PostgreSQL SQL with quoted identifiers; raises UntranslatableError."""
    try:
        return tree.sql(
            dialect="postgres", identify=True, unsupported_level=sqlglot.ErrorLevel.RAISE
        )
    except SqlglotError as error:
        raise UntranslatableError(str(error).splitlines()[0]) from error


def plain_mysql(tree: exp.Expr) -> None:
    """Take out of a tree what only MySQL writes: charsets of strings, databases of columns.

    ``concat`` is NULL where an argument is, as the operator is and PostgreSQL's function is not.
    """
    while (joined := tree.find(exp.Concat)) is not None:
        parts = joined.expressions
        joined.replace(
            exp.Paren(
                this=reduce(lambda left, right: exp.DPipe(this=left, expression=right), parts)
            )
        )
    for call in list(tree.find_all(exp.Anonymous)):
        name, given = call.name.lower(), call.expressions
        if name == "now":
            call.replace(exp.CurrentTimestamp())
        elif name == "json_unquote" and len(given) == 1 and isinstance(given[0], exp.JSONExtract):
            call.replace(exp.JSONExtractScalar(**given[0].args))
    for introduced in list(tree.find_all(exp.Introducer)):
        introduced.replace(introduced.expression)
    for collated in list(tree.find_all(exp.Collate)):
        collated.replace(collated.this)
    for column in tree.find_all(exp.Column):
        column.set("db", None)
        column.set("catalog", None)


def _adapted(
    tree: exp.Expr,
    relations: Mapping[str, Relation],
    styled: Callable[[str], str],
    dialect: str,
) -> exp.Expr:
    """Put true names in, strings that were written as identifiers, booleans, case folding."""
    if dialect == "mysql":
        plain_mysql(tree)
    local = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    aliases: dict[str, Relation] = {}
    for table in tree.find_all(exp.Table):
        if table.name.lower() in local:
            continue
        relation = relations.get(table.name.lower())
        if relation is None:
            raise UntranslatableError(f'names "{table.name}", which does not come along')
        aliases[(table.alias or table.name).lower()] = relation
        table.set("this", exp.to_identifier(relation.name, quoted=True))
        table.set("db", None)
    in_scope = list(aliases.values()) or list(relations.values())
    outputs = {a.alias.lower() for a in tree.find_all(exp.Alias)}
    computed = bool(local) or any(True for _ in tree.find_all(exp.Subquery))
    for column in list(tree.find_all(exp.Column)):
        _resolve(column, aliases, in_scope, outputs, computed, styled)
    _refuse_stars(tree, aliases.values())
    for alias in tree.find_all(exp.Alias):
        if styled(alias.alias) != alias.alias:
            alias.set("alias", exp.to_identifier(styled(alias.alias), quoted=True))
    for function in tree.find_all(exp.Anonymous):
        if dialect == "mysql" and function.name.lower() in _SAME_IN_MYSQL:
            continue
        raise UntranslatableError(f"function {function.name} has no known counterpart")
    for piece in list(tree.find_all(exp.Substring)):
        # PostgreSQL has no substring with 64-bit positions.
        for place in (piece.args.get("start"), piece.args.get("length")):
            if place is not None and not isinstance(place, exp.Literal | exp.Neg):
                place.replace(exp.cast(place.copy(), "int"))
    for like in list(tree.find_all(exp.Like)):
        # LIKE of SQLite and MySQL ignores case.
        like.replace(exp.ILike(this=like.this, expression=like.expression))
    types = {name: kind for relation in in_scope for name, kind in relation.columns.values()}
    for comparison in list(tree.find_all(*_COMPARISONS)):
        _compare_as(comparison.this, [comparison.expression], types)
        _compare_as(comparison.expression, [comparison.this], types)
    for choice in list(tree.find_all(exp.In)):
        _compare_as(choice.this, choice.expressions, types)
    if dialect == "mysql":
        _as_conditions(tree, types)
    return tree


def _as_conditions(tree: exp.Expr, types: Mapping[str, str]) -> None:
    """Numbers that stand for conditions, as MySQL allows: true where they are not zero."""
    for node in list(tree.find_all(exp.If, exp.Where, exp.And, exp.Or, exp.Not)):
        sides = [node.this]
        if isinstance(node, exp.And | exp.Or):
            sides.append(node.expression)
        for side in sides:
            bare = side.unnest()
            if isinstance(bare, exp.Column) and types.get(bare.name) in _NUMERIC:
                side.replace(exp.NEQ(this=bare.copy(), expression=exp.Literal.number(0)))


def _refuse_stars(tree: exp.Expr, relations: Iterable[Relation]) -> None:
    """Refuse ``*`` over a table that has lost columns: it would have other columns than before."""
    for relation in relations:
        for star in tree.find_all(exp.Star):
            if relation.dropped and not isinstance(star.parent, exp.Count):
                raise UntranslatableError(
                    f'selects all columns of "{relation.name}", of which overrides: drops '
                    f"{', '.join(sorted(relation.dropped))}"
                )


def _resolve(
    column: exp.Column,
    aliases: Mapping[str, Relation],
    in_scope: list[Relation],
    outputs: set[str],
    computed: bool,
    styled: Callable[[str], str],
) -> None:
    """Give one column reference its true name, or turn it into the string it really is."""
    if isinstance(column.this, exp.Star):
        return
    folded = column.name.lower()
    qualifier = column.table.lower() if column.table else None
    candidates = [aliases[qualifier]] if qualifier and qualifier in aliases else in_scope
    for spelling in (folded, styled(column.name).lower()):
        for relation in candidates:
            if spelling in relation.columns:
                column.set("this", exp.to_identifier(relation.columns[spelling][0], quoted=True))
                _qualify(column, aliases)
                return
    if any(folded in relation.dropped for relation in candidates):
        raise UntranslatableError(f'names the column "{column.name}", which overrides: drops')
    if folded in outputs or (computed and not column.this.quoted):
        if styled(column.name) != column.name:
            column.set("this", exp.to_identifier(styled(column.name), quoted=True))
        return
    if column.this.quoted and not qualifier:
        # SQLite reads a quoted name that is no column as a string.
        column.replace(exp.Literal.string(column.name))
        return
    if folded in {"rowid", "_rowid_", "oid"}:
        raise UntranslatableError("uses the row id, which does not come along")
    if not computed:
        raise UntranslatableError(f'names the column "{column.name}", which does not exist')


def _qualify(column: exp.Column, aliases: Mapping[str, Relation]) -> None:
    """Write a qualifier that is a table's own name in that table's true spelling."""
    qualifier = column.table
    relation = aliases.get(qualifier.lower()) if qualifier else None
    if relation is not None and relation.name.lower() == qualifier.lower():
        column.set("table", exp.to_identifier(relation.name, quoted=True))


def _compare_as(column: exp.Expr, literals: list[exp.Expr], types: Mapping[str, str]) -> None:
    """Give literals the type of the column they are compared with, as the source's engine does.

    0 and 1 beside a boolean become FALSE and TRUE; a number beside a text column becomes a text
    (SQLite, "Type Conversions Prior To Comparison").
    """
    column = column.unnest()
    if not isinstance(column, exp.Column):
        return
    kind = types.get(column.name)
    for literal in literals:
        if not isinstance(literal, exp.Literal) or literal.is_string:
            continue
        if kind == "boolean" and literal.this in {"0", "1"}:
            literal.replace(exp.Boolean(this=literal.this == "1"))
        elif kind in {"text", "varchar"}:
            literal.replace(exp.Literal.string(literal.this))


_SAME_IN_MYSQL = {"octet_length", "bit_length"}
"""Functions that sqlglot does not know, of one name and meaning in both engines."""
_NUMERIC = {"smallint", "integer", "bigint", "numeric", "real", "double precision"}
_COMPARISONS = (exp.EQ, exp.NEQ, exp.Is, exp.GT, exp.GTE, exp.LT, exp.LTE)
