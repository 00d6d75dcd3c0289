"""The sensor that starts an approved cutover: once, in its window, and if nothing is missing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from migration_assets import gate, pause, run_lock
from migration_assets import home as homes
from migration_assets.definitions import assemble
from migration_assets.home import Migration
from migration_assets_tests.live_shop import approve, cut_over, make_live, rehearse
from migration_assets_tests.small_shop import make_source


def tick(migration: Migration) -> Any:
    """What the sensor does now; its message if it does nothing."""
    sensor = assemble([migration]).resolve_sensor_def("shop_approval")
    with dg.instance_for_test() as instance:
        found = sensor.evaluate_tick(dg.build_sensor_context(instance))
    return found.skip_message or found.run_requests


def changed(migration: Migration, old: str, new: str) -> Migration:
    text = migration.defs_yaml.read_text()
    assert old in text
    migration.defs_yaml.write_text(text.replace(old, new))
    return homes.load(migration.home, migration.name)


def test_approved_cutover_is_started_once_in_its_window(
    tmp_path: Path, pg_url: str, schema: str
) -> None:
    source = make_source(tmp_path / "shop.db")
    two = "  gate: {rehearsals: 2}\n"
    migration = make_live(tmp_path / "home", source, pg_url, schema, two)
    rehearse(migration)
    assert tick(migration) == "there is no approval that was not used yet"
    approve(migration)
    assert "the gate is closed: 1 of 2 proven rehearsals" in tick(migration)
    migration = changed(migration, two, "  gate: {rehearsals: 1}\n")

    soon = datetime.now(UTC) + timedelta(hours=2)
    opens, closes = (f"{soon + timedelta(hours=n):%H}:00" for n in (0, 1))
    window = f"  cutover:\n    window: {{from: '{opens}', to: '{closes}'}}\n"
    migration = changed(migration, "  cutover:\n", window)
    assert f"the window opens at {soon:%Y-%m-%d}T{opens}" in tick(migration)
    migration = changed(migration, f"from: '{opens}', to: '{closes}'", "timezone: Asia/Tokyo")

    (tmp_path / "shop.db").rename(tmp_path / "away.db")
    assert "not now: source" in tick(migration)
    (tmp_path / "away.db").rename(tmp_path / "shop.db")
    with run_lock.held(migration, "another"):
        assert "run another is under way" in tick(migration)
    pause.begin(migration.folder, "holidays")
    assert "(holidays)" in tick(migration)
    pause.end(migration.folder)
    (request,) = tick(migration)
    assert request.run_key == gate.standing_approval(migration).id
    assert request.tags["approved_by"] == "Ada"

    migration = changed(migration, "echo stop >> app.log", "exit 3")
    outcome, _ = cut_over(migration)
    assert not outcome.success
    assert f"it was tried since the approval, in run {outcome.run_id}" in tick(migration)
    approve(migration)
    assert len(tick(migration)) == 1
