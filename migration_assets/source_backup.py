"""A backup of the source before it is left: whole, with checksums, and tried."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from migration_assets import backup_store
from migration_assets.core.backup import SourceBackup
from migration_assets.core.results import from_json, to_json
from migration_assets.errors import InputError
from migration_assets.home import Migration

KIND = "source"
"""The folder of these backups, beside those of the target environments."""


def back_up(migration: Migration, warn: Callable[[str], None] = lambda line: None) -> SourceBackup:
    """Back up the source, and drop backups of it that are not kept any more.

    Args:
        migration: the migration.
        warn: is told of old backups that could not be dropped.

    Raises:
        InputError: the source can not be used, or another backup of it is under way.
        NotProvenError: what was restored is not what the source holds.
        BrokenOffError: the source or the disk was lost.
    """
    started = time.monotonic()
    source = migration.source()
    with backup_store.new(migration, KIND) as part:
        made_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        held = source.back_up(part)
        made = SourceBackup(
            id=backup_store.identity(part),
            migration=migration.name,
            made_at=made_at,
            location=source.location,
            method=held.method,
            program=held.program,
            content=held.content,
            tables=held.tables,
            restored=held.restored,
            notes=held.notes,
            files=backup_store.sums(part),
            seconds=time.monotonic() - started,
        )
        backup_store.write_record(part, backup_store.MANIFEST, to_json(made))
    with backup_store.locked(migration, KIND):
        keep = migration.config.backup.keep
        backup_store.prune(migration, KIND, keep, lambda place: KIND, warn)
    return made


def read(migration: Migration, name: str) -> SourceBackup:
    """The manifest of the backup called ``name``.

    Raises:
        InputError: it can not be read.
    """
    path = backup_store.folder(migration, KIND) / name / backup_store.MANIFEST
    try:
        return from_json(SourceBackup, path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can not be read: {' '.join(str(error).split())[:200]}") from error
