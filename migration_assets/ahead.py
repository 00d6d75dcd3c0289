"""The snapshot of a run from the command line, taken while Dagster starts.

Dagster takes two seconds to import and to define the run. The snapshot needs none of it, so it is
taken beside, and a server that is the source counts and sums its large tables meanwhile; the first
step takes all of it over. Whatever goes wrong here is left to that step, which tries again and
says why.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from migration_assets.core.selection import selected
from migration_assets.home import Migration
from migration_assets.run_folder import RunFolder
from migration_assets.sources.base import SnapshotReader, Source

_open: dict[Path, SnapshotReader] = {}
"""Snapshots that are no copies and wait for their run, by what is kept of them."""


@contextmanager
def taken_ahead(migration: Migration, folder: RunFolder) -> Iterator[None]:
    """Take the snapshot in a thread meanwhile.

    Args:
        migration: whose source was looked at already.
        folder: the folder of the run to be; it is locked until the snapshot is taken.
    """
    source = migration.source()
    if not source.copies and migration.config.executor == "multiprocess":
        yield  # Its steps could not take it over.
        return
    folder.create()
    locked = threading.Event()

    def take() -> None:
        try:
            with suppress(Exception), folder.lock():
                locked.set()
                _take(migration, source, folder)
        finally:
            locked.set()

    thread = threading.Thread(target=take, name="snapshot", daemon=True)
    thread.start()
    try:
        locked.wait()
        yield
    finally:
        try:
            thread.join()
        finally:
            if (left := _open.pop(folder.snapshot, None)) is not None:
                left.close()


def taken_over(source: Source, folder: RunFolder) -> SnapshotReader | None:
    """The snapshot that was taken ahead for this run, once; None if there is none.

    The caller holds the folder's lock.
    """
    if not source.copies:
        return _open.pop(folder.snapshot, None)
    if not _mark(folder).exists():
        return None
    _mark(folder).unlink()
    return source.open_snapshot(folder.snapshot)


def _take(migration: Migration, source: Source, folder: RunFolder) -> None:
    reader = source.take_snapshot(folder.snapshot)
    if source.copies:
        reader.close()
        _mark(folder).touch(mode=0o600)
        return
    _open[folder.snapshot] = reader
    tables, _ = selected(reader.catalog(), migration.config.plan)
    reader.begin_facts(tables)


def _mark(folder: RunFolder) -> Path:
    return folder.snapshot.with_name(folder.snapshot.name + ".ahead")
