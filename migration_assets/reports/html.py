"""The evidence as one self-contained HTML file: no script, font or image from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from migration_assets.core.evidence import Evidence, StatementEvidence, Verdict
from migration_assets.core.readable import count, moment, seconds, size

LEDGER_SAMPLE = 200
"""Ledger entries shown; the file has all."""

SHOWN = 25
"""Ledger rules, and statements after the load, shown in the open; the rest is folded."""

HEADLINES = {
    Verdict.PROVEN: "Proven",
    Verdict.NOT_PROVEN: "Not proven",
    Verdict.BROKEN_OFF: "Broken off",
}


def render_html(
    evidence: Evidence,
    ledger_sample: Sequence[Mapping[str, str | None]] = (),
    quarantine_sample: Sequence[Mapping[str, str | None]] = (),
    zone: str = "UTC",
) -> str:
    """Render the report; every text of the evidence is escaped.

    Args:
        evidence: the run's evidence.
        ledger_sample: first entries of the ledger, with the columns of ``ledger.parquet``.
        quarantine_sample: first rows of the quarantine, with those of ``quarantine.parquet``.
        zone: in which times of day are shown.
    """
    environment = Environment(
        loader=PackageLoader("migration_assets.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": count,
        "size": size,
        "seconds": seconds,
        "moment": partial(moment, zone=zone),
        "share": _share,
    }
    tables = evidence.tables
    context: dict[str, Any] = {
        "e": evidence,
        "headline": HEADLINES[evidence.run.verdict],
        "good": evidence.run.verdict is Verdict.PROVEN,
        "tables": sorted(tables, key=attrgetter("passed")),
        "rules": sorted(evidence.ledger.by_rule, key=attrgetter("count"), reverse=True),
        "ledger_sample": ledger_sample,
        "quarantine_sample": quarantine_sample,
        "rows_source": sum(table.rows_source or 0 for table in tables),
        "rows_identical": sum(table.rows_identical or 0 for table in tables),
        "bytes_copied": sum(table.bytes_copied or 0 for table in tables),
        "failed_tables": sum(not table.passed for table in tables),
        "expectation_count": sum(len(table.expectations) for table in tables),
        "expectations_failed": sum(not x.passed for t in tables for x in t.expectations),
        "skipped": [
            (kind, list(found))
            for kind, found in groupby(
                sorted(evidence.skipped, key=attrgetter("kind", "name")), attrgetter("kind")
            )
        ],
        "statements": sorted(evidence.constraints, key=_slowest_first),
        "shown": SHOWN,
    }
    return environment.get_template("report.html.j2").render(context)


def _share(part: float, whole: float) -> str:
    """A width in percent for a bar, at least a sliver."""
    return f"{max(100 * part / whole, 0.5):.2f}" if whole else "0"


def _slowest_first(statement: StatementEvidence) -> tuple[bool, float]:
    return (statement.error is None, -statement.seconds)
