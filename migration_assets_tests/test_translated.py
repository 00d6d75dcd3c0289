"""Translated objects are kept only if they mean the same over the data."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import psycopg2
import pytest

from migration_assets.cli import run

SCRIPT = """
CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT, active BOOLEAN, price REAL,
    CHECK (length(word) >= 0), CHECK (typeof(word) = 'text'));
CREATE INDEX active_words ON words (word) WHERE active = 1;
CREATE INDEX folded ON words (lower(word));
CREATE INDEX truth ON words (word) WHERE word;
CREATE VIEW active AS SELECT id, upper(word) AS w FROM words WHERE active = 1;
CREATE VIEW of_active AS SELECT count(*) AS n FROM active;
CREATE VIEW sums AS SELECT active, count(*) AS n, sum(price) AS total FROM words GROUP BY active;
CREATE VIEW tails AS SELECT id, substr('hello', -3) AS tail FROM words;
CREATE VIEW of_tails AS SELECT id FROM tails;
CREATE VIEW bare AS SELECT word, max(price) FROM words;
"""


@pytest.mark.parametrize("rows", [3, 25_000])
def test_what_means_something_else_is_withdrawn_and_reported(
    rows: int,
    pg_url: str,
    schema: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MIGRATION_HOME", str(tmp_path / "home"))
    connection = sqlite3.connect(tmp_path / "words.db")
    connection.executescript(SCRIPT)
    connection.executemany(
        "INSERT INTO words VALUES (?, ?, ?, ?)",
        ((n, f"word {n % 7}", n % 2, n / 10) for n in range(rows)),
    )
    connection.commit()
    connection.close()
    out = tmp_path / "out"
    source = f"sqlite:///{tmp_path / 'words.db'}"
    arguments = ["--target", pg_url, "--schema", schema, "--out", str(out)]
    assert run(["migrate", source, *arguments]) == 0
    evidence = json.loads((out / "evidence.json").read_text())
    skipped = {(s["kind"], s["name"]): s for s in evidence["skipped"]}
    assert {name for kind, name in skipped if kind == "view"} == {"tails", "of_tails", "bare"}
    assert "other rows" in skipped["view", "tails"]["reason"]
    assert skipped["view", "tails"]["sql"].startswith("CREATE VIEW tails")
    assert {name for kind, name in skipped if kind == "index"} == {"truth"}
    assert len([kind for kind, _ in skipped if kind == "check"]) == 1
    with psycopg2.connect(pg_url) as target, target.cursor() as cursor:
        cursor.execute("SELECT viewname FROM pg_views WHERE schemaname = %s", (schema,))
        assert {name for (name,) in cursor.fetchall()} == {"active", "of_active", "sums"}
        cursor.execute("SELECT indexname FROM pg_indexes WHERE schemaname = %s", (schema,))
        assert {name for (name,) in cursor.fetchall()} == {"words_pkey", "active_words", "folded"}
