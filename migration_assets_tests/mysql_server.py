"""A MariaDB server of the tests' own, or the server that ``TEST_MYSQL_URL`` names.

The private one is made once per test process, where a test first asks for it: a data folder in
the temporary folder, a free port and a socket, nothing kept when it ends. Every database that
tests make begins with ``t_`` and is dropped again, on a server of somebody else's too.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pymysql

PASSWORD = "p@ss:w/rd%"
"""Of the private server's user: needs every kind of quoting in a URL."""
SECONDS = 60
"""Time that the server has to answer for the first time."""

_OPTIONS = (
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-flush-method=nosync",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=16M",
    "--log-bin=binlog",
    "--server-id=1",
    "--log-bin-trust-function-creators=1",
    "--max-allowed-packet=64M",
    "--default-time-zone=+00:00",
)
_NAMED = re.compile(
    rb"^(create (?:database|schema)(?: if not exists| /\*!32312 if not exists\*/)?"
    rb"|drop (?:database|schema)(?: if exists)?|use)[ ]*`?(\w+)`?",
    re.IGNORECASE | re.MULTILINE,
)
_GRANT = re.compile(rb"^grant [^;]*;", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class MySQLDatabase:
    """One database of a server; made empty."""

    server: MySQLServer
    name: str

    @property
    def url(self) -> str:
        """As a user writes it, password included."""
        return f"{self.server.url}/{self.name}"

    def connect(self, **options: Any) -> pymysql.connections.Connection[Any]:
        """A connection to this database; autocommit unless told otherwise."""
        return self.server.connect(database=self.name, **options)

    def script(self, text: str | bytes, *, binary: bool = True) -> None:
        """Run a script as the ``mariadb`` client does, DELIMITER and all."""
        self.server.script(text, self.name, binary=binary)


@dataclass(frozen=True)
class MySQLServer:
    """A server on a TCP port, with a user who may do everything."""

    host: str
    port: int
    user: str
    password: str

    @property
    def url(self) -> str:
        """The server's URL without a database."""
        user, password = quote(self.user, safe=""), quote(self.password, safe="")
        return f"mysql://{user}:{password}@{self.host}:{self.port}"

    def connect(self, **options: Any) -> pymysql.connections.Connection[Any]:
        """A connection; autocommit and utf8mb4 unless told otherwise."""
        settings = {"autocommit": True, "charset": "utf8mb4", **options}
        return pymysql.connect(
            host=self.host, port=self.port, user=self.user, password=self.password, **settings
        )

    def script(self, text: str | bytes, database: str, *, binary: bool = True) -> None:
        """Run a script by the command line client, values out of range included.

        Unless ``binary``, as people call it: the client takes each end of a line for a line feed.
        """
        client = shutil.which("mariadb") or shutil.which("mysql")
        assert client, "a server's command line client is needed, mariadb or mysql"
        done = subprocess.run(
            [
                *(client, "--no-defaults", "--protocol=tcp", f"--host={self.host}"),
                *(f"--port={self.port}", f"--user={self.user}"),
                *(["--binary-mode"] if binary else []),
                *("--default-character-set=utf8mb4", "--init-command=SET SESSION sql_mode=''"),
                database,
            ],
            input=text.encode() if isinstance(text, str) else text,
            env={**os.environ, "MYSQL_PWD": self.password},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")[:1000]

    @contextmanager
    def database(self) -> Iterator[MySQLDatabase]:
        """A fresh database, dropped at the end with all whose names begin like it."""
        name = f"t_{uuid.uuid4().hex[:12]}"
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
        try:
            yield MySQLDatabase(self, name)
        finally:
            with closing(self.connect()) as connection, connection.cursor() as cursor:
                cursor.execute("SHOW DATABASES")
                for (found,) in cursor.fetchall():
                    if found.startswith(name):
                        cursor.execute(f"DROP DATABASE `{found}`")

    def load(self, files: Iterable[Path], database: str) -> None:
        """Load dumps into ``database``, whatever database their authors name.

        If they name several, the first is ``database`` and the others begin with its name.
        """
        for file in files:
            self.script(_renamed(file.read_bytes(), database.encode()), database)


def _renamed(dump: bytes, database: bytes) -> bytes:
    """A dump that makes ``database`` in place of the one that it names, and grants nothing."""
    names = list(dict.fromkeys(match[2] for match in _NAMED.finditer(dump)))
    for number, name in enumerate(names):
        to = database + (b"_" + name if number else b"")
        dump = re.sub(rb"\b" + name + rb"\.(?=\w)", to + b".", dump)
        dump = _NAMED.sub(
            lambda match, name=name, to=to: (
                match[1] + b" `" + to + b"`" if match[2] == name else match[0]
            ),
            dump,
        )
    dump = re.sub(
        rb"^create (database|schema) `", rb"CREATE \1 IF NOT EXISTS `", dump, flags=re.I | re.M
    )
    return _GRANT.sub(b"", dump)


def named_server(url: str) -> MySQLServer:
    """The server of a URL."""
    parts = urlsplit(url)
    return MySQLServer(
        parts.hostname or "127.0.0.1",
        parts.port or 3306,
        unquote(parts.username or "root"),
        unquote(parts.password or ""),
    )


def missing_server() -> str | None:
    """Why no private server can be started, None if one can."""
    for program in ("mariadbd", "mariadb-install-db", "mariadb"):
        if _program(program) is None:
            return (
                f"{program} was not found: install mariadb-server (Debian, Ubuntu: apt-get install"
                " mariadb-server), or set TEST_MYSQL_URL to a server that tests may fill"
            )
    return None


def _program(name: str) -> str | None:
    """The path of a program; servers often lie in a folder that is not on users' paths."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/libexec")


class Daemon:
    """The process of a private server: its data stay while it is down."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self._command = command
        self._address, self._log = folder / "s", folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start it, with more options for this time."""
        where = (f"--socket={self._address}", f"--log-error={self._log}")
        self._process = subprocess.Popen(
            [*self._command, *where, f"--pid-file={self._address}.pid", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + SECONDS
        while not self._address.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"mariadbd did not start: {self._log.read_text()[-1000:]}")
            time.sleep(0.05)

    def administer(self) -> pymysql.connections.Connection[Any]:
        """A connection as the server's own root."""
        return pymysql.connect(unix_socket=str(self._address), user="root", autocommit=True)

    def stop(self) -> None:
        """End it in order, with nothing left for its next start to work on."""
        with closing(self.administer()) as connection, connection.cursor() as cursor:
            cursor.execute("SET GLOBAL innodb_fast_shutdown = 0")
            cursor.execute("SHUTDOWN")
        assert self._process is not None, "it answered"
        self._process.wait(SECONDS)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._address.unlink(missing_ok=True)


@dataclass(frozen=True)
class PrivateServer(MySQLServer):
    """A server of the tests' own, with its process."""

    daemon: Daemon


@contextmanager
def private_server(*options: str) -> Iterator[PrivateServer]:
    """A server that lives as long as this context, with more options."""
    folder = Path(tempfile.mkdtemp(prefix="migration_mariadb_"))
    data = folder / "data"
    # The server refuses to be root unless told; as anybody else it can be nobody else.
    common = ["--no-defaults", f"--datadir={data}", *(["--user=root"] if os.getuid() == 0 else [])]
    # A server that starts removes what others have in a folder for temporary tables they share.
    (folder / "tmp").mkdir()
    common.append(f"--tmpdir={folder / 'tmp'}")
    made = subprocess.run(
        [
            *(_program("mariadb-install-db") or "", *common, "--skip-test-db"),
            *("--auth-root-authentication-method=normal", "--innodb-log-file-size=16M"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [_program("mariadbd") or "", *common, *_OPTIONS, f"--port={port}"]
    daemon = Daemon(folder, command)
    try:
        daemon.start(*options)
        with closing(daemon.administer()) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE USER tester@'%%' IDENTIFIED BY %s", (PASSWORD,))
            cursor.execute("GRANT ALL ON *.* TO tester@'%' WITH GRANT OPTION")
        yield PrivateServer("127.0.0.1", port, "tester", PASSWORD, daemon)
    finally:
        daemon.kill()  # Nothing of it is kept.
        shutil.rmtree(folder, ignore_errors=True)
