"""``schema_mode: existing`` on the command line: the schema that decides, looked at."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from migration_assets import home as homes
from migration_assets.core import naming
from migration_assets.core.config import MigrationConfig, TargetConfig
from migration_assets.core.cutover_config import STAGING
from migration_assets.core.plan import Plan
from migration_assets.core.structure import Structure
from migration_assets.existing import prepare
from migration_assets.postgres import swap
from migration_assets.postgres.connect import Target, resolve_target
from migration_assets.run_folder import RunFolder

Look = Callable[[MigrationConfig, RunFolder], Structure | None]
"""The existing schema that a plan is made for, None where the migration makes its own."""


def as_it_is(target: Target) -> Look:
    """Look at the target's schema itself."""

    def look(config: MigrationConfig, folder: RunFolder) -> Structure | None:
        return prepare.read(target) if config.schema_mode == "existing" else None

    return look


def destination(
    source_url: str, name: str | None, url: str | None, schema: str | None
) -> Target | None:
    """The target that a plan is made for, None for a plan without one.

    Args:
        source_url: the source, which names the schema where nothing else does.
        name: a migration of the home, whose target it is if no other is named.
        url: the target's URL.
        schema: its schema.

    Raises:
        InputError: the target is not usable.
    """
    home = homes.home_path()
    migration = homes.load(home, name) if name else None
    if migration is None:
        if url is None:
            return None
        return resolve_target(
            TargetConfig(url=url), schema or homes.choose(home, source_url)[0], home, home
        )
    config = migration.config
    if url is None and config.schema_mode != "existing":
        return None
    wanted = TargetConfig(url=url) if url else config.targets[STAGING]
    return resolve_target(wanted, schema or config.schema_of(STAGING), migration.folder, home)


def as_it_will_be(target: Target) -> Look:
    """Look at the target's schema, or at what ``schema_command`` makes; leaves no trace."""

    def look(config: MigrationConfig, folder: RunFolder) -> Structure | None:
        if config.schema_mode != "existing":
            return None
        prepare.preflight(target, config)
        if config.schema_command is None:
            return prepare.read(target)
        run_id = str(uuid4())
        trial = naming.shorten(f"{target.schema}__in_{run_id[:8]}")
        try:
            return prepare.build(target, trial, config, run_id, folder.migration, folder)
        finally:
            swap.drop_incoming(target, trial, config.name, run_id, outcome="looked at")

    return look


def check(target: Target, structure: Structure, plan: Plan, config: MigrationConfig) -> None:
    """Refuse what a run would refuse; raises InputError."""
    prepare.check_fit(target, structure, plan, config)
