"""The rehearsal of a source that is given by its URL, run from the command line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from migration_assets import home as homes
from migration_assets.cli.moving import check_out, run_job, show
from migration_assets.cli.progress_view import plain_console
from migration_assets.cli.target_option import target_url
from migration_assets.core.catalog import Catalog
from migration_assets.core.config import MigrationConfig, TargetConfig
from migration_assets.core.cutover_config import STAGING
from migration_assets.core.evidence import Evidence
from migration_assets.core.planner import build_plan
from migration_assets.errors import InputError
from migration_assets.expectations.client import ExpectationsWorker
from migration_assets.postgres import admission
from migration_assets.postgres.connect import Target, resolve_target
from migration_assets.run_folder import RunFolder
from migration_assets.sources import open_source
from migration_assets.state import State

if TYPE_CHECKING:
    from migration_assets.core.structure import Structure


def migrate(
    worker: ExpectationsWorker,
    source: str,
    target: str | None,
    schema: str | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """What the command does.

    Args:
        worker: Great Expectations' process, started.
        source: URL of the source.
        target: URL of the target, if given.
        schema: target schema, if given.
        out: folder for copies of evidence, report and the like, if given.
        as_json: print the evidence instead of a summary.

    Returns:
        The exit code.
    """
    console = plain_console(stderr=as_json)
    check_out(out)
    migration, evidence, folder = rehearse(console, worker, source, target_url(target), schema)
    return show(console, migration, evidence, folder, out, as_json)


def rehearse(
    console: Console,
    worker: ExpectationsWorker,
    source: str,
    target: str | None = None,
    schema: str | None = None,
) -> tuple[homes.Migration, Evidence, RunFolder]:
    """Move a database and prove it, as the command does, in this process.

    Args:
        console: where progress is shown.
        worker: Great Expectations' process, started; it may serve many runs, one after another.
        source: URL of the source.
        target: URL of the target; None for that of the migration, or the embedded one.
        schema: target schema; None for that of the migration, or its name.

    Returns:
        The migration, the evidence, and the run's folder.

    Raises:
        InputError: source, target or home cannot be used; nothing was written.
        BrokenOffError: the run's own record cannot be written.
    """
    with _writable():
        migration, is_new = _prepared(source, target, schema)
    if is_new and (others := homes.of_the_same_source(migration)):
        console.print(
            f"Note: this is the new migration {migration.name}, with default settings. The same "
            f"source is moved by {', '.join(others)} to another target or schema; give the --target"
            " and --schema of its defs.yaml to run that one",
            soft_wrap=True,
        )
    evidence, folder = run_job(console, migration, f"{migration.name}_rehearsal", worker)
    if is_new and evidence.run.exit_code == InputError.exit_code and not folder.has_plan:
        # The source looked well, but not all of it can be read: as if it had not been begun.
        shutil.rmtree(migration.folder)
        raise InputError(evidence.run.reasons[0])
    return migration, evidence, folder


@contextmanager
def _writable() -> Iterator[None]:
    """Turn what the file system refuses into one line.

    Raises:
        InputError: a file or folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error


def _prepared(
    source_url: str, target_url: str | None, schema: str | None
) -> tuple[homes.Migration, bool]:
    """Look at source and target, then make the migration's folder if there is none.

    Returns:
        The migration, and True if its folder was made now.

    Raises:
        InputError: one of them is not usable; nothing was written then.
    """
    source = open_source(source_url)
    home = homes.home_path()
    name, migration = homes.choose(home, source.location, target_url, schema)
    if migration is not None:
        source = open_source(source_url, migration.kept_password, migration.config.sensitive)
    source.check()
    catalog = source.reflect()
    if migration is not None:
        config = migration.config
        target = _target(config, migration.folder, home, target_url)
    else:
        config = MigrationConfig(name=name, source=source.location)
        wanted = TargetConfig(url=target_url or "embedded", schema=schema)
        target = resolve_target(wanted, schema or name, home / name, home)
    structure = _look(target, config, catalog)
    is_new = migration is None
    migration = migration or homes.create(
        home, name, source.location, target_url, schema, [table.name for table in catalog.tables]
    )
    homes.keep_source_password(migration, source_url)
    if target_url:
        homes.keep_password(migration, target_url)
    _keep_catalog(migration, catalog, structure)
    return migration, is_new


def _look(target: Target, config: MigrationConfig, catalog: Catalog) -> Structure | None:
    """Look whether the run can go to the target; the existing schema, if it goes into one.

    Raises:
        InputError: it can not; says why.
    """
    if config.schema_mode != "existing":
        config.check_tables(build_plan(catalog, None, config.plan))
        admission.check_target(target, config.name)
        return None
    from migration_assets.existing import prepare  # needed seldom

    prepare.preflight(target, config)
    if config.schema_command is not None:
        return None
    structure = prepare.read(target)
    declared = build_plan(catalog, None, config.plan, structure)
    config.check_tables(declared)
    prepare.check_fit(target, structure, declared, config)
    return structure


def _target(config: MigrationConfig, folder: Path, home: Path, target_url: str | None) -> Target:
    """The target to look at; a password given now is tried before it is kept."""
    staging = config.targets[STAGING]
    if target_url and homes.split_password(target_url)[1] is not None:
        staging = staging.model_copy(update={"url": target_url, "password_file": None})
    return resolve_target(staging, config.schema_of(STAGING), folder, home)


def _keep_catalog(
    migration: homes.Migration, catalog: Catalog, structure: Structure | None
) -> None:
    """Make the definitions follow the source's tables as they are now; profile kept if it fits."""
    try:
        state = State.read(migration.state)
    except FileNotFoundError:
        state = None
    if state is None or _shape(state.catalog) != _shape(catalog):
        looked = structure.to_json() if structure else None
        State(catalog, structure=looked).write(migration.state)


def _shape(catalog: Catalog) -> list[tuple[str, str | None]]:
    return [(table.name, table.sql) for table in catalog.tables]
