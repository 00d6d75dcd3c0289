"""``migration-assets approve``: record that a cutover may happen."""

from __future__ import annotations

import getpass
import re
from typing import Any

import click

from migration_assets import gate
from migration_assets import home as homes
from migration_assets.cli.progress_view import plain_console
from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.readable import moment
from migration_assets.errors import InputError, MigrationError

_ACCEPTED = re.compile(r"(?P<rule>[^ ]+) (?P<table>.+?)(?:\.(?P<column>[^.]+))?=(?P<most>\d+)")


@click.command("approve")
@click.argument("name")
@click.option("--rehearsal", default="latest", help="Id of the rehearsal; default: the latest.")
@click.option("--by", "person", help="Who approves; default: the name you are logged in by.")
@click.option("--accept-as-rehearsed", is_flag=True, help="Accept what the rehearsal changed.")
@click.option(
    "--accept",
    "accepted",
    multiple=True,
    metavar='"RULE TABLE[.COLUMN]=MOST"',
    help="Accept a change, up to so many; may be given again.",
)
@click.option("--note", default="", help="Your own words, kept with it.")
def command(
    name: str,
    rehearsal: str,
    person: str | None,
    accept_as_rehearsed: bool,
    accepted: tuple[str, ...],
    note: str,
) -> int:
    """Approve the cutover of migration NAME, after a look at a rehearsal's report.

    It is the same as materializing the asset NAME/approval in the UI. Exit codes: 0 approved, 2 it
    cannot be; nothing was recorded then.
    """
    console = plain_console()
    migration = homes.load(homes.home_path(), name)
    if PRODUCTION not in migration.config.targets:
        raise InputError(
            f"{migration.defs_yaml} has no targets: {PRODUCTION}: name the database to go live in"
        )
    outcome = gate.approvable(migration, rehearsal)
    when = moment(outcome.finished_at, migration.config.display_timezone)
    console.print(f"Rehearsal {outcome.run_id} of {when}: {outcome.rows:,} rows")
    for change in outcome.ledger:
        console.print(f"  changed: {change}", soft_wrap=True)
    config = {
        "approved_by": person or getpass.getuser(),
        "rehearsal_run_id": outcome.run_id,
        "accept_as_rehearsed": accept_as_rehearsed,
        "accepted": [_change(text) for text in accepted],
        "note": note,
    }
    from migration_assets.launch import launch

    job, op = f"{migration.name}_approve", f"{migration.name}_approval"
    done = launch(migration, job, config={"ops": {op: {"config": config}}})
    if not done.success:
        raise _Refused(done.failures[0].message if done.failures else done.status)
    lacking = gate.missing(migration)
    console.print(f"Approved by {config['approved_by']}.")
    for line in lacking:
        console.print(f"  still missing: {line}", soft_wrap=True)
    if not lacking:
        console.print(f"The cutover may begin:  migration-assets cutover {name}", soft_wrap=True)
    return 0


class _Refused(MigrationError):
    exit_code = InputError.exit_code


def _change(text: str) -> dict[str, Any]:
    found = _ACCEPTED.fullmatch(text)
    if found is None:
        raise InputError(f'--accept "{text}" is not of the form "RULE TABLE.COLUMN=MOST"')
    return {
        "rule": found["rule"],
        "table": found["table"],
        "column": found["column"],
        "at_most": int(found["most"]),
    }
