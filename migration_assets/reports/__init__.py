"""The result of a run: for machines (``evidence.json``), for people (``report.html``, terminal)."""

from migration_assets.reports.build import build_evidence
from migration_assets.reports.html import render_html
from migration_assets.reports.summary import summarise
from migration_assets.reports.write import write

__all__ = ["build_evidence", "render_html", "summarise", "write"]
