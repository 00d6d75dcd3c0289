"""The end of a run in a terminal: what came, what did not, and where to read more."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from migration_assets.core.evidence import Evidence, TableEvidence, Verdict
from migration_assets.core.readable import count, seconds
from migration_assets.reports.html import HEADLINES

SHOWN_TABLES = 40
"""Tables shown when there are more than this: the failed ones first, then the largest."""

SHOWN_REASONS = 10
_STYLE = {
    Verdict.PROVEN: "bold green",
    Verdict.NOT_PROVEN: "bold red",
    Verdict.BROKEN_OFF: "bold red",
}


def summarise(evidence: Evidence, folder: Path | None = None) -> Group:
    """The summary as something rich can print, in colour and to the terminal's width.

    Args:
        evidence: the run's evidence.
        folder: the run folder, to name the files in it.
    """
    parts: list[RenderableType] = [_tables(evidence), Text()]
    parts += [Text(line) for line in _notes(evidence)]
    parts.append(_headline(evidence))
    parts += [Text(f"  - {reason}") for reason in _reasons(evidence)]
    if folder is not None:
        parts += [Text(line, overflow="fold", no_wrap=True) for line in _paths(evidence, folder)]
    return Group(*parts)


def summary_lines(evidence: Evidence, folder: Path | None = None) -> list[str]:
    """The summary as plain lines, one fact each, for logs and pipes."""
    lines = [
        f"table {table.name}: {count(table.rows_source)} rows, "
        f"{count(table.rows_identical)} identical, {count(table.ledger)} in the ledger, "
        f"{seconds(sum(table.seconds.values()))}, {_result(table)}"
        for table in evidence.tables
    ]
    lines += _notes(evidence)
    lines.append(_headline(evidence).plain)
    lines += [f"reason: {reason}" for reason in evidence.run.reasons]
    return lines + (_paths(evidence, folder) if folder is not None else [])


def print_summary(console: Console, evidence: Evidence, folder: Path | None = None) -> None:
    """Print the summary: a table in a terminal, plain lines where there is none."""
    if console.is_terminal:
        console.print(summarise(evidence, folder))
        return
    for line in summary_lines(evidence, folder):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _tables(evidence: Evidence) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", show_footer=True)
    shown = _shown(evidence.tables)
    left = len(evidence.tables) - len(shown)
    rows = sum(t.rows_source or 0 for t in evidence.tables)
    identical = sum(t.rows_identical or 0 for t in evidence.tables)
    more = f"{len(evidence.tables)} tables" + (f", {left} not shown" if left else "")
    table.add_column("table", more, footer_style="dim", overflow="fold")
    for name, total in (
        ("rows", count(rows)),
        ("identical", count(identical)),
        ("ledger", count(evidence.ledger.entries)),
        ("time", seconds(evidence.run.seconds)),
    ):
        table.add_column(name, total, footer_style="dim", justify="right", no_wrap=True)
    table.add_column("")
    for t in shown:
        table.add_row(
            Text(t.name),
            count(t.rows_source),
            count(t.rows_identical),
            Text(count(t.ledger) if t.ledger else "", style="yellow"),
            seconds(sum(t.seconds.values())) if t.seconds else "–",
            Text("✓", style="green") if t.passed else Text(f"✗ {_result(t)}", style="red"),
        )
    return table


def _shown(tables: tuple[TableEvidence, ...]) -> list[TableEvidence]:
    if len(tables) <= SHOWN_TABLES:
        return list(tables)
    return sorted(tables, key=lambda t: (t.passed, -(t.rows_source or 0)))[:SHOWN_TABLES]


def _result(table: TableEvidence) -> str:
    if table.passed:
        return "passed"
    failed = [check.name for check in table.checks if check.ran and not check.passed]
    if failed:
        return f"{', '.join(failed)} failed"
    return f"{next(check.name for check in table.checks if not check.ran)} did not happen"


def _notes(evidence: Evidence) -> list[str]:
    notes = []
    if evidence.ledger.entries:
        rules = sorted({rule.rule for rule in evidence.ledger.by_rule})
        notes.append(
            f"{count(evidence.ledger.entries)} values changed by rule, listed in the ledger: "
            f"{', '.join(rules)}"
        )
    if evidence.quarantine.rows:
        tables = [table for table in evidence.tables if table.quarantined]
        listed = ", ".join(f"{t.name} {count(t.quarantined)}" for t in tables[:SHOWN_REASONS])
        notes.append(
            f"{count(evidence.quarantine.rows)} rows in quarantine, "
            f"{count(evidence.quarantine.allowed)} allowed: {listed}"
        )
    if evidence.skipped:
        kinds: dict[str, int] = {}
        for skipped in evidence.skipped:
            kinds[skipped.kind] = kinds.get(skipped.kind, 0) + 1
        listed = ", ".join(f"{many} {kind}" for kind, many in sorted(kinds.items()))
        number = len(evidence.skipped)
        noun = "object does" if number == 1 else "objects do"
        notes.append(f"{number} {noun} not come along ({listed}): see the report")
    dangling = [d for d in evidence.plan.decisions if d.choice == "NOT VALID"]
    if dangling:
        listed = ", ".join(f"{d.table} ({d.column}): {d.value}" for d in dangling[:SHOWN_REASONS])
        keys = "foreign key is" if len(dangling) == 1 else "foreign keys are"
        notes.append(f"{len(dangling)} {keys} NOT VALID, rows without a parent: {listed}")
    if evidence.plan.changed:
        notes.append("the plan differs from that of the definitions: refresh them")
    return notes


def _headline(evidence: Evidence) -> Text:
    tables = evidence.tables
    identical = sum(table.rows_identical or 0 for table in tables)
    text = Text(HEADLINES[evidence.run.verdict].upper(), style=_STYLE[evidence.run.verdict])
    text.append(
        f"  {count(identical)} rows of {len(tables)} tables identical, "
        f"{evidence.checks.passed} checks passed, {evidence.checks.failed} failed, "
        f"{seconds(evidence.run.seconds)}",
        style="not bold default",
    )
    return text


def _reasons(evidence: Evidence) -> list[str]:
    reasons = list(evidence.run.reasons[:SHOWN_REASONS])
    left = len(evidence.run.reasons) - len(reasons)
    return [*reasons, f"{left} more, see the report"] if left else reasons


def _paths(evidence: Evidence, folder: Path) -> list[str]:
    lines = [f"report    {folder / 'report.html'}", f"evidence  {folder / 'evidence.json'}"]
    if evidence.ledger.entries:
        lines.append(f"ledger    {folder / 'ledger.parquet'}")
    if evidence.quarantine.rows:
        lines.append(f"rows set aside  {folder / 'quarantine.parquet'}")
    return lines
