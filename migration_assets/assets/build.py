"""All definitions of one migration: a pure function of its configuration and its cached state."""

import dagster as dg

from migration_assets import checks
from migration_assets.assets.app_checks import application_checks
from migration_assets.assets.extract import extract_assets
from migration_assets.assets.finish import finish_assets
from migration_assets.assets.keys import Keys
from migration_assets.assets.load import load_assets
from migration_assets.assets.run import run_resource
from migration_assets.backup_jobs import backup_job, backup_schedule, restore_drill_job
from migration_assets.core.cutover_config import PRODUCTION, STAGING
from migration_assets.failure_sensor import failure_sensor
from migration_assets.home import Migration
from migration_assets.jobs import refresh_job, rehearsal_job
from migration_assets.rollback_jobs import rollback_drill_job, rollback_job
from migration_assets.schedules import nightly_rehearsal
from migration_assets.source_sensor import source_changed
from migration_assets.state import State


def build(migration: Migration, state: State | None) -> dg.Definitions:
    """The definitions of ``migration``.

    Args:
        migration: its configuration and folder.
        state: the cached catalog and profile. Before there is any, there are no assets, but the
            job that makes it.
    """
    keys = Keys(migration.name)
    resources: dict[str, dg.ResourceDefinition] = {keys.run_resource: run_resource(migration)}
    backups = backup_job(migration)
    beside = [
        refresh_job(migration),
        backups,
        restore_drill_job(migration),
        rollback_job(migration),
        rollback_drill_job(migration),
    ]
    nightly = backup_schedule(migration, backups)
    if state is None:
        return dg.Definitions(jobs=beside, schedules=[nightly], resources=resources)
    resources[keys.expectations_resource] = checks.expectations_resource()
    plan = state.plan(migration.config.plan)
    job = rehearsal_job(migration, STAGING)
    assets, asset_checks = extract_assets(migration, state, plan), []
    for target in migration.config.targets:
        assets += load_assets(migration, state, plan, target)
        assets += finish_assets(migration, state, plan, target)
        asset_checks += checks.table_checks(migration, state, plan, target)
        asset_checks.append(checks.structure_checks(migration, target))
    asset_checks += application_checks(migration, STAGING)
    jobs = [job, *beside]
    schedules = [nightly_rehearsal(migration, job), nightly]
    sensors = [source_changed(migration, job), *failure_sensor(migration)]
    if PRODUCTION in migration.config.targets:
        # What only rehearses waits for none of it.
        from migration_assets.approval_sensor import approval_sensor
        from migration_assets.assets.approval import approval_asset, approval_job
        from migration_assets.assets.cutover import cutover_assets, cutover_job
        from migration_assets.assets.watch import watch_asset, watch_job, watch_schedule

        assets += [approval_asset(migration), *cutover_assets(migration), watch_asset(migration)]
        live, looking = cutover_job(migration), watch_job(migration)
        jobs += [approval_job(migration), live, looking]
        schedules.append(watch_schedule(migration, looking))
        sensors.append(approval_sensor(migration, live))
    return dg.Definitions(
        assets=assets,
        asset_checks=asset_checks,
        jobs=jobs,
        schedules=schedules,
        sensors=sensors,
        resources=resources,
    )
