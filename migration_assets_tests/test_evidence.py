"""evidence.json: its verdict for each kind of failure, its schema and its documentation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from migration_assets import history, reports
from migration_assets import home as homes
from migration_assets.assets.report import write_evidence
from migration_assets.core import evidence as ev
from migration_assets.core.config import TargetConfig
from migration_assets.core.results import (
    ContentResult,
    Difference,
    ExpectationResult,
    Finding,
    LoadResult,
    Manifest,
    PlanResult,
    StatementResult,
    StepFailure,
    SuiteResult,
)
from migration_assets.reports import evidence_docs
from migration_assets.run_folder import RunFolder
from migration_assets_tests.finished_run import (
    CONFIG,
    STARTED,
    change,
    evidence_of,
    finished_run,
    write_list,
)

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return finished_run(tmp_path / "run")


def test_whole_run_is_proven_although_the_ledger_has_entries(folder: RunFolder) -> None:
    evidence = reports.write(folder, evidence_of(folder))
    assert evidence.run.verdict is ev.Verdict.PROVEN
    assert evidence.run.exit_code == 0
    assert evidence.run.reasons == ()
    assert evidence.run.seconds == 12.5
    assert evidence.ledger.entries == 2
    assert evidence.ledger.digest
    assert [(r.rule, r.table, r.column, r.count) for r in evidence.ledger.by_rule] == [
        ("nul_removed", "users", "id", 1),
        ("nul_removed", "orders", "id", 1),
    ]
    assert [(t.name, t.rows_identical, t.passed) for t in evidence.tables] == [
        ("users", 1000, True),
        ("orders", 1000, True),
    ]
    assert evidence.checks.failed == evidence.checks.not_run == 0
    assert [s.name for s in evidence.skipped] == ["touch"]
    assert evidence.target.previous == "shop__previous"
    assert list(evidence.stages) == ["extract", "load", "checks", "constraints"]


def test_written_file_reads_back_and_only_its_owner_may_read_it(folder: RunFolder) -> None:
    evidence = reports.write(folder, evidence_of(folder))
    assert ev.Evidence.from_json(folder.evidence.read_bytes()) == evidence
    assert folder.evidence.stat().st_mode & 0o077 == 0
    assert folder.report.stat().st_mode & 0o077 == 0
    found = json.loads(folder.evidence.read_text())
    assert found["evidence_version"] == 1
    assert found["target"]["schema"] == "shop"


SPOILED: list[tuple[str, Callable[[RunFolder], None], str]] = [
    (
        "mismatch",
        lambda f: change(f, "extract", "t0", Manifest, mismatches=("column id: sum 3, not 4",)),
        'table "users", source: column id: sum 3, not 4',
    ),
    (
        "rows lost in extract",
        lambda f: change(f, "extract", "t0", Manifest, source_rows=1001),
        'table "users", source: 1,001 rows in the source, 1,000 extracted',
    ),
    (
        "rows lost in load",
        lambda f: change(f, "load", "t1", LoadResult, rows=999),
        'table "orders", load: 1,000 rows extracted, 999 loaded',
    ),
    (
        "row changed",
        lambda f: change(
            f,
            "content",
            "t1",
            ContentResult,
            identical=999,
            changed=1,
            columns=("id",),
            differences=(Difference("changed", "[5]", "id", "5", "6"),),
        ),
        'table "orders", content: rows 1 changed, in columns "id", keys [5]',
    ),
    (
        "expectation failed",
        lambda f: change(
            f,
            "values",
            "t0",
            SuiteResult,
            results=(
                ExpectationResult(
                    "expect_column_max_to_be_between", "id", False, "9", "max_value=8"
                ),
            ),
        ),
        'table "users", values: column "id": expect_column_max_to_be_between (max_value=8) found 9',
    ),
    (
        "constraint failed",
        lambda f: write_list(
            f, "constraints", [StatementResult("users", "index", "by_name", 0.1, "out of memory")]
        ),
        'index "by_name" of table "users" could not be made: out of memory',
    ),
    (
        "not as planned",
        lambda f: write_list(f, "structure", [Finding("keys", "users", "users_pkey", "missing")]),
        'keys of table "users": users_pkey: missing',
    ),
    (
        "not compared",
        lambda f: (f.path / "results/content/t0.json").unlink(),
        '1 table was not compared cell by cell: "users"',
    ),
    ("no swap", lambda f: shutil.rmtree(f.path / "results/swap"), "swap: did not happen"),
    (
        "no constraints",
        lambda f: shutil.rmtree(f.path / "results/constraints"),
        "constraints: did not happen",
    ),
    ("no structure", lambda f: shutil.rmtree(f.path / "results/structure"), "keys: did not happen"),
    ("no plan", lambda f: (f.path / "plan.json").unlink(), "there is no plan"),
    (
        "a step failed",
        lambda f: f.write_result("failures", "op", StepFailure("op", 'table "users": disk', 1)),
        'table "users": disk',
    ),
]


@pytest.mark.parametrize(("what", "spoil", "reason"), SPOILED, ids=[s[0] for s in SPOILED])
def test_each_failure_alone_is_not_proven_and_named(
    folder: RunFolder, what: str, spoil: Callable[[RunFolder], None], reason: str
) -> None:
    spoil(folder)
    evidence = evidence_of(folder)
    assert evidence.run.verdict is ev.Verdict.NOT_PROVEN
    assert evidence.run.exit_code == 1
    assert any(line.startswith(reason) for line in evidence.run.reasons), evidence.run.reasons
    assert reports.render_html(evidence)


def test_nothing_at_all_is_not_proven(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run").create()
    evidence = reports.write(folder, evidence_of(folder, failure="the source is locked"))
    assert evidence.run.reasons[0] == "the source is locked"
    assert evidence.run.exit_code == 1
    assert evidence.tables == ()
    assert evidence.source.location == "sqlite:///data/shop.db"


def test_lost_target_is_broken_off(folder: RunFolder) -> None:
    assert evidence_of(folder, failure="server closed", broken_off=True).run.exit_code == 3
    folder.write_result("failures", "op", StepFailure("op", "server closed", 3))
    evidence = evidence_of(folder)
    assert evidence.run.verdict is ev.Verdict.BROKEN_OFF
    assert evidence.run.exit_code == 3


def test_bad_input_keeps_its_exit_code(folder: RunFolder) -> None:
    folder.write_result("failures", "op", StepFailure("op", "no right to create a schema", 2))
    evidence = evidence_of(folder)
    assert evidence.run.verdict is ev.Verdict.NOT_PROVEN
    assert evidence.run.exit_code == 2


def test_quarantine_is_proven_only_up_to_what_is_allowed(folder: RunFolder) -> None:
    change(folder, "extract", "t0", Manifest, rows=998, quarantined=2)
    change(folder, "load", "t0", LoadResult, rows=998)
    change(folder, "content", "t0", ContentResult, rows_expected=998, identical=998)
    evidence = evidence_of(folder)
    assert evidence.run.reasons == ("2 rows in quarantine, 0 allowed",)
    allowed = CONFIG.model_copy(update={"max_quarantined": 2})
    assert evidence_of(folder, config=allowed).run.verdict is ev.Verdict.PROVEN


def test_ledger_that_lost_entries_is_not_proven(folder: RunFolder) -> None:
    folder.ledger_part("t0").unlink()
    evidence = reports.write(folder, evidence_of(folder))
    assert evidence.run.exit_code == 1
    assert evidence.run.reasons == ("2 ledger entries counted by the extracts, 1 in the file",)


def test_verification_needs_neither_load_nor_swap(folder: RunFolder) -> None:
    for stage in ("load", "constraints", "swap"):
        shutil.rmtree(folder.path / "results" / stage)
    assert evidence_of(folder).run.exit_code == 1
    planned = ("extract", "content", "values", "structure")
    assert evidence_of(folder, planned=planned).run.exit_code == 0


def test_steps_that_fail_at_one_moment_all_leave_whole_evidence(
    folder: RunFolder, tmp_path: Path
) -> None:
    migration = homes.Migration(tmp_path, tmp_path, CONFIG)
    with ThreadPoolExecutor(4) as pool:
        arguments = (migration, folder, f"{CONFIG.name}_rehearsal", STARTED, "staging")
        works = [pool.submit(write_evidence, *arguments) for _ in range(8)]
        assert {work.result().run.verdict for work in works} == {ev.Verdict.PROVEN}
    assert [rehearsal.proven for rehearsal in history.rehearsals(migration)] == [True]


def test_changed_plan_is_said(folder: RunFolder) -> None:
    folder.write_result("plan", "all", PlanResult(folder.plan().digest, "0123456789abcdef"))
    evidence = evidence_of(folder)
    assert evidence.plan.changed is True
    assert evidence.run.verdict is ev.Verdict.PROVEN


def test_many_tables_without_a_stage_are_one_reason(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run", tuple(f"table {n}" for n in range(12)))
    shutil.rmtree(folder.path / "results" / "values")
    (reason,) = evidence_of(folder).run.reasons
    assert reason.startswith("12 tables were not checked by Great Expectations: ")
    assert reason.endswith(" and 7 more")


def test_no_password_is_in_the_evidence(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run").create()
    target = TargetConfig(url="postgresql://keeper:geheim@db/shop")
    config = CONFIG.model_copy(update={"targets": {"staging": target}})
    evidence = reports.write(folder, evidence_of(folder, config=config))
    assert "geheim" not in evidence.to_json()
    assert "keeper" in evidence.target.location


def test_documentation_of_the_evidence_is_current() -> None:
    command = "run: python -m migration_assets.reports.evidence_docs docs"
    schema = json.loads((DOCS / "evidence.schema.json").read_text())
    assert schema == json.loads(ev.json_schema()), command
    assert (DOCS / "evidence.md").read_text() == evidence_docs.markdown(), command


def test_every_field_of_the_evidence_is_described() -> None:
    schema = json.loads(ev.json_schema())
    for record in (schema, *schema["$defs"].values()):
        for name, field in record.get("properties", {}).items():
            assert field.get("description") or "$ref" in field, name
