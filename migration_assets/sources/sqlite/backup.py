"""A copy of a database file for good, and a look whether a database can be made of it again."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from migration_assets.core.standing import TableState
from migration_assets.errors import BrokenOffError, NotProvenError
from migration_assets.sources.base import SourceCopy
from migration_assets.sources.sqlite import moved, snapshot
from migration_assets.sources.sqlite.reader import HARMLESS

FILE = "source.db"
_FINDINGS = 10


def back_up(source: Path, folder: Path, location: str) -> SourceCopy:
    """Copy ``source`` into ``folder``, and restore the copy beside it for a moment.

    Raises:
        InputError: it can not be used.
        NotProvenError: what was restored is damaged, or is not what the source holds.
        BrokenOffError: the disk is full.
    """
    kept, restored = folder / FILE, folder / "restored.part"
    snapshot.copy_database(source, kept, location)
    try:
        shutil.copyfile(kept, restored)
        _flush(kept)
        notes = _check(restored, location)
        if snapshot.content_id(restored) != snapshot.content_id(kept):
            raise NotProvenError(f"the backup of {location} is not the same after a restore")
        tables = {name: TableState(rows) for name, rows in moved.rows_by_table(restored).items()}
    except OSError as error:
        raise BrokenOffError(
            f"the backup of {location} can not be written to {folder}: {error.strerror}; make "
            "room, then run again"
        ) from error
    finally:
        snapshot.remove(restored)
    return SourceCopy("copy", tables, restored=True, content=snapshot.content_id(kept), notes=notes)


def _check(restored: Path, location: str) -> tuple[str, ...]:
    """Open it as an application would, and let SQLite look at all of it; returns notes."""
    try:
        with closing(sqlite3.connect(restored, isolation_level=None)) as connection:
            connection.execute("PRAGMA writable_schema=ON")
            connection.execute("PRAGMA ignore_check_constraints=ON")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
            found = _findings(connection, "integrity_check")
            if not found:
                return ()
            # What only the longer of the two finds is about indexes: REINDEX mends it.
            damage = _findings(connection, "quick_check")
    except sqlite3.OperationalError as error:
        return (f"SQLite's own check came to no end: {error}",)
    except sqlite3.Error as error:
        raise NotProvenError(f"the backup of {location} can not be restored: {error}") from error
    if damage:
        raise NotProvenError(f"the backup of {location} is damaged, as is the source: {damage[0]}")
    return (f"an index of the source is damaged: {found[0]}",)


def _findings(connection: sqlite3.Connection, check: str) -> list[str]:
    found = [str(text) for (text,) in connection.execute(f"PRAGMA {check}({_FINDINGS})")]
    lines = [line for text in found if text != "ok" for line in text.splitlines()]
    return [line for line in lines if not HARMLESS.search(line)]


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
