"""A run from the command line, seen and re-executed in the UI: a real webserver and daemon."""

from __future__ import annotations

import psycopg2
import pytest
from psycopg2 import sql

from migration_assets import ui
from migration_assets.core.evidence import Evidence, Verdict
from migration_assets.errors import InputError
from migration_assets.launch import launch
from migration_assets_tests.dagster_api import Dagster
from migration_assets_tests.small_shop import configure, make_migration, make_source

FAILING = (
    "  expectations:\n    users:\n"
    "      - {type: expect_table_row_count_to_be_between, kwargs: {min_value: 100}}\n"
)
RUNS = """query { runsOrError { ... on Runs { results {
    runId jobName status parentRunId hasReExecutePermission
    repositoryOrigin { repositoryName repositoryLocationName }
} } } }"""
REEXECUTE = """mutation($parent: String!, $strategy: ReexecutionStrategy!) {
    launchRunReexecution(reexecutionParams: {parentRunId: $parent, strategy: $strategy}) {
        __typename
        ... on LaunchRunSuccess { run { runId } }
        ... on PythonError { message }
    } }"""


@pytest.fixture
def migration(tmp_path, pg_url, schema):
    source = make_source(tmp_path / "shop.db")
    return make_migration(tmp_path / "home", source, pg_url, schema)


def test_run_of_the_command_line_is_in_the_history_and_its_failed_part_is_done_again_there(
    migration, pg_url, schema
):
    written = migration.defs_yaml.read_text()
    failed = launch(configure(migration, FAILING), "shop_rehearsal")
    assert not failed.success
    migration.defs_yaml.write_text(written)

    with ui.running(migration.home) as shown:
        dagster = Dagster(shown.url)
        (seen,) = dagster.ask(RUNS)["runsOrError"]["results"]
        assert seen["runId"] == failed.run_id
        assert seen["jobName"] == "shop_rehearsal"
        assert seen["status"] == "FAILURE"
        assert seen["hasReExecutePermission"]
        assert seen["repositoryOrigin"] == {
            "repositoryName": "__repository__",
            "repositoryLocationName": "migration_assets",
        }
        started = dagster.ask(REEXECUTE, parent=failed.run_id, strategy="FROM_ASSET_FAILURE")[
            "launchRunReexecution"
        ]
        assert started["__typename"] == "LaunchRunSuccess", started
        done = dagster.wait(started["run"]["runId"])

    assert done["status"] == "SUCCESS", done
    made = {"/".join(m["assetKey"]["path"]) for m in done["assetMaterializations"]}
    # Of the tables only the one that failed its check; nothing was extracted again.
    assert made == {
        "shop/staging/users",
        "shop/staging/constraints",
        "shop/staging/swap",
        "shop/staging/report",
    }
    with psycopg2.connect(pg_url) as connection, connection.cursor() as cursor:
        for table, count in {"users": 3, "order items": 4, "report": 2}.items():
            cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table)))
            assert cursor.fetchone() == (count,)
    # It went on in the folder of the run that it finished, and proved all of it.
    evidence = Evidence.from_json(failed.folder.evidence.read_bytes())
    assert evidence.run.verdict is Verdict.PROVEN
    assert {table.rows_identical for table in evidence.tables} == {2, 3, 4}


def test_port_that_is_taken_is_named(migration):
    import socket

    with socket.socket() as other:
        other.bind((ui.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}"):
            ui.free_port(port)
        assert ui.free_port(None) != port
