"""``migration-assets rehearse``: one more rehearsal of a migration that there is."""

from __future__ import annotations

import gc
from pathlib import Path

import click

from migration_assets import home as homes
from migration_assets.cli.moving import check_out, run_job, show
from migration_assets.cli.progress_view import plain_console
from migration_assets.errors import InputError
from migration_assets.expectations.client import ExpectationsWorker


@click.command("rehearse")
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Copy evidence, report, plan, ledger and quarantine into this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the evidence as JSON at the end.")
def command(name: str, out: Path | None, as_json: bool) -> int:
    """Run the rehearsal of migration NAME: extract, load into staging, check, report.

    Its targets and everything else are as in its defs.yaml (migration-assets init SOURCE makes
    one). Exit codes are those of migrate.
    """
    console = plain_console(stderr=as_json)
    check_out(out)
    migration = homes.load(homes.home_path(), name)
    migration.source().check()
    gc.disable()  # a tenth of the time of imports goes into looking for garbage
    try:
        with ExpectationsWorker() as worker:
            job = f"{migration.name}_rehearsal"
            evidence, folder = run_job(console, known(migration), job, worker)
    finally:
        gc.enable()
    return show(console, migration, evidence, folder, out, as_json)


def known(migration: homes.Migration) -> homes.Migration:
    """The migration, its source looked at once, so that it has assets.

    Raises:
        InputError: the source can not be used.
    """
    from migration_assets.state import State

    if not migration.state.exists():
        catalog = migration.source().reflect()
        if not catalog.tables and not catalog.views:
            raise InputError(f"{migration.name}: the source has no tables")
        State(catalog).write(migration.state)
    return migration
