"""``migration-assets purge``: remove the rows that a run has left on this machine."""

from __future__ import annotations

import click

from migration_assets import home as homes
from migration_assets.purge import find, purge


@click.command("purge")
@click.argument("run")
@click.option("--force", is_flag=True, help="Also if something still needs its rows.")
def command(run: str, force: bool) -> int:
    """Remove extracts, snapshot and all other rows of RUN; evidence, report and ledger stay.

    RUN is a run's id, the beginning of it, or its folder. A run that is live, that a rollback
    compares with, or that another one was loaded from is refused without --force. A purged run can
    not be re-executed.

    Exit codes: 0 removed, 2 refused; nothing was removed then.
    """
    home = homes.home_path()
    migrations = [homes.load(home, name) for name in homes.migration_names(home)]
    migration, folder = find(migrations, run)
    gone = purge(migration, folder, force)
    click.echo(
        f"Run {folder.path.name} of {migration.name}: {gone.files} files, {gone.bytes:,} bytes "
        f"freed; evidence, report, plan, ledger and quarantine stay in {folder.path}"
    )
    return 0
