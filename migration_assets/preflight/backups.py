"""Whether what is live in production could be backed up, and the backup restored."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from psycopg2.extensions import connection as Connection

from migration_assets import backup, backup_store, restore_drill
from migration_assets.core.preflight import Finding, Verdict
from migration_assets.core.readable import size
from migration_assets.errors import MigrationError
from migration_assets.home import Migration
from migration_assets.postgres import marker, pg_tools
from migration_assets.postgres.connect import Target


def look(
    connection: Connection, migration: Migration, environment: str, target: Target
) -> Iterator[Finding]:
    """Look for what a backup of the target needs; where nothing is live it only warns.

    Args:
        connection: to the target.
        migration: the migration.
        environment: the target environment.
        target: its database and schema.
    """
    live = backup.is_live(target)
    lacking = Verdict.NO_GO if live else Verdict.WARNING
    version = connection.server_version // 10_000
    try:
        tool = pg_tools.find("pg_dump", version, connection.info.ssl_in_use)
    except MigrationError as error:
        yield Finding("backup", lacking, str(error))
        return
    said = f"{tool.path} {tool.version} can back up what is live"
    yield Finding("backup", Verdict.GO, said if live else f"{said}, which is nothing yet")
    if live:
        yield from _space(connection, migration, environment, target)
    if not migration.config.gate.restore_drill:
        return
    try:
        server = restore_drill.place_for(
            restore_drill.places(migration, environment), version, tool.version
        )
    except MigrationError as error:
        yield Finding("restore drill", lacking, str(error))
        return
    yield Finding(
        "restore drill", Verdict.GO, f"a database can be made at {server.target.location}"
    )


def _space(
    connection: Connection, migration: Migration, environment: str, target: Target
) -> Iterator[Finding]:
    """Warn where the backup could fill its disk; how far it is compressed is not known before."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(pg_table_size(c.oid)), 0)::bigint FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relkind = 'r'",
            (target.schema,),
        )
        [stored] = marker.one(cursor)
    place = backup_store.folder(migration, environment)
    there = next(path for path in (place, *place.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < stored:
        yield Finding(
            "backup",
            Verdict.WARNING,
            f"{size(free)} free in {there}, the live tables have {size(stored)} before "
            "compression; make room, or name another place with backup.folder",
        )
