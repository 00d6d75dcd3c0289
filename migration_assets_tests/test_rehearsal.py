"""The rehearsal job from end to end: a real source, a real target, a real Dagster instance."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from pathlib import Path

import dagster as dg
import psycopg2
import pytest
from psycopg2 import sql

from migration_assets.ahead import taken_ahead
from migration_assets.core.evidence import Evidence, Verdict
from migration_assets.definitions import assemble
from migration_assets.home import Migration
from migration_assets.launch import instance, launch
from migration_assets.state import State
from migration_assets_tests.small_shop import (
    SLUGS,
    TABLES,
    configure,
    make_migration,
    make_source,
)


@pytest.fixture
def migration(tmp_path, pg_url, schema) -> Migration:
    source = make_source(tmp_path / "shop.db")
    return make_migration(tmp_path / "home", source, pg_url, schema)


def rows(url: str, schema: str, table: str) -> list[tuple]:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT * FROM {} ORDER BY 1").format(sql.Identifier(schema, table)))
        return cursor.fetchall()


def schemas(url: str, prefix: str) -> set[str]:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", (prefix,))
        return {row[0] for row in cursor.fetchall()}


def evidence(folder) -> Evidence:
    return Evidence.from_json(folder.evidence.read_bytes())


def materialize(migration: Migration, selection: dg.AssetSelection, raise_on_error: bool = True):
    """Materialize from the asset graph, as the UI does: a run without a job of ours."""
    with instance(migration.home) as dagster:
        definitions = assemble([migration])
        graph = definitions.resolve_asset_graph()
        return (
            definitions.get_repository_def()
            .get_implicit_global_asset_job_def()
            .get_subset(
                asset_selection=selection.resolve(graph),
                asset_check_selection=selection.resolve_checks(graph),
            )
            .execute_in_process(instance=dagster, raise_on_error=raise_on_error)
        )


def tables_only(stage: str) -> dg.AssetSelection:
    """The tables of a stage without their checks."""
    parts = [
        f"{slug}_" if slug == "report" and stage == "staging" else slug for slug in SLUGS.values()
    ]
    keys = dg.AssetSelection.assets(*(["shop", stage, part] for part in parts))
    return keys.without_checks()


def checks_of(stage_key: str, *names: str) -> dg.AssetSelection:
    asset = dg.AssetKey(["shop", "staging", stage_key])
    return dg.AssetSelection.checks(*(dg.AssetCheckKey(asset, name) for name in names))


def test_rehearsal_moves_everything_and_proves_it(migration, pg_url, schema):
    seen = []
    outcome = launch(migration, "shop_rehearsal", lambda run, folder: seen.append((run, folder)))
    assert outcome.success, outcome.failures
    assert seen == [(outcome.run_id, outcome.folder)]
    assert rows(pg_url, schema, "users")[2][:2] == (7, "Zoë")
    assert len(rows(pg_url, schema, "order items")) == 4
    assert schemas(pg_url, schema) == {schema}
    found = evidence(outcome.folder)
    assert found.run.verdict is Verdict.PROVEN
    assert found.run.exit_code == 0
    assert {table.name: table.rows_identical for table in found.tables} == TABLES
    assert outcome.folder.report.stat().st_size > 1000


def test_profile_of_the_run_is_kept_for_the_definitions(migration):
    assert State.read(migration.state).profile is None
    outcome = launch(migration, "shop_rehearsal")
    state = State.read(migration.state)
    assert state.profile.tables["users"].rows == 3
    assert state.plan(migration.config.plan).digest == outcome.folder.plan().digest


def test_materializations_carry_numbers_columns_and_places(migration):
    outcome = launch(migration, "shop_rehearsal")
    with instance(migration.home) as dagster:
        metadata = {
            part: dagster.get_latest_materialization_event(
                dg.AssetKey(["shop", *part])
            ).asset_materialization.metadata
            for part in (
                ("extract", "order_items"),
                ("staging", "order_items"),
                ("staging", "report"),
            )
        }
    for part in (("extract", "order_items"), ("staging", "order_items")):
        assert metadata[part]["dagster/row_count"].value == 4
        assert metadata[part]["table"].value == "order items"
        assert metadata[part]["seconds"].value > 0
        assert metadata[part]["rows_per_second"].value > 0
        assert metadata[part]["bytes"].value > 0
        assert metadata[part]["run_folder"].value == str(outcome.folder.path)
    assert Path(metadata["extract", "order_items"]["parquet"].value).is_file()
    columns = metadata["staging", "order_items"]["dagster/column_schema"].value.columns
    assert [column.name for column in columns] == ["id", "user", "Preis", "note"]
    assert "references users" in columns[1].constraints.other
    assert metadata["staging", "report"]["verdict"].value == "proven"
    assert metadata["staging", "report"]["rows_identical"].value == sum(TABLES.values())


def test_second_rehearsal_replaces_the_first_and_keeps_it_as_the_way_back(
    migration, pg_url, schema, tmp_path
):
    launch(migration, "shop_rehearsal")
    with sqlite3.connect(tmp_path / "shop.db") as source:
        source.execute("INSERT INTO users VALUES (8, 'Eve', NULL)")
    source.close()
    assert launch(migration, "shop_rehearsal").success
    assert len(rows(pg_url, schema, "users")) == 4
    assert len(rows(pg_url, f"{schema}__previous", "users")) == 3
    assert schemas(pg_url, schema) == {schema, f"{schema}__previous"}


def test_failed_check_of_the_users_own_holds_the_swap_and_leaves_evidence(
    migration, pg_url, schema
):
    migration = configure(
        migration,
        "  expectations:\n    users:\n"
        "      - {type: expect_table_row_count_to_be_between, kwargs: {min_value: 100}}\n",
    )
    outcome = launch(migration, "shop_rehearsal")
    assert not outcome.success
    assert schema not in schemas(pg_url, schema)
    found = evidence(outcome.folder)
    assert found.run.verdict is Verdict.NOT_PROVEN
    assert found.run.exit_code == 1
    assert any("users" in reason for reason in found.run.reasons)
    assert outcome.folder.report.exists()
    assert not (outcome.folder.path / "results" / "constraints").exists()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("DELETE FROM {} WHERE id = 2", ("missing", "[2]")),
        ("UPDATE {} SET name = 'Bib' WHERE id = 2", ("changed", "[2]", "name", "'Bib'")),
        ("INSERT INTO {} SELECT * FROM {} WHERE id = 2", ("extra", "[2]")),
    ],
)
def test_planted_fault_fails_the_content_check_naming_table_and_key(
    migration, pg_url, fault, words
):
    run = materialize(migration, tables_only("extract") | tables_only("staging"))
    incoming = f"{migration.config.schema_of('staging')}__in_{run.run_id[:8]}"
    with psycopg2.connect(pg_url) as connection, connection.cursor() as cursor:
        name = sql.Identifier(incoming, "users")
        cursor.execute(sql.SQL(fault).format(*[name] * fault.count("{}")))
    selection = checks_of("users", "content") | checks_of("order_items", "content")
    result = materialize(migration, selection, raise_on_error=False)
    assert not result.success
    checks = {c.asset_key.path[-1]: c for c in result.get_asset_check_evaluations()}
    assert checks["order_items"].passed
    assert not checks["users"].passed
    for word in ("users", *words):
        assert word in checks["users"].description


def test_planted_fault_fails_the_values_check_naming_table_and_expectation(migration, pg_url):
    run = materialize(migration, tables_only("extract") | tables_only("staging"))
    incoming = f"{migration.config.schema_of('staging')}__in_{run.run_id[:8]}"
    with psycopg2.connect(pg_url) as connection, connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("DELETE FROM {} WHERE id = 2").format(sql.Identifier(incoming, "users"))
        )
    result = materialize(migration, checks_of("users", "values"), raise_on_error=False)
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert "users" in check.description
    assert "expect_table_row_count_to_equal" in check.description


@pytest.mark.parametrize(
    ("fault", "check", "word"),
    [
        ("ALTER TABLE {s}.users ALTER COLUMN name DROP NOT NULL", "schema", "name"),
        ("DROP INDEX {s}.items_user", "keys", "items_user"),
        ('ALTER TABLE {s}."order items" DROP CONSTRAINT {fk}', "references", "order items"),
    ],
)
def test_planted_fault_fails_the_structure_check_of_its_category(
    migration, pg_url, schema, fault, check, word
):
    launch(migration, "shop_rehearsal")
    with psycopg2.connect(pg_url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint"
            " WHERE contype = 'f' AND connamespace = %s::regnamespace",
            (f'"{schema}"',),
        )
        (key,) = cursor.fetchone()
        cursor.execute(sql.SQL(fault).format(s=sql.Identifier(schema), fk=sql.Identifier(key)))
    selection = checks_of("constraints", "schema", "keys", "references")
    result = materialize(migration, selection, raise_on_error=False)
    checks = {c.check_name: c for c in result.get_asset_check_evaluations()}
    assert [name for name, found in checks.items() if not found.passed] == [check]
    assert word in checks[check].description


def test_load_alone_takes_the_latest_extract(migration, pg_url):
    extracted = materialize(migration, tables_only("extract"))
    loaded = materialize(migration, tables_only("staging"))
    folder = migration.run_folder(loaded.run_id)
    origin = (folder.path / "origin" / "users").read_text()
    assert origin == str(migration.run_folder(extracted.run_id).path)
    incoming = f"{migration.config.schema_of('staging')}__in_{loaded.run_id[:8]}"
    assert len(rows(pg_url, incoming, "users")) == 3


def test_load_without_any_extract_says_what_to_materialize(migration):
    result = materialize(
        migration, dg.AssetSelection.assets(["shop", "staging", "users"]).without_checks(), False
    )
    (failure,) = [e for e in result.all_events if e.is_step_failure]
    message = failure.step_failure_data.error.message
    assert "shop/extract/users" in message
    assert "materialize it first" in message


def test_part_of_the_tables_never_goes_live(migration, pg_url, schema):
    some = dg.AssetSelection.assets(
        ["shop", "extract", "users"],
        ["shop", "staging", "users"],
        ["shop", "staging", "constraints"],
    )
    result = materialize(migration, some.without_checks(), raise_on_error=False)
    (failure,) = [e for e in result.all_events if e.is_step_failure]
    assert '"order items"' in failure.step_failure_data.error.message
    assert schema not in schemas(pg_url, schema)


def test_new_table_in_the_source_stops_the_run_before_anything_is_loaded(migration, tmp_path):
    with sqlite3.connect(tmp_path / "shop.db") as source:
        source.execute("CREATE TABLE extra (id INTEGER)")
    source.close()
    outcome = launch(migration, "shop_rehearsal")
    (failure,) = outcome.failures
    assert failure.exit_code == 2
    assert '"extra"' in failure.message
    # The catalog was read again, so the next run knows the table.
    assert launch(migration, "shop_rehearsal").success


def test_refresh_job_reads_catalog_and_profile_without_a_target(migration):
    migration.state.unlink()
    outcome = launch(migration, "shop_refresh_catalog")
    assert outcome.success
    state = State.read(migration.state)
    assert {table.name for table in state.catalog.tables} == set(TABLES)
    assert state.profile.tables["order items"].rows == 4
    assert not outcome.folder.snapshot.exists()


def test_snapshot_taken_while_dagster_starts_is_the_runs_own(migration, tmp_path):
    run_id = str(uuid.uuid4())
    folder = migration.run_folder(run_id)
    with taken_ahead(migration, folder):
        pass
    # What the source becomes after that is not of this run any more.
    with sqlite3.connect(tmp_path / "shop.db") as source:
        source.execute("DELETE FROM users")
    source.close()
    outcome = launch(migration, "shop_rehearsal", run_id=run_id)
    assert outcome.success, outcome.failures
    rows = {table.name: table.rows_source for table in evidence(outcome.folder).tables}
    assert rows["users"] > 0
    # The next run takes its own.
    outcome = launch(migration, "shop_rehearsal")
    rows = {table.name: table.rows_source for table in evidence(outcome.folder).tables}
    assert rows["users"] == 0


def test_snapshot_that_cannot_be_taken_ahead_is_left_to_the_run(migration, tmp_path):
    run_id = str(uuid.uuid4())
    (tmp_path / "shop.db").rename(tmp_path / "away.db")
    with taken_ahead(migration, migration.run_folder(run_id)):
        pass
    (tmp_path / "away.db").rename(tmp_path / "shop.db")
    assert launch(migration, "shop_rehearsal", run_id=run_id).success


def test_source_that_vanished_is_bad_input_with_evidence(migration, tmp_path):
    (tmp_path / "shop.db").unlink()
    outcome = launch(migration, "shop_rehearsal")
    assert [failure.exit_code for failure in outcome.failures] == [2]
    assert evidence(outcome.folder).run.exit_code == 2


def test_database_without_tables_is_moved_with_nothing_in_it(tmp_path, pg_url, schema):
    sqlite3.connect(tmp_path / "empty.db").executescript("CREATE TABLE t (a); DROP TABLE t;")
    source = f"sqlite:///{tmp_path / 'empty.db'}"
    migration = make_migration(tmp_path / "home", source, pg_url, schema)
    outcome = launch(migration, "shop_rehearsal")
    assert outcome.success, outcome.failures
    assert evidence(outcome.folder).run.verdict is Verdict.PROVEN
    assert schema in schemas(pg_url, schema)


def test_multiprocess_run_gives_the_same_result(migration, pg_url, schema):
    migration = configure(migration, "  executor: multiprocess\n")
    # Step processes load the job by its origin, as a run from the UI does.
    outcome = launch(migration, "shop_rehearsal")
    assert outcome.success, outcome.failures
    assert len(rows(pg_url, schema, "order items")) == 4


def test_old_run_folders_are_dropped_and_one_that_can_not_be_fails_no_run(migration, tmp_path):
    migration = configure(migration, "  keep_runs: 1\n")
    first = launch(migration, "shop_rehearsal")
    (tmp_path / "disk").mkdir()
    stuck = first.folder.path.with_name("stuck")
    stuck.symlink_to(tmp_path / "disk")
    os.utime(stuck, (1e9, 1e9))
    second = launch(migration, "shop_rehearsal")
    assert second.success, second.failures
    assert second.folder.path.exists() and stuck.exists()
    assert not first.folder.path.exists()


PROGRAM = """
import sys
from pathlib import Path
from migration_assets import home
from migration_assets.launch import launch
migration = home.load(Path(sys.argv[1]), "shop")
outcome = launch(migration, "shop_rehearsal", lambda run, folder: print(folder.path, flush=True))
print(outcome.status, {f.exit_code for f in outcome.failures})
"""


def test_interrupted_run_ends_as_broken_off_and_the_live_schema_stays(
    migration, pg_url, schema, tmp_path
):
    assert launch(migration, "shop_rehearsal").success
    with sqlite3.connect(tmp_path / "shop.db") as source:
        source.execute("DELETE FROM users WHERE id = 2")
        source.execute(
            "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 900000)"
            " INSERT INTO users SELECT i, 'name ' || i, NULL FROM n"
        )
    source.close()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(migration.home)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    folder = Path(process.stdout.readline().strip())
    deadline = time.monotonic() + 60
    while not list((folder / "raw").glob("users*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert output.split() == ["FAILURE", "{3}"]
    assert evidence(migration.run_folder(folder.name)).run.verdict is Verdict.BROKEN_OFF
    assert len(rows(pg_url, schema, "users")) == 3
