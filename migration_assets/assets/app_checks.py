"""The application's own checks, as asset checks of the swap into staging."""

from collections.abc import Iterator

import dagster as dg

from migration_assets import app_checks
from migration_assets.assets.keys import Keys
from migration_assets.assets.run import Run, step
from migration_assets.core.results import CommandResult
from migration_assets.home import Migration
from migration_assets.postgres.variables import variables


def application_checks(migration: Migration, target: str) -> list[dg.AssetChecksDefinition]:
    """One asset check for each configured check of ``target``; none where none is configured.

    They run once the tables are live, and the report waits for them: a rehearsal on which the
    application does not work is not proven.
    """
    checks = app_checks.configured(migration.config, target)
    if not checks:
        return []
    keys = Keys(migration.name)
    asset = keys.step(target, "swap")

    @dg.multi_asset_check(
        name=f"{migration.name}_{target}_app_checks",
        specs=[
            dg.AssetCheckSpec(
                check.name,
                asset=asset,
                blocking=True,
                description=f"The application's own check, at most {check.timeout} s.",
            )
            for check in checks
        ],
        can_subset=True,
        required_resource_keys={keys.run_resource},
        pool=migration.name,
    )
    def check_op(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        run: Run = getattr(context.resources, keys.run_resource)
        with step(run, context, app_checks.STAGE) as current:
            destination = run.target(target)
            chosen = {key.name for key in context.selected_asset_check_keys}
            for check in checks:
                if check.name not in chosen:
                    continue
                with run.progress.task("application check", check.name):
                    found = variables(destination, destination.schema)
                    result = app_checks.run_check(migration.config, check, run.folder, found)
                current.blocked = current.blocked or not result.passed
                log = app_checks.log_of(check, run.folder)
                yield _result(asset, check.name, result, str(log))

    return [check_op]


def _result(asset: dg.AssetKey, name: str, result: CommandResult, log: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=name,
        passed=result.passed,
        description="exit code 0" if result.passed else result.problem,
        metadata={
            "command": result.command,
            "exit_code": "none: it was ended" if result.exit_code is None else result.exit_code,
            "seconds": result.seconds,
            "output": dg.MetadataValue.text(result.output),
            "log": dg.MetadataValue.path(log),
        },
    )
