"""Every fact that a plan can follow from is in the profile, and ``plan --json`` shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migration_assets.cli import run
from migration_assets_tests.sqlite_databases import make

UUID = "550e8400-e29b-41d4-a716-446655440000"


@pytest.fixture
def tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    """The profile that the command prints for a database with one of each anomaly."""
    source = make(
        tmp_path / "facts.db",
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);"
        "CREATE TABLE facts (anything, flag BOOLEAN, r REAL, d DECIMAL(9,2), t VARCHAR(9),"
        " day DATE, at DATETIME, epoch TIMESTAMP, id CHAR(36), raw UUID, doc JSON,"
        " name TEXT COLLATE NOCASE, p INTEGER REFERENCES parent);",
        {
            "parent": [(1,)],
            "facts": [
                (
                    *(1, 0, 1.5, 10.25, "a\0b", "2024-01-01", "2024-01-01 00:00:00", 0),
                    *(UUID, b"x" * 16, '{"a": 1}', "Abc", 1),
                ),
                (
                    *(2.5, 1, float("inf"), 7, "länger", "0000-01-01", "2024-01-01T00:00:00Z"),
                    *(10**9, "no", b"y", '{"a": 1, "a": 2}', "aBC", 2),
                ),
                (
                    *("x", None, -1e300, None, None, "2023-02-29", "10000-01-01 00:00:00"),
                    *(10**9, UUID, None, "[", "other", None),
                ),
                (
                    *(b"y", None, None, None, None, "2024-12-31", "2024-01-01 00:00:00.1234567"),
                    *(None, None, None, None, "abc", None),
                ),
            ],
        },
    )
    assert run(["plan", f"sqlite:///{source}", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    profile: dict[str, dict[str, object]] = plan["profile"]
    return profile


def test_the_plan_shows_every_fact_of_every_column(tables: dict[str, dict[str, object]]) -> None:
    facts = tables["facts"]
    expected = {
        "anything": {"lanes": {"int": 1, "real": 1, "text": 1, "blob": 1}, "blob_bytes": 1},
        "flag": {"int_min": 0, "int_max": 1, "nulls": 2},
        "r": {"real_min": -1e300, "real_max": 1.5, "real_nonfinite": 1, "real_fractional": 1},
        "d": {"number_digits": 2, "number_scale": 2},
        "t": {"text_chars": 6, "text_bytes": 7, "text_nul": 1, "text_invalid": 0},
        "day": {"text_beyond": 2},
        "at": {"text_beyond": 2},
        "epoch": {"int_min": 0, "int_max": 10**9},
        "raw": {"blob_bytes": 16, "blob_uuid": 1},
        "name": {"case_folds": 3},
    }
    forms = {
        "day": {"date": 2, "datetime": 0, "datetime_tz": 0, "time": 0},
        "at": {"date": 0, "datetime": 1, "datetime_tz": 1, "time": 0},
        "id": {"uuid": 2},
        "doc": {"json": 2, "jsonb": 1},
    }
    columns = facts["columns"]
    assert isinstance(columns, dict)
    found = {n: {f: columns[n][f] for f in wanted} for n, wanted in expected.items()}
    assert found == expected
    assert {n: columns[n]["text_forms"] for n in forms} == forms
    assert (facts["rows"], facts["orphans"]) == (4, {"0": 1})


def test_the_plan_for_people_names_what_postgresql_can_not_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    source = make(
        tmp_path / "a.db",
        "CREATE TABLE t (d DATE, n TEXT COLLATE NOCASE);"
        "INSERT INTO t VALUES ('0000-01-01', 'a'), ('2024-01-01', 'A');",
    )
    assert run(["plan", f"sqlite:///{source}"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 dates are none that PostgreSQL holds exactly" in printed
    assert "2 values differ from others only in case" in printed
