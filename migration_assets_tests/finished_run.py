"""A run folder as a run that went well leaves it; tests spoil one record at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from migration_assets.core.catalog import SkippedObject
from migration_assets.core.config import MigrationConfig
from migration_assets.core.evidence import Evidence
from migration_assets.core.plan import ColumnPlan, Conversion, Decision, Plan, TablePlan
from migration_assets.core.results import (
    ContentResult,
    ExpectationResult,
    Finding,
    LoadResult,
    Manifest,
    PlanResult,
    SourceResult,
    StageResult,
    StatementResult,
    SuiteResult,
    SwapResult,
    TargetResult,
)
from migration_assets.core.types import PgType
from migration_assets.evidence import build_evidence
from migration_assets.ledger import LedgerWriter
from migration_assets.run_folder import RunFolder

CONFIG = MigrationConfig(name="shop", source="sqlite:///data/shop.db")
STARTED = datetime(2026, 3, 1, 2, 0, 0, tzinfo=UTC)
FINISHED = datetime(2026, 3, 1, 2, 0, 12, 500000, tzinfo=UTC)


def table(name: str, slug: str) -> TablePlan:
    """A planned table with one column."""
    column = ColumnPlan("id", "id", "INTEGER", PgType("bigint"), Conversion.INTEGER, False)
    return TablePlan(name, name, slug, (column,), ("id",), f"{name}_pkey", ("id",))


TRIGGER = SkippedObject(
    "trigger", "touch", "triggers are not translated", "users", "CREATE TRIGGER touch ..."
)


def finished_run(
    path: Path, names: tuple[str, ...] = ("users", "orders"), rows: int = 1000
) -> RunFolder:
    """A proven run of two tables, one ledger entry in each."""
    folder = RunFolder(path).create()
    tables = tuple(table(name, f"t{n}") for n, name in enumerate(names))
    decisions = (Decision("users", "id", "bigint", "a SQLite integer has 64 bits", "12"),)
    folder.write_plan(Plan(tables, skipped=(TRIGGER,), decisions=decisions))
    digest = folder.plan().digest
    folder.write_result(
        "source",
        "all",
        SourceResult("sqlite", "sqlite:///data/shop.db", "5d1c", "2026-03-01T02:00:00Z", 812_345),
    )
    folder.write_result(
        "target", "all", TargetResult("localhost/shop", "shop", "shop__in_ab12cd34", "18.1")
    )
    folder.write_result("plan", "all", PlanResult(digest, digest))
    for name, seconds in (("extract", 2.5), ("load", 3.1), ("checks", 2.2), ("constraints", 1.2)):
        folder.write_result("stages", name, StageResult(name, seconds))
    for planned in tables:
        write_table(folder, planned, rows)
    write_list(
        folder,
        "constraints",
        [StatementResult(t.name, "primary key", f"{t.name}_pkey", 0.4) for t in tables],
    )
    write_list(folder, "structure", [])
    folder.write_result("swap", "all", SwapResult("shop", "shop__previous", 0.02, 1))
    return folder


def write_table(folder: RunFolder, planned: TablePlan, rows: int) -> None:
    """The records of one table that came whole."""
    slug = planned.slug
    with LedgerWriter(folder.ledger_part(slug), planned.source) as ledger:
        ledger.add(["[7]"], "id", ["a\0b"], ["ab"], "nul_removed")
    manifest = Manifest(
        slug=slug,
        source=planned.source,
        target=planned.name,
        path=f"{slug}.parquet",
        rows=rows,
        source_rows=rows,
        ledger={"nul_removed:id": 1},
        digest="00ff00ff00ff00ff",
        bytes=54_321,
        seconds=1.25,
    )
    folder.write_result("extract", slug, manifest)
    folder.write_result("load", slug, LoadResult(slug, rows, 99_999, 1.5))
    folder.write_result("content", slug, ContentResult(slug, rows, rows, rows, 0, 0, 0, seconds=1))
    expectation = ExpectationResult(
        "expect_table_row_count_to_equal", None, True, str(rows), f"value={rows}"
    )
    folder.write_result("values", slug, SuiteResult(slug, (expectation,), 0.4))


def write_list(
    folder: RunFolder, stage: str, records: list[StatementResult] | list[Finding]
) -> None:
    """A stage's list of records."""
    text = TypeAdapter(list[Any]).dump_json(records).decode()
    folder.write_text(f"results/{stage}/all.json", text)


def change(folder: RunFolder, stage: str, slug: str, kind: type[Any], **fields: Any) -> None:
    """Spoil fields of one record."""
    record = folder.read_result(stage, slug, kind)
    folder.write_result(stage, slug, replace(record, **fields))


def evidence_of(folder: RunFolder, **options: Any) -> Evidence:
    """The evidence of the folder."""
    config = options.pop("config", CONFIG)
    return build_evidence(
        folder, config, "staging", "ab12cd34-0000", "shop_rehearsal", STARTED, FINISHED, **options
    )
