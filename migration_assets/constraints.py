"""What comes after the rows: keys, indexes, references, checks, views, identity values, comments.

What is to be made is said here, :mod:`migration_assets.statements` makes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from psycopg2 import sql
from pydantic import TypeAdapter

from migration_assets import own_objects
from migration_assets.core.plan import ColumnPlan, ForeignKeyPlan, Plan, TablePlan
from migration_assets.core.profile import Profile
from migration_assets.core.results import StatementResult
from migration_assets.core.sensitive import names
from migration_assets.postgres import ddl
from migration_assets.postgres.connect import Target, session
from migration_assets.progress import Progress
from migration_assets.run_folder import RunFolder
from migration_assets.statements import Statement, begin, run, run_views

LARGE_ROWS = 50_000
INTEGER_MAXIMUM = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}

RESULTS = "results/constraints/all.json"
_RESULTS: TypeAdapter[list[StatementResult]] = TypeAdapter(list[StatementResult])


def apply(
    target: Target,
    incoming: str,
    plan: Plan,
    profile: Profile,
    folder: RunFolder,
    progress: Progress,
) -> list[StatementResult]:
    """Make all that ``plan`` wants beside the rows, in the schema ``incoming``.

    May be called again for the same schema: what is there stays. The results are written to the
    run folder as well.

    Args:
        target: the database.
        incoming: the schema with the loaded tables.
        plan: what to make.
        profile: gives row counts and next identity values by source table name.
        folder: where the results go.
        progress: shows each large table and the small ones together.

    Returns:
        one result a statement; ``error`` names the key that stands in the way, where there is one.

    Raises:
        BrokenOffError: the target was lost.
    """
    what = "the making of constraints"
    with session(target, what) as connection, session(target, what) as second:
        there = begin(connection, incoming)
        begin(second, incoming)
        results: list[StatementResult] = []
        for stage in _stages(incoming, plan, profile):
            results += run(connection, stage, there, progress, second)
        results += run_views(connection, _views(incoming, plan), there)
        results += run(connection, list(_facts(incoming, plan, profile)), set(), progress)
        with connection.cursor() as cursor:
            results = own_objects.with_offenders(cursor, incoming, plan, results)
        connection.commit()
    write_results(folder, results)
    return results


def statements(schema: str, plan: Plan, profile: Profile) -> Iterator[Statement]:
    """All that :func:`apply` makes, in its order; views come after those that they read."""
    for stage in _stages(schema, plan, profile):
        yield from stage
    yield from _views(schema, plan)
    yield from _facts(schema, plan, profile)


def write_results(folder: RunFolder, results: list[StatementResult]) -> None:
    """Keep ``results`` in the run folder, in place of those that were there."""
    folder.write_text(RESULTS, _RESULTS.dump_json(results, indent=1).decode())


def _stages(incoming: str, plan: Plan, profile: Profile) -> Iterator[list[Statement]]:
    """Primary keys, unique keys, indexes, checks, and references when all keys are there."""
    tables = list(plan.tables)
    makers = (_primary_keys, _uniques, _indexes, _checks, _foreign_keys)
    for stage in (makers[:4], makers[4:]):
        yield [
            replace(s, large=rows_of(profile, table) > LARGE_ROWS, hidden=names(table))
            for table in tables
            for maker in stage
            for s in maker(incoming, table)
        ]


def _primary_keys(incoming: str, table: TablePlan) -> Iterator[Statement]:
    if table.primary_key:
        name = table.primary_key_name or f"{table.name}_pkey"
        body = sql.SQL("PRIMARY KEY ({})").format(_names(table.primary_key))
        yield _constraint(incoming, table, "primary key", name, body)


def _uniques(incoming: str, table: TablePlan) -> Iterator[Statement]:
    for unique in table.uniques:
        body = sql.SQL("UNIQUE ({})").format(_names(unique.columns))
        yield _constraint(incoming, table, "unique", unique.name, body)


def _indexes(incoming: str, table: TablePlan) -> Iterator[Statement]:
    for index in table.indexes:
        yield Statement(table.name, "index", index.name, ddl.create_index(incoming, table, index))


def _checks(incoming: str, table: TablePlan) -> Iterator[Statement]:
    for check in table.checks:
        body = sql.SQL("CHECK (") + sql.SQL(check.expression) + sql.SQL(")")
        yield _constraint(incoming, table, "check", check.name, body)


def _foreign_keys(incoming: str, table: TablePlan) -> Iterator[Statement]:
    for key in table.foreign_keys:
        yield _constraint(incoming, table, "foreign key", key.name, _reference(incoming, key))


def _reference(incoming: str, key: ForeignKeyPlan) -> sql.Composed:
    return sql.SQL("FOREIGN KEY ({}) REFERENCES {} ({}) ON UPDATE {} ON DELETE {}{}{}{}").format(
        _names(key.columns),
        sql.Identifier(incoming, key.ref_table),
        _names(key.ref_columns),
        sql.SQL(key.on_update),
        sql.SQL(key.on_delete),
        sql.SQL(" DEFERRABLE" if key.deferrable else ""),
        sql.SQL(" INITIALLY DEFERRED" if key.initially_deferred else ""),
        sql.SQL("" if key.valid else " NOT VALID"),
    )


def _constraint(
    incoming: str, table: TablePlan, kind: str, name: str, body: sql.Composable
) -> Statement:
    statement = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} ").format(
        sql.Identifier(incoming, table.name), sql.Identifier(name)
    )
    return Statement(table.name, kind, name, statement + body)


def _views(incoming: str, plan: Plan) -> list[Statement]:
    return [
        Statement(None, "view", view.name, ddl.create_view(incoming, view)) for view in plan.views
    ]


def _facts(incoming: str, plan: Plan, profile: Profile) -> Iterator[Statement]:
    """What is set, not made, and so is done again without harm."""
    for table in plan.tables:
        name = sql.Identifier(incoming, table.name)
        facts = profile.tables.get(table.source)
        next_value = facts.next_value if facts else None
        for column in table.columns:
            if column.identity and next_value is not None:
                maximum = INTEGER_MAXIMUM[column.type.name]
                yield Statement(
                    table.name,
                    "identity",
                    column.name,
                    _restart(name, column.name, next_value, maximum),
                )
            if column.default is not None and column.default_test is not None:
                yield _default(incoming, table, column)
            if column.comment:
                what = sql.SQL("COLUMN {}.{}").format(name, sql.Identifier(column.name))
                yield _comment(table, column.name, what, column.comment)
        if (trigger := table.on_update_trigger) is not None:
            made = ddl.on_update(incoming, table, trigger)
            yield Statement(table.name, "trigger", trigger, made)
        if table.comment:
            yield _comment(table, table.name, sql.SQL("TABLE {}").format(name), table.comment)
        yield analyze(incoming, table, rows_of(profile, table))


def analyze(schema: str, table: TablePlan, rows: int) -> Statement:
    """Gather statistics of a table of ``rows`` rows."""
    statement = sql.SQL("ANALYZE {}").format(sql.Identifier(schema, table.name))
    return Statement(table.name, "analyze", table.name, statement, rows > LARGE_ROWS)


def _default(incoming: str, table: TablePlan, column: ColumnPlan) -> Statement:
    statement = sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT ").format(
        sql.Identifier(incoming, table.name), sql.Identifier(column.name)
    )
    return Statement(table.name, "default", column.name, statement + sql.SQL(column.default or ""))


def _restart(table: sql.Composable, column: str, next_value: int, maximum: int) -> sql.Composable:
    name = sql.Identifier(column)
    if next_value > maximum:
        # The source has no number left: neither has the target.
        used_up = "SELECT setval(pg_get_serial_sequence({}, {}), {}, true)"
        return sql.SQL(used_up).format(
            sql.Literal(text_of(table)), sql.Literal(column), sql.Literal(maximum)
        )
    lowest = (
        sql.SQL(" SET MINVALUE {}").format(sql.Literal(next_value))
        if next_value < 1
        else sql.SQL("")
    )
    return sql.SQL("ALTER TABLE {} ALTER COLUMN {}{} RESTART WITH {}").format(
        table, name, lowest, sql.Literal(next_value)
    )


def text_of(identifier: sql.Composable) -> str:
    """The text of an identifier, empty for anything else."""
    parts = identifier.strings if isinstance(identifier, sql.Identifier) else ()
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def _comment(table: TablePlan, name: str, what: sql.Composable, text: str) -> Statement:
    statement = sql.SQL("COMMENT ON {} IS {}").format(what, sql.Literal(text))
    return Statement(table.name, "comment", name, statement)


def rows_of(profile: Profile, table: TablePlan) -> int:
    """How many rows the table has in the source, 0 if unknown."""
    facts = profile.tables.get(table.source)
    return facts.rows if facts else 0


def _names(columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name in columns)
