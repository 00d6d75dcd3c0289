"""From the lanes of a source to the Parquet form of the plan, with every change in the ledger."""
