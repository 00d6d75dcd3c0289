"""``migration-assets rollback``: what was live before is live again."""

from __future__ import annotations

import uuid
from typing import Any

import click

from migration_assets import history, rollback
from migration_assets import home as homes
from migration_assets.core.cutover_config import PRODUCTION, STAGING
from migration_assets.core.rollback import Rollback
from migration_assets.errors import BrokenOffError, InputError, NotProvenError
from migration_assets.rollback_outlook import words


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
@click.option("--drill", is_flag=True, help="Practise in staging: there and back, with the time.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@click.option(
    "--accept-source-changes",
    is_flag=True,
    help="Go back to a source that was written to since it was read.",
)
@click.option(
    "--further", is_flag=True, help="Take back what is live only since a rollback, as well."
)
@click.option("--undo", is_flag=True, help="Take the last rollback back.")
@click.option("--json", "as_json", is_flag=True, help="Print the rollback's record as JSON.")
def command(
    name: str,
    environment: str | None,
    emergency: bool,
    drill: bool,
    dry_run: bool,
    accept_source_changes: bool,
    further: bool,
    undo: bool,
    as_json: bool,
) -> int:
    """Take the last cutover of the migration NAME back.

    What was live before it is live again, in one transaction; where nothing was, the application
    goes back to the source. What was written meanwhile is kept in the schema NAME__rolled_back,
    and as Parquet and statements for the source. A rollback that broke off is gone on with.

    Exit codes: 0 done, 1 a step failed or the source has moved, 2 there is nothing to take back,
    3 the tables could not be exchanged and are as they were.
    """
    if drill and (emergency or environment == PRODUCTION):
        raise click.UsageError("a drill is one of staging, and no emergency")
    if undo and (drill or emergency or further or dry_run):
        raise click.UsageError("--undo stands alone, but for --environment")
    migration = homes.load(homes.home_path(), name)
    if drill:
        return _show(migration, _by_job(migration, f"{name}_rollback_drill", {}), as_json)
    chosen = environment or migration.config.default_environment
    if undo:
        rollback.undo(migration, chosen, click.echo)
        return 0
    if dry_run:
        for line in words(migration, chosen):
            click.echo(line)
        return 0
    options = rollback.Options(emergency, accept_source_changes, further)
    if emergency:
        try:
            record = rollback.roll_back(
                migration,
                chosen,
                str(uuid.uuid4()),
                options,
                lambda line: click.echo(line, err=as_json),
            )
        except KeyboardInterrupt:
            raise BrokenOffError(
                "the rollback was interrupted: start it again, and it goes on from where it was"
            ) from None
    else:
        config = {
            "environment": chosen,
            "accept_source_changes": accept_source_changes,
            "further": further,
        }
        ops = {f"{name}_roll_back": {"config": config}}
        record = _by_job(migration, f"{name}_rollback", {"ops": ops})
    return _show(migration, record, as_json)


def _by_job(migration: homes.Migration, job: str, config: dict[str, Any]) -> Rollback:
    """Do it as a run of Dagster's, which the UI lists; its record.

    Raises:
        MigrationError: it failed, with the exit code of the reason.
    """
    from migration_assets.launch import launch  # imports Dagster

    done = launch(migration, job, config=config)
    if not done.success:
        failure = done.failures[0] if done.failures else None
        kinds = (InputError, NotProvenError, BrokenOffError)
        kind = next(
            (k for k in kinds if failure and k.exit_code == failure.exit_code), BrokenOffError
        )
        raise kind(failure.message if failure else f"run {done.run_id} ended as {done.status}")
    # One that goes on with an earlier one has its record.
    found = history.rollbacks(migration)
    return next((record for record in found if record.id == done.run_id), found[0])


def _show(migration: homes.Migration, record: Rollback, as_json: bool) -> int:
    """Print what was done; returns the exit code."""
    if as_json:
        click.echo(record.model_dump_json(indent=1))
        return NotProvenError.exit_code if record.failed else 0
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
        if not record.account.complete:
            click.echo("NOT ALL that was written since could be told from what was there before:")
    swap_notes = record.swap.notes if record.swap is not None else ()
    for note in (*(record.account.notes if record.account is not None else ()), *swap_notes):
        click.echo(f"  {note}")
    for step in record.steps:
        click.echo(f"{step.seconds:8.2f} s  {step.name}: {step.detail}")
    what = "drill" if record.drill else "rollback"
    if record.account is not None and record.account.statements is not None:
        click.echo(f"for the source: {record.account.folder}/{record.account.statements}")
    click.echo(f"back in {record.seconds_back:.1f} s ({what} {record.id})")
    return NotProvenError.exit_code if record.failed else 0
