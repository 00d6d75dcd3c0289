"""The DDL of a target as a script for psql, made without a connection."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from psycopg2 import sql

from migration_assets import constraints
from migration_assets.core.naming import quote
from migration_assets.core.plan import Plan
from migration_assets.core.profile import Profile
from migration_assets.postgres.ddl import create_table

_SETTINGS = (
    "SET client_encoding = 'UTF8'",
    "SET standard_conforming_strings = on",
    "SET client_min_messages = warning",
)


def script(
    schema: str, plan: Plan, profile: Profile, without: Collection[str] = ("analyze",)
) -> Iterator[str]:
    """The statements that make the target, in their order, each with its semicolon.

    Keys, indexes and references come after the tables, as in a run, so that rows may be loaded
    between them.

    Args:
        schema: the schema to make; one that is there already is used.
        plan: what to make.
        profile: gives the next identity values by source table name.
        without: kinds of statements that are left out.
    """
    yield from (f"{setting};" for setting in _SETTINGS)
    yield f"CREATE SCHEMA IF NOT EXISTS {quote(schema)};"
    # Views and checks name tables without a schema.
    yield f"SET search_path TO {quote(schema)};"
    for table in plan.tables:
        yield f"{rendered(create_table(schema, table))};"
    for statement in constraints.statements(schema, plan, profile):
        if statement.kind not in without:
            yield f"{rendered(statement.statement)};"


def rendered(composable: sql.Composable) -> str:
    """The text of a statement of identifiers, SQL, numbers and texts.

    Raises:
        TypeError: it has a part of another kind.
    """
    if isinstance(composable, sql.Composed):
        return "".join(rendered(part) for part in composable.seq)
    if isinstance(composable, sql.SQL):
        return composable.string
    if isinstance(composable, sql.Identifier):
        return ".".join(quote(part) for part in composable.strings)
    value = composable.wrapped if isinstance(composable, sql.Literal) else composable
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    raise TypeError(f"no way to write {type(value).__name__} into a script")
