"""The event log that stays open writes the same files as Dagster's own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage

from migration_assets.event_log import OpenSqliteEventLogStorage
from migration_assets.launch import instance

KEY = dg.AssetKey(["shop", "users"])


def report(dagster: dg.DagsterInstance, number: int) -> None:
    dagster.report_runless_asset_event(dg.AssetMaterialization(KEY, metadata={"number": number}))


def test_dagsters_own_class_reads_what_the_open_one_wrote(tmp_path):
    with instance(tmp_path) as dagster:
        storage = dagster.event_log_storage
        assert isinstance(storage, OpenSqliteEventLogStorage)
        report(dagster, 1)
        folder = storage._base_dir
        plain = SqliteEventLogStorage(folder)
        plain.register_instance(dagster)
        found = plain.get_latest_materialization_events([KEY])[KEY]
        assert found.asset_materialization.metadata["number"].value == 1
    assert Path(folder) == tmp_path / "dagster" / "history" / "runs"


def test_threads_and_a_second_process_instance_share_it(tmp_path):
    with instance(tmp_path) as one, instance(tmp_path) as other:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: report((one, other)[n % 2], n), range(40)))
        records = one.fetch_materializations(KEY, limit=100).records
        numbers = {r.asset_materialization.metadata["number"].value for r in records}
    assert numbers == set(range(40))


def test_files_are_closed_with_the_instance(tmp_path):
    with instance(tmp_path) as dagster:
        report(dagster, 1)
        storage = dagster.event_log_storage
    assert storage._engines == {}
