"""Has the source moved since a run read it? Asked before a swap, and before the way back."""

from __future__ import annotations

from migration_assets.core.catalog import Catalog
from migration_assets.core.standing import Movement, Position, Standing
from migration_assets.errors import NotProvenError
from migration_assets.home import Migration
from migration_assets.retention import run_folders
from migration_assets.run_folder import RunFolder
from migration_assets.sources.base import SnapshotReader, Source


def keep(folder: RunFolder, reader: SnapshotReader, catalog: Catalog, *, lasting: bool) -> None:
    """Keep what the run's snapshot leaves behind; see :meth:`SnapshotReader.standing`."""
    folder.write_result("standing", "all", reader.standing(catalog, lasting=lasting))


def kept(folder: RunFolder) -> Standing | None:
    """What the run's snapshot left behind, None for a run that read no source."""
    return folder.read_result("standing", "all", Standing)


def last_read(migration: Migration) -> Position | None:
    """Where the source stood when the newest run read it, None if no run has."""
    for folder in run_folders(migration):
        standing = kept(folder)
        if standing is not None:
            return standing.position
    return None


def moved_since(source: Source, standing: Standing, folder: RunFolder) -> Movement | None:
    """What was written to the source since a run's snapshot, None if it is proved: nothing.

    Args:
        source: as it is now.
        standing: what the run's snapshot left behind.
        folder: the run's, in which a copy of the source may be made; it may be gone.

    Raises:
        InputError: the source can not be used.
        BrokenOffError: it was lost.
    """
    return source.moved_since(standing, folder.snapshot)


def require_unmoved(source: Source, folder: RunFolder, consequence: str) -> Standing:
    """Prove that the source has not moved since the run's snapshot; returns where it stands.

    Args:
        source: as it is now.
        folder: the run's.
        consequence: what is refused, such as ``nothing goes live``.

    Raises:
        NotProvenError: it has, or it can not be told; says what changed.
        InputError: the source can not be used.
        BrokenOffError: it was lost.
    """
    standing = kept(folder)
    if standing is None:
        raise NotProvenError(
            f"{consequence}: this run kept nothing by which the source could be held against its "
            "snapshot; start a new one"
        )
    found = moved_since(source, standing, folder)
    if found is not None:
        raise NotProvenError(
            f"{consequence}: the source has moved since its snapshot of {standing.taken_at}: "
            f"{found.line}; stop whatever writes to {standing.location} and start a new run"
        )
    return standing
