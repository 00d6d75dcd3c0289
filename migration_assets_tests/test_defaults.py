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
CREATE TABLE literals (
    id INTEGER PRIMARY KEY,
    point TEXT DEFAULT 1.10, zeros TEXT DEFAULT 007,
    seven TEXT DEFAULT 7, digits TEXT DEFAULT '007',
    nan REAL DEFAULT nan, huge REAL DEFAULT 1e400, tenth REAL DEFAULT .1,
    long DECIMAL(5,2) DEFAULT 1.239, wide DECIMAL(5,2) DEFAULT 1000,
    fits DECIMAL(5,2) DEFAULT -999.50,
    underscored INTEGER DEFAULT '1_0', arabic INTEGER DEFAULT '٣', spaced INTEGER DEFAULT ' 5 ',
    week DATE DEFAULT '2024-W01-1', hour TIME DEFAULT '12', hour_there TIME DEFAULT '12:00+02',
    elsewhere DATETIME DEFAULT '2024-01-02 03:04:05+02:00',
    moment DATETIME DEFAULT '2024-01-02T03:04:05',
    feb DATE DEFAULT '2023-02-29', doc JSON DEFAULT '{"n": [1, 2.50]}', not_json JSON DEFAULT 'NaN'
);
INSERT INTO literals VALUES (1, 'x', 'x', 'x', 'x', 1.5, 1.5, 1.5, 1.25, 1.25, 1.25, 1, 1, 1,
    '2024-01-01', '12:00', '12:00', '2024-01-02 03:04:05', '2024-01-02 03:04:05', '2024-01-01',
    '{}', '[]');
"""
REPORTED = {"tail", "rounded", "month", "shape"}
NO_SUCH_LITERAL = {
    "point": "gives '1.10' in PostgreSQL, '1.1' in the source",
    "zeros": "gives '007' in PostgreSQL, '7' in the source",
    "nan": "'nan' is no value of double precision",
    "huge": "'1e400' is no value of double precision",
    "long": "'1.239' is no value of numeric(5,2)",
    "wide": "'1000' is no value of numeric(5,2)",
    "underscored": "'1_0' is no value of bigint",
    "arabic": "'٣' is no value of bigint",
    "week": "'2024-W01-1' is no value of date",
    "hour": "'12' is no value of time",
    "hour_there": "'12:00+02' is no value of time",
    "elsewhere": "'2024-01-02 03:04:05+02:00' is no value of timestamp",
    "feb": "'2023-02-29' is no value of date",
    "not_json": "PostgreSQL refuses it",
}
"""Literals that PostgreSQL refuses, or that are another value there."""


def test_defaults_give_what_the_source_gives_or_are_reported(
    pg_url: str, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIGRATION_HOME", str(tmp_path / "home"))
    done = migrate(SCRIPT, pg_url, schema, tmp_path)
    assert done.code == 0, done.evidence["run"]["reasons"]
    reported = done.skipped("default")
    reasons = {name: found["reason"] for name, found in reported.items()}
    assert set(reported) == REPORTED | set(NO_SUCH_LITERAL), reasons
    for name, reason in NO_SUCH_LITERAL.items():
        assert reasons[name].startswith(reason)
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
    [row] = done.ask(
        "INSERT INTO literals (id) VALUES (2) RETURNING seven, digits, tenth, fits::text, spaced,"
        " moment::text, doc::text"
    )
    moment = "2024-01-02 03:04:05"
    assert row == ("7", "007", 0.1, "-999.50", 5, moment, '{"n": [1, 2.50]}')
