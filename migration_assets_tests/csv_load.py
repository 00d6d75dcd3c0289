"""A folder of CSV files loaded into a schema by the work layer alone: no run, no verification."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from migration_assets import constraints, extract, generated, load
from migration_assets.cli.local_run import local_run
from migration_assets.postgres.connect import Target


def load_csv(folder: Path, url: str, schema: str) -> list[str]:
    """Extract, load and constrain; returns what PostgreSQL refused.

    Args:
        folder: of the CSV files.
        url: the target server's.
        schema: is made.
    """
    target = Target(url, schema)
    with local_run(f"csv:///{folder}", spill=True) as run:
        plan = run.plan()
        load.prepare(target, schema, "csv", "csv")
        for table in plan.tables:
            manifest = extract.write_table(
                run.reader, run.catalog.table(table.source), table, run.folder, run.progress
            )
            assert manifest.mismatches == ()
            with closing(extract.open_parquet(run.folder, manifest.path)) as parquet:
                generated.load_table(target, schema, table, parquet, run.progress)
        made = constraints.apply(target, schema, plan, run.profile, run.folder, run.progress)
    return [f"{item.kind} {item.name}: {item.error}" for item in made if item.error]
