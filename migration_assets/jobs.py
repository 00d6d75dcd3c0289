"""The jobs of one migration."""

import time
from typing import Any

import dagster as dg

from migration_assets.assets.extract import profiled
from migration_assets.assets.keys import Keys
from migration_assets.assets.run import Run
from migration_assets.home import Migration
from migration_assets.state import State


def executor_of(migration: Migration) -> dg.ExecutorDefinition:
    """How the steps of a job that moves everything are run, as ``executor`` says."""
    many = migration.config.executor == "multiprocess"
    return dg.multiprocess_executor if many else dg.in_process_executor


def rehearsal_job(migration: Migration, target: str) -> Any:
    """Extract, load, check, constrain, swap and report, for the target environment."""
    keys = Keys(migration.name)
    return dg.define_asset_job(
        keys.rehearsal,
        selection=dg.AssetSelection.groups(keys.group("extract"), keys.group(target)),
        description=(
            f"Move {migration.name} into {target} and prove it: one snapshot, every table, every "
            "check. The tables go live only if all of it holds."
        ),
        executor_def=executor_of(migration),
        tags={"migration": migration.name},
    )


def refresh_job(migration: Migration) -> dg.JobDefinition:
    """Read the source's catalog and profile again, from which the definitions are made."""
    keys = Keys(migration.name)

    @dg.op(
        name=f"{migration.name}_read_catalog",
        description="Take a snapshot, reflect it, read every table once, keep catalog and profile.",
        required_resource_keys={keys.run_resource},
        out=dg.Out(dg.Nothing),
        pool=migration.name,
    )
    def read_catalog(context: dg.OpExecutionContext) -> None:
        run: Run = getattr(context.resources, keys.run_resource)
        started = time.monotonic()
        reader = migration.source().take_snapshot(run.folder.snapshot)
        try:
            catalog = reader.catalog()
            profile, plan, _ = profiled(run, reader, catalog, spill=False)
            State(catalog, profile, reader.snapshot.id).write(migration.state)
        finally:
            reader.close()
            run.folder.snapshot.unlink(missing_ok=True)
        context.log.info(
            f"{len(catalog.tables)} tables read in {time.monotonic() - started:.1f} s, plan "
            f"{plan.digest}; reload the code location to see it"
        )
        context.add_output_metadata({"tables": len(catalog.tables), "plan": plan.digest})

    @dg.job(
        name=keys.refresh,
        description=f"Read catalog and profile of {migration.name} again; writes to no target.",
        executor_def=dg.in_process_executor,
        tags={"migration": migration.name},
    )
    def refresh() -> None:
        read_catalog()

    return refresh
