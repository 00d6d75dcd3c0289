"""From the lanes of a source to the Parquet form of the plan, with every change in the ledger."""

from migration_assets.convert.table import TableConverter, lanes_of, parquet_schema

__all__ = ["TableConverter", "lanes_of", "parquet_schema"]
