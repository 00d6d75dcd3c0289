"""``migration-assets migrate``: Great Expectations is started, then all else is imported."""

from __future__ import annotations

import gc
from pathlib import Path

import click

from migration_assets.cli.target_option import TARGET_HELP
from migration_assets.expectations.client import ExpectationsWorker


@click.command("migrate")
@click.argument("source")
@click.option("--target", help=TARGET_HELP)
@click.option("--schema", help="Target schema; default: the migration's name.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Copy evidence, report, plan, ledger and quarantine into this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the evidence as JSON at the end.")
def command(
    source: str, target: str | None, schema: str | None, out: Path | None, as_json: bool
) -> int:
    """Move SOURCE into PostgreSQL and prove it.

    SOURCE is a URL: sqlite:///path/to/app.db, mysql://user@host/database or csv:///folder.
    It is only read. The run is in the Dagster UI's history afterwards (migration-assets ui) and
    can be re-executed there.

    Exit codes: 0 complete and proven, 1 not proven, 2 bad input (nothing written), 3 broken off
    (the target is as it was).
    """
    gc.disable()  # a tenth of the time of imports goes into looking for garbage
    try:
        # It imports for two seconds, beside all that comes before the checks.
        with ExpectationsWorker() as worker:
            from migration_assets.cli import rehearsal  # takes half a second itself

            return rehearsal.migrate(worker, source, target, schema, out, as_json)
    finally:
        gc.enable()
