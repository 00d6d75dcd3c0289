"""The application's own checks: commands that say whether it works on what was loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from migration_assets import commands
from migration_assets.core.config import MigrationConfig
from migration_assets.core.cutover_config import AppCheckConfig
from migration_assets.core.results import CommandResult
from migration_assets.errors import NotProvenError
from migration_assets.passwords import known_passwords
from migration_assets.run_folder import RunFolder

STAGE = "app_checks"
"""Of their results, and the folder in the run's that has what they printed."""


def configured(config: MigrationConfig, environment: str) -> list[AppCheckConfig]:
    """The checks that look at an environment, in their order."""
    return [check for check in config.app_checks if environment in check.environments]


def run_check(
    config: MigrationConfig,
    check: AppCheckConfig,
    folder: RunFolder,
    variables: Mapping[str, str],
) -> CommandResult:
    """Run one check and keep its result; that it fails is a result as well.

    Args:
        config: the migration's.
        check: the check.
        folder: the run's folder.
        variables: by which it finds the database, such as ``DATABASE_URL``.
    """
    folder.forget(STAGE, check.name)
    place = folder.migration
    found = {**variables, **commands.run_variables(place.name, folder.path)}
    name, known = f'application check "{check.name}"', known_passwords(config, place)
    command = commands.Command.of(name, check, place, found, known)
    result = commands.run(command, log_of(check, folder))
    folder.write_result(STAGE, check.name, result)
    return result


def run_all(
    config: MigrationConfig, environment: str, folder: RunFolder, variables: Mapping[str, str]
) -> int:
    """Run all checks of an environment; returns how many there are.

    Raises:
        NotProvenError: some failed; the message names each of them.
    """
    checks = configured(config, environment)
    results = [run_check(config, check, folder, variables) for check in checks]
    problems = [result.problem for result in results if not result.passed]
    if problems:
        raise NotProvenError("; ".join(problems))
    return len(checks)


def log_of(check: AppCheckConfig, folder: RunFolder) -> Path:
    """The file with all that a check printed."""
    return folder.path / STAGE / f"{check.name}.log"
