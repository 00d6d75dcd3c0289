"""``migration-assets preflight``: may a run begin, and what speaks against it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from migration_assets import home as homes
from migration_assets.cli.progress_view import plain_console
from migration_assets.core.cutover_config import PRODUCTION, STAGING
from migration_assets.core.preflight import Finding, Verdict, passed
from migration_assets.preflight import look

_STYLE = {
    Verdict.GO: ("go", "green"),
    Verdict.WARNING: ("warning", "yellow"),
    Verdict.NO_GO: ("NO-GO", "bold red"),
}


@click.command("preflight")
@click.argument("name")
@click.option(
    "--environment",
    type=click.Choice([STAGING, PRODUCTION]),
    help="Default: production if the migration has one, else staging.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(name: str, environment: str | None, as_json: bool) -> int:
    """Look whether a run of the migration NAME may begin; nothing is written.

    Source, target and this machine are looked at: rights, versions, encoding, TLS, room, clocks,
    what is in the way. Warnings do not keep a run from beginning.

    Exit codes: 0 go, 1 no-go, 2 no such migration or target.
    """
    migration = homes.load(homes.home_path(), name)
    chosen = environment or (PRODUCTION if PRODUCTION in migration.config.targets else STAGING)
    findings = look(migration, chosen)
    go = passed(findings)
    if as_json:
        record = {
            "migration": name,
            "environment": chosen,
            "go": go,
            "findings": [asdict(finding) for finding in findings],
        }
        click.echo(json.dumps(record, indent=1, ensure_ascii=False))
    else:
        _show(plain_console(), name, chosen, findings)
    return 0 if go else 1


def _show(console: Console, name: str, environment: str, findings: Sequence[Finding]) -> None:
    """A table on a terminal, plain lines elsewhere."""
    if console.is_terminal:
        grid = Table(box=None, pad_edge=False, header_style="dim")
        for heading in ("looked at", "", "what is there"):
            grid.add_column(heading, overflow="fold")
        for finding in findings:
            word, style = _STYLE[finding.verdict]
            grid.add_row(Text(finding.name), Text(word, style), Text(finding.reason))
        console.print(grid)
    else:
        for finding in findings:
            console.print(
                f"{_STYLE[finding.verdict][0]}: {finding.name}: {finding.reason}", soft_wrap=True
            )
    against = sum(finding.verdict is Verdict.NO_GO for finding in findings)
    warnings = sum(finding.verdict is Verdict.WARNING for finding in findings)
    end = f"NO-GO, {against} of {len(findings)} speak against a run" if against else "GO"
    console.print(f"{name}, {environment}: {end}, {warnings} warning{'' if warnings == 1 else 's'}")
