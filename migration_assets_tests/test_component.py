"""The definitions of a migration: what is there, what depends on what, what blocks what."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace

import dagster as dg
import pytest
from dagster.components.core.component_tree import ComponentTree

from migration_assets import home as homes
from migration_assets.assets.keys import Keys, batches
from migration_assets.components import DatabaseMigrationComponent
from migration_assets.core.config import MigrationConfig
from migration_assets.definitions import assemble
from migration_assets.home import Migration
from migration_assets.sources import open_source
from migration_assets.state import State
from migration_assets_tests.live_shop import make_live
from migration_assets_tests.small_shop import configure, make_migration, make_source

BESIDE = {
    "shop_refresh_catalog",
    "shop_backup",
    "shop_restore_drill",
    "shop_rollback",
    "shop_rollback_drill",
}
"""Jobs that move nothing."""


@pytest.fixture
def migration(tmp_path) -> Migration:
    return make_migration(tmp_path / "home", make_source(tmp_path / "shop.db"))


def graph(migration: Migration):
    return assemble([migration]).resolve_asset_graph()


def key(*parts: str) -> dg.AssetKey:
    return dg.AssetKey(["shop", *parts])


TABLE_KEYS = [key("staging", part) for part in ("order_items", "report_", "users")]


def test_every_table_and_step_is_an_asset_in_the_group_of_its_stage(migration):
    nodes = {node.key.to_user_string(): node.group_name for node in graph(migration).asset_nodes}
    assert nodes == {
        "shop/extract/order_items": "shop_extract",
        "shop/extract/report": "shop_extract",
        "shop/extract/users": "shop_extract",
        "shop/staging/order_items": "shop_staging",
        "shop/staging/report_": "shop_staging",
        "shop/staging/users": "shop_staging",
        "shop/staging/constraints": "shop_staging",
        "shop/staging/swap": "shop_staging",
        "shop/staging/report": "shop_staging",
    }


def test_assets_follow_the_way_of_the_data(migration):
    assets = graph(migration)
    parents = {node.key: set(node.parent_keys) for node in assets.asset_nodes}
    assert parents[key("extract", "users")] == set()
    assert parents[key("staging", "users")] == {key("extract", "users")}
    assert parents[key("staging", "report_")] == {key("extract", "report")}
    assert parents[key("staging", "constraints")] == set(TABLE_KEYS)
    assert parents[key("staging", "swap")] == {key("staging", "constraints")}
    assert parents[key("staging", "report")] == {key("staging", "swap")}


def test_tables_have_two_blocking_checks_and_constraints_three(migration):
    assets = graph(migration)
    checks = {(check.asset_key, check.name) for check in assets.asset_check_keys}
    tables = {(k, name) for k in TABLE_KEYS for name in ("content", "values")}
    constraints = {(key("staging", "constraints"), n) for n in ("schema", "keys", "references")}
    assert checks == tables | constraints
    assert all(assets.get(check).blocking for check in assets.asset_check_keys)


def test_content_blocks_constraints_and_structure_blocks_the_swap(migration):
    job = assemble([migration]).resolve_job_def("shop_rehearsal")
    waits = {
        node.name: {
            upstream.node
            for dependency in dependencies.values()
            for upstream in dependency.get_node_dependencies()
        }
        for node, dependencies in job.graph.dependencies.items()
    }
    assert waits["shop_staging_checks"] == {"shop_staging_load"}
    assert "shop_staging_checks" in waits["shop_staging_constraints"]
    assert waits["shop_staging_structure"] == {"shop_staging_constraints"}
    assert "shop_staging_structure" in waits["shop_staging_swap"]
    assert waits["shop_staging_report"] == {"shop_staging_swap"}


def test_jobs_and_schedules_that_are_stopped(migration):
    definitions = assemble([migration])
    repository = definitions.get_repository_def()
    names = {job.name for job in repository.get_all_jobs()} - {"__ASSET_JOB"}
    assert names == {"shop_rehearsal", *BESIDE}
    schedules = {schedule.name: schedule for schedule in repository.schedule_defs}
    crons = {name: schedule.cron_schedule for name, schedule in schedules.items()}
    assert crons == {"shop_nightly_rehearsal": "0 2 * * *", "shop_backup": "0 3 * * *"}
    stopped = dg.DefaultScheduleStatus.STOPPED
    assert all(schedule.default_status is stopped for schedule in schedules.values())


def test_true_names_are_in_the_metadata(migration):
    node = graph(migration).get(key("staging", "order_items"))
    assert node.metadata["table"] == "order items"
    assert node.metadata["dagster/table_name"] == "shop.order items"


def test_without_state_there_are_no_assets_but_the_job_that_makes_it(migration):
    migration.state.unlink()
    repository = assemble([migration]).get_repository_def()
    names = {job.name for job in repository.get_all_jobs()}
    assert names == BESIDE


def test_making_definitions_does_not_open_the_source(migration, tmp_path):
    before = graph(migration).get_all_asset_keys()
    (tmp_path / "shop.db").unlink()
    assert graph(migration).get_all_asset_keys() == before


def test_plan_digest_is_the_code_version_once_the_values_are_known(migration):
    assert graph(migration).get(key("extract", "users")).code_version is None
    state = State.read(migration.state)
    from migration_assets.core.profile import Profile

    known = State(state.catalog, Profile({}), "id")
    known.write(migration.state)
    version = graph(migration).get(key("extract", "users")).code_version
    assert version == known.plan(migration.config.plan).digest


def test_many_tables_are_loaded_and_checked_in_ops_of_fifty(tmp_path):
    import sqlite3

    connection = sqlite3.connect(tmp_path / "many.db")
    for number in range(120):
        connection.execute(f"CREATE TABLE t{number} (id INTEGER)")
    connection.close()
    migration = make_migration(tmp_path / "home", f"sqlite:///{tmp_path / 'many.db'}")
    job = assemble([migration]).resolve_job_def("shop_rehearsal")
    names = [node.name for node in job.graph.nodes]
    assert names.count("shop_extract") == 1
    assert len([n for n in names if n.startswith("shop_staging_load")]) == 3
    assert len([n for n in names if n.startswith("shop_staging_checks")]) == 3


def test_snapshot_that_lasts_as_long_as_its_process_is_read_by_one_step(
    migration, tmp_path, monkeypatch
):
    monkeypatch.setattr("migration_assets.assets.extract.BATCH", 2)
    server = homes.create(tmp_path / "other", "shop", "mysql://reader@db.internal/shop")
    server.state.write_bytes(migration.state.read_bytes())
    for one, steps in ((migration, 2), (server, 1)):
        spread = configure(one, "  executor: multiprocess\n")
        job = assemble([spread]).resolve_job_def("shop_rehearsal")
        assert sum(node.name.startswith("shop_extract") for node in job.nodes) == steps


def test_multiprocess_is_chosen_in_yaml_and_spreads_large_tables(migration):
    job = assemble([migration]).resolve_job_def("shop_rehearsal")
    assert job.executor_def.name == "in_process"
    state = State.read(migration.state)
    large = tuple(replace(table, bytes=100 << 20) for table in state.catalog.tables)
    State(replace(state.catalog, tables=large)).write(migration.state)
    spread = assemble([configure(migration, "  executor: multiprocess\n")])
    job = spread.resolve_job_def("shop_rehearsal")
    assert job.executor_def.name == "multiprocess"
    loads = [n for n in job.graph.nodes if n.name.startswith("shop_staging_load")]
    assert len(loads) == 3


def test_two_migrations_share_one_code_location(migration, tmp_path):
    other = homes.create(migration.home, "other", f"sqlite:///{tmp_path / 'shop.db'}")
    State(open_source(other.config.source).reflect()).write(other.state)
    repository = assemble([migration, other]).get_repository_def()
    names = {job.name for job in repository.get_all_jobs()}
    assert {"shop_rehearsal", "other_rehearsal"} <= names


def test_component_has_exactly_the_fields_of_the_configuration():
    assert set(DatabaseMigrationComponent.model_fields) == set(MigrationConfig.model_fields)
    assert DatabaseMigrationComponent.get_model_cls() is MigrationConfig


def test_component_of_the_yaml_gives_the_same_definitions(migration, monkeypatch):
    monkeypatch.setenv("SHOP_CRON", "0 3 * * *")
    monkeypatch.chdir(migration.home)
    migration = configure(migration, '  schedule: "{{ env.SHOP_CRON }}"\n')
    # A migration home can be a folder of any Dagster project.
    tree = ComponentTree.for_test()
    (component,) = tree.get_all_components(of_type=DatabaseMigrationComponent)
    assert component.schedule == "0 3 * * *"
    assert component.migration == migration
    made = component.build_defs(tree.load_context)
    assert made.resolve_asset_graph().get_all_asset_keys() == graph(migration).get_all_asset_keys()


def test_refreshing_the_state_writes_beside_defs_yaml_only(migration, tmp_path):
    import asyncio

    migration.state.unlink()
    elsewhere = tmp_path / "project"
    elsewhere.mkdir()
    asyncio.run(DatabaseMigrationComponent.of(migration).refresh_state(elsewhere))
    assert [table.name for table in State.read(migration.state).catalog.tables]
    assert not list(elsewhere.iterdir())


def test_component_is_registered_for_dg():
    found = importlib.metadata.entry_points(group="dagster_dg_cli.registry_modules")
    if not any(point.name == "migration_assets" for point in found):
        pytest.skip("the package is not installed here")
    assert any(point.value == "migration_assets.components" for point in found)


def test_batches_are_balanced_and_keep_the_order():
    weighted = [(str(n), weight) for n, weight in enumerate([9, 1, 1, 8, 1])]
    assert batches(weighted, size=3) == [["0", "2"], ["1", "3", "4"]]
    assert batches([], size=3) == []
    assert batches(weighted, size=9) == [["0", "1", "2", "3", "4"]]


def test_a_table_named_like_a_step_gets_a_key_of_its_own():
    keys = Keys("shop")
    parts = {keys.table("staging", s) for s in ("report", "report_", "swap", "users")}
    assert len(parts | {keys.step("staging", s) for s in ("report", "swap", "constraints")}) == 7


def test_a_production_target_brings_gate_steps_and_jobs(tmp_path):
    source = make_source(tmp_path / "shop.db")
    migration = make_live(tmp_path / "home", source, "embedded", "live")
    assets = graph(migration)
    groups: dict[str, set[str]] = {}
    for node in assets.asset_nodes:
        groups.setdefault(node.group_name, set()).add(node.key.path[-1])
    assert groups["shop_gate"] == {"approval", "preflight", "stop_app", "freeze"}
    after = {"switch_env", "start_app", "smoke", "enable_traffic", "report"}
    loaded = {"order_items", "report_", "users", "constraints", "backup", "swap"}
    assert loaded | after <= groups["shop_production"]
    parents = {node.key: set(node.parent_keys) for node in assets.asset_nodes}
    assert parents[key("extract", "users")] == {key("production", "freeze")}
    assert parents[key("production", "preflight")] == {key("approval")}
    assert parents[key("production", "swap")] == {key("production", "backup")}
    repository = assemble([migration]).get_repository_def()
    names = {job.name for job in repository.get_all_jobs()}
    assert {"shop_rehearsal", "shop_approve", "shop_cutover"} <= names
    chosen = repository.get_job("shop_cutover").asset_layer.executable_asset_keys
    assert key("approval") not in chosen
    assert not {k for k in chosen if k.path[1] == "staging"}
