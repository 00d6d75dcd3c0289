"""``migration-assets resume``: a paused migration goes on."""

from __future__ import annotations

import click

from migration_assets import home as homes
from migration_assets import pause, run_lock


@click.command("resume")
@click.argument("name")
def command(name: str) -> int:
    """Let the paused migration NAME go on where it stands."""
    migration = homes.load(homes.home_path(), name)
    over = pause.end(migration.folder)
    run = run_lock.under_way(migration)
    what = f"run {run} goes on" if run else "runs may begin"
    click.echo(f"{name} was {over}; {what}" if over else f"{name} was not paused; {what}")
    return 0
