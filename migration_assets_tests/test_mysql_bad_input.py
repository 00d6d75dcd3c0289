"""MySQL sources that cannot be used: one line, exit code 2, and what to do."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest

from migration_assets.cli import run
from migration_assets.errors import InputError
from migration_assets.sources import absolute_url, open_source
from migration_assets.sources.mysql.address import parse
from migration_assets_tests.mysql_server import MySQLDatabase


def refused(url: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says against a source; nothing is written then."""
    assert run(["plan", url]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    return message


def test_what_is_no_usable_url_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for url, words in {
        "mysql://host": "names no database",
        "mysql:shop": "is written mysql://user@host:3306/database",
        "mysql://u@h:x/db": "is not a URL",
        "mysql://u@h/db?ssl_mod=required": 'unknown option "ssl_mod"',
        "mysql://u@h/db?ssl_mode=never": "ssl_mode of the source must be one of",
        "mysql://u@h/db?password_file=/nowhere/at/all": "password_file: No such file",
        "mysql://u@h/db?connect_timeout=soon": "connect_timeout",
    }.items():
        assert words in refused(url, capsys)


def test_urls_of_frameworks_are_read_and_the_password_is_in_no_location(tmp_path: Path) -> None:
    address = parse("mysql2://me:p%40%2Fss@db.internal/shop%20a?encoding=utf8mb4&sslmode=require")
    assert (address.user, address.secret(), address.database) == ("me", "p@/ss", "shop a")
    assert address.ssl_mode == "required"
    assert absolute_url("mariadb://me:x@[::1]:3307/shop?charset=latin1") == (
        "mysql://me@[::1]:3307/shop"
    )
    assert "p@" not in repr(address) and "p%40" not in address.location
    (tmp_path / "kept").write_text("of the file\n")
    url = f"mysql://me@h/shop?password_file={tmp_path / 'kept'}&sslaccept=strict"
    assert parse(url).secret() == "of the file"
    assert parse(parse(url).location) == parse(url)


def test_servers_that_refuse_say_why_and_never_the_password(
    mysql_database: MySQLDatabase,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    server, name = mysql_database.server, mysql_database.name
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    place = f"{server.host}:{server.port}"
    with closing(mysql_database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE USER 'nothing'@'%' IDENTIFIED BY 'secret1'")
        cursor.execute("CREATE TABLE seen (id int PRIMARY KEY, hidden int)")
        cursor.execute("INSERT INTO seen VALUES (1, 2)")
        try:
            for url, words in {
                f"mysql://tester:wrong9@{place}/{name}": "the password is wrong",
                f"mysql://nobody@{place}/{name}": "no password was given",
                f"mysql://nothing:secret1@{place}/{name}": "has no right to it; grant SELECT",
                f"{server.url}/no_such_database": 'no database "no_such_database"',
                f"mysql://u:secret2@127.0.0.1:{free}/{name}": "no server answers at 127.0.0.1",
                f"mysql://u@h/{name}?unix_socket=/no/such/socket": "no server answers at socket",
                f"{mysql_database.url}?ssl_mode=required": "TLS",
                f"{mysql_database.url}?ssl_ca={tmp_path / 'no.pem'}": "ssl_ca",
            }.items():
                message = refused(url, capsys)
                assert words in message, message
                assert not any(s in message for s in ("wrong9", "secret1", "secret2", "p@ss"))
            # An account that sees a part of a table: the table is named, not its columns dropped.
            cursor.execute(f"GRANT SELECT (id) ON `{name}`.seen TO 'nothing'@'%'")
            monkeypatch.setenv("MYSQL_PWD", "secret1")
            source = open_source(f"mysql://nothing@{place}/{name}")
            (skipped,) = source.reflect().skipped
            assert (skipped.kind, skipped.name) == ("unreadable table", "seen")
            assert "no right to SELECT all of its columns" in skipped.reason
        finally:
            cursor.execute("DROP USER 'nothing'@'%'")


def test_a_record_that_is_no_record_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "snapshot.db").write_text("{}")
    with pytest.raises(InputError, match=r"snapshot\.db: is not there any more"):
        open_source("mysql://u@h/db").open_snapshot(tmp_path / "snapshot.db")
