"""How a result is shown: ``evidence.json``, ``report.html`` and the terminal."""

from migration_assets.reports.html import render_html
from migration_assets.reports.summary import summarise
from migration_assets.reports.write import write

__all__ = ["render_html", "summarise", "write"]
