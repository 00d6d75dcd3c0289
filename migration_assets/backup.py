"""Backups of a target: ``pg_dump`` and, of the same snapshot, rows and digests of every table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg2.extensions import cursor as Cursor

from migration_assets import backup_store
from migration_assets.core.backup import Backup, Contents, Drill
from migration_assets.core.results import from_json, to_json
from migration_assets.errors import BrokenOffError, InputError
from migration_assets.home import Migration
from migration_assets.postgres import contents, marker, pg_tools, run_log
from migration_assets.postgres.connect import BACKUP, Target, resolve_target, session
from migration_assets.progress import Progress

ASKED, SCHEDULE, BEFORE_SWAP = "asked", "schedule", "before swap"
"""Why a backup was made."""

DUMP = "dump"
"""The folder that ``pg_dump`` writes and ``pg_restore`` reads, in that of the backup."""

STATE = """
SELECT to_char(transaction_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
    pg_export_snapshot()
"""

EXTENSIONS = """
SELECT e.extname, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname <> 'plpgsql' ORDER BY 1
"""

TABLES = """
SELECT c.oid::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'm') ORDER BY 1
"""

LOG_READABLE = """
SELECT has_schema_privilege(%s, 'USAGE') AND NOT EXISTS (
    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relkind = 'r' AND NOT has_table_privilege(c.oid, 'SELECT'))
"""


@dataclass(frozen=True)
class _Look:
    """What a database is at the moment of a snapshot, which lasts as long as its transaction."""

    made_at: str
    snapshot: str
    schemas: tuple[str, ...]
    extensions: dict[str, str]
    live_run: str | None
    contents: Contents


def target_of(migration: Migration, environment: str) -> Target:
    """Where an environment is.

    Raises:
        InputError: the migration has no such environment, or it is not usable.
    """
    config = migration.config
    if environment not in config.targets:
        raise InputError(f"{migration.defs_yaml} has no targets: {environment}")
    schema = config.schema_of(environment)
    return resolve_target(
        config.targets[environment], schema, migration.folder, migration.home, environment
    )


def is_live(target: Target) -> bool:
    """True if there is something in the target's schema that a backup could hold."""
    with session(target, "the look at the target") as connection, connection.cursor() as cursor:
        return bool(_tables(cursor, target.schema))


def back_up(
    migration: Migration,
    environment: str,
    target: Target,
    progress: Progress,
    *,
    reason: str = ASKED,
    warn: Callable[[str], None] = lambda line: None,
) -> Backup:
    """Back up what is live in a target, and drop backups that are not kept any more.

    The backup holds the live schema and the log of runs, as they are at one moment.

    Args:
        migration: the migration.
        environment: the target environment.
        target: where it is.
        progress: shown table by table, as stage ``backup``.
        reason: why; the newest backups of each reason are kept.
        warn: is told of old backups that could not be dropped.

    Raises:
        InputError: there is nothing live, no ``pg_dump`` that fits, no right to read a table, or
            another backup is under way.
        BrokenOffError: the server or the disk was lost, or the schema was exchanged meanwhile.
    """
    started = time.monotonic()
    what = f'the backup of schema "{target.schema}"'
    with (
        backup_store.new(migration, environment) as part,
        session(target, what, application_name=BACKUP) as connection,
        connection.cursor() as cursor,
    ):
        version = connection.server_version // 10_000
        tool = pg_tools.find("pg_dump", version, connection.info.ssl_in_use)
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute(STATE)
        made_at, snapshot = marker.one(cursor)
        before = _tables(cursor, target.schema)
        if not before:
            raise InputError(
                f'schema "{target.schema}" at {target.location} has no tables: there is nothing to '
                "back up"
            )
        schemas = (target.schema, *_log(cursor))
        cursor.execute(EXTENSIONS)
        extensions: dict[str, str] = dict(cursor.fetchall())
        live_run = run_log.live_run(cursor, target.schema, migration.name)
        arguments = _arguments(part / DUMP, snapshot, schemas, migration.config.backup.jobs)
        with pg_tools.running(tool, arguments, target, what) as finished:
            # Beside it: what it writes is also read here, in another way.
            held = contents.read(cursor, schemas, progress, "backup")
            complaints = finished()
        connection.rollback()
        if _tables(cursor, target.schema) != before:
            # Tables are dumped by name, and may have been those of another run in the end.
            raise BrokenOffError(
                f'schema "{target.schema}" was exchanged during its backup, which is of no use; '
                "make another one"
            )
        pg_tools.raise_for(complaints, what)
        made = Backup(
            id=backup_store.identity(part),
            environment=environment,
            migration=migration.name,
            reason=reason,
            made_at=made_at,
            location=target.location,
            schemas=schemas,
            extensions=extensions,
            server=version,
            tool=tool.version,
            live_run=live_run,
            contents=held,
            files=backup_store.sums(part),
            seconds=time.monotonic() - started,
        )
        backup_store.write_record(part, backup_store.MANIFEST, to_json(made))
    drop_old(migration, environment, warn)
    return made


def before_swap(
    migration: Migration,
    environment: str,
    target: Target,
    progress: Progress,
    warn: Callable[[str], None] = lambda line: None,
) -> Backup | None:
    """Back up what a swap is about to replace; None if nothing is live yet."""
    if not is_live(target):
        return None
    return back_up(migration, environment, target, progress, reason=BEFORE_SWAP, warn=warn)


def drop_old(migration: Migration, environment: str, warn: Callable[[str], None]) -> list[str]:
    """Drop backups beyond ``backup.keep``; returns their ids.

    Of each reason the newest are kept, and beside them the newest that was restored.
    """
    restored = next(
        (
            name
            for name in backup_store.ids(migration, environment)
            if (drill := read_drill(migration, environment, name)) and drill.passed
        ),
        None,
    )

    def group(place: Path) -> str | None:
        if place.name == restored:
            return None
        return read(migration, environment, place.name).reason

    with backup_store.locked(migration, environment):
        keep = migration.config.backup.keep
        return backup_store.prune(migration, environment, keep, group, warn)


def find(migration: Migration, environment: str, wanted: str | None = None) -> Backup:
    """One backup of an environment.

    Args:
        migration: the migration.
        environment: the target environment.
        wanted: its id, or the beginning of it; None for the newest.

    Raises:
        InputError: there is none, or more than one.
    """
    there = backup_store.ids(migration, environment)
    if not there:
        raise InputError(
            f"there is no backup of {environment} of {migration.name}: make one with "
            f"migration-assets backup {migration.name} --environment {environment}"
        )
    found = [name for name in there if name.startswith(wanted)] if wanted else there[:1]
    if len(found) != 1 and wanted not in found:
        raise InputError(
            f'"{wanted}" is no backup of {environment} of {migration.name}; the newest are '
            f"{', '.join(there[:3])}"
        )
    return read(migration, environment, wanted if wanted in found else found[0])


def place_of(migration: Migration, environment: str, name: str) -> Path:
    """The folder of a backup."""
    return backup_store.folder(migration, environment) / name


def read(migration: Migration, environment: str, name: str) -> Backup:
    """The manifest of a backup.

    Raises:
        InputError: it can not be read.
    """
    path = place_of(migration, environment, name) / backup_store.MANIFEST
    try:
        return from_json(Backup, path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can not be read: {' '.join(str(error).split())[:200]}") from error


def read_drill(migration: Migration, environment: str, name: str) -> Drill | None:
    """What came of restoring a backup the last time, None if that was never tried."""
    path = place_of(migration, environment, name) / backup_store.DRILL
    return from_json(Drill, path.read_bytes()) if path.exists() else None


def _tables(cursor: Cursor, schema: str) -> list[int]:
    """What is in a schema; a swap puts others in their place."""
    cursor.execute(TABLES, (schema,))
    return [oid for (oid,) in cursor.fetchall()]


def _log(cursor: Cursor) -> tuple[str, ...]:
    """The schema with the log of runs, if this role may read it."""
    if not run_log.has_log(cursor):
        return ()
    cursor.execute(LOG_READABLE, (run_log.SCHEMA, run_log.SCHEMA))
    return (run_log.SCHEMA,) if marker.one(cursor)[0] else ()


def _arguments(dump: Path, snapshot: str, schemas: Sequence[str], jobs: int) -> list[str]:
    return [
        "--format=directory",
        f"--file={dump}",
        f"--jobs={jobs}",
        # Half the time of the default, for a sixth more space.
        "--compress=1",
        f"--snapshot={snapshot}",
        f"--lock-wait-timeout={contents.LOCK_SECONDS * 1000}",
        "--no-password",
        "--strict-names",
        *(f"--schema={_exactly(schema)}" for schema in schemas),
    ]


def _exactly(name: str) -> str:
    """A pattern that matches this name only (PostgreSQL manual, "Patterns" of psql)."""
    return '"' + name.replace('"', '""') + '"'
