"""A folder of CSV files, with the manifest of an export or without."""

from migration_assets.sources.csv.source import CsvSource

__all__ = ["CsvSource"]
