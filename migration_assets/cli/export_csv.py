"""``migration-assets export-csv``: the extracts of a run as CSV files, to look at and to edit."""

from __future__ import annotations

from pathlib import Path

import click

from migration_assets import home as homes
from migration_assets import retention
from migration_assets.core.results import Manifest
from migration_assets.csv_export import export_csv
from migration_assets.errors import InputError
from migration_assets.run_folder import RunFolder


@click.command("export-csv")
@click.argument("snapshot", required=False)
@click.argument("out", required=False, type=click.Path(path_type=Path))
@click.option(
    "--refresh-manifest",
    "refreshed",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Accept the edited files of an export: check them and write manifest.json anew.",
)
def command(snapshot: str | None, out: Path | None, refreshed: Path | None) -> None:
    """Write the snapshot of a run as CSV: one file a table and a manifest.json, into OUT.

    SNAPSHOT is the folder of a run (MIGRATION_HOME/shop/runs/RUN_ID), or the folder or the name of
    a migration (MIGRATION_HOME/shop, or shop), which stands for its latest run. OUT is a new
    folder. csv:///OUT is then a source like any other: typed by the manifest, and equal to what
    the run brought to PostgreSQL.

    After an edit, --refresh-manifest DIR holds every value and key against the manifest and
    accepts the files as they are now. Exit codes: 0 written, 2 bad input, nothing written.
    """
    if refreshed is not None:
        if snapshot is not None:
            raise click.UsageError("--refresh-manifest takes no SNAPSHOT and OUT")
        _refresh(refreshed)
        return
    if snapshot is None or out is None:
        raise click.UsageError("name SNAPSHOT and OUT, or --refresh-manifest DIR")
    folder = run_folder(snapshot)
    manifest = export_csv(folder, out)
    rows = sum(table.rows or 0 for table in manifest.tables)
    click.echo(f"{out}: {len(manifest.tables)} tables, {rows:,} rows of run {manifest.run}")
    click.echo(f"as a source: csv:///{out.absolute()}")


def _refresh(folder: Path) -> None:
    from migration_assets.sources.csv.refresh import refresh_manifest

    _, changed = refresh_manifest(folder)
    what = ", ".join(changed) if changed else "no file had changed"
    click.echo(f"{folder / 'manifest.json'}: is true of the files again ({what})")


def run_folder(named: str) -> RunFolder:
    """The run that somebody means: its folder, or the latest one of a migration.

    Raises:
        InputError: there is no such run.
    """
    path = Path(named)
    if (path / "plan.json").exists():
        place = path.absolute()
        home, name = place.parent.parent.parent, place.parent.parent.name
        if (home / name / "defs.yaml").exists():
            return homes.load(home, name).run_folder(place.name)
        return RunFolder(place)
    if (path / "defs.yaml").exists():
        place = path.absolute()
        return _latest(homes.load(place.parent, place.name))
    home = homes.home_path()
    if named in homes.migration_names(home):
        return _latest(homes.load(home, named))
    raise InputError(
        f"{named}: neither the folder of a run, nor the folder or the name of a migration in {home}"
    )


def _latest(migration: homes.Migration) -> RunFolder:
    """The latest run that extracted its tables."""
    for folder in retention.run_folders(migration):
        if folder.has_plan:
            there = folder.read_results("extract", Manifest)
            if all(table.slug in there for table in folder.plan().tables):
                return folder
    raise InputError(f"migration {migration.name}: has no run with extracts; run it first")
