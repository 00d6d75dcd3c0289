"""A run that is killed, cut off or out of room leaves what is live as it was, and the next proves.

Beyond the twenty kills of each run of the tests, more are made with ``CHAOS_KILLS=500``; the
moments are random, and the seed is in the message of a failure.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql

from migration_assets.core.evidence import Evidence, Verdict
from migration_assets.home import Migration
from migration_assets.postgres import embedded
from migration_assets.run_folder import RunFolder
from migration_assets_tests.chaos_runs import Runs, Started, runs
from migration_assets_tests.conftest import Server
from migration_assets_tests.small_shop import configure, make_migration

ROWS = 6_000
KILLS = int(os.environ.get("CHAOS_KILLS", "20"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
MOMENTS = ("any", "extract", "load", "constraints", "swap", "live")

SCRIPT = f"""
CREATE TABLE version (number INTEGER PRIMARY KEY);
CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL);
CREATE TABLE letters (id INTEGER PRIMARY KEY, person INTEGER NOT NULL REFERENCES people (id),
    body TEXT, sent TIMESTAMP);
CREATE INDEX letters_sent ON letters (sent);
INSERT INTO version VALUES (0);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
    INSERT INTO people SELECT i, 'person ' || i, 0 FROM n;
INSERT INTO letters SELECT id, id, hex(randomblob(40)), '2024-01-01 00:00:00' FROM people;
"""


class Shop:
    """A source with a version in each row, and where it is live."""

    def __init__(self, migration: Migration, source: Path, url: str, schema: str) -> None:
        self.migration, self.source, self.url, self.schema = migration, source, url, schema
        self.version = 0

    def change(self) -> None:
        """The next version of every person."""
        self.version += 1
        with closing(sqlite3.connect(self.source)) as connection, connection:
            connection.execute("UPDATE version SET number = ?", (self.version,))
            connection.execute("UPDATE people SET version = ?", (self.version,))

    def live(self) -> int:
        """The version that is live, all of it; anything half is a failure."""
        with closing(psycopg2.connect(self.url)) as connection, connection.cursor() as cursor:
            look = sql.SQL(
                "SELECT (SELECT number FROM {s}.version), min(version), max(version), count(*),"
                " (SELECT count(*) FROM {s}.letters), (SELECT count(*) FROM pg_constraint c JOIN"
                " pg_namespace n ON n.oid = c.connamespace WHERE n.nspname = %s AND contype IN"
                " ('p', 'f')) FROM {s}.people"
            ).format(s=sql.Identifier(self.schema))
            cursor.execute(look, (self.schema,))
            number, least, most, people, letters, keys = cursor.fetchone()
        assert (number, number, ROWS, ROWS, 4) == (least, most, people, letters, keys)
        return int(number)

    def schemas(self) -> set[str]:
        """All schemas that begin with ours."""
        with closing(psycopg2.connect(self.url)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", (self.schema,)
            )
            return {row[0] for row in cursor.fetchall()}

    def proves(self, made: Runs) -> None:
        """The next run proves, goes live, and leaves nothing behind.

        What a killed run had loaded stays for a day: it may be re-executed from its failure. What
        it was about to drop is dropped by a later run, once the server has let go of it.
        """
        before = self.schemas()
        others = {name for name in before if "__in_" in name or "__obsolete_" in name}
        started = made.start(self.migration)
        assert made.end() == 0, evidence_of(started.folder).run.reasons
        evidence = evidence_of(started.folder)
        assert evidence.run.verdict is Verdict.PROVEN
        assert self.live() == self.version
        after = self.schemas()
        assert after - others == {self.schema, f"{self.schema}__previous"}, (before, after)


def evidence_of(folder: RunFolder) -> Evidence:
    return Evidence.from_json(folder.evidence.read_bytes())


def make_shop(tmp_path: Path, url: str, schema: str, more: str = "") -> Shop:
    source = tmp_path / "shop.db"
    with closing(sqlite3.connect(source)) as connection:
        connection.executescript(SCRIPT)
    migration = make_migration(tmp_path / "home", f"sqlite:///{source}", url, schema)
    return Shop(configure(migration, f"  keep_runs: 1\n{more}"), source, url, schema)


def until(condition: Callable[[], object], started: Started) -> None:
    """Wait for a moment of a run, or for its end."""
    deadline = time.monotonic() + 60
    while not condition() and not started.folder.report.exists():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def moment(shop: Shop, started: Started, kind: str, chance: random.Random, whole: float) -> None:
    """Return at a random moment of that kind."""
    results = started.folder.path / "results"
    if kind == "any":
        time.sleep(chance.uniform(0, whole))
        return
    if kind == "live":
        with closing(psycopg2.connect(shop.url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True

            def is_live() -> bool:
                cursor.execute(
                    "SELECT outcome = 'live' FROM migration_assets.runs WHERE run_id = %s",
                    (started.folder.path.name,),
                )
                return cursor.fetchone() == (True,)

            until(is_live, started)
        return
    begun = {
        "extract": started.folder.path / "progress",
        "load": results / "extract" / "letters.json",
        "constraints": results / "values" / "letters.json",
        "swap": results / "structure" / "all.json",
    }[kind]
    until(begun.exists, started)
    time.sleep(chance.uniform(0, whole / 5))


@contextmanager
def reader(shop: Shop) -> Iterator[None]:
    """Somebody who holds the live tables, so that a swap has to wait, and is found waiting."""
    with closing(psycopg2.connect(shop.url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("UPDATE {}.people SET id = id WHERE id = 1").format(sql.Identifier(shop.schema))
        )
        yield
        connection.rollback()


def test_twenty_kills_at_random_moments(tmp_path: Path, pg_url: str, schema: str) -> None:
    chance = random.Random(SEED)
    shop = make_shop(tmp_path, pg_url, schema)
    landed: dict[str, int] = {}
    with runs(tmp_path / "runs.log") as made:
        shop.change()
        made.start(shop.migration)
        assert made.end() == 0, (tmp_path / "runs.log").read_text()
        shop.change()
        began = time.monotonic()
        shop.proves(made)
        whole = time.monotonic() - began
        for number in range(KILLS):
            kind = MOMENTS[number % len(MOMENTS)]
            before = shop.version
            shop.change()
            where = f"kill {number} ({kind}), CHAOS_SEED={SEED}"
            if kind == "swap":
                with reader(shop):
                    started = made.start(shop.migration)
                    moment(shop, started, kind, chance, whole)
                    kill(started)
                    assert made.end() in (-signal.SIGKILL, 0), where
            else:
                started = made.start(shop.migration)
                moment(shop, started, kind, chance, whole)
                kill(started)
                assert made.end() in (-signal.SIGKILL, 0), where
            assert shop.live() in (before, shop.version), where
            landed[kind] = landed.get(kind, 0) + (not started.folder.report.exists())
            shop.proves(made)
        shop.change()
        shop.proves(made)
        assert not [name for name in shop.schemas() if "__obsolete_" in name]
    # Most of them came before the run's own end.
    assert sum(landed.values()) > KILLS // 2, landed


def test_a_server_that_is_lost_in_the_middle(tmp_path: Path, pg_server: Server) -> None:
    chance = random.Random(SEED)
    shop = make_shop(tmp_path, pg_server.url, "chaos")
    with runs(tmp_path / "runs.log") as made:
        for _ in range(2):
            shop.change()
            made.start(shop.migration)
            assert made.end() == 0
        for kind, lose in (("load", crash), ("constraints", cut), ("swap", crash)):
            before = shop.version
            shop.change()
            started = made.start(shop.migration)
            moment(shop, started, kind, chance, 0.1)
            lose(pg_server)
            code = made.end()
            evidence = evidence_of(started.folder)
            # Before it has been there, a target that is down is one that can not be used.
            known = (0, 2, 3) if kind == "load" else (0, 3)
            assert code in known, (kind, evidence.run.reasons, f"CHAOS_SEED={SEED}")
            if code:
                assert (evidence.run.verdict is Verdict.BROKEN_OFF) is (code == 3)
                assert shop.live() in (before, shop.version)
            shop.proves(made)


def cut(server: Server) -> None:
    """End the connections, as a firewall or a failover does; the server itself goes on."""
    with closing(psycopg2.connect(server.url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'migration_assets'"
        )


def kill(started: Started) -> None:
    """End a run at once, if it has not come to its end just now."""
    with suppress(ProcessLookupError):
        os.kill(started.pid, signal.SIGKILL)


def crash(server: Server) -> None:
    """End the server's processes at once, as a power cut would, and start it again."""
    data = embedded.data_folder(server.home)
    postmaster = int((data / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGQUIT)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{postmaster}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    embedded.start(server.home)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system with room for 3 MB, where the server may look as well."""
    place = Path(tempfile.mkdtemp(prefix="small_disk_"))
    place.chmod(0o755)
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        place.rmdir()
        pytest.skip("a small file system takes the right to mount one")
    yield place
    subprocess.run(["umount", str(place)], check=True)
    place.rmdir()


def test_no_room_for_parquet(tmp_path: Path, pg_url: str, schema: str, small_disk: Path) -> None:
    shop = make_shop(tmp_path, pg_url, schema, f"  storage: file://{small_disk}\n")
    with runs(tmp_path / "runs.log") as made:
        shop.change()
        made.start(shop.migration)
        assert made.end() == 0
        ballast = fill(small_disk, 40_000)
        shop.change()
        started = made.start(shop.migration)
        assert made.end() == 3
        (reason, *_) = evidence_of(started.folder).run.reasons
        assert "No space left on device" in reason and 'table "' in reason
        assert shop.live() == shop.version - 1
        ballast.unlink()
        shop.proves(made)


def test_no_room_in_the_target(tmp_path: Path, database: str, small_disk: Path) -> None:
    """The incoming tables lie on a small disk of the server's."""
    small_disk.chmod(0o755)
    place = small_disk / "space"
    with closing(psycopg2.connect(database)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SHOW data_directory")
            owner = Path(cursor.fetchone()[0]).stat()
            place.mkdir()
            os.chown(place, owner.st_uid, owner.st_gid)
            cursor.execute(
                sql.SQL("CREATE TABLESPACE small LOCATION {}").format(sql.Literal(str(place)))
            )
    shop = make_shop(tmp_path, database, "chaos")
    try:
        with runs(tmp_path / "runs.log") as made:
            shop.change()
            made.start(shop.migration)
            assert made.end() == 0
            ballast = fill(small_disk, 400_000)
            alter(database, "SET default_tablespace = small")
            shop.change()
            started = made.start(shop.migration)
            assert made.end() == 3, evidence_of(started.folder).run.reasons
            (reason, *_) = evidence_of(started.folder).run.reasons
            assert "No space left on device" in reason
            assert shop.live() == shop.version - 1
            ballast.unlink()
            alter(database, "RESET default_tablespace")
            shop.proves(made)
    finally:
        with closing(psycopg2.connect(database)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for name in shop.schemas():
                    cursor.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))
                cursor.execute("DROP TABLESPACE small")


def fill(place: Path, left: int) -> Path:
    """Write a file that leaves so many bytes free."""
    free = os.statvfs(place)
    ballast = place / "ballast"
    ballast.write_bytes(b"\0" * (free.f_bavail * free.f_bsize - left))
    return ballast


def alter(url: str, change: str) -> None:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            name = sql.Identifier(connection.info.dbname)
            cursor.execute(sql.SQL("ALTER DATABASE {} {}").format(name, sql.SQL(change)))
