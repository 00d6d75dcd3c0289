"""``migration-assets status``: runs, what is live, the gate and its window, without Dagster."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from migration_assets import home as homes
from migration_assets import status
from migration_assets.cli import run
from migration_assets.core.cutover_config import WindowConfig
from migration_assets.core.window import is_open, next_opening
from migration_assets_tests.small_shop import configure, make_source


def test_status_tells_runs_live_schema_and_what_a_cutover_lacks(
    tmp_path: Path,
    pg_url: str,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv(homes.VARIABLE, str(home))
    assert run(["status"]) == 2
    assert "there is no migration in" in capsys.readouterr().err

    source = make_source(tmp_path / "shop.db")
    assert run(["migrate", source, "--target", pg_url, "--schema", schema]) == 0
    capsys.readouterr()
    migration = homes.load(home, "shop")
    found = status.look(migration)
    assert (found.paused, found.running, found.gate) == (None, None, None)
    (past,) = found.runs
    assert (past.job, past.outcome, past.rows) == ("shop_rehearsal", "proven", 9)
    (live,) = found.live
    assert (live.environment, live.run_id, live.problem) == ("staging", past.run_id, None)
    assert live.since is not None

    text = migration.defs_yaml.read_text()
    production = "    production: {url: 'postgresql://nobody@127.0.0.1:1/none'}\n"
    migration.defs_yaml.write_text(text.replace("    staging:\n", production + "    staging:\n"))
    configure(migration, "  cutover:\n    window: {days: [sat], from: '22:00', to: '02:00'}\n")
    assert run(["status", "shop", "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert any("1 of 3 proven rehearsals" in line for line in document["gate"]["missing"])
    assert any("no approval" in line for line in document["gate"]["missing"])
    problems = {each["environment"]: each["problem"] for each in document["live"]}
    assert "no server answers at 127.0.0.1:1" in problems["production"]
    assert run(["status"]) == 0
    printed = capsys.readouterr().out
    assert "a cutover lacks" in printed
    assert f'run {past.run_id[:8]} is live in "{schema}"' in printed


def test_window_may_end_on_the_next_day_and_follows_the_clock_of_its_zone() -> None:
    window = WindowConfig.model_validate(
        {"days": ["sat"], "from": "22:00", "to": "02:00", "timezone": "Europe/Berlin"}
    )

    def at(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    # 28 March 2026 is a Saturday; the clock goes from 02:00 to 03:00 in that night.
    opened = [at("2026-03-28T21:00"), at("2026-03-29T00:59"), at("2026-07-04T20:00")]
    closed = [at("2026-03-28T20:59"), at("2026-03-29T01:00"), at("2026-03-29T21:30")]
    assert [is_open(window, now) for now in opened + closed] == [True] * 3 + [False] * 3
    assert next_opening(window, at("2026-03-28T21:00")) == at("2026-04-04T20:00")
    assert is_open(None, opened[0])
    assert is_open(WindowConfig(), opened[0])
    assert not is_open(WindowConfig(days=["mon"]), opened[0])


def test_status_does_not_wait_for_dagster() -> None:
    code = "import sys, migration_assets.cli.status; print('dagster' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
