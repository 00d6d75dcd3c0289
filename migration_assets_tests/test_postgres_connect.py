"""Connections: every way of failing is one line, soon, and without the password."""

from __future__ import annotations

import pickle
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from migration_assets.core.config import TargetConfig
from migration_assets.errors import BrokenOffError, InputError
from migration_assets.postgres import embedded
from migration_assets.postgres.connect import (
    Target,
    adbc,
    connect,
    pooled,
    redact,
    resolve_target,
    session,
)
from migration_assets_tests.conftest import Role, Server
from migration_assets_tests.tls_front import make_certificate, tls_front

PASSWORD = "p$w@/:?#%s'\\ x"
ENCODED = "p%24w%40%2F%3A%3F%23%25s%27%5C%20x"


@pytest.fixture
def bob(pg_server: Server) -> Server:
    connection = connect(pg_server.url)
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE bob LOGIN PASSWORD %s", (PASSWORD,))
    connection.commit()
    connection.close()
    return pg_server


def test_a_password_of_any_signs_reaches_every_driver_and_no_message(bob: Server) -> None:
    target = Target(bob.tcp("bob", ENCODED), "s")
    connect(target).close()
    with adbc(target) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('TimeZone')")
        assert cursor.fetchall() == [("UTC",)]
    assert ENCODED not in repr(target) and PASSWORD not in repr(target)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_verified_tls_reaches_the_server_of_the_certificate_only(
    pg_home: Path, pg_url: str, tmp_path: Path
) -> None:
    server, other = (make_certificate(tmp_path, name) for name in ("server", "other"))
    data = embedded.data_folder(pg_home)
    with tls_front(server, str(data / f".s.PGSQL.{embedded.PORT}")) as port:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=verify-full&sslrootcert="
        target = Target(f"{url}{server}", "s", verified=True)
        with session(target, "a test") as connection:
            assert connection.info.ssl_in_use
        with adbc(target) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchall() == [(1,)]
        for wrong, said in (
            (f"{url}{other}", "certificate verify failed"),
            (target.url.replace("127.0.0.1", "localhost"), "does not match host name"),
        ):
            with pytest.raises(InputError, match=said):
                connect(wrong)


def test_password_file_is_read_at_each_connection(bob: Server, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(PASSWORD + "\n")
    url = f"postgresql+psycopg2://bob@127.0.0.1:{bob.port}/postgres?sslmode=prefer"
    config = TargetConfig(url=url, password_file="secret")
    target = resolve_target(config, "s", tmp_path, tmp_path)
    connect(target).close()
    assert PASSWORD not in repr(target) and PASSWORD not in str(pickle.dumps(target))
    (tmp_path / "secret").unlink()
    with pytest.raises(InputError, match="password file .*secret can not be read"):
        connect(target)


def test_password_of_the_environment_is_taken(bob: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    connect(f"postgres://bob@127.0.0.1:{bob.port}/postgres").close()


def test_bad_targets_are_told_in_one_line(bob: Server) -> None:
    for url, said in {
        bob.tcp("bob", "secret"): 'wrong password for user "bob"',
        bob.tcp("nobody", "secret"): 'wrong password for user "nobody"',
        bob.tcp("bob", ENCODED, "nodb"): "no such database",
        f"postgresql://bob@127.0.0.1:{bob.port}/postgres": "needs a password",
        "postgresql://bob:secret@no.invalid/x": "unknown host",
        "postgresql://bob:secret@127.0.0.1:1/x": "no server answers",
        "postgresql:///x?host=/nowhere": "no server answers",
        "mysql://bob:secret@h/x": "must be postgresql://",
        "postgresql://bob:sec@ret@h/x": "percent-encoded",
        "postgresql://bob:12/sec@ret@h/x": "percent-encoded",
        "postgresql://bob:sec?ret@h.invalid/x": "unknown host",
        "postgresql://bob:sec%zzret@h/x": "percent-encoded",
        "postgresql://bob:secret@h:port/x": "malformed",
        "postgresql://bob:secret@h/x?nope=1": "unknown parameter nope",
    }.items():
        for way in (connect, lambda u: adbc(u).__enter__()):
            started = time.monotonic()
            with pytest.raises(InputError, match=said) as caught:
                way(url)
            message = str(caught.value)
            assert "secret" not in message and "ret@" not in message and "\n" not in message
            assert time.monotonic() - started < 5


def test_a_host_that_never_answers_is_given_up_within_five_seconds() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(InputError, match="no answer from"):
            connect(f"postgresql://bob@127.0.0.1:{silent.getsockname()[1]}/x")
        assert time.monotonic() - started < 5


def test_a_database_of_another_encoding_is_refused(pg_url: str) -> None:
    connection = connect(pg_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE "
            "template0"
        )
        try:
            with pytest.raises(InputError, match="encoded in LATIN1"):
                connect(pg_url.replace("/postgres?", "/latin?"))
        finally:
            cursor.execute("DROP DATABASE latin")
    connection.close()


def test_a_server_that_goes_away_in_the_middle_breaks_the_work_off(pg_server: Server) -> None:
    with (
        pytest.raises(
            BrokenOffError, match='^load of table "a" broke off at .*live schema is as it was'
        ),
        session(pg_server.url, 'load of table "a"') as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT 1")
        pg_server.stop()
        cursor.execute("SELECT 1")


def test_a_pool_lends_connections_as_new_and_only_those_that_answer(
    pg_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = pooled(Target(pg_server.url, "s", role="pg_monitor"), 8)
    state = """
        SELECT pg_backend_pid(), current_user::text, current_setting('TimeZone'),
               current_setting('lock_timeout'), current_setting('application_name'),
               (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),
               (SELECT count(*) FROM pg_class WHERE relname = 'passing'),
               (SELECT count(*) FROM pg_listening_channels())
    """

    def look() -> tuple[Any, ...]:
        with session(target, "a look") as connection, connection.cursor() as cursor:
            assert not connection.autocommit
            cursor.execute(state)
            return cursor.fetchone() or ()

    first = look()
    assert first[1:] == ("pg_monitor", "UTC", "0", "migration_assets", 0, 0, 0)
    with session(target, "a test") as connection, connection.cursor() as cursor:
        cursor.execute(
            "SET lock_timeout = 7; SET TimeZone = 'Asia/Tokyo'; RESET ROLE; SET ROLE postgres"
        )
        cursor.execute("CREATE TEMP TABLE passing (); LISTEN a; SELECT pg_advisory_lock_shared(1)")
        cursor.execute("SET application_name = 'x'; PREPARE p AS SELECT 1")
        connection.commit()
        connection.autocommit = True
    assert look() == first  # the same connection
    with pytest.raises(ZeroDivisionError), session(target, "a test") as connection:
        1 / 0  # noqa: B018
    assert connection.closed
    again = look()
    assert again[1:] == first[1:] and again[0] != first[0]

    with session(target, "a test", options="-c lock_timeout=5") as connection:
        assert connection.info.backend_pid != again[0]  # asked for otherwise: one of its own
    with ExitStack() as stack:
        for _ in range(8 - 3):
            stack.enter_context(session(target, "a test"))
        assert target.pool is not None
        monkeypatch.setattr(target.pool._queue, "_timeout", 0.1)
        with pytest.raises(BrokenOffError, match="all 5 connections of the pool .* raise pool"):
            stack.enter_context(session(target, "a test"))

    pg_server.stop()
    with pytest.raises(InputError, match="no server answers"):
        look()
    assert embedded.start(pg_server.home) == pg_server.url
    assert look()[1:] == first[1:]
    target.pool.close()
    with psycopg2.connect(pg_server.url) as own, own.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        )
        assert cursor.fetchone() == (1,)


def test_redact_takes_the_password_out_of_every_form() -> None:
    assert redact("postgresql://u:pw@h/d") == "postgresql://u:***@h/d"
    assert redact("postgres://u:p/w?x@y@h:1/d") == "postgres://u:***@h:1/d"
    assert redact("postgresql://u@h/d?password=pw&x=1") == "postgresql://u@h/d?password=***&x=1"
    assert redact("host=h password='p w\\'x' user=u") == "host=h password=*** user=u"
    assert redact("postgresql://h:5432/d") == "postgresql://h:5432/d"
    assert redact("postgresql://u:secret") == "postgresql://u:***"


def test_roles_of_odd_settings_get_ours(pg_url: str) -> None:
    connection = connect(pg_url, options="-c statement_timeout=1ms -c TimeZone=Asia/Tokyo")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('TimeZone'), current_setting('statement_timeout'), "
            "pg_sleep(0.01)"
        )
        assert cursor.fetchone()[:2] == ("UTC", "0")
    connection.close()


def test_the_role_of_a_target_is_taken_by_every_driver(
    database: str, make_role: Callable[..., Role]
) -> None:
    loader, odd = make_role(), 'o w\\n"er'
    connection = connect(database)
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("CREATE ROLE {0}; CREATE ROLE stranger; GRANT {0} TO {1}").format(
                sql.Identifier(odd), sql.Identifier(loader.name)
            )
        )
    connection.commit()
    try:
        target = Target(f"{loader.url}&options=-cwork_mem%3D8MB", "s", role=odd)
        asked = "SELECT current_user::text, session_user::text, current_setting('work_mem')"
        with session(target, "x", options="-c geqo=off") as ours, ours.cursor() as cursor:
            cursor.execute(asked)
            assert cursor.fetchone() == (odd, loader.name, "8MB")
        with adbc(target) as read, read.cursor() as cursor:
            cursor.execute(asked)
            assert cursor.fetchone() == (odd, loader.name, "8MB")
        for role, problem in {
            "stranger": f'may not take role "stranger".* GRANT "stranger" TO "{loader.name}"',
            "nobody": 'no such role: "nobody" at',
        }.items():
            with pytest.raises(InputError, match=problem):
                connect(Target(loader.url, "s", role=role))
    finally:
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("DROP ROLE {}; DROP ROLE stranger").format(sql.Identifier(odd)))
        connection.commit()
        connection.close()


def test_embedded_server_starts_once_survives_a_crash_and_stops(tmp_path: Path) -> None:
    url = embedded.start(tmp_path, {"fsync": "off"})
    try:
        started = time.monotonic()
        assert embedded.start(tmp_path) == url
        assert time.monotonic() - started < 1  # a start takes longer
        before = embedded.status(tmp_path)
        assert before.running and before.pid
        connection = connect(url)
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE kept AS SELECT 1 AS a")
        connection.commit()
        connection.close()
        data = embedded.data_folder(tmp_path)
        stale = (data / "postmaster.pid").read_text()
        assert embedded.stop(tmp_path)
        assert not embedded.status(tmp_path).running
        # A lock file left by a crash, whose number is now another process.
        (data / "postmaster.pid").write_text(stale.replace(str(before.pid), "1", 1))
        assert embedded.start(tmp_path) == url
        connection = connect(url)
        with connection.cursor() as cursor:
            cursor.execute("SELECT a FROM kept")
            assert cursor.fetchone() == (1,)
        connection.close()
    finally:
        embedded.stop(tmp_path)
        shutil.rmtree(embedded.data_folder(tmp_path).parent)


def test_programs_copied_for_the_servers_user_run_at_their_new_place(tmp_path: Path) -> None:
    embedded._copy_binaries(embedded._wheel(), tmp_path / "copy")
    folder = embedded.program("initdb").relative_to(embedded._wheel()).parent
    for name in ("initdb", "postgres", "pg_ctl"):
        program = tmp_path / "copy" / folder / name
        shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        assert "PostgreSQL) 18" in shown.stdout


def test_embedded_server_is_closed_to_other_users(pg_home: Path, pg_url: str) -> None:
    data = embedded.data_folder(pg_home)
    assert data.stat().st_mode & 0o077 == 0
    assert data.parent.stat().st_mode & 0o077 == 0
