"""The bundled sample is the same everywhere and holds exactly the values it says it plants."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from migration_assets.sample.price_tracker import DIRT, generate

EXPECTED_DIRT = {
    "NUL character": 1,
    "invalid UTF-8": 1,
    "integers in external_ref": 134,
    "text in volume": 1,
    "trailing spaces": 1,
    "too long a name": 1,
    "times with T and Z": 192,
    "times as seconds": 96,
    "broken JSON": 1,
    "infinities": 2,
    "too many fraction digits": 1,
    "orphans": 1,
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("sample") / "price_tracker.db"
    generate(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        yield connection


def tables(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    return sorted(name.decode() for (name,) in rows)


def test_sample_has_about_300_000_rows_in_18_tables(sample: sqlite3.Connection) -> None:
    counts = {
        t: sample.execute(f'SELECT count(*) FROM "{t}"').fetchone()[0] for t in tables(sample)
    }
    assert len(counts) == 18
    assert 290_000 <= sum(counts.values()) <= 310_000
    assert counts["price_captures"] == 150_000


@pytest.mark.parametrize("dirt", DIRT)
def test_sample_holds_every_planted_value(sample: sqlite3.Connection, dirt: str) -> None:
    assert sample.execute(DIRT[dirt]).fetchone()[0] == EXPECTED_DIRT[dirt]


def test_sample_is_sound_but_for_its_orphan(sample: sqlite3.Connection) -> None:
    assert sample.execute("PRAGMA integrity_check").fetchall() == [(b"ok",)]
    assert len(sample.execute("PRAGMA foreign_key_check").fetchall()) == 1


def test_sample_has_views_a_trigger_and_indexes_of_every_kind(sample: sqlite3.Connection) -> None:
    kinds = dict(
        sample.execute("SELECT type, count(*) FROM sqlite_master GROUP BY type").fetchall()
    )
    assert kinds[b"view"] == 3
    assert kinds[b"trigger"] == 1
    sql = b" ".join(r[0] for r in sample.execute("SELECT sql FROM sqlite_master WHERE sql NOTNULL"))
    for part in (b"DESC", b"WHERE is_revoked", b"WITHOUT ROWID", b"lower(", b"GENERATED ALWAYS"):
        assert part in sql


def test_sample_is_the_same_on_every_machine(tmp_path: Path) -> None:
    digest = hashlib.sha256()
    generate(tmp_path / "small.db", rows=20_000)
    with closing(sqlite3.connect(tmp_path / "small.db")) as connection:
        connection.text_factory = bytes
        for table in tables(connection):
            for row in connection.execute(f'SELECT * FROM "{table}" ORDER BY 1, 2'):
                digest.update(repr(row).encode())
    assert digest.hexdigest()[:16] == "37604aabc2e48d7b"


def test_sample_written_twice_has_the_same_bytes(tmp_path: Path) -> None:
    generate(tmp_path / "one.db", rows=20_000)
    generate(tmp_path / "two.db", rows=20_000)
    assert (tmp_path / "one.db").read_bytes() == (tmp_path / "two.db").read_bytes()


def test_sample_refuses_too_few_rows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 20,000"):
        generate(tmp_path / "tiny.db", rows=10)
