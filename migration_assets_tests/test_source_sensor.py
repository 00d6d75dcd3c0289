"""The sensor that starts a rehearsal when the source has changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import dagster as dg

from migration_assets import pause, run_lock, source_state
from migration_assets.definitions import assemble
from migration_assets.home import Migration
from migration_assets_tests.small_shop import configure, make_migration, make_source


def test_a_change_starts_one_rehearsal_and_nothing_else_does(tmp_path: Path, monkeypatch) -> None:
    url = make_source(tmp_path / "shop.db")
    migration = configure(make_migration(tmp_path / "home", url), "  source_sensor_minutes: 2\n")
    repository = assemble([migration]).get_repository_def()
    sensor = repository.get_sensor_def("shop_source_changed")
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    assert timedelta(seconds=sensor.minimum_interval_seconds or 0) == timedelta(minutes=2)
    assert [target.job_name for target in sensor.targets] == ["shop_rehearsal"]
    cursor: str | None = None

    with (
        dg.DagsterInstance.ephemeral() as instance,
        closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as shop,
    ):

        def tick() -> str:
            """Why nothing begins, or "begins"."""
            nonlocal cursor
            context = dg.build_sensor_context(instance, cursor, repository_def=repository)
            found = sensor.evaluate_tick(context)
            cursor = found.cursor or cursor
            assert found.skip_message or len(found.run_requests or ()) == 1
            return found.skip_message or "begins"

        assert "for the first time" in tick()
        assert tick() == "the source has not changed"
        shop.execute("UPDATE report SET total = 1")
        assert tick() == "begins"
        assert tick() == "the source has not changed"
        # What writes to the file and not to its content, once a rehearsal has read that.
        read(migration, "first")
        shop.execute("PRAGMA journal_mode=WAL")
        shop.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert tick() == "the source has not changed"
        # A run that has read the change already is no reason for another one.
        shop.execute("UPDATE report SET total = 2")
        read(migration, "second")
        assert tick() == "the source has not changed"
        # Nor does one begin beside another, or in a pause; the change is seen afterwards.
        shop.execute("UPDATE report SET total = 3")
        with run_lock.held(migration, "0b7c"):
            assert "under way or waits (0b7c)" in tick()
        job = repository.get_job("shop_rehearsal")
        coming = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTING)
        assert f"({coming.run_id})" in tick()
        instance.report_run_canceled(coming)
        pause.begin(migration.folder, "month end")
        assert "month end" in tick()
        pause.end(migration.folder)
        assert tick() == "begins"
        # A large file counts as changed by being written to.
        monkeypatch.setattr("migration_assets.sources.sqlite.source.POSITION_BYTES", 1)
        shop.execute("UPDATE report SET total = 4")
        assert tick() == "begins"
        assert tick() == "the source has not changed"
        (tmp_path / "shop.db").rename(tmp_path / "gone.db")
        assert tick() == f"{url}: no such file"


def read(migration: Migration, run_id: str) -> None:
    """A run that got no further than its snapshot."""
    folder = migration.run_folder(run_id).create()
    with closing(migration.source().take_snapshot(folder.snapshot)) as reader:
        source_state.keep(folder, reader, reader.catalog(), lasting=False)
