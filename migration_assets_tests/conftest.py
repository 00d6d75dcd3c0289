"""Fixtures: one embedded PostgreSQL for the whole session, a schema and roles for each test.

Each process of pytest-xdist is a session, with servers of its own; a module's tests are in one.

A MariaDB server as well, started where a test first asks for it (:mod:`mysql_server`).
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql

from migration_assets.expectations.client import ExpectationsWorker
from migration_assets.postgres import embedded
from migration_assets_tests.mysql_server import (
    MySQLDatabase,
    MySQLServer,
    missing_server,
    named_server,
    private_server,
)

FAST = {"fsync": "off"}
"""The session's server is thrown away; what it would lose in a crash is not missed."""


LONGEST_FIRST = (
    "test_story",
    "test_chaos",
    "test_random_databases",
    "test_torture",
    "test_fixture_databases",
    "test_mysql_fixtures",
    "test_torture_mysql",
    "test_random_mysql",
    "test_swap_gate",
    "test_rehearsal",
    "test_reexecution",
    "test_cli",
    "test_overrides",
    "test_transforms",
    "test_quarantine",
    "test_plan_command",
    "test_existing_schema",
    "test_csv_road",
)
"""Modules of a minute or more, so that one process is not left alone with one of them."""


@dataclass(frozen=True)
class Server:
    """A server of one test, reachable by TCP, whose password is asked for.

    ``url`` is the superuser's over the socket; ``port`` listens on 127.0.0.1 and wants scram.
    """

    home: Path
    url: str
    port: int

    def stop(self) -> None:
        """Shut the server down, as an administrator would."""
        embedded.stop(self.home)

    def tcp(self, user: str, password: str, database: str = "postgres") -> str:
        """A URL that needs the password."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"


@dataclass(frozen=True)
class Role:
    """A login role that owns nothing and may only create schemas in its database."""

    name: str
    url: str


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long modules first; the order within each stays."""
    ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


@pytest.fixture(scope="session", autouse=True)
def _no_database_of_the_environment() -> None:
    """What ``DATABASE_URL`` names is none of the tests' business."""
    os.environ.pop("DATABASE_URL", None)


@pytest.fixture(scope="session")
def pg_home() -> Iterator[Path]:
    """The migration home that owns the session's server."""
    home = Path(tempfile.mkdtemp(prefix="migration_home_"))
    yield home
    _remove(home)


@pytest.fixture(scope="session")
def pg_url(pg_home: Path) -> str:
    """URL of the session's embedded PostgreSQL, as superuser."""
    return embedded.start(pg_home, FAST)


@pytest.fixture
def schema(pg_url: str) -> Iterator[str]:
    """A fresh schema name; all schemas whose names begin with it are dropped afterwards."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    yield name
    connection = psycopg2.connect(pg_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", (name,))
        for (found,) in cursor.fetchall():
            cursor.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(found)))
    connection.close()


@pytest.fixture
def database(pg_url: str) -> Iterator[str]:
    """URL of a fresh database of the session's server, as superuser."""
    name = f"d_{uuid.uuid4().hex[:12]}"
    connection = psycopg2.connect(pg_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield pg_url.replace("/postgres?", f"/{name}?")
        cursor.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    connection.close()


@pytest.fixture
def make_role(database: str) -> Iterator[Callable[..., Role]]:
    """A function that makes a NOSUPERUSER login role of the test's own ``database``.

    ``make_role(create=False)`` makes one without the right to create schemas.
    """
    connection = psycopg2.connect(database)
    connection.autocommit = True
    made: list[str] = []

    def make(create: bool = True) -> Role:
        name = f"r_{uuid.uuid4().hex[:12]}"
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER").format(sql.Identifier(name)))
            if create:
                cursor.execute(
                    sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(
                        sql.Identifier(connection.info.dbname), sql.Identifier(name)
                    )
                )
        made.append(name)
        return Role(name, database.replace("//postgres@", f"//{name}@"))

    yield make
    with connection.cursor() as cursor:
        for name in made:
            cursor.execute(sql.SQL("DROP OWNED BY {0} CASCADE").format(sql.Identifier(name)))
            cursor.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
    connection.close()


@pytest.fixture
def pg_server() -> Iterator[Server]:
    """A server of the test's own: it may be stopped, and asks for passwords on 127.0.0.1."""
    home = Path(tempfile.mkdtemp(prefix="migration_home_"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = embedded.start(home, {**FAST, "listen_addresses": "127.0.0.1"}, port=port)
    rules = embedded.data_folder(home) / "pg_hba.conf"
    rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_reload_conf()")
    connection.close()
    yield Server(home, url, port)
    _remove(home)


@pytest.fixture(scope="session")
def expectations_worker() -> Iterator[ExpectationsWorker]:
    """Great Expectations' process, which imports for three seconds, once for all runs."""
    with closing(ExpectationsWorker()) as worker:  # it starts where it is first asked
        yield worker


@pytest.fixture(autouse=True)
def _one_expectations_worker(
    expectations_worker: ExpectationsWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands and jobs in the tests' own process share it; one that ended starts again."""
    for module in ("cli.migrate", "proof", "checks"):
        monkeypatch.setattr(
            f"migration_assets.{module}.ExpectationsWorker",
            lambda: nullcontext(expectations_worker),
        )


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[MySQLServer]:
    """The session's MySQL: of ``TEST_MYSQL_URL``, else a private MariaDB."""
    if url := os.environ.get("TEST_MYSQL_URL"):
        yield named_server(url)
        return
    if reason := missing_server():
        pytest.skip(reason)
    with private_server() as server:
        yield server


@pytest.fixture
def mysql_database(mysql_server: MySQLServer) -> Iterator[MySQLDatabase]:
    """A fresh database of the session's MySQL server."""
    with mysql_server.database() as database:
        yield database


def _remove(home: Path) -> None:
    embedded.stop(home)
    shutil.rmtree(embedded.data_folder(home).parent, ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)
