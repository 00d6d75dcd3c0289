"""Going live: what it needs, what it does with the application, and what it leaves as it was."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import dagster as dg
import psycopg2
import pytest
from psycopg2 import sql

from migration_assets import (
    backup_store,
    cutover,
    gate,
    history,
    rollback_outlook,
    source_backup,
    status,
    unfinished,
)
from migration_assets.core.evidence import Verdict
from migration_assets.core.evidence_live import CutoverEvidence, StepEvidence
from migration_assets.core.results import StepResult
from migration_assets.core.standing import Movement, Standing
from migration_assets.definitions import assemble
from migration_assets.errors import BrokenOffError
from migration_assets.evidence.going_live import step_reasons
from migration_assets.home import Migration
from migration_assets.run_folder import RunFolder
from migration_assets.sources.sqlite import SQLiteSource
from migration_assets_tests import attempts
from migration_assets_tests.live_shop import (
    approve,
    command,
    cut_over,
    done,
    make_live,
    rehearse,
)
from migration_assets_tests.postgres_tables import ask
from migration_assets_tests.small_shop import configure, make_source
from migration_assets_tests.test_swap_gate import tables

ONE = "  gate: {rehearsals: 1}\n"
SMOKE = """
  app_checks:
    - name: served
      command: 'cat app.log; grep "$DATABASE_URL" app.env && echo smoke-$DATABASE_SCHEMA >>app.log'
      environments: [production]
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    return make_source(tmp_path / "shop.db")


@pytest.fixture
def migration(tmp_path: Path, source: str, pg_url: str, schema: str) -> Migration:
    return make_live(tmp_path / "home", source, pg_url, schema, ONE)


def write(tmp_path: Path, statement: str) -> None:
    connection = sqlite3.connect(tmp_path / "shop.db")
    with connection:
        connection.execute(statement)
    connection.close()


def tick(migration: Migration) -> object:
    """What the schedule of backups does at its time."""
    repository = assemble([migration]).get_repository_def()
    schedule = repository.get_schedule_def("shop_backup")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    found = schedule.evaluate_tick(dg.build_schedule_context())
    return found.run_requests[0] if found.run_requests else dg.SkipReason(found.skip_message)


def names(url: str, schema: str) -> list[str]:
    """The users that the application would see."""
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,))
        if cursor.fetchone() is None:
            return []
        table = sql.Identifier(schema, "users")
        cursor.execute(sql.SQL("SELECT name FROM {} ORDER BY id").format(table))
        found = [row[0] for row in cursor.fetchall()]
    connection.close()
    return found


def test_a_cutover_goes_live_step_by_step(
    migration: Migration, tmp_path: Path, pg_url: str, schema: str, capsys
) -> None:
    migration = configure(migration, SMOKE)
    outcome, evidence = cut_over(migration)
    assert evidence.run.exit_code == 1
    assert "the cutover is refused: the source was never read" in evidence.run.reasons[0]
    assert "0 of 1 proven rehearsals" in evidence.run.reasons[0]
    assert done(migration) == []

    rehearse(migration)
    assert names(pg_url, schema) == []
    assert isinstance(tick(migration), dg.SkipReason)
    approve(migration)
    assert gate.missing(migration) == []
    capsys.readouterr()
    assert command(migration, "cutover", "shop", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "stop_app: echo stop >> app.log (in " in said
    assert "DATABASE_URL in " in said
    assert done(migration) == []

    outcome, evidence = cut_over(migration)
    assert outcome.success, evidence.run.reasons
    assert evidence.run.verdict is Verdict.PROVEN
    assert evidence.target.name == "production"
    assert names(pg_url, schema) == ["Ada", "Bob", "Zoë"]
    assert done(migration) == ["stop", "start", f"smoke-{schema}", "traffic"]
    (smoke,) = evidence.app_checks
    assert smoke.passed and "start" in smoke.output
    assert f"search_path%3D%22{schema}%22" in (migration.folder / "app.env").read_text()
    assert evidence.cutover is not None
    assert [step.name for step in evidence.cutover.steps] == list(cutover.STEPS)
    (freeze,) = (step for step in evidence.cutover.steps if step.name == "freeze")
    assert "of the source: copy, 0.0 MB, restored and compared" in freeze.detail
    (kept,) = backup_store.ids(migration, source_backup.KIND)
    made = source_backup.read(migration, kept)
    assert made.content == evidence.source.snapshot_id
    assert 0 < evidence.cutover.swap_seconds < 1
    (live,) = history.cutovers(migration)
    assert (live.run_id, live.schema_name, live.previous) == (outcome.run_id, schema, None)

    # Backups go on from now on, without anybody having to start them.
    assert isinstance(tick(migration), dg.RunRequest)

    # A process that is killed before it has recorded that it is live leaves no approval to use.
    record = history.folder(migration, "cutovers") / f"{outcome.run_id}.json"
    aside = record.rename(tmp_path / "aside")
    assert gate.missing(migration) == []
    (line,) = cutover.missing(migration)
    assert line.startswith(f"run {outcome.run_id} has gone live and was broken off")
    swap = dg.AssetSelection.assets(["shop", "production", "swap"])
    assert attempts.run(migration, swap, outcome.run_id)[0] and record.exists()
    aside.replace(record)

    # The approval is used up; what is live now is in the backup of the next one.
    (line,) = gate.missing(migration)
    assert line.startswith("no approval")
    # What was written to it meanwhile leaves with it, and is counted and kept.
    ask(pg_url, f"UPDATE {schema}.users SET name = 'Bobby' WHERE id = 2")
    approve(migration)
    outcome, evidence = cut_over(migration)
    assert outcome.success, evidence.run.reasons
    assert evidence.target.previous == f"{schema}__previous"
    (detail,) = (s.detail for s in evidence.cutover.steps if s.name == "backup")
    assert "was restored and is what is live" in detail
    assert f'ATTENTION: 1 rows were written to it since run {live.run_id} ("users" 1)' in detail
    replay = (outcome.folder.path / "replaced" / "replay.sql").read_text()
    assert """UPDATE "users" SET "name" = 'Bobby' WHERE "id" = 2;""" in replay

    # Back twice: to what the first cutover made live, and from there to the source.
    connection = psycopg2.connect(pg_url)
    with connection, connection.cursor() as cursor:
        cursor.execute(f"UPDATE {schema}.users SET name = 'Eve' WHERE id = 1")
    connection.close()
    assert names(pg_url, schema)[0] == "Eve"
    assert command(migration, "rollback", "shop", "--emergency") == 0
    assert names(pg_url, schema)[0] == "Ada"
    assert "sqlite" not in (migration.folder / "app.env").read_text()
    assert command(migration, "rollback", "shop", "--emergency") == 2
    assert "say --further" in capsys.readouterr().err
    assert command(migration, "rollback", "shop", "--emergency", "--further") == 0
    assert names(pg_url, schema) == []
    assert "DATABASE_URL=sqlite:///shop.db\n" in (migration.folder / "app.env").read_text()
    assert done(migration)[-2:] == ["stop", "revert"]
    said = refused(migration, swap, outcome.run_id, "shop_production_swap")
    assert "is not live any more, it was taken back" in said
    assert all(past.rolled_back_at for past in history.cutovers(migration))
    first, second = history.rollbacks(migration)
    assert (first.app_returns, second.app_returns) == (True, False)
    assert first.source_moved is None and second.account.rows == 1


def test_a_swap_that_failed_can_be_tried_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(BrokenOffError), cutover.recorded(folder, "swap"):
        raise BrokenOffError("no locks")
    found = [StepEvidence(**vars(s)) for s in folder.read_results("steps", StepResult).values()]
    evidence = CutoverEvidence(swap_seconds=None, steps=tuple(found))
    assert list(step_reasons(evidence, ["swap"], ())) == ["swap: no locks"]
    assert list(step_reasons(evidence, ["load"], ())) == []


def test_a_late_writer_makes_it_refuse_and_brings_the_application_back(
    migration: Migration,
    tmp_path: Path,
    pg_url: str,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rehearse(migration)
    approve(migration)
    late = "INSERT INTO users VALUES (9, 'Late', NULL)"
    hook = "cutover: {hooks: {stop_app: 'echo stop >> app.log', revert: 'echo revert >> app.log'}}"
    text = migration.defs_yaml.read_text()
    migration.defs_yaml.write_text(text[: text.index("  cutover:\n")] + f"  {hook}\n{ONE}")
    migration = configure(
        migration,
        "  app_checks: []\n  expectations: {}\n  backup: {source: true}\n",
    )
    # It writes after the snapshot was taken: while the rows are on their way.
    written = tmp_path / "written"
    watcher = (
        "import sqlite3, sys, time, pathlib\n"
        "runs = pathlib.Path(sys.argv[1])\n"
        "while not list(runs.glob('*/results/load/users.json')): time.sleep(0.02)\n"
        "c = sqlite3.connect(sys.argv[2])\n"
        f"c.execute({late!r}); c.commit()\n"
        "pathlib.Path(sys.argv[3]).touch()\n"
    )
    import subprocess
    import sys

    before = {path.name for path in (migration.folder / "runs").iterdir()}
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            watcher.replace(
                "list(runs.glob('*/results/load/users.json'))",
                "[p for p in runs.glob('*/results/load/users.json') "
                "if p.parts[-4] not in sys.argv[4:]]",
            ),
            str(migration.folder / "runs"),
            str(tmp_path / "shop.db"),
            str(written),
            *before,
        ]
    )
    try:
        outcome, evidence = cut_over(migration)
    finally:
        process.wait(60)
    assert written.exists()
    assert not outcome.success
    reason = next(line for line in evidence.run.reasons if "after the final snapshot" in line)
    assert 'table "users" holds 1 rows more (3 before, 4 now)' in reason
    assert names(pg_url, schema) == []
    assert done(migration) == ["stop", "revert"]
    assert evidence.cutover.steps[-1].name == unfinished.BROUGHT_BACK
    assert history.cutovers(migration) == []
    assert gate.missing(migration) == [] or "plan" not in gate.missing(migration)[0]

    # Nothing is used up: the next cutover has the late row. One that is written between the last
    # look and the commit is found by the look after it, before the application is told anything.
    look, looks = SQLiteSource.moved_since, 0

    def moved_since(self: SQLiteSource, before: Standing, path: Path) -> Movement | None:
        nonlocal looks
        found, looks = look(self, before, path), looks + 1
        if looks == 2:
            write(tmp_path, "INSERT INTO users VALUES (10, 'Last', NULL)")
        return found

    monkeypatch.setattr(SQLiteSource, "moved_since", moved_since)
    outcome, evidence = cut_over(migration)
    assert names(pg_url, schema) == ["Ada", "Bob", "Zoë", "Late"]
    assert not outcome.success
    reason = next(line for line in evidence.run.reasons if "the moment in which it went" in line)
    assert 'table "users" holds 1 rows more (4 before, 5 now)' in reason
    assert done(migration) == ["stop", "revert", "stop"]
    assert len(history.cutovers(migration)) == 1


def test_what_changed_since_the_approval_is_refused_after_the_extract(
    migration: Migration, tmp_path: Path, pg_url: str, schema: str
) -> None:
    rehearse(migration)
    approve(migration)
    write(tmp_path, "INSERT INTO users VALUES (8, CAST(x'4162ff' AS TEXT), NULL)")
    outcome, evidence = cut_over(migration)
    assert not outcome.success
    reason = next(line for line in evidence.run.reasons if "refused" in line)
    assert "not accepted: 1 of" in reason
    assert 'table "users", column "name" (this run)' in reason
    assert names(pg_url, schema) == []
    assert done(migration) == ["stop", "revert"]


def test_production_can_not_be_entered_by_the_back_door(
    migration: Migration, pg_url: str, schema: str
) -> None:
    rehearse(migration)
    everything = tables("extract") | tables("production")
    succeeded, folder = attempts.run(migration, everything)
    assert not succeeded
    failures = "".join(p.read_text() for p in folder.path.glob("results/failures/*.json"))
    assert "only written to by the job shop_cutover" in failures
    assert names(pg_url, schema) == []


def test_a_hook_that_fails_after_the_swap_leaves_the_rest_to_be_taken(
    migration: Migration, tmp_path: Path, pg_url: str, schema: str
) -> None:
    text = migration.defs_yaml.read_text()
    migration.defs_yaml.write_text(
        text.replace(
            "'echo start >> app.log'",
            "'test -e mended && echo start >> app.log || { echo no such service; exit 3; }'",
        )
    )
    migration = configure(migration, "")
    rehearse(migration)
    approve(migration)
    outcome, evidence = cut_over(migration)
    assert not outcome.success
    assert names(pg_url, schema) == ["Ada", "Bob", "Zoë"]
    assert done(migration) == ["stop"]
    assert evidence.target.swapped
    assert any("exit code 3: no such service" in line for line in evidence.run.reasons)
    assert "smoke: did not happen" in evidence.run.reasons
    assert "is live, but start_app, smoke, enable_traffic did not" in str(
        status.look(migration).stopped
    )
    (live,) = history.cutovers(migration)
    assert live.run_id == outcome.run_id
    # What is left is done by command, once its reason is mended.
    (migration.folder / "mended").touch()
    assert command(migration, "cutover", "shop", "--go-on") == 0
    assert done(migration) == ["stop", "start", "traffic"]
    assert status.look(migration).stopped is None
    # What is live is not read, loaded and exchanged once more, without a gate and a look at the
    # source; and once it was taken back, nothing of it goes on.
    before = "has gone live: nothing before its swap can be done again"
    assert before in refused(migration, tables("extract"), live.run_id, "shop_extract")
    again = tables("production")
    assert before in refused(migration, again, live.run_id, "shop_production_load")
    write(tmp_path, "INSERT INTO users VALUES (77, 'Late', NULL)")
    assert command(migration, "rollback", "shop", "--emergency") == 1
    assert "is not looked for in an emergency" in str(history.rollbacks(migration)[0].source_moved)
    rest = dg.AssetSelection.assets(["shop", "production", "start_app"])
    said = refused(migration, rest, live.run_id, "shop_production_start_app")
    assert "is not live any more, it was taken back" in said
    assert names(pg_url, schema) == []


def refused(migration: Migration, selection: dg.AssetSelection, run_id: str, op: str) -> str:
    """Why an op failed in a further attempt of a part of a run."""
    succeeded, folder = attempts.run(migration, selection, run_id)
    assert not succeeded
    return (folder.path / "results" / "failures" / f"{op}.json").read_text()


def test_a_cutover_that_was_killed_while_its_application_stopped_is_seen_and_brought_back(
    migration: Migration, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = migration.run_folder("0b7c1f5e-0000").create()
    cutover.skip(folder, "preflight", "as if")
    assert status.look(migration).stopped is None
    # The hook had begun: nothing else can be known of it.
    (folder.path / "steps").mkdir()
    (folder.path / "steps" / "stop_app.log").touch()
    assert command(migration, "status", "shop") == 0
    assert "0b7c1f5e-0000 ended before its swap and left the application stopped" in " ".join(
        capsys.readouterr().out.split()
    )
    assert command(migration, "cutover", "shop", "--bring-back") == 0
    assert done(migration) == ["revert"] and status.look(migration).stopped is None
    # Whoever takes it back has to start the application, until it was started.
    assert rollback_outlook.left_stopped(folder)
    cutover.skip(folder, "start_app", "as if")
    assert not rollback_outlook.left_stopped(folder)
