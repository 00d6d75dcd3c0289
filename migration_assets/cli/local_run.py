"""A run in a temporary folder, without Dagster: snapshot, profile and plan of a source."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from migration_assets import extract, home
from migration_assets.core import naming
from migration_assets.core.catalog import Catalog
from migration_assets.core.config import MigrationConfig
from migration_assets.core.plan import Plan
from migration_assets.core.planner import build_plan
from migration_assets.core.profile import Profile
from migration_assets.core.sensitive import columns_of
from migration_assets.core.structure import Structure
from migration_assets.progress import Progress
from migration_assets.run_folder import RunFolder
from migration_assets.sources import open_source
from migration_assets.sources.base import SnapshotReader
from migration_assets.transforms.table import check


@dataclass(frozen=True)
class LocalRun:
    """What a source is and holds, read from a snapshot of it."""

    config: MigrationConfig
    folder: RunFolder
    reader: SnapshotReader
    catalog: Catalog
    profile: Profile
    progress: Progress
    structure: Structure | None = None

    def plan(self) -> Plan:
        """The plan of this snapshot under the configuration.

        Raises:
            InputError: it can not be, or a transform can not be used.
        """
        plan = build_plan(self.catalog, self.profile, self.config.plan, self.structure)
        check(plan, self.folder.migration)
        return plan


@contextmanager
def local_run(
    source_url: str,
    name: str | None = None,
    spill: bool = False,
    look: Callable[[MigrationConfig, RunFolder], Structure | None] | None = None,
    existing: bool = False,
) -> Iterator[LocalRun]:
    """Take a snapshot of a source into a temporary folder, read it once, and clean up after.

    Args:
        source_url: the source.
        name: a migration of the migration home whose ``defs.yaml`` shapes the plan.
        spill: keep the rows read, for a conversion after it.
        look: gives the schema that decides with ``schema_mode: existing``; None plans without it.
        existing: it decides, whatever the migration says.

    Raises:
        InputError: the source, or the named migration, is not usable, or does not fit into the
            existing schema.
    """
    migration = home.load(home.home_path(), name) if name else None
    source = (
        open_source(source_url, migration.kept_password, migration.config.sensitive)
        if migration
        else open_source(source_url)
    )
    source.check()
    config = migration.config if migration else MigrationConfig(name="plan", source=source.location)
    if existing:
        config = config.model_copy(update={"schema_mode": "existing"})
    with tempfile.TemporaryDirectory(prefix="migration_assets_") as temporary:
        place = migration.folder if migration else Path(temporary)
        folder = RunFolder(Path(temporary) / "run", home=place).create()
        progress = Progress(folder.path / "progress")
        reader = source.take_snapshot(folder.snapshot)
        try:
            catalog = reader.catalog()
            # Names that meet are found before any row is read.
            structure = look(config, folder) if look else None
            build_plan(catalog, None, config.plan, structure)
            slugs = naming.slugs(table.name for table in catalog.tables)
            profile, _ = extract.read_profile(
                reader,
                catalog,
                folder,
                slugs,
                slugs if spill else (),
                progress,
                sensitive=columns_of(catalog, config.sensitive),
            )
            yield LocalRun(config, folder, reader, catalog, profile, progress, structure)
        finally:
            reader.close()
