"""``migration-assets verify``: prove again, or disprove, a loaded schema."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import click

from migration_assets import home as homes
from migration_assets import proof
from migration_assets.cli.existing import as_it_is
from migration_assets.cli.local_run import local_run
from migration_assets.cli.moving import check_out, copy_artefacts
from migration_assets.cli.progress_view import ProgressView, plain_console
from migration_assets.cli.target_option import TARGET_HELP, target_url
from migration_assets.core.catalog import SkippedObject
from migration_assets.core.config import TargetConfig
from migration_assets.core.cutover_config import STAGING
from migration_assets.errors import BrokenOffError
from migration_assets.postgres.connect import resolve_target
from migration_assets.postgres.marker import Mark
from migration_assets.run_folder import RunFolder
from migration_assets.sources import absolute_url


@click.command("verify")
@click.argument("source")
@click.option("--target", help=TARGET_HELP)
@click.option("--schema", required=True, help="The schema to prove.")
@click.option("--name", help="Follow the defs.yaml of this migration of the migration home.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep evidence, report, plan, ledger and quarantine in this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the evidence as JSON.")
def command(
    source: str, target: str | None, schema: str, name: str | None, out: Path | None, as_json: bool
) -> int:
    """Prove that SCHEMA of TARGET holds all of SOURCE, without loading anything.

    Every cell is compared, the expectations and the structure are checked as in a run. It does not
    matter which tool loaded the schema. One that a migration of the migration home loaded from
    SOURCE is held against its defs.yaml. Exit codes are those of migrate; nothing is kept unless
    --out says so.
    """
    check_out(out)
    home = homes.home_path()
    destination = resolve_target(
        TargetConfig(url=target_url(target) or "embedded"), schema, home, home
    )
    mark = proof.check_target(destination)
    made_by = _migration_of(home, mark, source)
    name = name or made_by
    console = plain_console(stderr=as_json)
    started = datetime.now(UTC)
    with local_run(source, name, spill=True, look=as_it_is(destination)) as run:
        broken = None
        try:
            with ProgressView(console, run.folder.path / "progress"):
                proof.prove(
                    run.reader,
                    run.catalog,
                    run.profile,
                    run.config,
                    run.plan(),
                    destination,
                    run.folder,
                    run.progress,
                    run.structure,
                    _taken_back(home, mark) if mark and name == made_by else None,
                )
        except BrokenOffError as error:
            broken = str(error)
        from migration_assets import reports
        from migration_assets.evidence import build_evidence
        from migration_assets.reports.summary import print_summary

        evidence = reports.write(
            run.folder,
            build_evidence(
                run.folder,
                run.config,
                STAGING,
                str(uuid4()),
                "verify",
                started,
                datetime.now(UTC),
                failure=broken,
                broken_off=broken is not None,
                planned=proof.STAGES,
            ),
            run.config.display_timezone,
        )
        if out is not None:
            copy_artefacts(run.folder, out)
        if as_json:
            click.echo(evidence.to_json())
        else:
            print_summary(console, evidence, out)
    return evidence.run.exit_code


def _migration_of(home: Path, mark: Mark | None, source: str) -> str | None:
    """The migration that made the schema, if the home has it and it is one of this source."""
    if mark is None or mark.migration not in homes.migration_names(home):
        return None
    config = homes.load(home, mark.migration).config
    return mark.migration if config.source == absolute_url(source) else None


def _taken_back(home: Path, mark: Mark) -> tuple[SkippedObject, ...] | None:
    """What the run that made the schema did not bring along; None if its folder is gone."""
    try:
        return RunFolder(home / mark.migration / "runs" / mark.run).kept_plan().skipped
    except FileNotFoundError:
        return None
