"""Jobs that stand beside the runs of a migration, from the command line."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from migration_assets.cli.moving import recorded
from migration_assets.cli.progress_view import ProgressView, plain_console
from migration_assets.errors import BrokenOffError, InputError, MigrationError, NotProvenError
from migration_assets.home import Migration


def run_beside(migration: Migration, job: str, op: str, config: Mapping[str, object]) -> None:
    """Run a job of one op in this process.

    Args:
        migration: the migration.
        job: the job's name after that of the migration.
        op: the op's name after that of the migration.
        config: of the op.

    Raises:
        MigrationError: what the job failed by.
    """
    console = plain_console(stderr=True)
    run_id = str(uuid.uuid4())
    with console.status("starting"), recorded(migration.home):
        from migration_assets.launch import launch  # two seconds, with Dagster
    with (
        ProgressView(console, migration.run_folder(run_id).path / "progress"),
        recorded(migration.home),
    ):
        ops = {"ops": {f"{migration.name}_{op}": {"config": dict(config)}}}
        outcome = launch(migration, f"{migration.name}_{job}", run_id=run_id, config=ops)
    if outcome.success:
        return
    message, code = f"the run ended as {outcome.status}", NotProvenError.exit_code
    if outcome.failures:
        message, code = outcome.failures[0].message, outcome.failures[0].exit_code
    kinds: tuple[type[MigrationError], ...] = (NotProvenError, InputError, BrokenOffError)
    raise next(kind for kind in kinds if kind.exit_code == code)(message)
