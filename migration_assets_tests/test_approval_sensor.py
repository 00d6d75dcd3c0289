"""The sensor that starts an approved cutover: once, in its window, and if nothing is missing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from migration_assets import gate, history, pause, run_lock
from migration_assets import home as homes
from migration_assets.approval_sensor import why_not
from migration_assets.definitions import assemble
from migration_assets.home import Migration
from migration_assets_tests.live_shop import approve, make_live, rehearse
from migration_assets_tests.small_shop import make_source

SATURDAY = datetime(2030, 3, 2, 1, 30, tzinfo=UTC)


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
    assert why_not(migration, SATURDAY) == "there is no approval that was not used yet"
    approve(migration)
    assert "the gate is closed: 1 of 2 proven" in (why_not(migration, SATURDAY) or "")
    migration = changed(migration, two, "  gate: {rehearsals: 1}\n")

    window = "  cutover:\n    window: {days: [sat], from: '01:00', to: '02:00'}\n"
    limited = changed(migration, "  cutover:\n", window)
    assert "the window opens at 2030-03-09T01:00" in (
        why_not(limited, SATURDAY + timedelta(hours=1)) or ""
    )
    with run_lock.held(limited, "another"):
        assert why_not(limited, SATURDAY) == "run another is under way"
    migration = changed(limited, window, "  cutover:\n")

    (tmp_path / "shop.db").rename(tmp_path / "away.db")
    assert (why_not(migration, SATURDAY) or "").startswith("not now: source")
    (tmp_path / "away.db").rename(tmp_path / "shop.db")
    sensor = assemble([migration]).resolve_sensor_def("shop_approval")
    with dg.instance_for_test() as instance, dg.build_sensor_context(instance) as context:
        pause.begin(migration.folder, "holidays")
        assert "(holidays)" in (sensor.evaluate_tick(context).skip_message or "")
        pause.end(migration.folder)
        (request,) = sensor.evaluate_tick(context).run_requests
    approval = gate.standing_approval(migration)
    assert approval is not None
    assert (request.run_key, request.tags["approved_by"]) == (approval.id, "Ada")

    tried = history.rehearsals(migration)[0].model_copy(
        update={
            "run_id": "c1",
            "environment": "production",
            "started_at": datetime.now(UTC).isoformat(),
            "reasons": ("the app does not stop",),
        }
    )
    history._write(migration, "attempts", tried.run_id, tried)
    assert "since the approval, in run c1 (the app does not stop)" in (
        why_not(migration, SATURDAY) or ""
    )
