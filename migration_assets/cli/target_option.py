"""``--target``, and what it is where it is not given."""

from __future__ import annotations

import os

import click

TARGET_HELP = (
    "postgresql://user@host:port/database, or embedded; default: DATABASE_URL of the environment "
    "if it is PostgreSQL's, else the embedded one."
)


def target_url(given: str | None) -> str | None:
    """The URL of ``--target``, else that of the environment, which is then told.

    Args:
        given: what the command line says; ``embedded`` too wins over the environment.

    Returns:
        None if neither names a PostgreSQL: the bundled one, or that of the migration.

    Raises:
        InputError: the environment's URL is malformed.
    """
    # The options of a command are made before anything else is imported.
    from migration_assets.postgres.connect import is_postgres, parameters, redact
    from migration_assets.postgres.variables import DATABASE_URL

    found = os.environ.get(DATABASE_URL)
    if given is not None or not found or not is_postgres(found):
        return given
    parameters(found)
    click.echo(
        f"The target is {redact(found)}, by {DATABASE_URL}; --target embedded is the bundled one",
        err=True,
    )
    return found
