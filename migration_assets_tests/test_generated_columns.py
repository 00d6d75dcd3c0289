"""Generated columns are PostgreSQL's own only where they hold the source's values."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration_assets_tests.command import Migrated, migrate

SCRIPT = """
CREATE TABLE lines (
    id INTEGER PRIMARY KEY,
    price REAL NOT NULL,
    quantity INTEGER NOT NULL,
    name TEXT,
    made TEXT,
    doc TEXT CHECK (json_valid(doc)),
    total REAL GENERATED ALWAYS AS (price * quantity) STORED,
    "With Tax" REAL AS (total * 1.25) VIRTUAL,
    label TEXT AS (name || ' x' || quantity),
    many BOOLEAN AS (quantity > 2) STORED,
    many_number INTEGER AS (quantity > 2),
    short TEXT AS (replace(upper(name), 'A', 'b')) UNIQUE,
    owner TEXT AS (doc ->> '$.owner'),
    size INTEGER AS (json_extract(doc, '$.size')),
    truncated INTEGER AS (CAST(price AS INTEGER)),
    per REAL AS (price / (quantity - 1)),
    kind TEXT AS (typeof(price)),
    year TEXT AS (strftime('%Y', made)),
    tail TEXT AS (substr(name, -2)),
    of_tail TEXT AS (tail || '!'),
    cut TEXT AS (substr(name, 1, quantity - 2)),
    parent INTEGER AS (quantity - 1) REFERENCES plain (id) ON DELETE SET NULL
);
CREATE INDEX by_total ON lines (total DESC);
CREATE INDEX by_many ON lines (name) WHERE many_number = 1;
CREATE TABLE plain (id INTEGER PRIMARY KEY, a TEXT);
INSERT INTO lines (price, quantity, name, made, doc) VALUES
    (1.5, 3, 'Anna', '2024-01-01', '{"owner": "x y", "size": 4}'),
    (2.7, 1, 'Otto', '2023-12-31', '{"owner": null}'),
    (0.1, 2, NULL, NULL, '{}');
INSERT INTO plain (a) VALUES ('b');
"""
GENERATED = {
    "total", "With Tax", "label", "many", "many_number", "short", "owner", "size",
}  # fmt: skip
ORDINARY = {"truncated", "kind", "year", "tail", "cut", "parent"}


@pytest.fixture
def migrated(pg_url: str, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Migrated:
    monkeypatch.setenv("MIGRATION_HOME", str(tmp_path / "home"))
    return migrate(SCRIPT, pg_url, schema, tmp_path)


def test_generated_columns_stay_generated_where_they_agree(migrated: Migrated) -> None:
    assert migrated.code == 0, migrated.evidence["run"]["reasons"]
    rows = migrated.ask(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'lines'::regclass AND attgenerated = 's'"
    )
    reported = migrated.skipped("generated column")
    found = {name for (name,) in rows}
    assert found >= GENERATED, {n: r["reason"] for n, r in reported.items()}
    assert set(reported) >= ORDINARY
    assert not found & set(reported)
    assert len(found) + len(reported) == 16
    assert "other values in 2 rows" in reported["truncated"]["reason"]
    assert reported["truncated"]["sql"] == "CAST(price AS INTEGER)"
    assert migrated.ask('SELECT "With Tax", per, tail, of_tail FROM lines ORDER BY id') == [
        (5.625, 0.75, "na", "na!"),
        (3.375, None, "to", "to!"),
        (0.25, 0.1, None, None),
    ]
    assert "negative substring length" in reported["cut"]["reason"]
    assert "SET NULL" in reported["parent"]["reason"]
    indexes = migrated.ask(
        "SELECT c.relname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid"
        " WHERE x.indrelid = 'lines'::regclass AND x.indisvalid"
    )
    assert {("by_total",), ("by_many",), ("lines_short_key",)} <= set(indexes)
    new = "INSERT INTO lines (price, quantity, name, doc) VALUES (1, 1, 'Anna', '{}')"
    assert "lines_short_key" in migrated.refused(new)
