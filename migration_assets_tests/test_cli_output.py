"""What the command line prints: names as they are, one line for an error."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from migration_assets.cli import run

NAMES = ("[/x]", "[b]", "a:b:", "[red]c", "100%")


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "names.db"
    connection = sqlite3.connect(path)
    for name in NAMES:
        connection.execute(f'CREATE TABLE "{name}" (id INTEGER PRIMARY KEY)')
        connection.execute(f'CREATE VIEW "view {name}" AS SELECT id FROM "{name}"')
    connection.commit()
    connection.close()
    return f"sqlite:///{path}"


def test_plan_prints_names_that_look_like_markup_as_they_are(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", source]) == 0
    printed = capsys.readouterr().out
    for name in NAMES:
        assert f"{name}  0 rows" in printed
        assert f"view {name}" in printed


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv("MIGRATION_HOME", str(path))
    return path


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that is bad input; returns its one line."""
    assert run(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_damage_that_only_reading_finds_is_one_line_and_leaves_no_migration(
    tmp_path: Path, home: Path, pg_url: str, schema: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "damaged.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)")
    connection.executemany("INSERT INTO t (x) VALUES (?)", [("x" * 500,)] * 500)
    connection.commit()
    connection.close()
    content = bytearray(path.read_bytes())
    content[4096 * 20 : 4096 * 21] = b"\xa5" * 4096
    path.write_bytes(content)
    arguments = ["migrate", f"sqlite:///{path}", "--target", pg_url, "--schema", schema]
    assert "the database is damaged" in refused(arguments, capsys)
    assert not (home / "damaged").exists()


def test_folder_for_copies_that_cannot_be_made_is_known_before_the_run(
    source: str, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "out"
    assert str(out) in refused(["migrate", source, "--out", str(out)], capsys)
    assert not home.exists()


def test_migration_home_that_cannot_be_made_is_one_line(
    source: str, pg_url: str, schema: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.touch()
    arguments = ["migrate", source, "--target", pg_url, "--schema", schema]
    assert str(home) in refused(arguments, capsys)


def test_expectations_of_a_table_that_does_not_come_are_refused(
    source: str, home: Path, pg_url: str, schema: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = ["--target", pg_url, "--schema", schema]
    assert run(["init", source, *target]) == 0
    capsys.readouterr()
    defs = home / "names" / "defs.yaml"
    defs.write_text(defs.read_text() + "  expectations: {nosuch: [{type: expect_x}]}\n")
    assert 'expectations of "nosuch"' in refused(["migrate", source, *target], capsys)


def test_disk_that_fills_up_in_the_run_is_one_error_line_and_exit_3(
    source: str, home: Path, pg_url: str, schema: str
) -> None:
    program = (
        "import resource, sys; from migration_assets.cli import run;"
        # Dagster's record of the run is the first file to grow beyond it.
        " resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000));"
        " sys.exit(run(sys.argv[1:]))"
    )
    arguments = ["migrate", source, "--target", pg_url, "--schema", schema]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("error: the run could not be recorded in")
    assert "Traceback" not in done.stderr
