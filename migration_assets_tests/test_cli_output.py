"""What the command line prints: names as they are, one line for an error."""

from __future__ import annotations

import sqlite3
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
