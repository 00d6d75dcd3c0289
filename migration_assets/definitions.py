"""The code location: the definitions of every migration in the migration home."""

import logging

import dagster as dg

from migration_assets.components import DatabaseMigrationComponent
from migration_assets.home import Migration, home_path, load, migration_names


@dg.definitions
def defs() -> dg.Definitions:
    """All migrations of ``MIGRATION_HOME``."""
    home = home_path()
    return assemble([load(home, name) for name in migration_names(home)])


def assemble(migrations: list[Migration]) -> dg.Definitions:
    """The definitions of some migrations; none of their sources is opened."""
    components = [DatabaseMigrationComponent.of(migration) for migration in migrations]
    return dg.Definitions.merge(
        dg.Definitions(executor=dg.in_process_executor, loggers={"console": _QUIET}),
        *(
            component.build_defs_from_state(None, path if path.exists() else None)
            for component in components
            for path in [component.migration.state]
        ),
    )


def _silence(_context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("migration_assets.console", level=logging.CRITICAL + 1)
    logger.addHandler(logging.NullHandler())
    return logger


_QUIET = dg.LoggerDefinition(_silence, description="Nothing: all of it is in the event log.")
