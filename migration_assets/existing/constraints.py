"""Keys, indexes and references of an application's own tables, made after the load."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.constraints import LARGE_ROWS, analyze, rows_of, text_of, write_results
from migration_assets.core.plan import Plan
from migration_assets.core.profile import Profile
from migration_assets.core.results import StatementResult
from migration_assets.core.sensitive import names
from migration_assets.core.structure import Structure, TargetColumn, TargetTable
from migration_assets.postgres import clone
from migration_assets.postgres.connect import Target, session
from migration_assets.progress import Progress
from migration_assets.run_folder import RunFolder
from migration_assets.statements import Statement, begin, run

_KINDS = {"p": "primary key", "u": "unique", "x": "exclusion", "f": "foreign key"}
"""``pg_constraint.contype`` -> word."""


def apply(
    target: Target,
    incoming: str,
    structure: Structure,
    tables: Collection[str],
    plan: Plan,
    profile: Profile,
    folder: RunFolder,
    progress: Progress,
    also: Sequence[str] = (),
) -> list[StatementResult]:
    """Make what an application's own tables have beside their rows.

    May be called again for the same schema: what is there stays. The results are written to the
    run folder as well.

    Args:
        target: the database.
        incoming: the schema with the loaded tables.
        structure: says what to make, by the application's own names.
        tables: of which tables.
        plan: what was loaded.
        profile: gives row counts and next numbers by source table name.
        folder: where the results go.
        progress: shows each large table and the small ones together.
        also: the application's schema, if the tables are copies: functions are there only.
    """
    rows = {table.name: rows_of(profile, table) for table in plan.tables}
    hidden = {table.name: names(table) for table in plan.tables}
    with session(target, "the making of constraints") as connection:
        there = begin(connection, incoming, *also)
        results: list[StatementResult] = []
        for stage in _stages(incoming, structure, tables, rows):
            shown = [replace(s, hidden=hidden.get(s.table or "", ())) for s in stage]
            results += run(connection, shown, there, progress)
        with connection.cursor() as cursor:
            numbers = list(_next_numbers(cursor, incoming, structure, plan, profile))
        results += run(connection, numbers, set(), progress)
        analyzed = [analyze(incoming, table, rows[table.name]) for table in plan.tables]
        results += run(connection, analyzed, set(), progress)
    write_results(folder, results)
    return results


def _stages(
    incoming: str, structure: Structure, tables: Collection[str], rows: Mapping[str, int]
) -> Iterator[list[Statement]]:
    """Keys, other constraints and indexes, then references when all keys are there."""
    wanted = [table for table in structure.tables if table.name in tables]
    yield [
        statement
        for table in wanted
        for statement in (
            *_constraints(incoming, table, "pux", rows),
            *(
                Statement(
                    table.name,
                    "index",
                    index.name,
                    sql.SQL("CREATE {}INDEX {} ON {} {}").format(
                        sql.SQL("UNIQUE " if index.unique else ""),
                        sql.Identifier(index.name),
                        sql.Identifier(incoming, table.name),
                        sql.SQL(index.definition),
                    ),
                    rows.get(table.name, 0) > LARGE_ROWS,
                )
                for index in table.indexes
            ),
        )
    ]
    yield [s for table in wanted for s in _constraints(incoming, table, "f", rows)]


def _constraints(
    incoming: str, table: TargetTable, kinds: str, rows: Mapping[str, int]
) -> Iterator[Statement]:
    for constraint in table.constraints:
        if constraint.kind in kinds:
            statement = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
                sql.Identifier(incoming, table.name),
                sql.Identifier(constraint.name),
                sql.SQL(constraint.definition),
            )
            large = rows.get(table.name, 0) > LARGE_ROWS
            kind = _KINDS[constraint.kind]
            yield Statement(table.name, kind, constraint.name, statement, large)


def _next_numbers(
    cursor: Cursor, incoming: str, structure: Structure, plan: Plan, profile: Profile
) -> Iterator[Statement]:
    """Set sequences to the source's next number, else to the one after the greatest."""
    loaded = {table.name: table for table in plan.tables}
    wanted: dict[str, tuple[str, TargetColumn, int]] = {}
    for name, column in clone.numbered(structure, loaded):
        table = loaded[name]
        if all(column.name != planned.name for planned in table.columns):
            continue
        facts = profile.tables.get(table.source)
        auto = facts.next_value if facts else None
        number = auto or _after_greatest(cursor, incoming, name, column)
        sequence = text_of(clone.sequence_of(cursor, incoming, name, column))
        if number is not None and (sequence not in wanted or wanted[sequence][2] < number):
            wanted[sequence] = (name, column, number)
    for sequence, (name, column, number) in wanted.items():
        assert column.sequence is not None, "numbered() gave it"
        if number > column.sequence.maximum:
            # The source has no number left: neither has the target.
            statement: sql.Composed = sql.SQL("SELECT setval({}, {}, true)").format(
                sql.Literal(sequence), sql.Literal(column.sequence.maximum)
            )
        else:
            statement = sql.SQL("ALTER SEQUENCE {} RESTART WITH {}").format(
                sql.SQL(sequence), sql.Literal(max(number, column.sequence.minimum))
            )
        yield Statement(name, "identity", column.name, statement)


def _after_greatest(cursor: Cursor, schema: str, table: str, column: TargetColumn) -> int | None:
    cursor.execute(
        sql.SQL("SELECT max({})::bigint + 1 FROM {}").format(
            sql.Identifier(column.name), sql.Identifier(schema, table)
        )
    )
    row = cursor.fetchone()
    return int(row[0]) if row and row[0] is not None else None
