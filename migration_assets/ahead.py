"""The snapshot of a run from the command line, taken while Dagster starts.

Dagster takes two seconds to import and to define the run. The copy of a database file needs none
of it, so it is made beside; the first step takes it over. Whatever goes wrong here is left to
that step, which tries again and says why.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from migration_assets.run_folder import RunFolder
from migration_assets.sources.base import SnapshotReader, Source


@contextmanager
def taken_ahead(source: Source, folder: RunFolder) -> Iterator[None]:
    """Take the snapshot in a thread meanwhile, where it is a copy that can be opened again.

    Args:
        source: the source, looked at already.
        folder: the folder of the run to be; it is locked until the snapshot is taken.
    """
    if not source.copies:
        yield
        return
    folder.create()
    locked = threading.Event()

    def take() -> None:
        with folder.lock():
            locked.set()
            with suppress(Exception):
                source.take_snapshot(folder.snapshot).close()
                _mark(folder).touch(mode=0o600)

    thread = threading.Thread(target=take, name="snapshot", daemon=True)
    thread.start()
    locked.wait()
    try:
        yield
    finally:
        thread.join()


def taken_over(source: Source, folder: RunFolder) -> SnapshotReader | None:
    """The snapshot that was taken ahead for this run, once; None if there is none.

    The caller holds the folder's lock.
    """
    if not _mark(folder).exists():
        return None
    _mark(folder).unlink()
    return source.open_snapshot(folder.snapshot)


def _mark(folder: RunFolder) -> Path:
    return folder.snapshot.with_name(folder.snapshot.name + ".ahead")
