"""A plan's target schema as one SQL file, proved by running it, and compared with other schemas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from migration_assets import constraints
from migration_assets.core.catalog import SkippedObject
from migration_assets.core.plan import Plan
from migration_assets.core.profile import Profile
from migration_assets.core.structure import Line, lines
from migration_assets.errors import InputError, NotProvenError
from migration_assets.postgres import connect, marker
from migration_assets.postgres.connect import Target, session
from migration_assets.postgres.ddl import create_table
from migration_assets.postgres.script import script
from migration_assets.postgres.structure import look_in, read_structure
from migration_assets.verify import structure

VIEWS = """
SELECT c.relname::text, pg_get_viewdef(c.oid) FROM pg_class c
WHERE c.relnamespace = %s::regnamespace AND c.relkind IN ('v', 'm')
"""

ABOUT_ROWS = frozenset({"identity", "analyze"})
"""Statements about rows, which a schema without rows has no use for."""


@dataclass(frozen=True)
class Difference:
    """One object that two schemas do not have alike.

    Attributes:
        kind: ``table``, ``column``, ``constraint``, ``index`` or ``view``.
        table: its table, empty for a view.
        name: its name.
        left, right: its text on either side, None where it is not there.
    """

    kind: str
    table: str
    name: str
    left: str | None
    right: str | None


def baseline(plan: Plan, schema: str) -> str:
    """The file: all that makes the plan's schema, in order, and nothing about rows.

    What does not come along is listed at its top.

    Args:
        plan: what to make.
        schema: where; made if it is not there.
    """
    head = [
        f"-- Schema of {len(plan.tables)} tables, plan digest {plan.digest}.",
        "-- Made by migration-assets baseline; proved by running it on an empty database.",
        *(f"-- Left out: {_said(item)}" for item in plan.skipped),
    ]
    return "\n".join([*head, *script(schema, plan, Profile({}), ABOUT_ROWS)]) + "\n"


def _said(item: SkippedObject) -> str:
    of = f" of {item.table}" if item.table else ""
    return " ".join(f"{item.kind} {item.name}{of}: {item.reason}".split())


def refused(plan: Plan, schema: str, url: str) -> dict[tuple[str, str | None, str], str]:
    """What PostgreSQL refuses of a plan's statements on empty tables, and why.

    Args:
        plan: what to make.
        schema: where.
        url: an empty database.

    Returns:
        (kind, table, name) -> reason.
    """
    found: dict[tuple[str, str | None, str], str] = {}
    with session(url, "the trial of a baseline") as connection, connection.cursor() as cursor:
        _make(cursor, plan, schema, found)
        connection.rollback()
    return found


def prove(text: str, plan: Plan, schema: str, url: str) -> None:
    """Run a baseline on an empty database, and compare what it made with the plan.

    Args:
        text: the file.
        plan: what it ought to make.
        schema: where.
        url: the empty database; left as it was.

    Raises:
        NotProvenError: the catalogs differ, or PostgreSQL refuses the file.
    """
    planned = schema_lines(url, schema, lambda cursor: _make(cursor, plan, schema, {}))
    made = schema_lines(url, schema, lambda cursor: run_script(cursor, text, "the baseline"))
    found = list(differences(planned, made))
    if found:
        first = found[0]
        raise NotProvenError(
            f'the baseline makes {first.kind} "{first.name}" of "{first.table}" as '
            f"{first.right or 'nothing'}, planned {first.left or 'nothing'}; and "
            f"{len(found) - 1} more differences"
        )
    with connect.session(url, "the proof of a baseline") as connection:
        with connection.cursor() as cursor:
            run_script(cursor, text, "the baseline")
        connection.commit()
        problems = structure.findings(Target(url, schema), schema, plan, Profile({}))
        marker.drop_schema(connection, schema)
    if problems:
        raise NotProvenError(
            f'the baseline is not the plan: "{problems[0].table}" {problems[0].object}: '
            f"{problems[0].problem}; and {len(problems) - 1} more"
        )


def run_script(cursor: Cursor, text: str, what: str) -> None:
    """Run a whole SQL file.

    Raises:
        InputError: PostgreSQL refuses it; its reason and the place.
    """
    try:
        cursor.execute(text)
    except psycopg2.Error as error:
        if connect.is_lost(error):
            raise
        place = int(error.diag.statement_position or 0)
        line = text.count("\n", 0, place) + 1
        raise InputError(f"{what}, line {line}: {error.diag.message_primary or error}") from error


def schema_lines(url: str | Target, schema: str, make: Callable[[Cursor], object]) -> set[Line]:
    """All objects of a schema as texts, after ``make`` made it; nothing of it stays."""
    with session(url, "the look at a schema") as connection, connection.cursor() as cursor:
        make(cursor)
        if not marker.schema_exists(cursor, schema):
            raise InputError(f'there is no schema "{schema}" to compare; name it with --schema')
        found = read_structure(cursor, schema)
        tables = {table.name for table in found.tables if table.kind in {"r", "p", "f"}}
        objects = set(lines(found, tables)) | {("table", name, name, "") for name in tables}
        look_in(cursor, schema)
        cursor.execute(VIEWS, (sql.Identifier(schema).as_string(cursor),))
        objects |= {("view", "", name, text) for name, text in cursor.fetchall()}
        connection.rollback()
    return objects


def planned_lines(plan: Plan, schema: str, url: str) -> set[Line]:
    """All objects of a plan as PostgreSQL would have them, by way of an empty database."""
    return schema_lines(url, schema, lambda cursor: _make(cursor, plan, schema, {}))


def differences(left: set[Line], right: set[Line]) -> Iterator[Difference]:
    """What two schemas do not have alike, table by table; of a missing table nothing else."""
    ours = {line[:3]: line[3] for line in left}
    theirs = {line[:3]: line[3] for line in right}
    alone = {key[1] for key in ours.keys() ^ theirs.keys() if key[0] == "table"}
    keys = sorted(ours.keys() | theirs.keys(), key=lambda key: (key[1], key))
    for key in keys:
        kind, table, name = key
        if ours.get(key) == theirs.get(key) or (table in alone and kind != "table"):
            continue
        yield Difference(kind, table, name, ours.get(key), theirs.get(key))


def _make(
    cursor: Cursor, plan: Plan, schema: str, found: dict[tuple[str, str | None, str], str]
) -> None:
    """Make a plan's schema statement by statement; what is refused is noted and left out."""
    cursor.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    look_in(cursor, schema)
    made = [("table", t.name, t.name, create_table(schema, t)) for t in plan.tables] + [
        (s.kind, s.table, s.name, s.statement)
        for s in constraints.statements(schema, plan, Profile({}))
        if s.kind not in ABOUT_ROWS
    ]
    for kind, table, name, statement in made:
        cursor.execute("SAVEPOINT one")
        try:
            cursor.execute(statement)
        except psycopg2.Error as error:
            if connect.is_lost(error):
                raise
            found[kind, table, name] = str(error.diag.message_primary or error)
            cursor.execute("ROLLBACK TO SAVEPOINT one")
