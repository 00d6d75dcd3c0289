"""From a run to CSV files, edited by hand, and back by the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migration_assets import home as homes
from migration_assets.cli import run
from migration_assets_tests import small_shop
from migration_assets_tests.same_schema import differences
from migration_assets_tests.test_cli import schemas


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv(homes.VARIABLE, str(path))
    return path


def test_a_run_goes_to_csv_is_edited_and_comes_back(
    home: Path,
    pg_url: str,
    schema: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = small_shop.make_source(tmp_path / "shop.db")
    csv, copy = tmp_path / "csv", tmp_path / "copy"
    assert run(["migrate", source, "--target", pg_url, "--schema", schema]) == 0
    assert run(["export-csv", "shop", str(csv)]) == 0
    assert (csv / "order items.csv").read_text() == (
        'id,user,Preis,note\n1,1,9.99,first\n2,1,0.10,\\N\n3,7,100.00,x\n4,2,3.50,""\n'
    )
    assert {path.stat().st_mode & 0o777 for path in csv.iterdir()} == {0o600}
    [ran] = (home / "shop" / "runs").iterdir()
    assert run(["export-csv", str(ran), str(copy)]) == 0
    assert (copy / "users.csv").read_bytes() == (csv / "users.csv").read_bytes()

    def refused(*arguments: str) -> str:
        capsys.readouterr()
        before = schemas(pg_url)
        assert run(list(arguments)) == 2
        assert schemas(pg_url) == before
        return capsys.readouterr().err

    assert "is there already" in refused("export-csv", "shop", str(csv))
    assert "neither the folder of a run" in refused("export-csv", "shopp", str(tmp_path / "x"))
    assert "name SNAPSHOT and OUT" in refused("export-csv", "shop")
    assert "has no manifest.json" in refused("export-csv", "--refresh-manifest", str(tmp_path))

    users = csv / "users.csv"
    users.write_text(users.read_text().replace("Bob,\\N", "Bo,1999-12-31") + "9,Eve,\\N\n")
    back = ["migrate", f"csv:///{csv}", "--target", pg_url, "--schema", f"{schema}_b"]
    assert "SHA-256" in refused(*back)
    assert not (home / "csv").exists()
    assert run(["export-csv", "--refresh-manifest", str(csv)]) == 0
    assert "users.csv" in capsys.readouterr().out
    assert run(back) == 0
    found = [line.partition(":")[0] for line in differences(pg_url, schema, f"{schema}_b")]
    assert found == ["next of users_id_seq", "rows of users"]

    # What is written into the manifest by hand is PostgreSQL's to judge.
    manifest = json.loads((copy / "manifest.json").read_text())
    [users_table] = [table for table in manifest["tables"] if table["name"] == "users"]
    users_table["checks"].append({"name": "no_ada", "expression": "\"name\" <> 'Ada'"})
    (copy / "manifest.json").write_text(json.dumps(manifest))
    capsys.readouterr()
    target = ["--target", pg_url, "--schema", f"{schema}_c"]
    assert run(["migrate", f"csv:///{copy}", *target]) == 1
    assert "no_ada" in capsys.readouterr().out
    assert f"{schema}_c" not in schemas(pg_url)

    extract = next(iter((ran / "extract").glob("users*")))
    extract.write_bytes(extract.read_bytes() + b"x")
    assert "is not what the run wrote" in refused("export-csv", str(ran), str(tmp_path / "y"))
    assert not (tmp_path / "y").exists()


def test_a_wrong_file_is_refused_before_anything_is_written(
    home: Path, pg_url: str, schema: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("x,y\n" + "1,2\n" * 20_000 + "3\n")
    arguments = [f"csv:///{tmp_path}", "--target", pg_url, "--schema", schema]
    assert run(["migrate", *arguments]) == 2
    captured = capsys.readouterr()
    assert "a.csv, line 20002: has 1 fields" in captured.out + captured.err
    assert schema not in schemas(pg_url)
    assert list(home.glob("*/defs.yaml")) == []
