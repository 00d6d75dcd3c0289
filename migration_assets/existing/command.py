"""``schema_command``: the application's own migration command makes its tables in our schema."""

from __future__ import annotations

from pathlib import Path

from migration_assets import commands
from migration_assets.errors import InputError
from migration_assets.postgres.connect import Target, session
from migration_assets.postgres.variables import variables
from migration_assets.run_folder import RunFolder

NAME = "schema_command"

STRAY = """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND c.oid::bigint > %s ORDER BY c.oid LIMIT 1
"""


def run_command(
    command: str,
    target: Target,
    schema: str,
    seconds: int,
    place: Path,
    folder: RunFolder,
    secrets: tuple[str, ...] = (),
) -> None:
    """Run a command of the application against an empty schema.

    It finds ``DATABASE_URL`` (names without a schema are looked for, and made, in ``schema``),
    ``DATABASE_SCHEMA`` and ``PGOPTIONS`` in its environment. Its output and exit code are kept in
    the run's folder.

    Args:
        command: for the shell.
        target: the database.
        schema: it is there, and empty.
        seconds: that it may take.
        place: the folder that it runs in.
        folder: takes output and result.
        secrets: never shown, beside the target's own password.

    Raises:
        InputError: it failed, took too long, or made no table.
    """
    newest = _newest(target)
    asked = commands.Command(NAME, command, seconds, place, variables(target, schema), secrets)
    result = commands.run(asked, folder.path / f"{NAME}.log")
    folder.write_result(NAME, "all", result)
    if result.exit_code is None:
        raise InputError(f"{result.problem}; mend it, or raise schema_command_timeout in defs.yaml")
    if not result.passed:
        raise InputError(result.problem)
    _check_made(target, schema, newest)


def _newest(target: Target) -> int:
    with (
        session(target, "the look at the target") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT coalesce(max(oid::bigint), 0) FROM pg_class")
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def _check_made(target: Target, schema: str, newest: int) -> None:
    """Raise InputError if the command made no table in the schema that it was given."""
    with (
        session(target, "the look at the target") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relkind IN ('r', 'p'))",
            (schema,),
        )
        row = cursor.fetchone()
        if row and row[0]:
            return
        cursor.execute(STRAY, (newest,))
        stray = cursor.fetchone()
    where = f"; it made {stray[0]}" if stray else ""
    raise InputError(
        f'schema_command made no table in schema "{schema}"{where}; let it use DATABASE_URL as it '
        "is, whose options set the search_path, or DATABASE_SCHEMA"
    )
