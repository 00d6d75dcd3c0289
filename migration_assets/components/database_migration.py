"""What a user writes in ``defs.yaml``, as a Dagster component."""

from pathlib import Path
from typing import Any, Self

import dagster as dg
from dagster.components import DefsStateConfig, DefsStateConfigArgs
from dagster.components.core.defs_module import ComponentPath
from pydantic import BaseModel, PrivateAttr

from migration_assets.assets.build import build
from migration_assets.core.config import MigrationConfig
from migration_assets.home import Migration, fill_templates
from migration_assets.sources import open_source
from migration_assets.state import State
from migration_assets.transforms.function import located


class DatabaseMigrationComponent(dg.StateBackedComponent, MigrationConfig, dg.Resolvable):
    """One database, moved into PostgreSQL and proven.

    Its YAML yields

    - per table an asset ``<name>/extract/<table>`` (Parquet of one snapshot) and an asset
      ``<name>/staging/<table>`` with the blocking checks ``content`` and ``values``,
    - the assets ``constraints`` (with the blocking checks ``schema``, ``keys`` and
      ``references``), ``swap`` and ``report`` of the target,
    - the jobs ``<name>_rehearsal`` and ``<name>_refresh_catalog``,
    - the jobs ``<name>_backup`` and ``<name>_restore_drill``,
    - the schedules ``<name>_nightly_rehearsal`` and ``<name>_backup``, and the sensor
      ``<name>_source_changed``, stopped by default,
    - where there is a production target: its tables and the steps of the cutover as assets, the
      jobs ``<name>_approve`` and ``<name>_cutover``, the sensor ``<name>_approval``, stopped by
      default, and ``<name>/production/watch`` with job and schedule, which runs after a cutover.

    The attributes are those of :class:`~migration_assets.core.config.MigrationConfig`. The cached
    state is in ``state/state.json`` beside ``defs.yaml``; making definitions never opens the
    source.
    """

    _folder: Path | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, migration: Migration) -> Self:
        """The component of a migration of the home, without reading its YAML again."""
        component = cls.model_validate(migration.config.model_dump(by_alias=True))
        component._folder = migration.folder
        return component

    @classmethod
    def model(cls) -> type[BaseModel]:
        """The attributes, declared once for YAML, Python and the command line."""
        return MigrationConfig

    @classmethod
    def resolve_from_model(cls, context: dg.ResolutionContext, model: BaseModel) -> Self:
        """Fill in templates such as ``{{ env.NAME }}``."""
        values: Any = fill_templates(model.model_dump(by_alias=True), context)
        return cls.model_validate(values)

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Load as a part of a Dagster project; the folder of ``defs.yaml`` is the migration's."""
        component: Self = super().load(attributes, context)
        location = context.component_loc
        if isinstance(location, ComponentPath):
            path = location.file_path
            component._folder = path if path.is_dir() else path.parent
        return component

    @property
    def migration(self) -> Migration:
        """The configuration with its folder."""
        folder = (self._folder or Path.cwd() / self.name).absolute()
        config = MigrationConfig.model_validate(self.model_dump(by_alias=True))
        return Migration(home=folder.parent, folder=folder, config=located(config, folder))

    @property
    def defs_state_config(self) -> DefsStateConfig:
        """The state is a local file, never refreshed by merely loading definitions."""
        arguments = DefsStateConfigArgs.local_filesystem().model_copy(
            update={"refresh_if_dev": False}
        )
        return DefsStateConfig.from_args(
            arguments, default_key=f"{type(self).__name__}[{self.name}]"
        )

    def write_state_to_path(self, state_path: Path) -> None:
        """Reflect the catalog; the profile comes with the first run or the refresh job."""
        State(open_source(self.source).reflect()).write(state_path)

    async def refresh_state(self, project_root: Path) -> str:
        """Reflect the source into the migration's own folder, not into the installed package."""
        self.write_state_to_path(self.migration.state)
        return "__local__"

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The definitions from the state in the migration's folder."""
        path = self.migration.state
        return self.build_defs_from_state(context, path if path.exists() else None)

    def build_defs_from_state(
        self, context: dg.ComponentLoadContext | None, state_path: Path | None
    ) -> dg.Definitions:
        """The definitions from a state; without one, only the job that makes it."""
        return build(self.migration, State.read(state_path) if state_path else None)
