"""SQLite: one file, copied whole, then read from the copy only."""

from migration_assets.sources.sqlite.source import SQLiteSource

__all__ = ["SQLiteSource"]
