"""Before the load into an application's own tables: what they are, and whether it may go there."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path

from psycopg2.extensions import cursor as Cursor

from migration_assets import load
from migration_assets.core.config import MigrationConfig
from migration_assets.core.plan import Plan
from migration_assets.core.structure import Structure
from migration_assets.errors import InputError
from migration_assets.existing.command import run_command
from migration_assets.passwords import known_passwords
from migration_assets.postgres import admission, clone, marker, swap
from migration_assets.postgres.connect import Target, session
from migration_assets.postgres.move_rows import references
from migration_assets.postgres.structure import read_structure
from migration_assets.run_folder import RunFolder


def preflight(target: Target, config: MigrationConfig) -> None:
    """Look whether a run can go into the target's schema; writes nothing.

    Raises:
        InputError: it can not; says what to do.
    """
    admission.check_target(target, config.name, schema_check(config))


def schema_check(config: MigrationConfig) -> Callable[[Cursor, str, str], None]:
    """How the target's schema is looked at: see :func:`admission.looks`."""
    if config.schema_command is not None:
        return partial(admission.check_schema, built=True)
    return _check_schema


def _check_schema(cursor: Cursor, schema: str, migration: str) -> None:
    if not marker.schema_exists(cursor, schema):
        raise InputError(
            f'there is no schema "{schema}" for schema_mode: existing; run the application\'s own '
            "migrations first, name them as schema_command, or choose another one with --schema"
        )
    mark = marker.read_mark(cursor, schema)
    if mark is not None:
        raise InputError(
            f'schema "{schema}" was made by migration {mark.migration} and not by an application; '
            "choose another one with --schema NAME"
        )


def read(target: Target, schema: str | None = None) -> Structure:
    """The structure of the target's schema, or of another one, as that of the target's."""
    with (
        session(target, "the look at the existing schema") as connection,
        connection.cursor() as cursor,
    ):
        found = read_structure(cursor, schema or target.schema)
    return replace(found, schema=target.schema)


def build(
    target: Target,
    incoming: str,
    config: MigrationConfig,
    run_id: str,
    place: Path,
    folder: RunFolder,
) -> Structure:
    """Let ``schema_command`` make the application's tables in the incoming schema.

    Where the run has them already, they stay. Whatever fails leaves the target as it was.

    Args:
        target: the database.
        incoming: the run's schema, made if it is not there.
        config: names the command.
        run_id: the root run id.
        place: the folder that the command runs in.
        folder: takes its output.

    Raises:
        InputError: the command failed, or made no table.
    """
    load.prepare(target, incoming, run_id, config.name)
    found = read(target, incoming)
    if found.tables:
        return found
    try:
        run_command(
            config.schema_command or "",
            target,
            incoming,
            config.schema_command_timeout,
            place,
            folder,
            known_passwords(config, place),
        )
        return read(target, incoming)
    except BaseException:
        swap.drop_incoming(target, incoming, config.name, run_id)
        raise


def check_fit(target: Target, structure: Structure, plan: Plan, config: MigrationConfig) -> None:
    """Look whether the tables that the plan goes to can be loaded.

    Raises:
        InputError: one belongs to another role, has rows, or has what would change rows on the
            way; names it.
    """
    tables = [structure.table(table.name) for table in plan.tables]
    for table in tables:
        where = f'table "{structure.schema}"."{table.name}"'
        if not table.owned:
            raise InputError(
                f"{where} belongs to another role; connect as its owner, or as a role that is a "
                "member of it"
            )
        if table.rules:
            raise InputError(
                f'{where} has the rule "{table.rules[0]}", which would change rows on the way; '
                "drop it and make it again after the run"
            )
        if table.guarded:
            raise InputError(
                f"{where} has row security that holds for its owner as well; ALTER TABLE ... NO "
                "FORCE ROW LEVEL SECURITY while the run goes on"
            )
    filled = [table.name for table in tables if table.filled]
    if filled and not config.replace:
        more = f" and {len(filled) - 1} more" if len(filled) > 1 else ""
        raise InputError(
            f'table "{structure.schema}"."{filled[0]}"{more} has rows already; empty it, or write '
            "replace: true in defs.yaml to have its rows kept aside and replaced"
        )
    if config.schema_command is None:
        _check_references(target, [table.name for table in tables])


def _check_references(target: Target, tables: list[str]) -> None:
    """Foreign keys are dropped and made again, which needs their tables' owner."""
    with (
        session(target, "the look at the existing schema") as connection,
        connection.cursor() as cursor,
    ):
        for table, name, _, ours, owner in references(cursor, target.schema, tables):
            if not ours:
                raise InputError(
                    f'foreign key "{name}" of table {table} belongs to role "{owner}" and would '
                    "have to be made again; connect as a member of that role"
                )


def prepare(target: Target, incoming: str, structure: Structure, plan: Plan, built: bool) -> None:
    """Make the tables of the incoming schema ready for the load; may be called again.

    Args:
        target: the database.
        incoming: the run's schema.
        structure: the application's schema.
        plan: names the tables.
        built: they are there by ``schema_command``; else they are copied.
    """
    with (
        session(target, "the preparation of the target") as connection,
        connection.cursor() as cursor,
    ):
        marker.hold(cursor, incoming)
        if not built:
            clone.make(cursor, structure, incoming, loaded_tables(structure, plan, built))
        clone.drop_references(cursor, incoming)


def loaded_tables(structure: Structure, plan: Plan, built: bool) -> Collection[str]:
    """The tables of the incoming schema: those that are filled, or all that were built."""
    every = structure.tables if built else plan.tables
    return {table.name for table in every}
