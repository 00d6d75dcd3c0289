"""``migration-assets baseline``: the target schema as one proved SQL file."""

from __future__ import annotations

from pathlib import Path

import click

from migration_assets import baseline, retention
from migration_assets import home as homes
from migration_assets.cli.local_run import local_run
from migration_assets.core.catalog import SkippedObject
from migration_assets.core.config import MigrationConfig
from migration_assets.core.cutover_config import STAGING
from migration_assets.core.kept_plan import without
from migration_assets.core.plan import Plan
from migration_assets.errors import InputError, NotProvenError
from migration_assets.postgres import embedded
from migration_assets.postgres.scratch import empty_database

TRANSLATED = {"view", "check", "index", "default"}
"""Kinds of statements that may have been written for another engine."""


@click.command("baseline")
@click.argument("source")
@click.option("--name", help="Follow the defs.yaml and the last live run of this migration.")
@click.option("--schema", help="The schema that the file makes; default: that of the migration.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file; default: to the terminal.",
)
def command(source: str, name: str | None, schema: str | None, out: Path | None) -> int:
    """Write the target schema of SOURCE as one SQL file, without rows.

    It is a first migration for the tool that the application uses from then on. Before it is
    written it is run on an empty database of the embedded PostgreSQL, and what it made is compared
    with the plan.

    Exit codes: 0 written and proven, 1 not proven, 2 bad input; nothing is written then.
    """
    plan, chosen = target_plan(source, name, schema)
    with empty_database(embedded.start(homes.home_path())) as url:
        plan = accepted(plan, chosen, url)
        text = baseline.baseline(plan, chosen)
        baseline.prove(text, plan, chosen, url)
    if out is None:
        click.echo(text, nl=False)
        return 0
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out}: can not be written: {error.strerror}") from error
    click.echo(f"{out}: {len(plan.tables)} tables, proved on an empty database")
    return 0


def target_plan(source: str, name: str | None, schema: str | None) -> tuple[Plan, str]:
    """The plan that a schema follows, and the schema.

    With a migration that has gone live it is that run's, without what turned out not to mean the
    same; else a new one.

    Raises:
        InputError: the source or migration is not usable, or the tables are the application's own.
    """
    home = homes.home_path()
    if name is not None:
        migration = homes.load(home, name)
        _refuse_existing(migration.config)
        chosen = schema or migration.config.schema_of(STAGING)
        for folder in retention.run_folders(migration):
            if (folder.path / "results" / "swap" / "all.json").exists():
                return folder.kept_plan(), chosen
    else:
        chosen = schema or homes.choose(home, source)[0]
    with local_run(source, name) as run:
        return run.plan(), chosen


def accepted(plan: Plan, schema: str, url: str) -> Plan:
    """The plan without what PostgreSQL refuses of what was translated.

    Raises:
        NotProvenError: it refuses something else.
    """
    gone = []
    tables = {table.name: table for table in plan.tables}
    for (kind, table, name), reason in baseline.refused(plan, schema, url).items():
        if kind not in TRANSLATED:
            where = f' of table "{table}"' if table else ""
            raise NotProvenError(f'{kind} "{name}"{where} can not be made: {reason}')
        owner = tables[table] if table else None
        column = owner.column(name).source if owner and kind == "default" else name
        why = f"PostgreSQL refuses it: {reason}"
        gone.append(SkippedObject(kind, column, why, owner.source if owner else None))
    return without(plan, tuple(gone))


def _refuse_existing(config: MigrationConfig) -> None:
    if config.schema_mode == "existing":
        raise InputError(
            f"{config.name}: with schema_mode: existing the application's own migrations are the "
            "baseline"
        )
