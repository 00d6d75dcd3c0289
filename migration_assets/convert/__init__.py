"""From the lanes of a source to the Parquet form of the plan, with every change in the ledger."""

from migration_assets.convert.rows import lanes_of
from migration_assets.convert.table import TableConverter, parquet_schema

__all__ = ["TableConverter", "lanes_of", "parquet_schema"]
