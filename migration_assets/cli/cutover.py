"""``migration-assets cutover``: go live."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from migration_assets import cutover, unfinished
from migration_assets import home as homes
from migration_assets.cli.moving import check_out, run_job, show
from migration_assets.cli.progress_view import plain_console
from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.evidence import Evidence
from migration_assets.core.results import StepResult, SwapResult
from migration_assets.errors import InputError
from migration_assets.expectations.client import ExpectationsWorker
from migration_assets.postgres.connect import resolve_target
from migration_assets.run_folder import RunFolder

LIVE = (
    "PRODUCTION IS LIVE, but not all is done. Mend the reason, then take the steps that are left:  "
    "migration-assets cutover {name} --go-on"
)


@click.command("cutover")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Say what is missing and what would be done.")
@click.option(
    "--bring-back",
    is_flag=True,
    help="After a cutover that was killed before its swap: the application on its old database.",
)
@click.option(
    "--go-on",
    is_flag=True,
    help="After a cutover that ended behind its swap: take the steps that are left.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Copy evidence, report, plan, ledger and quarantine into this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the evidence as JSON at the end.")
def command(
    name: str,
    dry_run: bool,
    bring_back: bool,
    go_on: bool,
    yes: bool,
    out: Path | None,
    as_json: bool,
) -> int:
    """Go live with migration NAME: stop, freeze, move, prove, swap, start.

    It is refused, and nothing is touched, if anything is missing: rehearsals, approval, checks of
    the application, or what the preflight asks for. If it fails before the swap, the application is
    brought back to its old database. Exit codes are those of migrate.
    """
    console = plain_console(stderr=as_json)
    check_out(out)
    migration = homes.load(homes.home_path(), name)
    if bring_back:
        return _bring_back(console, migration)
    if go_on:
        return _go_on(console, migration)
    lacking = cutover.missing(migration)
    if dry_run:
        return _rehearse_words(console, migration, lacking)
    if lacking:
        for line in lacking:
            console.print(f"missing: {line}", soft_wrap=True)
        console.print("The cutover is refused; nothing was touched.")
        return 1
    if not yes:
        target = resolve(migration).target
        click.confirm(
            f'Go live with {name} in schema "{target.schema}" of {target.location}?',
            abort=True,
            err=as_json,
        )
    with ExpectationsWorker() as worker:
        job = f"{migration.name}_cutover"
        evidence, folder = run_job(console, migration, job, worker, ahead=False)
    code = show(console, migration, evidence, folder, out, as_json)
    if folder.read_result("swap", "all", SwapResult) is not None:
        backed_up = folder.read_result("steps", "backup", StepResult)
        if backed_up is not None and backed_up.outcome == "done":
            console.print(f"What was live before:  {backed_up.detail}", soft_wrap=True)
        if code:
            console.print(LIVE.format(name=name), soft_wrap=True)
        console.print(
            f"The way back, in seconds:  migration-assets rollback {name} --emergency",
            soft_wrap=True,
        )
    return code


def _go_on(console: Console, migration: homes.Migration) -> int:
    found = unfinished.half_way(migration)
    if found is None:
        console.print("Nothing was done: no cutover that is live lacks a step")
        return 0
    from migration_assets.assets.keys import Keys
    from migration_assets.launch import launch

    run, lacking = found
    keys = Keys(migration.name)
    steps = [keys.step(PRODUCTION, step) for step in (*lacking, "report")]
    outcome = launch(migration, keys.cutover, rest_of=run, steps=steps)
    for step in lacking:
        record = outcome.folder.read_result("steps", step, StepResult)
        if record is not None:
            console.print(f"{step}: {record.outcome}: {record.detail}", soft_wrap=True)
    evidence = Evidence.from_json(outcome.folder.evidence.read_bytes())
    for reason in evidence.run.reasons:
        console.print(f"reason: {reason}", soft_wrap=True)
    console.print(
        "The cutover is complete." if outcome.success else LIVE.format(name=migration.name)
    )
    return evidence.run.exit_code


def _bring_back(console: Console, migration: homes.Migration) -> int:
    place = unfinished.left_stopped(migration)
    if place is None:
        half = unfinished.left_half_way(migration)
        none = "no cutover has left the application stopped before its swap"
        console.print(f"Nothing was done: {half or none}", soft_wrap=True)
        return 1 if half else 0
    record = unfinished.bring_back(place, asked=True)
    assert record is not None, "it was left stopped"
    console.print(f"{record.name}: {record.outcome}: {record.detail}", soft_wrap=True)
    return 1 if record.outcome == "failed" else 0


def resolve(migration: homes.Migration) -> cutover.Place:
    """The cutover that would be, in no run's folder yet.

    Raises:
        InputError: production is not usable.
    """
    config = migration.config
    if PRODUCTION not in config.targets:
        raise InputError(f"{migration.defs_yaml} has no targets: {PRODUCTION}")
    target = resolve_target(
        config.targets[PRODUCTION],
        config.schema_of(PRODUCTION),
        migration.folder,
        migration.home,
        PRODUCTION,
    )
    return cutover.Place(migration, RunFolder(migration.folder / "runs" / "dry_run"), target)


def _rehearse_words(console: Console, migration: homes.Migration, lacking: list[str]) -> int:
    for line in lacking:
        console.print(f"missing: {line}", soft_wrap=True)
    if PRODUCTION in migration.config.targets:
        for line in cutover.words(resolve(migration)):
            console.print(line, soft_wrap=True)
    console.print("It would be refused." if lacking else "It would begin.")
    return 1 if lacking else 0
