"""report.html and the terminal's summary: escaped, self-contained, and plain about the verdict."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from migration_assets import reports
from migration_assets.core.catalog import SkippedObject
from migration_assets.core.plan import Decision, Plan
from migration_assets.core.readable import moment, seconds, size
from migration_assets.core.results import (
    ContentResult,
    Difference,
    ExpectationResult,
    Finding,
    LoadResult,
    Manifest,
    SourceResult,
    StatementResult,
    StepFailure,
    SuiteResult,
)
from migration_assets.reports.summary import print_summary, summary_lines
from migration_assets.run_folder import RunFolder
from migration_assets_tests.finished_run import (
    change,
    evidence_of,
    finished_run,
    table,
    write_list,
    write_table,
)

HOSTILE = '<img src="https://evil.example/x" onerror=alert(1)>"\'&{{ 7*7 }}</script></style>'


class Page(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.attributes += attrs
        if tag not in {"meta", "link", "br", "rect"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag


@pytest.fixture
def hostile(tmp_path: Path) -> RunFolder:
    """Every text of the run is hostile."""
    h = HOSTILE
    folder = finished_run(tmp_path / "run", (h,))
    folder.write_plan(
        Plan(
            folder.plan().tables,
            skipped=(SkippedObject("trigger", h, h, h, h), SkippedObject(h, h, h)),
            decisions=(Decision(h, h, h, h, h),),
        )
    )
    folder.write_result("source", "all", SourceResult("sqlite", h, h, "2026-03-01T02:00:00Z"))
    change(
        folder,
        "content",
        "t0",
        ContentResult,
        identical=998,
        changed=1,
        missing=1,
        columns=(h,),
        differences=(Difference("changed", h, h, h, h), Difference("missing", h)),
    )
    result = ExpectationResult("expect_" + h, h, False, h, h, h)
    change(folder, "values", "t0", SuiteResult, results=(result,))
    write_list(folder, "constraints", [StatementResult(h, h, h, 0.5, h)])
    write_list(folder, "structure", [Finding("keys", h, h, h)])
    folder.write_result("failures", "op", StepFailure("op", h, 1))
    return folder


def test_no_name_or_value_injects_html(hostile: RunFolder) -> None:
    evidence = evidence_of(hostile)
    entry = dict.fromkeys(("table", "key", "column", "before", "after", "rule"), HOSTILE)
    text = reports.render_html(evidence, [entry])
    assert "<img" not in text
    assert "49" not in re.findall(r"&#34;&#39;&amp;(..)", text)
    page = Page(text)
    assert page.tags["script"] == page.tags["style"] == 1
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.open == []


def test_report_needs_no_network(hostile: RunFolder) -> None:
    page = Page(reports.render_html(evidence_of(hostile)))
    for name, value in page.attributes:
        assert name not in {"src", "srcset", "action"}
        if name == "href":
            assert value == "data:,"
    policy = [value for name, value in page.attributes if value and "default-src 'none'" in value]
    assert policy


def test_proven_report_says_so_first(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run")
    evidence = reports.write(folder, evidence_of(folder), "Asia/Tokyo")
    text = folder.report.read_text()
    assert moment(evidence.run.started_at, "Asia/Tokyo") in text and " UTC" not in text
    assert evidence.run.started_at.endswith("Z")
    assert "<h1>Proven</h1>" in text
    assert "<title>shop: proven</title>" in text
    assert "1,000" in text
    assert "CREATE TRIGGER touch" in text
    assert "shop__previous" in text
    assert "nul_removed" in text
    assert Page(text).open == []


def test_not_proven_report_says_so_and_why(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run")
    change(
        folder,
        "content",
        "t1",
        ContentResult,
        identical=999,
        missing=1,
        differences=(Difference("missing", "[815]"),),
    )
    text = reports.render_html(evidence_of(folder))
    assert "<h1>Not proven</h1>" in text
    head = text[: text.index('<div class="figures">')]
    assert "orders" in head
    assert "[815]" in head
    broken = reports.render_html(evidence_of(folder, failure="server closed", broken_off=True))
    assert "<h1>Broken off</h1>" in broken


def test_empty_run_renders(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run").create()
    evidence = reports.write(folder, evidence_of(folder))
    assert "No table was planned" in folder.report.read_text()
    assert summary_lines(evidence, folder.path)


def test_ledger_shows_its_first_entries_only(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run", tuple(f"t {n}" for n in range(250)), rows=1)
    reports.write(folder, evidence_of(folder))
    text = folder.report.read_text()
    assert "The first 200 of 250 entries" in text
    assert text.count("<code>[7]</code>") == 200


def test_summary_in_a_terminal_and_in_a_pipe(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run")
    evidence = evidence_of(folder)
    terminal, pipe = io.StringIO(), io.StringIO()
    print_summary(Console(file=terminal, force_terminal=True, width=100), evidence, folder.path)
    print_summary(Console(file=pipe, width=20), evidence, folder.path)
    assert "\x1b[" in terminal.getvalue()
    lines = pipe.getvalue().splitlines()
    assert lines[0] == "table users: 1,000 rows, 1,000 identical, 1 in the ledger, 4.2 s, passed"
    assert any(line.startswith("PROVEN  2,000 rows of 2 tables identical") for line in lines)
    assert f"report    {folder.report}" in lines
    assert "1 object does not come along (1 trigger): see the report" in lines
    assert "\x1b[" not in pipe.getvalue()


def test_summary_shows_failed_tables_first_where_there_are_many(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run", tuple(f"table_{n}" for n in range(60)))
    change(folder, "load", "t59", LoadResult, rows=3)
    out = io.StringIO()
    print_summary(Console(file=out, force_terminal=True, width=120), evidence_of(folder))
    assert "table_59" in out.getvalue()
    assert "60 tables, 20 not shown" in out.getvalue()


def test_names_are_no_markup_in_the_terminal(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run", ("[red]x[/red] [/]",))
    for terminal in (True, False):
        out = io.StringIO()
        print_summary(Console(file=out, force_terminal=terminal, width=120), evidence_of(folder))
        assert "[red]x[/red] [/]" in out.getvalue()


def test_numbers_read_well() -> None:
    summer = "2026-07-01T12:00:00.5+00:00"
    assert moment(summer) == "2026-07-01 12:00:00 UTC" and moment(None) == "–"
    assert moment(summer, "Europe/Berlin") == "2026-07-01 14:00:00 CEST"
    assert [size(n) for n in (0, 999, 1500, 54_321_000, None)] == [
        "0 B",
        "999 B",
        "1.5 KB",
        "54.3 MB",
        "–",
    ]
    assert [seconds(n) for n in (0.0421, 3.14159, 125.0)] == ["42 ms", "3.1 s", "2 min 5 s"]


def test_tables_that_were_not_reached_are_no_failures(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run", ("users",))
    plan = folder.plan()
    folder.write_plan(Plan((*plan.tables, table("late", "late"))))
    text = reports.render_html(evidence_of(folder))
    assert "1 table was not extracted: &#34;late&#34;" in text
    write_table(folder, table("late", "late"), 5)
    assert folder.read_result("extract", "late", Manifest) is not None
    assert "<h1>Proven</h1>" in reports.render_html(evidence_of(folder))
