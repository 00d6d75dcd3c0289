"""The application's own checks, and what becomes of a rehearsal that fails: told, and retried."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import psycopg2
import pytest

from migration_assets import history, notify, run_lock, ui
from migration_assets.app_checks import run_all
from migration_assets.core.cutover_config import NotifyConfig
from migration_assets.core.evidence import Evidence, Verdict
from migration_assets.definitions import assemble
from migration_assets.errors import NotProvenError
from migration_assets.home import Migration
from migration_assets.launch import instance
from migration_assets.retries import retry_tags
from migration_assets_tests import attempts
from migration_assets_tests.conftest import Server
from migration_assets_tests.small_shop import configure, make_migration, make_source

READS = """
import os, psycopg2
with psycopg2.connect(os.environ["DATABASE_URL"]) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT count(*), current_schema() FROM users")
    print(*cursor.fetchone(), os.environ["DATABASE_URL"], os.environ["MIGRATION_NAME"])
"""
DEFS = """
  app_checks:
    - {{name: reads, command: "{python} reads.py", timeout: 300}}
    - {{name: morning, command: "test ! -e broken || (echo the 8 a.m. job fails; exit 4)"}}
    - {{name: live, command: "false", environments: [production]}}
  notify: {{webhook: "{webhook}", command: "cat > told.json; echo secret-of-ours; exit 3"}}
"""


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[tuple[str, dict[str, object]]]]]:
    """An address that takes documents, and those that it took with their paths."""
    taken: list[tuple[str, dict[str, object]]] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append((self.path, json.loads(text)))
            self.send_response(500 if self.path == "/broken" else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Taker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", taken
    server.shutdown()
    server.server_close()


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str, str], Migration]:
    """A function that makes the migration, for a target and a webhook."""

    def made(target: str, address: str) -> Migration:
        source = make_source(tmp_path / "shop.db")
        migration = make_migration(tmp_path / "home", source, target, "shop")
        (migration.folder / "reads.py").write_text(READS)
        return configure(migration, DEFS.format(python=sys.executable, webhook=address))

    return made


def tell(migration: Migration, run: dg.DagsterRun) -> None:
    """Let the sensor see that a run failed, as the daemon does."""
    with instance(migration.home) as dagster:
        failure = dagster.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)[0]
        assert failure.dagster_event is not None
        context = dg.build_run_status_sensor_context(
            "shop_failure", failure.dagster_event, dagster, run
        ).for_run_failure()
        assemble([migration]).resolve_sensor_def("shop_failure")(context)


def test_a_rehearsal_on_which_the_application_fails_is_not_proven_and_is_told(
    pg_server: Server,
    make: Callable[[str, str], Migration],
    webhook: tuple[str, list[tuple[str, dict[str, object]]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with psycopg2.connect(pg_server.url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE ROLE app LOGIN PASSWORD 'pass%word'")
        cursor.execute("GRANT CREATE ON DATABASE postgres TO app")
    connection.close()
    address, told = webhook
    migration = make(pg_server.tcp("app", "pass%25word"), f"{address}/hook?key=secret-of-ours")
    schedule = assemble([migration]).resolve_schedule_def("shop_nightly_rehearsal")
    ticked = schedule.evaluate_tick(dg.build_schedule_context())
    tags = dict(ticked.run_requests[0].tags)
    assert retry_tags(1).items() <= tags.items() and retry_tags(0) == {}

    (migration.folder / "broken").touch()
    run = attempts.scheduled(migration, "shop_rehearsal", {**tags, "migration": "shop"})

    assert run.status is dg.DagsterRunStatus.FAILURE
    assert run.tags["dagster/will_retry"] == "false"
    folder = migration.run_folder(run.run_id)
    evidence = Evidence.from_json(folder.evidence.read_bytes())
    assert evidence.run.verdict is Verdict.NOT_PROVEN and evidence.run.exit_code == 1
    problem = 'application check "morning" ended with exit code 4: the 8 a.m. job fails'
    assert evidence.run.reasons == (problem,) and evidence.target.swapped
    reads, morning = evidence.app_checks
    assert reads.passed and reads.output.startswith("3 shop postgresql://app:***@127.0.0.1")
    assert not morning.passed and morning.exit_code == 4
    assert (evidence.checks.failed, evidence.checks.not_run) == (1, 0)
    assert "the 8 a.m. job fails" in folder.report.read_text()
    [known] = history.rehearsals(migration)
    assert known.app_checks == {"reads": True, "morning": False} and not known.proven
    key = dg.AssetCheckKey(dg.AssetKey(["shop", "staging", "swap"]), "morning")
    with instance(migration.home) as dagster:
        [found] = dagster.event_log_storage.get_asset_check_execution_history(key, limit=1)
        assert found.event is not None and found.event.dagster_event is not None
        evaluation = found.event.dagster_event.asset_check_evaluation_data
        assert not evaluation.passed and evaluation.description == problem
    tell(migration, run)
    [(path, document)] = told
    assert path == "/hook?key=secret-of-ours"
    assert json.loads((migration.folder / "told.json").read_text()) == document
    assert document["reasons"] == [problem] and document["run_id"] == run.run_id
    assert (document["verdict"], document["exit_code"]) == ("not_proven", 1)
    assert (document["retried"], document["environment"]) == (False, "staging")
    assert "secret" not in json.dumps(document) and "pass" not in json.dumps(document)

    # A failure to tell is said without what is secret in it, and nothing more.
    assert notify.send(migration.config.notify, document, migration.folder) == [
        "notify.command ended with exit code 3: secret-of-ours"
    ]
    monkeypatch.setenv("HOOK_TOKEN", "secret-of-ours")
    broken = NotifyConfig(webhook=f"{address}/broken", command=migration.config.notify.command)
    assert notify.send(broken, document, migration.folder) == [
        "notify.webhook at 127.0.0.1 answered 500",
        "notify.command ended with exit code 3: ***",
    ]
    nowhere = NotifyConfig(webhook="http://127.0.0.1:9/secret-of-ours")
    assert notify.send(nowhere, document, migration.folder) == [
        "notify.webhook at 127.0.0.1 can not be reached: Connection refused"
    ]

    # The application is mended: the check alone is run again, and nothing is loaded.
    (migration.folder / "broken").unlink()
    swapped = dg.AssetSelection.checks(key)
    rest = swapped | dg.AssetSelection.assets("shop/staging/report")
    succeeded, _ = attempts.run(migration, rest, root=run.run_id)
    assert succeeded
    evidence = Evidence.from_json(folder.evidence.read_bytes())
    assert evidence.run.verdict is Verdict.PROVEN and all(c.passed for c in evidence.app_checks)

    # In production they are a step, which names all that failed.
    with pytest.raises(NotProvenError, match='"live" ended with exit code 1, and said nothing'):
        run_all(migration.config, "production", folder, {})

    # A run that can not even begin is told as well, and not tried again.
    told.clear()
    with run_lock.held(migration, "other"):
        run = attempts.scheduled(migration, "shop_rehearsal", {**tags, "migration": "shop"})
    assert run.tags["dagster/will_retry"] == "false"
    tell(migration, run)
    [(_, document)] = told
    assert (document["exit_code"], document["report"]) == (2, None)
    [reason] = document["reasons"]
    assert reason.startswith('another run of migration "shop" is under way')


TRAP = """
CREATE SEQUENCE trap;
CREATE FUNCTION lose() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('public.trap') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
END $$;
CREATE EVENT TRIGGER lose ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION lose();
"""


def test_a_scheduled_rehearsal_that_lost_its_target_is_done_again_from_its_failure(
    database: str,
    make: Callable[[str, str], Migration],
    webhook: tuple[str, list[tuple[str, dict[str, object]]]],
) -> None:
    migration = make(database, webhook[0])
    with psycopg2.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(TRAP)
    connection.close()
    tags = {**retry_tags(1), "migration": "shop"}
    lost = attempts.scheduled(migration, "shop_rehearsal", tags)
    assert lost.status is dg.DagsterRunStatus.FAILURE
    assert lost.tags["dagster/will_retry"] == "true"
    folder = migration.run_folder(lost.run_id)
    assert Evidence.from_json(folder.evidence.read_bytes()).run.exit_code == 3

    with instance(migration.home) as dagster:
        # As a daemon leaves it that ran before; the first one ever looks at no older failure.
        seen = {f"EVENT_LOG_CONSUMER_CURSOR-{dg.DagsterEventType.RUN_FAILURE.value}": "0"}
        dagster.daemon_cursor_storage.set_cursor_values(seen)
    with ui.running(migration.home):
        deadline = time.monotonic() + 600
        while True:
            with instance(migration.home) as dagster:
                found = dagster.get_runs(dg.RunsFilter(tags={"dagster/parent_run_id": lost.run_id}))
                made = [] if not found else dagster.all_logs(found[0].run_id)
            if found and found[0].is_finished:
                break
            assert time.monotonic() < deadline, f"no retry has ended: {found}"
            time.sleep(0.5)

    [retry] = found
    assert retry.status is dg.DagsterRunStatus.SUCCESS
    events = [entry.dagster_event for entry in made if entry.dagster_event]
    done = {
        event.asset_key.path[-1]
        for event in events
        if event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key
    }
    assert done == {"constraints", "swap", "report"}
    evidence = Evidence.from_json(folder.evidence.read_bytes())
    assert evidence.run.verdict is Verdict.PROVEN and evidence.run.id == lost.run_id
