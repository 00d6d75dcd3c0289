"""The rows of a run can be removed, and are not missed by anything that needs them."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pytest

from migration_assets import home as homes
from migration_assets import run_lock
from migration_assets.cli import run
from migration_assets.definitions import assemble
from migration_assets.launch import instance, launch
from migration_assets_tests.small_shop import make_migration, make_source

STAY = ("evidence.json", "report.html", "plan.json", "ledger.parquet", "catalog.json")


def files(folder: Path, *patterns: str) -> list[str]:
    found = [p for pattern in patterns for p in folder.glob(pattern) if p.is_file()]
    return sorted(str(path.relative_to(folder)) for path in found)


def test_rows_go_and_proof_stays_unless_something_needs_the_rows(
    tmp_path: Path,
    pg_url: str,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def said(*arguments: str) -> tuple[int, str]:
        code = run(list(arguments))
        return code, "".join(capsys.readouterr())

    migration = make_migration(tmp_path / "home", make_source(tmp_path / "s.db"), pg_url, schema)
    monkeypatch.setenv(homes.VARIABLE, str(migration.home))
    outcome = launch(migration, "shop_rehearsal")
    assert outcome.success
    live = outcome.folder.path
    old = live.with_name("00000000-0000-4000-8000-000000000000")
    shutil.copytree(live, old)  # a run before it, not live any more
    there = files(old, "**/*")

    code, text = said("purge", outcome.run_id[:13])
    assert code == 2 and "it is live in staging, and a rollback compares with its extracts" in text
    (live / "origin").mkdir()
    (live / "origin" / "users").write_text(str(old))
    code, text = said("purge", "00000000")
    assert code == 2 and f"run {outcome.run_id} was loaded from its extracts; --force" in text
    shutil.rmtree(live / "origin")
    with run_lock.held(migration, "another"):
        code, text = said("purge", "00000000")
        assert code == 2 and "another run of migration" in text
    code, text = said("purge", "no such run")
    assert code == 2 and '"no such run" is no run of a migration in this home' in text
    assert files(old, "**/*") == there

    rows = files(old, "extract/*", "snapshot.db*", "raw/*")
    assert len(rows) >= 4
    freed = sum((old / name).stat().st_size for name in rows)
    code, text = said("purge", str(old))
    assert code == 0 and f"{len(rows)} files, {freed:,} bytes freed" in text
    assert set(there) - set(files(old, "**/*")) == set(rows)
    assert {path.name for path in old.iterdir()} >= set(STAY)
    code, text = said("export-csv", str(old), str(tmp_path / "out"))
    assert code == 2 and 'the extract of table "users" is gone; run the migration again' in text

    # Nothing is loaded from what is not there any more.
    code, text = said("purge", outcome.run_id, "--force")
    assert code == 0 and "extract" not in {path.parent.name for path in live.rglob("*.parquet")}
    users = dg.AssetSelection.assets(["shop", "staging", "users"]).without_checks()
    with instance(migration.home) as dagster:
        definitions = assemble([migration])
        chosen = users.resolve(definitions.resolve_asset_graph())
        job = definitions.get_repository_def().get_implicit_global_asset_job_def()
        load = job.get_subset(asset_selection=chosen)
        with pytest.raises(dg.Failure, match="there is no extract of .*users: materialize it"):
            load.execute_in_process(instance=dagster)
        with pytest.raises(dg.DagsterResourceFunctionError) as failed:
            load.execute_in_process(instance=dagster, run_id=old.name)
        assert f"run {old.name} was purged at 20" in str(failed.value.__cause__)
