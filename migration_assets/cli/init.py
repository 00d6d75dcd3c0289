"""``migration-assets init``: a commented ``defs.yaml`` for a database."""

from __future__ import annotations

import click

from migration_assets import home as homes
from migration_assets.cli.target_option import TARGET_HELP, target_url
from migration_assets.errors import InputError
from migration_assets.sources import open_source
from migration_assets.state import State


@click.command("init")
@click.argument("source")
@click.option("--target", help=TARGET_HELP)
@click.option("--schema", help="Target schema; default: the migration's name.")
def command(source: str, target: str | None, schema: str | None) -> None:
    """Write a commented defs.yaml for SOURCE into the migration home.

    SOURCE is a URL: sqlite:///path/to/app.db, mysql://user@host/database or csv:///folder.
    No target is touched. The migration is then in the Dagster UI (migration-assets ui); edit the
    file as you like.
    """
    target = target_url(target)
    database = open_source(source)
    database.check()
    home = homes.home_path()
    name, migration = homes.choose(home, database.location, target, schema)
    if migration is not None:
        raise InputError(f"{migration.defs_yaml} is there already; edit it, or remove its folder")
    catalog = database.reflect()
    tables = [table.name for table in catalog.tables]
    migration = homes.create(home, name, database.location, target, schema, tables)
    homes.keep_source_password(migration, source)
    State(catalog).write(migration.state)
    click.echo(f"{migration.defs_yaml}: {len(tables)} tables")
