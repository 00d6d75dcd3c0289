"""What a cutover needs, and how it is said what of it is missing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from migration_assets import gate, history
from migration_assets.core.history import Approval, Change, Cutover, Outcome
from migration_assets.errors import InputError
from migration_assets.home import Migration
from migration_assets_tests.small_shop import configure, make_migration, make_source

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TODAY = NOW.date()
ESCAPED = Change(rule="escape", table="users", column="name", count=2)


@pytest.fixture
def migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Migration:
    made = make_migration(tmp_path / "home", make_source(tmp_path / "shop.db"))
    made.defs_yaml.write_text(
        made.defs_yaml.read_text().replace(
            "    staging:\n",
            "    production: {url: 'postgresql://db/live', schema: s}\n    staging:\n",
        )
    )
    monkeypatch.setattr(gate, "current_plan", lambda _: "plan1")
    return configure(made, "")


def rehearse(migration: Migration, number: int, day: date = TODAY, **facts: object) -> Outcome:
    moment = datetime(day.year, day.month, day.day, 1, number, tzinfo=UTC).isoformat()
    outcome = Outcome(
        **{
            "run_id": f"run{number}",
            "job": "shop_rehearsal",
            "environment": "staging",
            "started_at": moment,
            "finished_at": moment,
            "proven": True,
            "swapped": True,
            "plan_digest": "plan1",
            **facts,
        }
    )
    history._write(migration, "rehearsals", outcome.run_id, outcome)
    return outcome


def approve(migration: Migration, name: str = "a1", **facts: object) -> Approval:
    approval = Approval(
        **{
            "id": name,
            "approved_by": "Ada",
            "approved_at": (NOW + timedelta(minutes=int(name[1:]))).isoformat(),
            "rehearsal_run_id": "run1",
            "plan_digest": "plan1",
            **facts,
        }
    )
    history.write_approval(migration, approval)
    return approval


def test_without_anything_all_of_it_is_missing(migration: Migration) -> None:
    rehearsals, approval = gate.missing(migration)
    assert "0 of 3 proven rehearsals" in rehearsals
    assert "migration-assets approve shop" in approval


def test_without_a_production_target_that_alone_is_said(tmp_path: Path) -> None:
    made = make_migration(tmp_path / "home", make_source(tmp_path / "shop.db"))
    (line,) = gate.missing(made)
    assert "no targets: production" in line


def test_three_proven_rehearsals_and_an_approval_are_enough(migration: Migration) -> None:
    for number in (1, 2, 3):
        assert gate.missing(migration)
        rehearse(migration, number)
    approve(migration)
    assert gate.missing(migration) == []


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ({"proven": False, "reasons": ("a check failed",)}, "not proven: a check failed"),
        ({"plan_digest": "plan0"}, "followed plan plan0"),
        ({"swapped": False}, "was not proven"),
    ],
)
def test_the_row_ends_at_the_first_that_does_not_count(
    migration: Migration, last: dict[str, object], words: str
) -> None:
    approve(migration)
    rehearse(migration, 1)
    rehearse(migration, 2, **last)
    for number in (3, 4):
        rehearse(migration, number)
    (line,) = gate.missing(migration)
    assert line.startswith("2 of 3 proven rehearsals in a row of plan plan1")
    assert words in line


def test_days_are_counted_where_days_are_asked_for(migration: Migration) -> None:
    migration = configure(migration, "  gate: {rehearsals: 2, distinct: days}\n")
    approve(migration)
    rehearse(migration, 2)
    rehearse(migration, 1)
    (line,) = gate.missing(migration)
    assert "1 of 2 proven rehearsals in a row on distinct days" in line
    rehearse(migration, 1, TODAY - timedelta(days=1))
    assert gate.missing(migration) == []


def test_an_approval_is_of_one_plan_and_of_one_cutover(migration: Migration) -> None:
    for number in (1, 2, 3):
        rehearse(migration, number)
    approve(migration, plan_digest="plan0")
    (line,) = gate.missing(migration)
    assert "plan plan0 was approved, the plan is plan1 now" in line
    approve(migration, "a2", rehearsal_run_id="run9")
    (line,) = gate.missing(migration)
    assert "run9, is not in the history" in line
    approve(migration, "a3")
    assert gate.missing(migration) == []
    cutover = Cutover(
        run_id="c",
        approval_id="a3",
        live_at=NOW.isoformat(),
        location="db/live",
        schema_name="s",
        previous=None,
        snapshot_id="x",
        plan_digest="plan1",
    )
    history.write_cutover(migration, cutover)
    (line,) = gate.missing(migration)
    assert line.startswith("no approval that was not used yet")


def test_only_accepted_changes_pass_and_only_so_many(migration: Migration) -> None:
    for number in (1, 2, 3):
        rehearse(migration, number, ledger=(ESCAPED,))
    approve(migration)
    (line,) = gate.missing(migration)
    assert line == 'not accepted: 2 of escape in table "users", column "name" (rehearsal run3)'
    approve(migration, "a2", accepted=(ESCAPED,))
    assert gate.missing(migration) == []
    more = ESCAPED.model_copy(update={"count": 3})
    (line,) = gate.missing_of_run(migration, "c", "plan1", [more])
    assert line.startswith("more than the 2 accepted: 3 of escape")
    other = Change(rule="quarantine:orphans", table="users", column=None, count=1)
    stale, line = gate.missing_of_run(migration, "c", "plan2", [ESCAPED, other])
    assert "follows plan plan2, plan plan1 was approved" in stale
    assert line == 'not accepted: 1 of quarantine:orphans in table "users" (this run)'


def test_application_checks_are_green_for_as_long_as_asked(migration: Migration) -> None:
    migration = configure(
        migration,
        "  app_checks: [{name: suite, command: 'true'}]\n  gate: {app_checks_days: 2}\n",
    )
    approve(migration)
    for number, day in ((1, 2), (2, 1), (3, 0)):
        passed = {"suite": number != 1}
        rehearse(migration, number, TODAY - timedelta(days=day), app_checks=passed)
    assert gate.missing(migration, TODAY) == []
    assert gate.missing(migration, TODAY + timedelta(days=1)) == []
    (late,) = gate.missing(migration, TODAY + timedelta(days=2))
    assert "passed on 0 of 2 days" in late
    rehearse(migration, 4, app_checks={})
    skipped, days = gate.missing(migration, TODAY)
    assert skipped == 'application check "suite" did not run in the last rehearsal, run4'
    assert "0 of 2" in days


def test_what_can_be_approved(migration: Migration) -> None:
    with pytest.raises(InputError, match="run one first"):
        gate.approvable(migration, "latest")
    rehearse(migration, 1)
    assert gate.approvable(migration, "latest").run_id == "run1"
    rehearse(migration, 2, proven=False, reasons=("x",))
    with pytest.raises(InputError, match="run2 was not proven: x"):
        gate.approvable(migration, "latest")
    with pytest.raises(InputError, match="beginning of more than one"):
        gate.approvable(migration, "run")
    with pytest.raises(InputError, match="is no rehearsal"):
        gate.approvable(migration, "q")
    rehearse(migration, 3, plan_digest="plan0")
    with pytest.raises(InputError, match="the plan is plan1 now"):
        gate.approvable(migration, "run3")


def test_a_damaged_record_is_not_passed_over(migration: Migration) -> None:
    rehearse(migration, 1)
    path = history.folder(migration, "rehearsals") / "run1.json"
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("{")
    with pytest.raises(InputError, match=r"run1\.json can not be read"):
        gate.missing(migration)


def test_the_plan_of_now_is_that_of_the_last_look(tmp_path: Path) -> None:
    made = make_migration(tmp_path / "home", make_source(tmp_path / "shop.db"))
    assert gate.current_plan(made) is None
    made.state.unlink()
    assert gate.current_plan(made) is None
