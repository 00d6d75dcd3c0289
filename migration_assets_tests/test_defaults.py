"""Defaults that are expressions: translated, tried on both sides, kept only if they agree."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from migration_assets_tests.command import migrate

SCRIPT = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    made TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    made_text TEXT DEFAULT CURRENT_TIMESTAMP,
    day DATE DEFAULT CURRENT_DATE,
    day_text TEXT DEFAULT (date('now', 'localtime')),
    at TIME DEFAULT CURRENT_TIME,
    now_text TEXT DEFAULT (datetime('now')),
    later TEXT DEFAULT (datetime('now', '+10 days', 'start of day')),
    precise TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    seconds INTEGER DEFAULT (strftime('%s', 'now')),
    millis INTEGER DEFAULT (CAST(strftime('%s', 'now') AS INTEGER) * 1000),
    julian REAL DEFAULT (julianday('now')),
    token TEXT DEFAULT (lower(hex(randomblob(16)))),
    short TEXT DEFAULT ('r' || lower(hex(randomblob(7)))),
    guid TEXT DEFAULT (lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4'
        || substr(hex(randomblob(2)), 2) || '-' || substr('89ab', 1 + abs(random()) % 4, 1)
        || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))),
    chance INTEGER DEFAULT (random()),
    octets BLOB DEFAULT (randomblob(20)),
    sum INTEGER DEFAULT (1 + 2 * 3),
    half REAL DEFAULT (1 / 2.0),
    word TEXT DEFAULT (upper('a') || replace('xyz', 'y', '-')),
    flag BOOLEAN DEFAULT (1 = 1),
    truth INTEGER DEFAULT (2 > 1),
    doc TEXT DEFAULT (json('{"a":1}')) CHECK (json_valid(doc)),
    quoted TEXT DEFAULT "it's",
    tail TEXT DEFAULT (substr('hello', -3)),
    rounded INTEGER DEFAULT (CAST(2.7 AS INTEGER)),
    month TEXT DEFAULT (date('now', '+1 month')),
    shape TEXT DEFAULT (printf('%05d', 3)),
    literal TEXT DEFAULT 'x',
    nil TEXT DEFAULT NULL
);
INSERT INTO events DEFAULT VALUES;
INSERT INTO events DEFAULT VALUES;
"""
REPORTED = {"tail", "rounded", "month", "shape"}


def test_defaults_give_what_the_source_gives_or_are_reported(
    pg_url: str, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIGRATION_HOME", str(tmp_path / "home"))
    done = migrate(SCRIPT, pg_url, schema, tmp_path)
    assert done.code == 0, done.evidence["run"]["reasons"]
    reported = done.skipped("default")
    assert set(reported) == REPORTED, {n: r["reason"] for n, r in reported.items()}
    assert "'lo'" not in reported["tail"]["reason"]
    assert reported["month"]["sql"] == "date('now', '+1 month')"
    names = [
        "made_text", "day_text", "later", "precise", "seconds", "millis", "token", "short", "guid",
        "chance", "octets", "sum", "half", "word", "flag", "truth", "doc", "quoted", "literal",
        "nil", "tail",
    ]  # fmt: skip
    [row] = done.ask(f"INSERT INTO events DEFAULT VALUES RETURNING {', '.join(names)}")
    new = dict(zip(names, row, strict=True))
    now = datetime.now(UTC)
    assert abs(datetime.fromisoformat(new["made_text"] + "+00:00") - now) < timedelta(minutes=1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d 00:00:00", new["later"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", new["precise"])
    assert abs(new["seconds"] - now.timestamp()) < 60
    assert abs(new["millis"] / 1000 - now.timestamp()) < 60
    assert re.fullmatch("[0-9a-f]{32}", new["token"])
    assert re.fullmatch("r[0-9a-f]{14}", new["short"])
    assert str(uuid.UUID(str(new["guid"]))) == str(new["guid"])
    assert len(new["octets"]) == 20
    assert (new["sum"], new["half"], new["word"]) == (7, 0.5, "Ax-z")
    assert (new["flag"], new["truth"], new["doc"]) == (True, 1, {"a": 1})
    assert (new["quoted"], new["literal"], new["nil"]) == ("it's", "x", None)
    assert new["tail"] is None
