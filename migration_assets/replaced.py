"""What was written to production since it went live, before a cutover puts other tables there.

The source has none of it, so it leaves with the tables that it stands in: it is counted and kept
as a rollback would, and said.
"""

from __future__ import annotations

import uuid

from migration_assets.errors import BrokenOffError, MigrationError
from migration_assets.home import Migration
from migration_assets.postgres import run_log
from migration_assets.postgres.connect import Target, session
from migration_assets.run_folder import RunFolder
from migration_assets.written_since import account

FOLDER = "replaced"
"""In the run's: Parquet files and statements for the source."""


def words(migration: Migration, target: Target, place: RunFolder) -> str:
    """Look at what is live, keep what was written to it, and say so in one clause.

    Raises:
        BrokenOffError: the target was lost.
    """
    with session(target, "the look at the target") as connection, connection.cursor() as cursor:
        live = run_log.live_run(cursor, target.schema, migration.name)
    if live is None:
        return "it is no run's, so that what was written to it is not known"
    out, name = place.path / FOLDER, uuid.uuid4().hex
    try:
        found = account(migration, target, target.schema, live, name, out)
    except BrokenOffError:
        raise
    except (MigrationError, OSError) as error:
        return f"what was written to it since run {live} can not be told: {error}"
    notes = "; ".join(("", *found.notes))
    if not found.rows:
        return f"nothing was written to it since run {live}{notes}"
    tables = ", ".join(f'"{table.table}" {table.rows:,}' for table in found.tables)
    return (
        f"ATTENTION: {found.rows:,} rows were written to it since run {live} ({tables}), which the "
        f"source has not and which leave with it: they are in {out}, with statements for the "
        f"source{notes}"
    )
