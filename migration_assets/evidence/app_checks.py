"""The evidence of the application's own checks."""

from __future__ import annotations

from migration_assets.app_checks import STAGE, configured
from migration_assets.core import evidence as ev
from migration_assets.core.config import MigrationConfig
from migration_assets.core.evidence_live import AppCheckEvidence
from migration_assets.core.results import CommandResult
from migration_assets.run_folder import RunFolder

APP_CHECK = "app_check:"
"""Before their names, among the checks of a target."""


def app_check_evidence(
    folder: RunFolder, config: MigrationConfig, environment: str
) -> tuple[AppCheckEvidence, ...]:
    """The configured checks of an environment, those that did not run included."""
    checks = configured(config, environment)
    found = folder.read_results(STAGE, CommandResult) if checks else {}
    return tuple(_evidence(check.name, found.get(check.name)) for check in checks)


def as_check(check: AppCheckEvidence) -> ev.Check:
    """The check among those of the target."""
    return ev.Check(
        name=f"{APP_CHECK}{check.name}", passed=check.passed, ran=check.ran, detail=check.detail
    )


def _evidence(name: str, result: CommandResult | None) -> AppCheckEvidence:
    if result is None:
        return AppCheckEvidence(name=name, passed=False, ran=False, detail="did not happen")
    return AppCheckEvidence(
        name=name,
        passed=result.passed,
        ran=True,
        detail=f"exit code 0 after {result.seconds:.1f} s" if result.passed else result.problem,
        command=result.command,
        exit_code=result.exit_code,
        started_at=result.started_at,
        seconds=result.seconds,
        output=result.output,
    )
