"""``migration-assets rollback``: what was live before is live again."""

from __future__ import annotations

import uuid

import click

from migration_assets import home as homes
from migration_assets import rollback
from migration_assets.core.cutover_config import PRODUCTION, STAGING
from migration_assets.core.rollback import Rollback
from migration_assets.errors import NotProvenError


@click.command("rollback")
@click.argument("name")
@click.option(
    "--environment",
    type=click.Choice([STAGING, PRODUCTION]),
    help="Default: production if the migration has one, else staging.",
)
@click.option(
    "--emergency",
    is_flag=True,
    help="Without Dagster, and whatever else fails: exchange the tables, then do the rest.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@click.option(
    "--accept-source-changes",
    is_flag=True,
    help="Go back to a source that was written to since it was read.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the rollback's record as JSON.")
def command(
    name: str,
    environment: str | None,
    emergency: bool,
    dry_run: bool,
    accept_source_changes: bool,
    as_json: bool,
) -> int:
    """Take the last cutover of the migration NAME back.

    What was live before it is live again, in one transaction; where nothing was, the application
    goes back to the source. What was written meanwhile is kept in the schema NAME__rolled_back,
    and as Parquet and statements for the source. A rollback that broke off is gone on with.

    Exit codes: 0 done, 1 a step failed or the source has moved, 2 there is nothing to take back,
    3 the tables could not be exchanged and are as they were.
    """
    migration = homes.load(homes.home_path(), name)
    chosen = rollback.environment_of(migration, environment)
    if dry_run:
        for line in rollback.words(migration, chosen):
            click.echo(line)
        return 0
    options = rollback.Options(emergency, accept_source_changes)
    record = _here(migration, chosen, options, as_json)
    if as_json:
        click.echo(record.model_dump_json(indent=1))
    else:
        _show(migration, record)
    return NotProvenError.exit_code if record.failed else 0


def _here(
    migration: homes.Migration, environment: str, options: rollback.Options, quiet: bool
) -> Rollback:
    return rollback.roll_back(
        migration,
        environment,
        str(uuid.uuid4()),
        options,
        lambda line: click.echo(line, err=quiet),
    )


def _show(migration: homes.Migration, record: Rollback) -> None:
    for step in record.failed:
        click.echo(f"FAILED: {step.name}: {step.detail}", err=True)
    if record.account is not None:
        for table in record.account.tables:
            click.echo(
                f'table "{table.table}": {table.inserted:,} inserted, {table.updated:,} updated, '
                f"{table.deleted:,} deleted"
            )
            for why, rows in table.left_out.items():
                click.echo(f"  {rows:,} rows without a statement for the source: {why}")
    click.echo(f"back in {record.seconds_back:.1f} s (rollback {record.id})")
