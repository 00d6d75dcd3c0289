"""The components that ``defs.yaml`` can name."""

from migration_assets.components.database_migration import DatabaseMigrationComponent

__all__ = ["DatabaseMigrationComponent"]
