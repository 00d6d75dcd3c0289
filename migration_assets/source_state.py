"""What a run keeps of where its source stood: by it, the source can be held against it later."""

from __future__ import annotations

from migration_assets.core.catalog import Catalog
from migration_assets.core.standing import Position, Standing
from migration_assets.home import Migration
from migration_assets.retention import run_folders
from migration_assets.run_folder import RunFolder
from migration_assets.sources.base import SnapshotReader


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
