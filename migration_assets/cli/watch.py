"""``migration-assets watch``: one look at production after the cutover."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.table import Table as Grid
from rich.text import Text

from migration_assets import home as homes
from migration_assets import watch
from migration_assets.cli.progress_view import plain_console
from migration_assets.core.watch import Look


@click.command("watch")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the look as JSON.")
def command(name: str, as_json: bool) -> int:
    """Look at the production of migration NAME once, as the schedule does after a cutover.

    Exit codes: 0 all is well, 1 a figure is beyond its limit, 2 there was no cutover, or the
    target can not be used.
    """
    migration = homes.load(homes.home_path(), name)
    found = watch.look(migration)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=1))
    else:
        plain_console().print(_shown(found), soft_wrap=True)
        click.echo(f"plots: {watch.write_plots(migration)}")
    return 1 if found.failed else 0


def _shown(found: Look) -> Grid:
    grid = Grid.grid(padding=(0, 2))
    for measure in found.measures:
        style = "dim" if measure.value is None else "green" if measure.passed else "red"
        word = "-" if measure.value is None else "ok" if measure.passed else measure.kind.severity
        grid.add_row(Text(word, style=style), measure.name, measure.line())
    return grid
