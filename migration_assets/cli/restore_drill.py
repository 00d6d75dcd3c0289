"""``migration-assets restore-drill``: prove that a backup restores."""

from __future__ import annotations

import click

from migration_assets import backup
from migration_assets import home as homes
from migration_assets.cli.beside import run_beside
from migration_assets.core.cutover_config import PRODUCTION, STAGING
from migration_assets.core.results import to_json
from migration_assets.errors import NotProvenError
from migration_assets.restore_drill import verdict


@click.command("restore-drill")
@click.argument("name")
@click.option(
    "--environment",
    type=click.Choice([STAGING, PRODUCTION]),
    help="Of what; default: production, or staging where there is no production.",
)
@click.option("--backup", "wanted", help="Id of the backup, or its beginning; default: the newest.")
@click.option("--json", "as_json", is_flag=True, help="Print what came of it as JSON.")
def command(name: str, environment: str | None, wanted: str | None, as_json: bool) -> int:
    """Restore a backup of migration NAME into a database of its own, compare it, and drop it.

    Every file's checksum, the rows and digest of every table, sequences and the number of objects
    must be what they were. The database is made on the server of the backup if this role may, else
    on that of staging. The same as the job NAME_restore_drill.

    Exit codes: 0 it restores, 1 it does not, 2 it can not be tried, 3 it broke off.
    """
    migration = homes.load(homes.home_path(), name)
    environment = environment or migration.config.default_environment
    chosen = backup.find(migration, environment, wanted).id
    config = {"environment": environment, "backup": chosen}
    try:
        run_beside(migration, "restore_drill", "restore", config)
    except NotProvenError:
        if not as_json:
            raise
    done = backup.read_drill(migration, environment, chosen)
    assert done is not None, "it was written by the job"
    click.echo(to_json(done) if as_json else verdict(done))
    return 0 if done.passed else NotProvenError.exit_code
