"""Which exchange leads back: that of whole schemas, or of the rows in the application's tables."""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor

from migration_assets.core.plan import Plan
from migration_assets.core.rollback import SwapBack
from migration_assets.core.sensitive import names
from migration_assets.errors import InputError
from migration_assets.home import Migration
from migration_assets.postgres import marker, rows_back, swap_back
from migration_assets.postgres.connect import Target
from migration_assets.postgres.swap import previous_schema


def was_live(migration: Migration, cursor: Cursor, schema: str, run: str | None) -> bool:
    """Whether something was live in the schema before ``run``, and is kept."""
    if _moves_rows(migration):
        return run is not None and rows_back.were_rows(cursor, schema, run)
    return marker.schema_exists(cursor, previous_schema(schema))


def go_back(
    migration: Migration, target: Target, run: str, *, to_previous: bool, lenient: bool = False
) -> SwapBack:
    """Exchange the tables, or the rows in those of the application; errors as there."""
    if _moves_rows(migration):
        plan = _plan(migration, run)
        return rows_back.rows_back(target, migration.name, _tables(plan), run, hidden=_hidden(plan))
    return swap_back.swap_back(
        target,
        migration.name,
        expected=run,
        to_previous=to_previous,
        built=migration.config.schema_mode == "existing",
        lenient=lenient,
    )


def go_forth(migration: Migration, target: Target, run: str, done: SwapBack) -> SwapBack:
    """Take ``done`` of :func:`go_back` of ``run`` back; errors as there."""
    if _moves_rows(migration):
        plan = _plan(migration, run)
        return rows_back.rows_forth(
            target, migration.name, _tables(plan), done, hidden=_hidden(plan)
        )
    built = migration.config.schema_mode == "existing"
    return swap_back.undo(target, migration.name, done=done, built=built)


def _moves_rows(migration: Migration) -> bool:
    """Whether the tables are the application's own, and stay."""
    config = migration.config
    return config.schema_mode == "existing" and config.schema_command is None


def _plan(migration: Migration, run: str) -> Plan:
    place = migration.run_folder(run)
    if not place.has_plan:
        raise InputError(
            f"the folder of run {run} is gone, which names the tables that it filled: put their "
            "rows back yourself"
        )
    return place.plan()


def _tables(plan: Plan) -> list[str]:
    return [table.name for table in plan.tables]


def _hidden(plan: Plan) -> set[str]:
    """Columns whose values are in no message."""
    return {name for table in plan.tables for name in names(table)}
