"""``migration-assets backup``: back up what is live in a target."""

from __future__ import annotations

import click

from migration_assets import backup
from migration_assets import home as homes
from migration_assets.cli.beside import run_beside
from migration_assets.core.cutover_config import PRODUCTION, STAGING
from migration_assets.core.results import to_json


@click.command("backup")
@click.argument("name")
@click.option(
    "--environment",
    type=click.Choice([STAGING, PRODUCTION]),
    help="What to back up; default: production, or staging where there is no production.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the backup's manifest as JSON.")
def command(name: str, environment: str | None, as_json: bool) -> int:
    """Back up what is live of migration NAME, and drop backups that are not kept any more.

    It is pg_dump's, with checksums of its files and, of the same moment, the rows and a digest of
    every table, by which a restore drill can tell whether all of it came back. The same as the job
    NAME_backup.

    Exit codes: 0 there is a backup, 2 it is not possible, 3 it broke off; nothing is left then.
    """
    migration = homes.load(homes.home_path(), name)
    environment = environment or migration.config.default_environment
    run_beside(migration, "backup", "back_up", {"environment": environment})
    made = backup.find(migration, environment)
    if as_json:
        click.echo(to_json(made))
        return 0
    click.echo(
        f"Backup {made.id} of {environment} ({made.location}): {len(made.contents.tables)} tables, "
        f"{made.contents.rows:,} rows, {made.bytes:,} bytes in {made.seconds:.1f} s"
    )
    click.echo(f"  {backup.place_of(migration, environment, made.id)}")
    click.echo(f"  does it restore?  migration-assets restore-drill {name}")
    return 0
