"""``migration-assets status``: where the migrations of the home are."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.table import Table as Grid
from rich.text import Text

from migration_assets import home as homes
from migration_assets import status
from migration_assets.cli.progress_view import plain_console
from migration_assets.core.readable import moment
from migration_assets.core.status import Live, Running, Status, TaskStatus
from migration_assets.errors import InputError
from migration_assets.home import Migration

LOOK_EVERY = 1.0
ASK_TARGETS_EVERY = 30.0
_ID = 8
"""Characters of a run's id that tell it from others."""


@click.command("status")
@click.argument("name", required=False)
@click.option("--watch", is_flag=True, help="Go on showing it until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON; with --watch a line each.")
def command(name: str | None, watch: bool, as_json: bool) -> int:
    """Show where the migration NAME is, or every migration of the home.

    What runs with each table's rows and time left, the last runs, what is live, what a cutover
    still lacks, backups, and the last look at production. Nothing is written or started.
    """
    home = homes.home_path()
    names = [name] if name else homes.migration_names(home)
    if not names:
        raise InputError(f"there is no migration in {home}: begin with migration-assets migrate")
    migrations = [homes.load(home, each) for each in names]
    console = plain_console()
    try:
        for found in _looks(migrations, watch, console, as_json):
            if as_json:
                text = json.dumps([asdict(each) for each in found], indent=None if watch else 1)
                click.echo(text)
    except KeyboardInterrupt:  # how a watch ends
        if not watch:
            raise
    return 0


def _looks(
    migrations: list[Migration], watch: bool, console: Console, as_json: bool
) -> Iterator[list[Status]]:
    """Look once, or again and again; shows it where it is not to be JSON."""
    if not watch:
        found = [status.look(migration) for migration in migrations]
        if not as_json:
            console.print(shown(found), soft_wrap=True)
        yield found
        return
    live: dict[str, list[Live]] = {}
    asked = float("-inf")
    with Screen(console=console, auto_refresh=False, transient=True) as screen:
        while True:
            if time.monotonic() - asked >= ASK_TARGETS_EVERY:
                live = {each.name: status.look_at_targets(each) for each in migrations}
                asked = time.monotonic()
            found = [status.look(each, live[each.name]) for each in migrations]
            if not as_json:
                screen.update(shown(found), refresh=True)
            yield found
            time.sleep(LOOK_EVERY)


def shown(found: list[Status]) -> RenderableType:
    """The statuses for people."""
    return Group(*(part for each in found for part in _shown(each)))


def _shown(found: Status) -> Iterator[RenderableType]:
    yield Text.assemble((found.name, "bold"), f"  {found.source}")
    if found.paused:
        yield Text(f"  {found.paused}; migration-assets resume {found.name}", style="yellow")
    if found.stopped:
        yield Text(f"  {found.stopped}", style="red")
    if found.running:
        yield from _running(found.running)
    else:
        yield Text("  no run is under way", style="dim")
    grid = Grid.grid(padding=(0, 2))
    for past in found.runs:
        grid.add_row(
            "  " + past.run_id[:_ID],
            past.job.removeprefix(f"{found.name}_"),
            moment(past.finished_at, found.zone),
            f"{past.seconds:,.0f} s",
            f"{past.rows:,} rows",
            Text(past.outcome, style="red" if past.outcome == "not proven" else "green"),
            past.reason or "",
        )
    if found.runs:
        yield grid
    for live in found.live:
        yield _live(live, found.zone)
    if found.gate:
        opens = (
            ""
            if found.gate.opens_at is None
            else f"; the window opens {moment(found.gate.opens_at, found.zone)}"
        )
        if found.gate.missing:
            yield Text(f"  a cutover lacks{opens}:", style="yellow")
            yield from (Text(f"    - {line}") for line in found.gate.missing)
        else:
            yield Text(
                f"  ready for the cutover, by {found.gate.approved_by}{opens}", style="green"
            )
    for each in found.backups:
        drill = f", {each.restored} was restored" if each.restored else ""
        yield Text(f"  {each.kept} backups of {each.kind}, the newest {each.newest}{drill}")
    if found.watch:
        word = "is well" if not found.watch.failed else "has bad signs"
        style = "red" if found.watch.failed else "green"
        when = moment(found.watch.at, found.zone)
        yield Text(f"  production {word} ({found.watch.looks} looks, {when})", style=style)
        yield from (Text(f"    - {line}") for line in found.watch.failed)


def _running(running: Running) -> Iterator[RenderableType]:
    left = running.left_seconds
    yield Text(
        f"  run {running.run_id[:_ID]}"
        + (f" into {running.environment}" if running.environment else "")
        + f": {running.seconds:,.0f} s"
        + (f", about {left:,.0f} s left (as the last proven one)" if left is not None else "")
        + (f", step {running.step} done" if running.step else ""),
        style="bold",
    )
    if running.stages:
        stages = (f"{stage.stage} {stage.done}/{stage.tables}" for stage in running.stages)
        yield Text("    " + "  ".join(stages))
    yield from (Text("    " + _task(task)) for task in running.tasks)


def _task(task: TaskStatus) -> str:
    of = f" of {task.total:,}" if task.total is not None else ""
    left = f", about {task.left_seconds:,.0f} s left" if task.left_seconds is not None else ""
    return f"{task.stage} {task.table}: {task.rows:,}{of} rows{left}{', paused' * task.paused}"


def _live(live: Live, zone: str) -> Text:
    if live.problem:
        return Text(f"  {live.environment}: {live.problem}", style="dim")
    where = f'"{live.schema}" at {live.location}'
    if live.run_id is None:
        return Text(f"  {live.environment}: nothing of it is live in {where}", style="dim")
    since = f" since {moment(live.since, zone)}" if live.since else ""
    return Text(f"  {live.environment}: run {live.run_id[:_ID]} is live in {where}{since}")
