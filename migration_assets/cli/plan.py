"""``migration-assets plan``: what would become of a database, without touching any target."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from migration_assets import home as homes
from migration_assets.cli.local_run import LocalRun, local_run
from migration_assets.cli.old_plan import read_old_plan
from migration_assets.cli.progress_view import plain_console
from migration_assets.core.cutover_config import STAGING
from migration_assets.core.plan import ColumnPlan, Decision, Plan, TablePlan
from migration_assets.core.plan_diff import Difference, compare
from migration_assets.core.profile import ColumnProfile, Profile, TableProfile
from migration_assets.core.sensitive import advice, columns_of, likely
from migration_assets.core.target_mapping import UnmappedError

_SHORT = 48
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}
_NUL = {
    "remove": "the NUL characters are removed, in the ledger",
    "null": "become NULL, in the ledger",
    "quarantine": "set their rows aside",
    "fail": "end the run",
}
_INVALID = {**_NUL, "escape": "the bytes are escaped, in the ledger"}


@click.command("plan")
@click.argument("source")
@click.option("--json", "as_json", is_flag=True, help="Print plan and facts, or the diff, as JSON.")
@click.option("--sql", "as_sql", is_flag=True, help="Print the target's DDL, ready for psql.")
@click.option(
    "--diff",
    "old",
    metavar="OLD",
    type=click.Path(path_type=Path, exists=True),
    help="Compare with an earlier plan: a plan.json, a run's folder, or a migration home.",
)
@click.option("--name", help="Follow the defs.yaml of this migration of the migration home.")
@click.option("--target", help="Show what goes where in the existing schema of this database.")
@click.option("--schema", help="The existing schema, with --target.")
def command(
    source: str,
    as_json: bool,
    as_sql: bool,
    old: Path | None,
    name: str | None,
    target: str | None,
    schema: str | None,
) -> int:
    """Print what becomes of SOURCE: types, reasons, anomalies, what does not come along.

    SOURCE is a URL: sqlite:///path/to/app.db, mysql://user@host/database or csv:///folder.
    A snapshot of it is read, no target is needed. With --target, or schema_mode: existing in
    defs.yaml, the tables are there already: every column is shown with the one that it goes to,
    and the exit code is 2 if one has none.
    With --diff the exit code is 1 if anything is different, else 0.
    """
    if as_sql and (as_json or old is not None or target is not None):
        raise click.UsageError("--sql goes with none of --json, --diff and --target")
    if schema is not None and target is None:
        raise click.UsageError("--schema needs --target")
    earlier = read_old_plan(old, source, name) if old is not None else None
    home, look = None, None
    if target is not None or name is not None:
        # Only here is a database looked at.
        from migration_assets.cli import existing

        home = existing.destination(source, name, target, schema)
        look = existing.as_it_will_be(home) if home else None
    try:
        with local_run(source, name, look=look, existing=target is not None) as run:
            plan = run.plan()
            if earlier is not None:
                return _show_diff(plain_console(), *earlier, plan, as_json)
            if as_json:
                click.echo(_json(plan, run.profile))
            elif as_sql:
                _show_sql(run, plan, name)
            else:
                _show(plain_console(), plan, run.profile)
                moved = {table.source for table in plan.tables}
                tables = [table for table in run.catalog.tables if table.name in moved]
                if found := likely(tables, columns_of(run.catalog, run.config.sensitive)):
                    click.echo(f"warning: {advice(found)}", err=True)
            if home is not None and run.structure is not None:
                existing.check(home, run.structure, plan, run.config)
    except UnmappedError as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        return error.exit_code
    return 0


def _json(plan: Plan, profile: Profile) -> str:
    """The plan, and beside it the facts of all values that it follows from."""
    both = {**json.loads(plan.to_json()), "profile": json.loads(profile.to_json())["tables"]}
    return json.dumps(both, indent=1, ensure_ascii=False)


def _show_sql(run: LocalRun, plan: Plan, name: str | None) -> None:
    from migration_assets.postgres.script import script  # psycopg2 is not needed without it

    schema = (
        run.config.schema_of(STAGING)
        if name
        else homes.choose(homes.home_path(), run.config.source)[0]
    )
    click.echo(f"-- {len(plan.tables)} tables, plan digest {plan.digest}")
    for statement in script(schema, plan, run.profile):
        click.echo(statement)


def _show_diff(console: Console, file: Path, old: Plan, new: Plan, as_json: bool) -> int:
    """Print the differences; returns the exit code."""
    found = compare(old, new)
    different = bool(found) or old.digest != new.digest
    if as_json:
        record = {
            "old": str(file),
            "different": different,
            "digest_before": old.digest,
            "digest_after": new.digest,
            "differences": [asdict(difference) for difference in found],
        }
        click.echo(json.dumps(record, indent=1, ensure_ascii=False))
        return int(different)
    for difference in found:
        console.print(Text(_line(difference)), soft_wrap=True)
    if old.digest == new.digest:
        console.print(f"{'Otherwise the' if found else 'The'} same plan, digest {new.digest}")
    else:
        console.print(f"{len(found)} differences, plan digest {old.digest} -> {new.digest}")
    return int(different)


def _line(difference: Difference) -> str:
    where = f" of {difference.table}" if difference.table else ""
    line = f"{_SIGNS[difference.change]} {difference.kind} {difference.name}{where}"
    if difference.field is None:
        return line
    return (
        f"{line}: {difference.field} {difference.before or 'none'} -> {difference.after or 'none'}"
    )


def _show(console: Console, plan: Plan, profile: Profile) -> None:
    for decision in plan.decisions:
        if decision.table is None:
            console.print(Text(_said(decision)))
    for table in plan.tables:
        console.print(_grid(table, profile.tables[table.source]))
        for line in (*_objects(table), *_decisions(table, plan)):
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
    was = f" (in the source {table.source})" if table.name != table.source else ""
    title = f"{table.name}{was}  {facts.rows:,} rows"
    grid = Grid(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("column", "source", "PostgreSQL", "why", "decided by"):
        grid.add_column(heading, overflow="fold")
    for column in table.columns:
        null = "" if column.nullable else " not null"
        extra = " identity" if column.identity else ""
        default = f" default {column.default}" if column.default else ""
        if column.generated is not None:
            extra = f" generated as {column.generated}"
        was = f"{column.source} " if column.name != column.source else ""
        grid.add_row(
            Text(column.name),
            Text(f"{was}{column.source_type}"),
            Text(f"{column.type.sql}{null}{extra}{default}"),
            Text("; ".join(_notes(column, facts.columns[column.source]))),
            Text((column.deciding or "")[:_SHORT]),
        )
    return grid


def _notes(column: ColumnPlan, facts: ColumnProfile) -> Iterator[str]:
    yield column.reason
    if column.type.name == "bytea":
        return
    if facts.text_nul:
        done = _NUL[column.policy("nul_characters")]
        yield f"{facts.text_nul} values with NUL characters: {done}"
    if facts.text_invalid:
        done = _INVALID[column.policy("invalid_utf8")]
        yield f"{facts.text_invalid} values are not UTF-8: {done}"
    if facts.text_beyond:
        yield f"{facts.text_beyond} dates are none that PostgreSQL holds exactly"
    if facts.case_folds:
        yield f"{facts.case_folds} values differ from others only in case"


def _decisions(table: TablePlan, plan: Plan) -> Iterator[str]:
    """What was decided about a table beside the types that its grid shows."""
    types = {(column.source, column.type.plain) for column in table.columns}
    for decision in plan.decisions:
        if decision.table == table.source and (decision.column, decision.choice) not in types:
            yield _said(decision)


def _said(decision: Decision) -> str:
    where = f"{decision.column}: " if decision.column else ""
    value = f" ({decision.value})" if decision.value else ""
    return f"{where}{decision.choice}, {decision.reason}{value}"


def _objects(table: TablePlan) -> list[str]:
    lines = []
    if table.primary_key:
        lines.append(f"primary key ({', '.join(table.primary_key)})")
    lines += [f"unique ({', '.join(unique.columns)})" for unique in table.uniques]
    for index in table.indexes:
        where = f" where {index.where}" if index.where else ""
        unique = "unique index" if index.unique else "index"
        lines.append(f"{unique} {index.name} ({', '.join(index.terms)}){where}: {index.reason}")
    for key in table.foreign_keys:
        valid = "" if key.valid else ", NOT VALID: rows dangle"
        lines.append(
            f"foreign key ({', '.join(key.columns)}) -> {key.ref_table}"
            f" ({', '.join(key.ref_columns)}){valid}"
        )
    lines += [f"check {check.name}: {check.expression}" for check in table.checks]
    return lines
