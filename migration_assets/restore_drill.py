"""The restore drill: a backup restored into a database of its own, and held against what it was."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from migration_assets import backup_store
from migration_assets.backup import DUMP, place_of, read, target_of
from migration_assets.core.backup import Backup, Drill
from migration_assets.core.cutover_config import STAGING
from migration_assets.core.results import to_json
from migration_assets.errors import InputError
from migration_assets.home import Migration
from migration_assets.postgres import connect, contents, marker, pg_tools, scratch
from migration_assets.postgres.connect import Target, session
from migration_assets.progress import Progress

LISTED = 20
"""Most problems that are kept."""

_SCHEMA = re.compile(r"\d+; \d+ \d+ SCHEMA - ")
_UNKNOWN = "unrecognized configuration parameter"


def drill(
    migration: Migration, backup: Backup, places: Sequence[Target], progress: Progress
) -> Drill:
    """Restore a backup into a database of its own, compare all of it, and drop that database.

    Nothing else on the server is touched. What came of it is kept beside the backup.

    Args:
        migration: the migration.
        backup: which backup.
        places: as for :func:`place_for`.
        progress: shown table by table, as stage ``restore drill``.

    Returns:
        what came of it; it may well have failed.

    Raises:
        InputError: no database can be made on any of the servers, no ``pg_restore`` fits, or a
            backup is being made.
        BrokenOffError: the server or its disk was lost.
    """
    started = time.monotonic()
    what = f"the restore drill of backup {backup.id}"
    place = place_of(migration, backup.environment, backup.id)
    with backup_store.locked(migration, backup.environment):
        # With the lock: it is not dropped meanwhile.
        read(migration, backup.environment, backup.id)
        server = place_for(places, backup.server, backup.tool)
        problems = backup_store.damaged(place, backup.files)
        checked = time.monotonic()
        restored, found = checked, None
        if not problems:
            with scratch.empty_database(server.target, server.locale) as database:
                problems += _restore(
                    server.tool, place / DUMP, database, backup, migration.config.backup.jobs, what
                )
                restored = time.monotonic()
                with session(database, what) as connection, connection.cursor() as cursor:
                    found = contents.read(cursor, backup.schemas, progress, "restore drill")
                problems += contents.differences(backup.contents, found)
        ended = time.monotonic()
        result = Drill(
            backup=backup.id,
            environment=backup.environment,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            location=server.target.location,
            problems=tuple(problems[:LISTED]),
            tables=len(found.tables) if found else 0,
            rows=found.rows if found else 0,
            checksum_seconds=checked - started,
            restore_seconds=restored - checked,
            compare_seconds=ended - restored,
            seconds=ended - started,
        )
        backup_store.write_record(place, backup_store.DRILL, to_json(result))
    return result


def places(migration: Migration, environment: str) -> list[Target]:
    """Where a backup may be restored: beside what it is of, or else where rehearsals go."""
    names = dict.fromkeys((environment, STAGING))
    return [target_of(migration, name) for name in names]


def verdict(drill: Drill) -> str:
    """What came of a drill, in one line."""
    if drill.passed:
        return (
            f"backup {drill.backup} of {drill.environment} restores: {drill.tables} tables, "
            f"{drill.rows:,} rows, every digest equal, in {drill.restore_seconds:.1f} s "
            f"({drill.seconds:.1f} s with checksums and comparison)"
        )
    more = f"; and {len(drill.problems) - 3} more" if len(drill.problems) > 3 else ""
    return (
        f"backup {drill.backup} of {drill.environment} does not restore: "
        f"{'; '.join(drill.problems[:3])}{more}; make another one"
    )


@dataclass(frozen=True)
class Server:
    """Where a backup can be restored: a target on it, its locale, and the program that does it."""

    target: Target
    locale: sql.Composable
    tool: pg_tools.Tool


def place_for(places: Sequence[Target], version: int, tool: int) -> Server:
    """The first server on which this role may make a database that takes a backup.

    Args:
        places: targets on the servers; the first is where the backup is from.
        version: major version of that server.
        tool: major version of the ``pg_dump`` that makes, or made, the backup.

    Raises:
        InputError: there is none; the message says of each why, or there is no ``pg_restore``.
    """
    reasons = []
    for target in places:
        try:
            with session(target, "the look at a server") as connection:
                found = connection.server_version // 10_000
                encrypted = connection.info.ssl_in_use
                with connection.cursor() as cursor:
                    able = scratch.may_create(cursor)
                    cursor.execute("SELECT current_user")
                    [role] = marker.one(cursor)
                    own = target == places[0]
                    locale = scratch.locale_of(cursor) if own else scratch.PLAIN
        except InputError as error:
            reasons.append(str(error))
            continue
        if found < version:
            reasons.append(f"{target.location} is of version {found}, the backup of {version}")
        elif not able:
            reasons.append(
                f'role "{role}" may make no database at {target.location} (ALTER ROLE "{role}" '
                "CREATEDB)"
            )
        else:
            program = pg_tools.find("pg_restore", max(found, tool), encrypted)
            return Server(target, locale, program)
    raise InputError(f"a backup can not be restored anywhere: {'; '.join(reasons)}")


def _restore(
    tool: pg_tools.Tool, dump: Path, database: Target, backup: Backup, jobs: int, what: str
) -> list[str]:
    """Restore into an empty database; returns what went wrong."""
    missing = []
    with session(database, what) as connection:
        for schema in sorted({*backup.schemas, *backup.extensions.values()}):
            with connection, connection.cursor() as cursor:
                cursor.execute(
                    sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema))
                )
        for name, schema in backup.extensions.items():
            reason = _extend(connection, name, schema)
            if reason:
                missing.append(f'extension "{name}" can not be made ({reason})')
    with tempfile.TemporaryDirectory(prefix=scratch.PREFIX) as folder:
        chosen = Path(folder) / "list"
        # The schemas are there; "public" always is.
        lines = (line for line in pg_tools.listing(tool, dump) if not _SCHEMA.match(line))
        chosen.write_text("\n".join(lines) + "\n", encoding="utf-8")
        arguments = [
            f"--jobs={jobs}",
            f"--use-list={chosen}",
            "--no-owner",
            "--no-privileges",
            "--no-comments",
            "--no-password",
            str(dump),
        ]
        with pg_tools.running(tool, arguments, database, what) as finished:
            said = finished()
    # A later pg_dump sets what an older server does not know, and needs none of it.
    complaints = [line for line in said if _UNKNOWN not in line]
    if any(pg_tools.ENDED.search(line) for line in complaints):
        pg_tools.raise_for(complaints, what)
    # Extensions that nothing needs are not missed.
    return [*missing, *complaints] if complaints else []


def _extend(connection: Connection, name: str, schema: str) -> str | None:
    """Make an extension; returns why that is not possible, None if it was."""
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {} CASCADE").format(
                    sql.Identifier(name), sql.Identifier(schema)
                )
            )
    except psycopg2.Error as error:
        if connect.is_lost(error):
            raise
        return error.diag.message_primary or str(error)
    return None
