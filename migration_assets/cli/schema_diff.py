"""``migration-assets schema-diff``: plan, database and baseline file, and what differs."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

import click

from migration_assets import baseline
from migration_assets import home as homes
from migration_assets.cli.baseline import accepted, target_plan
from migration_assets.cli.existing import destination
from migration_assets.core.structure import Line
from migration_assets.errors import InputError
from migration_assets.postgres import embedded
from migration_assets.postgres.scratch import empty_database


@click.command("schema-diff")
@click.argument("source")
@click.option("--name", help="Follow the defs.yaml and the last live run of this migration.")
@click.option("--target", help="Compare the schema of this database.")
@click.option("--schema", help="Its schema; default: that of the migration.")
@click.option(
    "--baseline",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Compare what this SQL file makes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
def command(
    source: str,
    name: str | None,
    target: str | None,
    schema: str | None,
    file: Path | None,
    as_json: bool,
) -> int:
    """Compare the target schema of SOURCE's plan with a database and a baseline file.

    Plan and file are made in an empty database of the embedded PostgreSQL and read from its
    catalog, so that only what PostgreSQL makes of them counts. Nothing is changed.

    Exit codes: 0 alike, 1 different, 2 bad input.
    """
    if target is None and file is None:
        raise click.UsageError("name a database with --target, a file with --baseline, or both")
    plan, chosen = target_plan(source, name, schema)
    sides: dict[str, set[Line]] = {}
    with empty_database(embedded.start(homes.home_path())) as url:
        plan = accepted(plan, chosen, url)
        sides["plan"] = baseline.planned_lines(plan, chosen, url)
        if file is not None:
            text = _read(file)
            sides["baseline"] = baseline.schema_lines(
                url, chosen, lambda cursor: baseline.run_script(cursor, text, str(file))
            )
    place = destination(source, name, target, chosen) if target is not None else None
    if place is not None:
        sides["database"] = baseline.schema_lines(place, chosen, lambda cursor: None)
    found = [
        (left, right, difference)
        for left, right in combinations(sides, 2)
        for difference in baseline.differences(sides[left], sides[right])
    ]
    if as_json:
        records = [{"between": [left, right], **asdict(d)} for left, right, d in found]
        record = {"different": bool(found), "differences": records}
        click.echo(json.dumps(record, indent=1, ensure_ascii=False))
        return int(bool(found))
    for left, right, difference in found:
        click.echo(_line(left, right, difference))
    alike = f"{len(found)} differences" if found else "alike"
    click.echo(f"{', '.join(sides)}: {alike}")
    return int(bool(found))


def _line(left: str, right: str, difference: baseline.Difference) -> str:
    of = f" of {difference.table}" if difference.kind not in {"table", "view"} else ""
    what = f"{difference.kind} {difference.name}{of}"
    if difference.left is None or difference.right is None:
        there, missing = (right, left) if difference.left is None else (left, right)
        return f"{what}: in the {there}, not in the {missing}"
    texts = [" ".join(text.split()) for text in (difference.left, difference.right)]
    return f"{what}: {left} {texts[0]} | {right} {texts[1]}"


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"{file}: can not be read: {reason}") from error
