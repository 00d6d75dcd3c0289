"""What may be a SQLite source, and copying it while nothing beside it changes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migration_assets.errors import InputError
from migration_assets.sources.sqlite import SQLiteSource
from migration_assets.sources.sqlite import snapshot as snapshots
from migration_assets_tests.sqlite_databases import listing, make, read_table

LEDGER = "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, filler TEXT)"

WRITER = """
import sqlite3, sys, time
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
c.execute("PRAGMA journal_mode=" + sys.argv[2])
c.execute("PRAGMA synchronous=OFF")
print("ready", flush=True)
n = 0
end = time.time() + 30
while time.time() < end:
    c.execute("BEGIN IMMEDIATE")
    c.execute("UPDATE account SET balance = balance - 1 WHERE id = 1 + ? % 500", (n,))
    c.execute("UPDATE account SET balance = balance + 1 WHERE id = 501 + ? % 500", (n * 7,))
    c.execute("COMMIT")
    n += 1
    if n % 200 == 0:
        print(n, flush=True)
"""

HOLDER = """
import sqlite3, sys, time
c = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    c.execute(statement)
print("ready", flush=True)
time.sleep(30)
"""


@contextmanager
def process(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process, since two connections to a file in one process share their locks."""
    child = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def accounts(path: Path) -> Path:
    """1,000 accounts that hold 1,000,000 together, whoever pays whom."""
    return make(path, LEDGER, {"account": [(n, 1000, "x" * 300) for n in range(1, 1001)]})


def crash_copy(original: Path, folder: Path, *suffixes: str) -> Path:
    """The files as they lie there while the database is open, as a backup tool would copy them."""
    folder.mkdir()
    for suffix in ("", *suffixes):
        shutil.copy(f"{original}{suffix}", folder / f"copy.db{suffix}")
    return folder / "copy.db"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello, this is no database at all" * 200, "not a SQLite database"),
        (os.urandom(8192), "not a SQLite database, or it is encrypted"),
        (b"SQLite format 3\0" + bytes(20), "truncated"),
        (b"SQLite format 3\0" + bytes(4080), "not a SQLite database"),
    ],
    ids=["text", "noise", "header cut", "header empty"],
)
def test_a_file_that_is_no_database_is_refused_in_one_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "app.db"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        SQLiteSource(path).check()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        SQLiteSource.from_url(f"sqlite:///{tmp_path}/none.db").check()
    with pytest.raises(InputError, match="is a folder"):
        SQLiteSource.from_url(f"sqlite:///{tmp_path}").check()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        SQLiteSource(tmp_path / "pipe").check()
    assert not (tmp_path / "none.db").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = accounts(tmp_path / "app.db")
    path.chmod(0)
    with pytest.raises(InputError, match="no permission"):
        SQLiteSource(path).check()


def test_other_urls_are_refused() -> None:
    for url in ("sqlite://app.db", "sqlite:///", "sqlite:///:memory:", "mysql://host/db"):
        with pytest.raises(InputError, match="sqlite:///path"):
            SQLiteSource.from_url(url)


@pytest.mark.parametrize("name", ["my app.db", "100%25.db", "a#b?c&d.db", "naïve ☃.db", "it's.db"])
def test_a_path_of_any_characters_is_opened(tmp_path: Path, name: str) -> None:
    path = accounts(tmp_path / name)
    source = SQLiteSource.from_url(f"sqlite:///{path}")
    assert source.path == path
    with_copy = source.take_snapshot(tmp_path / "copy of it?.db")
    assert with_copy.catalog().tables[0].rows == 1000
    with_copy.close()


def test_escapes_and_a_query_in_the_url_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = accounts(tmp_path / "my app.db")
    assert SQLiteSource.from_url(f"sqlite:///{tmp_path}/my%20app.db").path == path
    assert SQLiteSource.from_url(f"sqlite:///{tmp_path}/my%20app.db?mode=ro").path == path
    monkeypatch.chdir(tmp_path)
    assert SQLiteSource.from_url("sqlite:///my app.db").path == path
    assert SQLiteSource.from_url("sqlite:///none.db").path == tmp_path / "none.db"


def test_an_empty_file_is_a_database_without_tables(tmp_path: Path) -> None:
    (tmp_path / "app.db").touch()
    reader = SQLiteSource(tmp_path / "app.db").take_snapshot(tmp_path / "copy.db")
    assert reader.catalog().tables == ()
    reader.close()


@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_a_truncated_database_is_refused(tmp_path: Path, kept: float) -> None:
    path = accounts(tmp_path / "app.db")
    os.truncate(path, int(path.stat().st_size * kept))
    with pytest.raises(InputError, match="truncated"):
        SQLiteSource(path).take_snapshot(tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_a_damaged_page_is_found_whether_it_is_read_or_checked(tmp_path: Path) -> None:
    path = accounts(tmp_path / "app.db")
    with path.open("r+b") as file:
        file.seek(4096 * 20)
        file.write(bytes(4096))
    reader = SQLiteSource(path).take_snapshot(tmp_path / "copy.db")
    with pytest.raises(InputError, match="damaged") as caught:
        table = reader.catalog().tables[0]
        list(reader.read(table, reader.expected_lanes(table)))
    assert "\n" not in str(caught.value)
    reader.close()


def test_damage_that_reading_does_not_meet_is_found_by_the_check_beside_it(tmp_path: Path) -> None:
    path = make(
        tmp_path / "app.db",
        LEDGER + "; CREATE INDEX by_filler ON account (filler)",
        {"account": [(n, n, f"{n:0300}") for n in range(2000)]},
    )
    connection = sqlite3.connect(path)
    page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE type='index'").fetchone()[0]
    connection.close()
    with path.open("r+b") as file:
        file.seek(4096 * (page - 1))
        file.write(bytes(4096))
    reader = SQLiteSource(path).take_snapshot(tmp_path / "copy.db")
    table = reader.catalog().tables[0]
    assert len(read_table(reader, table)) == 2000
    with pytest.raises(InputError, match="damaged"):
        reader.facts(table)
    reader.close()
    # A process that takes up the same snapshot later does not believe it either.
    again = SQLiteSource(path).open_snapshot(tmp_path / "copy.db")
    with pytest.raises(InputError, match="damaged"):
        again.facts(table)
    again.close()


def test_a_damaged_schema_is_refused(tmp_path: Path) -> None:
    path = accounts(tmp_path / "app.db")
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3996)
    source = SQLiteSource(path)
    with pytest.raises(InputError, match="damaged"):
        source.take_snapshot(tmp_path / "copy.db").catalog()
    with pytest.raises(InputError, match="damaged"):
        source.reflect()


def test_a_snapshot_is_private_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = accounts(tmp_path / "app.db")
    run = tmp_path / "run"
    run.mkdir()
    before = listing(tmp_path)
    reader = SQLiteSource(path).take_snapshot(run / "snapshot.db")
    reader.catalog()
    reader.close()
    assert listing(tmp_path) == before
    names = sorted(p.name for p in run.iterdir())
    assert names == ["snapshot.db", "snapshot.db.checked", "snapshot.db.json"]
    assert stat.S_IMODE((run / "snapshot.db").stat().st_mode) == 0o600
    assert reader.snapshot.bytes == path.stat().st_size


def test_the_same_state_has_the_same_id_and_another_state_another(tmp_path: Path) -> None:
    path = accounts(tmp_path / "app.db")
    source = SQLiteSource(path)
    first = source.take_snapshot(tmp_path / "1.db")
    second = source.take_snapshot(tmp_path / "2.db")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE account SET balance = 7 WHERE id = 7")
    connection.commit()
    connection.close()
    third = source.take_snapshot(tmp_path / "3.db")
    assert first.snapshot.id == second.snapshot.id != third.snapshot.id
    for reader in (first, second, third):
        reader.close()


def test_a_snapshot_is_opened_again_with_its_record_and_replaces_an_older_one(
    tmp_path: Path,
) -> None:
    path = accounts(tmp_path / "app.db")
    source = SQLiteSource(path)
    (tmp_path / "copy.db").write_bytes(b"left over")
    taken = source.take_snapshot(tmp_path / "copy.db")
    path.unlink()
    opened = source.open_snapshot(tmp_path / "copy.db")
    assert opened.snapshot == taken.snapshot
    assert opened.catalog() == taken.catalog()
    with pytest.raises(InputError, match="no such file"):
        source.open_snapshot(tmp_path / "none.db")
    taken.close()
    opened.close()


@pytest.mark.parametrize("suffixes", [("-wal",), ("-wal", "-shm"), ()])
def test_a_write_ahead_log_is_part_of_the_snapshot_and_stays_as_it_is(
    tmp_path: Path, suffixes: tuple[str, ...]
) -> None:
    original = accounts(tmp_path / "app.db")
    live = sqlite3.connect(original)
    live.execute("PRAGMA journal_mode=WAL")
    live.execute("PRAGMA wal_autocheckpoint=0")
    live.execute("INSERT INTO account VALUES (5000, 0, 'only in the log')")
    live.commit()
    path = crash_copy(original, tmp_path / "copied", *suffixes)
    live.close()
    before = listing(path.parent)
    source = SQLiteSource(path)
    reader = source.take_snapshot(tmp_path / "snapshot.db")
    table = reader.catalog().tables[0]
    assert table.rows == (1001 if suffixes else 1000)
    assert len(read_table(reader, table)) == table.rows
    assert [t.name for t in source.reflect().tables] == ["account"]
    reader.close()
    assert listing(path.parent) == before
    assert not list(tmp_path.glob("snapshot.db-*"))


def test_a_journal_that_a_crash_left_is_rolled_back_in_the_copy_only(tmp_path: Path) -> None:
    original = accounts(tmp_path / "app.db")
    live = sqlite3.connect(original, isolation_level=None)
    live.execute("PRAGMA cache_size=5")
    live.execute("BEGIN")
    live.execute("UPDATE account SET balance = 0")
    path = crash_copy(original, tmp_path / "copied", "-journal")
    live.execute("ROLLBACK")
    live.close()
    before = listing(path.parent)
    reader = SQLiteSource(path).take_snapshot(tmp_path / "snapshot.db")
    rows = read_table(reader, reader.catalog().tables[0])
    assert sum(int(str(row[1])) for row in rows) == 1_000_000
    reader.close()
    assert [t.name for t in SQLiteSource(path).reflect().tables] == ["account"]
    assert listing(path.parent) == before


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_live_writer_neither_tears_the_snapshot_nor_is_broken_by_it(
    tmp_path: Path, mode: str
) -> None:
    path = accounts(tmp_path / "app.db")
    source = SQLiteSource(path)
    with process(WRITER, str(path), mode) as writer:
        for number in range(5):
            reader = source.take_snapshot(tmp_path / f"{number}.db")
            rows = read_table(reader, reader.catalog().tables[0])
            assert sum(int(str(row[1])) for row in rows) == 1_000_000
            reader.close()
        assert writer.stdout is not None
        assert int(writer.stdout.readline()) > 0
        assert writer.poll() is None
    assert len({(tmp_path / f"{number}.db").read_bytes() for number in range(5)}) > 1


def test_a_long_read_of_the_snapshot_does_not_hold_up_a_writer(tmp_path: Path) -> None:
    path = accounts(tmp_path / "app.db")
    reader = SQLiteSource(path).take_snapshot(tmp_path / "copy.db")
    table = reader.catalog().tables[0]
    reading = reader.read(table, reader.expected_lanes(table))
    next(reading)
    writer = sqlite3.connect(path, timeout=0)
    writer.execute("DELETE FROM account")
    writer.commit()
    writer.close()
    reading.close()
    assert reader.facts(table).rows == 1000
    reader.close()


def test_a_source_that_stays_locked_is_reported_in_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = accounts(tmp_path / "app.db")
    for module in ("snapshot", "connect"):
        monkeypatch.setattr(f"migration_assets.sources.sqlite.{module}.WAIT_SECONDS", 0.3)
    with process(HOLDER, str(path), "BEGIN EXCLUSIVE", "DELETE FROM account"):
        started = time.monotonic()
        with pytest.raises(InputError, match="locked by another process"):
            SQLiteSource(path).take_snapshot(tmp_path / "copy.db")
        assert time.monotonic() - started < 5
    assert not list(tmp_path.glob("copy.db*"))


def test_a_snapshot_of_two_files_in_one_transaction_is_refused(tmp_path: Path) -> None:
    path = accounts(tmp_path / "app.db")
    name = b"/app.db-mj1"
    record = (
        bytes(4) + name + len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big")
        + snapshots._SUPER_JOURNAL_MAGIC
    )  # fmt: skip
    journal = tmp_path / "app.db-journal"
    journal.write_bytes(record)
    with pytest.raises(InputError, match="several database files"):
        snapshots._refuse_shared_journal(journal, str(path))


def test_a_folder_that_takes_no_copy_is_named(tmp_path: Path) -> None:
    path = accounts(tmp_path / "app.db")
    with pytest.raises(InputError, match=r"cannot be copied \(No such file or directory .*none"):
        SQLiteSource(path).take_snapshot(tmp_path / "none" / "copy.db")
