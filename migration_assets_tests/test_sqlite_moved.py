"""Whether a database file has moved since its snapshot: a late writer is always seen."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migration_assets.core.standing import Movement, Position, Standing
from migration_assets.errors import InputError
from migration_assets.sources.sqlite import SQLiteSource
from migration_assets.sources.sqlite import snapshot as snapshots
from migration_assets_tests.sqlite_databases import listing, make

SCHEMA = """
CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, filler TEXT);
CREATE TABLE note (who TEXT, body BLOB);
CREATE INDEX by_balance ON account (balance);
"""

APPLICATION = """
import sqlite3, sys
connections = {}
for line in sys.stdin:
    name, statement = line.rstrip("\\n").split(" ", 1)
    if statement == "close":
        connections.pop(name).close()
    else:
        if name not in connections:
            connections[name] = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=5)
        print(connections[name].execute(statement).fetchall(), end=" ")
    print("done", flush=True)
"""


class Application:
    """Another process with the database open: locks are between processes."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child

    def do(self, *statements: str, name: str = "a") -> None:
        """Run statements by the connection called ``name``, or close it."""
        for statement in statements:
            assert self._child.stdin is not None and self._child.stdout is not None
            self._child.stdin.write(f"{name} {statement}\n")
            self._child.stdin.flush()
            answer = self._child.stdout.readline()
            assert answer.endswith("done\n"), f"{statement}: {answer}"

    def kill(self) -> None:
        """End it as a crash would."""
        self._child.kill()
        self._child.wait()


@contextmanager
def application(path: Path) -> Iterator[Application]:
    """The process, for the block."""
    with subprocess.Popen(
        [sys.executable, "-c", APPLICATION, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield Application(child)
        finally:
            child.kill()


class Watched:
    """A database, its snapshot, and what the snapshot left behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "app" / "app.db"
        self.path.parent.mkdir(exist_ok=True)
        if not self.path.exists():
            rows = [(n, n % 7, "x" * 300) for n in range(1, 401)]
            make(self.path, SCHEMA, {"account": rows, "note": [("a", b"\xff"), ("b", None)]})
        self.source = SQLiteSource(self.path)
        self.copy = folder / "snapshot.db"
        self.standing: Standing

    def snap(self) -> Watched:
        """Take the snapshot."""
        reader = self.source.take_snapshot(self.copy)
        self.standing = reader.standing(reader.catalog(), lasting=True)
        reader.close()
        return self

    def moved(self) -> Movement | None:
        """Since the snapshot; nothing beside the source is touched by looking."""
        before = listing(self.path.parent)
        found = self.source.moved_since(self.standing, self.copy)
        assert listing(self.path.parent) == before
        assert [p.name for p in self.folder.iterdir() if p.is_dir()] == ["app"]
        return found

    def line(self) -> str:
        """What has moved."""
        found = self.moved()
        assert found is not None
        assert "\n" not in found.line
        return found.line


def test_a_log_that_is_written_checkpointed_and_rolled_back(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    with application(watched.path) as app:
        app.do("PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0")
        app.do("INSERT INTO note VALUES ('only in the log', NULL)")
        watched.snap()
        assert watched.moved() is None
        log = watched.path.with_name(watched.path.name + "-wal")
        size = watched.path.stat().st_size + log.stat().st_size
        assert watched.source.size() == size > watched.path.stat().st_size
        first = watched.source.position(None, tmp_path)
        assert first.content == watched.standing.snapshot_id

        # A checkpoint moves every byte of the log, and nothing of the content.
        app.do("PRAGMA wal_checkpoint(TRUNCATE)")
        assert watched.moved() is None
        second = watched.source.position(first, tmp_path)
        assert second.token != first.token and second.same_as(first)
        assert watched.source.position(second, tmp_path / "not there") == second

        # An open transaction, that has written nothing yet but will.
        app.do("BEGIN IMMEDIATE")
        assert "another process holds it for writing" in watched.line()
        app.do("ROLLBACK")
        assert watched.moved() is None
        # One so large that its pages are in the log already.
        app.do("PRAGMA cache_size=5", "BEGIN", "UPDATE account SET filler = 'y' || filler")
        assert (watched.path.parent / "app.db-wal").stat().st_size > 0
        assert "transaction that is open" in watched.line()
        app.do("ROLLBACK")
        assert watched.moved() is None
        # A commit over the frames of the one that was rolled back.
        app.do("UPDATE account SET balance = balance + 1 WHERE id = 7")
        assert watched.line() == 'table "account" holds other values in as many rows (400)'
        app.do("INSERT INTO note VALUES ('late', x'00')")
        late = watched.line()
        assert 'table "note" holds 1 rows more (3 before, 4 now)' in late
        # Another process reads, the writer ends, the log goes into the file: it stays seen.
        app.do("SELECT count(*) FROM note", name="b")
        app.do("close")
        assert watched.line() == late
        app.do("close", name="b")
        assert not (watched.path.parent / "app.db-wal").exists()
        assert watched.line() == late
    # Put back what was there, by the application itself: nothing would be lost.
    with sqlite3.connect(watched.path) as connection:
        connection.execute("UPDATE account SET balance = balance - 1 WHERE id = 7")
        connection.execute("DELETE FROM note WHERE who = 'late'")
    connection.close()
    assert watched.moved() is None


@pytest.mark.parametrize("mode", ["DELETE", "PERSIST", "TRUNCATE"])
def test_a_rollback_journal_that_is_open_rolled_back_and_committed(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("snapshot", "connect"):
        monkeypatch.setattr(f"migration_assets.sources.sqlite.{module}.WAIT_SECONDS", 0.3)
    watched = Watched(tmp_path)
    with application(watched.path) as app:
        app.do(f"PRAGMA journal_mode={mode}", "UPDATE account SET balance = 1 WHERE id = 1")
        watched.snap()
        assert watched.moved() is None
        app.do("BEGIN IMMEDIATE")
        assert "transaction that is open" in watched.line()
        app.do("UPDATE account SET balance = 2 WHERE id = 1", "ROLLBACK")
        assert watched.moved() is None
        # One so large that it has locked the file can not be read beside.
        app.do("PRAGMA cache_size=5", "BEGIN", "UPDATE account SET filler = 'y' || filler")
        with pytest.raises(InputError, match="locked by another process"):
            watched.moved()
        app.do("ROLLBACK")
        assert watched.moved() is None
        app.do("BEGIN", "UPDATE account SET balance = 2 WHERE id = 1", "COMMIT")
        assert watched.line() == 'table "account" holds other values in as many rows (400)'


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_what_a_crash_left_is_no_movement(tmp_path: Path, mode: str) -> None:
    watched = Watched(tmp_path)
    with application(watched.path) as app:
        app.do(f"PRAGMA journal_mode={mode}", "INSERT INTO note VALUES ('c', NULL)")
        watched.snap()
        app.do("PRAGMA cache_size=5", "BEGIN", "UPDATE account SET filler = 'y' || filler")
        app.kill()
    assert (watched.path.parent / f"app.db-{'wal' if mode == 'WAL' else 'journal'}").exists()
    assert watched.moved() is None
    # The next opening rolls it back, or makes a checkpoint.
    connection = sqlite3.connect(watched.path)
    connection.execute("SELECT count(*) FROM account").fetchone()
    connection.close()
    assert watched.moved() is None


def test_what_moves_pages_only_and_what_moves_more(tmp_path: Path) -> None:
    watched = Watched(tmp_path).snap()

    def run(*statements: str) -> None:
        connection = sqlite3.connect(watched.path, isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        connection.close()

    for harmless in ("ANALYZE", "REINDEX", "VACUUM", "PRAGMA journal_mode=WAL"):
        run(harmless)
        assert watched.moved() is None, harmless
    os.utime(watched.path)
    assert watched.moved() is None
    run("PRAGMA user_version=3")
    assert watched.line() == "its user_version is 3 and was 0"
    run("PRAGMA user_version=0", "CREATE INDEX late ON note (who)", "DROP INDEX by_balance")
    assert watched.line() == 'index "by_balance" was dropped; index "late" was added'
    watched.snap()
    run("DROP TABLE note", "CREATE TABLE other (a)", "INSERT INTO other VALUES (1)")
    assert watched.line() == (
        'index "late" was dropped; table "note" was dropped (2 rows); '
        'table "other" was added (1 rows)'
    )
    watched.snap()
    # The same text as a blob, and a whole number as a real one.
    run("UPDATE other SET a = 1.0")
    assert watched.line() == 'table "other" holds other values in as many rows (1)'
    # The copy may be gone with its run: the rows tell, and the digest tells in any case.
    watched.copy.unlink()
    assert watched.line() == "its content is not that of the snapshot"
    run("INSERT INTO other VALUES (2)")
    assert 'table "other" holds 1 rows more (1 before, 2 now)' in watched.line()
    run("DELETE FROM other WHERE a = 2", "UPDATE other SET a = 1")
    gone = Standing("", "", "", Position("none", "none"))
    assert watched.source.moved_since(gone, tmp_path / "gone" / "snapshot.db") is not None


def test_a_write_that_hides_from_the_clock_is_seen(tmp_path: Path) -> None:
    watched = Watched(tmp_path).snap()
    connection = sqlite3.connect(watched.path, isolation_level=None)
    for number in range(20):
        status = watched.path.stat()
        connection.execute("UPDATE account SET balance = ? WHERE id = 3", (1000 + number,))
        os.utime(watched.path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert watched.moved() is not None
        watched.snap()
        assert watched.moved() is None
    connection.close()


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_clock_that_stands_still_hides_no_commit(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = snapshots.marks

    def coarse(source: Path) -> tuple[snapshots.Mark | None, ...]:
        return tuple(mark and (*mark[:2], 0, 0) for mark in marks(source))

    watched = Watched(tmp_path)
    with application(watched.path) as app:
        app.do(f"PRAGMA journal_mode={mode}")
        # The log keeps its size from here on: what comes is written over what was there.
        app.do(*["UPDATE account SET filler = filler || 'x'"] * 3)
        app.do("PRAGMA wal_checkpoint(RESTART)")
        monkeypatch.setattr(snapshots, "marks", coarse)
        for number in range(5):
            watched.snap()
            size = [mark and mark[1] for mark in marks(watched.path)]
            assert watched.moved() is None
            app.do(f"UPDATE account SET balance = {1000 + number} WHERE id = 3")
            assert [mark and mark[1] for mark in marks(watched.path)] == size
            assert watched.line() == 'table "account" holds other values in as many rows (400)'


def test_every_way_of_copying_gives_the_same_id(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    with application(watched.path) as app:
        app.do("UPDATE account SET balance = 0 WHERE id = 1", "PRAGMA user_version=9")
        ids = {watched.source.position(None, tmp_path).content}
        app.do("PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0")
        app.do("BEGIN", "CREATE TABLE t (a)", "DROP TABLE t", "COMMIT", "SELECT 1 FROM account")
        for copy in (snapshots._copy_still, snapshots._back_up):
            snapshots._create(tmp_path / "part")
            copy(watched.path, tmp_path / "part", "app")
            snapshots._settle(tmp_path / "part")
            ids.add(snapshots.content_id(tmp_path / "part"))
            (tmp_path / "part").unlink()
    assert len(ids) == 2  # before the table, and after: its page is free now
    assert len({one for one in ids if one != watched.source.position(None, tmp_path).content}) == 1


@pytest.mark.parametrize("seed", range(3))
def test_whatever_an_application_does_only_its_content_counts(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    watched = Watched(tmp_path).snap()
    steps = [
        ("UPDATE account SET balance = balance + 1 WHERE id = 5",),
        ("UPDATE account SET balance = balance - 1 WHERE id = 5",),
        ("BEGIN", "UPDATE account SET filler = 'z'", "ROLLBACK"),
        ("BEGIN", "DELETE FROM note", "INSERT INTO account VALUES (999, 1, '')", "ROLLBACK"),
        ("INSERT INTO note VALUES ('n', NULL)",),
        ("DELETE FROM note WHERE who = 'n'",),
        ("PRAGMA journal_mode=WAL",),
        ("PRAGMA journal_mode=DELETE",),
        ("PRAGMA journal_mode=PERSIST",),
        ("PRAGMA wal_checkpoint(PASSIVE)",),
        ("PRAGMA wal_checkpoint(RESTART)",),
        ("PRAGMA wal_checkpoint(TRUNCATE)",),
        ("VACUUM",),
        ("close",),
    ]
    seen = set()
    with application(watched.path) as app:
        app.do("SELECT 1")
        for _ in range(40):
            step = chance.choice(steps)
            app.do(*step)
            if step == ("close",):
                app.do(*chance.choice([("SELECT 1",), ("PRAGMA cache_size=3",)]))
            expected = dump(watched.path) != dump(watched.copy)
            assert (watched.moved() is not None) is expected, step
            seen.add(expected)
            if expected and chance.random() < 0.2:
                watched.snap()
    assert seen == {True, False}


def dump(path: Path) -> list[object]:
    """All rows, as a reader beside the application sees them."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        tables = ("account", "note")
        return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]
    finally:
        connection.close()
