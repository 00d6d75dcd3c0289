"""``migration-assets plan``: what would become of a database, without touching any target."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from migration_assets.cli.local_run import local_run
from migration_assets.cli.progress_view import plain_console
from migration_assets.core.plan import Plan, TablePlan
from migration_assets.core.profile import Profile, TableProfile

_SHORT = 48


@click.command("plan")
@click.argument("source")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.option("--name", help="Follow the defs.yaml of this migration of the migration home.")
def command(source: str, as_json: bool, name: str | None) -> None:
    """Print what becomes of SOURCE: types, reasons, anomalies, what does not come along.

    SOURCE is a URL such as sqlite:///path/to/app.db. A copy of it is read, no target is needed.
    """
    with local_run(source, name) as run:
        plan = run.plan()
        if as_json:
            click.echo(plan.to_json())
            return
        _show(plain_console(), plan, run.profile)


def _show(console: Console, plan: Plan, profile: Profile) -> None:
    for table in plan.tables:
        console.print(_grid(table, profile.tables[table.source]))
        for line in _objects(table):
            console.print(Text(f"  {line}", style="dim"))
        console.print()
    if plan.views:
        console.print("Views: " + ", ".join(view.name for view in plan.views))
    if plan.skipped:
        console.print(Text("Does not come along:", style="bold"))
        for item in plan.skipped:
            where = f" of {item.table}" if item.table else ""
            console.print(Text(f"  {item.kind} {item.name}{where}: {item.reason}"))
    rows = sum(table.rows for table in profile.tables.values())
    console.print(f"{len(plan.tables)} tables, {rows:,} rows, plan digest {plan.digest}")


def _grid(table: TablePlan, facts: TableProfile) -> Grid:
    title = f"{table.name}  {facts.rows:,} rows"
    grid = Grid(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("column", "source", "PostgreSQL", "why", "decided by"):
        grid.add_column(heading, overflow="fold")
    for column in table.columns:
        null = "" if column.nullable else " not null"
        extra = " identity" if column.identity else ""
        default = f" default {column.default}" if column.default else ""
        profile = facts.columns[column.source]
        notes = [column.reason]
        if profile.text_nul:
            notes.append(f"{profile.text_nul} NUL characters are removed, in the ledger")
        if profile.text_invalid:
            notes.append(f"{profile.text_invalid} values are not UTF-8: escaped, in the ledger")
        grid.add_row(
            Text(column.name),
            Text(column.source_type),
            Text(f"{column.type.sql}{null}{extra}{default}"),
            Text("; ".join(notes)),
            Text((column.deciding or "")[:_SHORT]),
        )
    return grid


def _objects(table: TablePlan) -> list[str]:
    lines = []
    if table.primary_key:
        lines.append(f"primary key ({', '.join(table.primary_key)})")
    lines += [f"unique ({', '.join(unique.columns)})" for unique in table.uniques]
    for index in table.indexes:
        where = f" where {index.where}" if index.where else ""
        unique = "unique index" if index.unique else "index"
        lines.append(f"{unique} {index.name} ({', '.join(index.terms)}){where}")
    for key in table.foreign_keys:
        valid = "" if key.valid else ", NOT VALID: rows dangle"
        lines.append(
            f"foreign key ({', '.join(key.columns)}) -> {key.ref_table}"
            f" ({', '.join(key.ref_columns)}){valid}"
        )
    lines += [f"check {check.name}: {check.expression}" for check in table.checks]
    return lines
