"""``migration-assets pause``: what runs stands still, and nothing new begins."""

from __future__ import annotations

import click

from migration_assets import home as homes
from migration_assets import pause, run_lock


@click.command("pause")
@click.argument("name")
@click.option("--reason", help="Shown to whoever asks.")
def command(name: str, reason: str | None) -> int:
    """Let migration NAME stand still until ``migration-assets resume NAME``.

    A run that is under way stops between two batches, statements, tables or steps, keeps what it
    has, and goes on in place afterwards. No run begins meanwhile; schedules and sensors wait.
    """
    migration = homes.load(homes.home_path(), name)
    there = pause.begin(migration.folder, reason)
    run = run_lock.under_way(migration)
    what = f"run {run} stops at its next safe point" if run else "no run begins"
    click.echo(f"{name} is {there}; {what} until: migration-assets resume {name}")
    return 0
