"""PostgreSQL's own client programs: which one of this machine fits a server, and running it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from psycopg2.extensions import make_dsn

from migration_assets.errors import BrokenOffError, InputError
from migration_assets.postgres import embedded
from migration_assets.postgres.connect import (
    BACKUP,
    CONNECT_SECONDS,
    KEEPALIVE,
    Target,
    parameters,
    redact,
)

FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
"""Where Debian, Red Hat, the source and Homebrew put the programs of each version."""

ENDED = re.compile(
    r"No space left|server closed the connection|could not connect|connection to server .* failed"
    r"|terminating connection|SSL SYSCALL|the database system is|no connection to the server"
    r"|could not write|could not extend|could not send|lost synchronization",
    re.IGNORECASE,
)
"""What these programs say when the server, the way to it or a disk was lost."""

_VALUE = re.compile(r'(ERROR: [^":]*:) ".*')
"""Where PostgreSQL quotes a value: ``invalid input syntax for type integer: "..."``."""


@dataclass(frozen=True)
class Tool:
    """One program: its path and its major version."""

    path: Path
    version: int


def find(name: str, least: int, encrypted: bool = False) -> Tool:
    """The program that fits a server best: of its own version, else of the next later one.

    Args:
        name: ``pg_dump`` or ``pg_restore``.
        least: the major version of the server; an older program refuses to work with it.
        encrypted: the server is reached by TLS, of which the bundled programs know nothing.

    Raises:
        InputError: there is none, or only older ones.
    """
    there = list(_installed(name, bundled=not encrypted))
    fitting = [tool for tool in there if tool.version >= least]
    if fitting:
        return min(fitting, key=lambda tool: tool.version)  # the first of equals
    if there:
        newest = max(there, key=lambda tool: tool.version)
        raise InputError(
            f"{newest.path} is of version {newest.version}, the server of {least}: install the "
            f"client programs of PostgreSQL {least} or later (postgresql-client-{least})"
        )
    also = " that knows TLS" if encrypted else ""
    raise InputError(
        f"there is no {name}{also} on this machine: install the client programs of PostgreSQL "
        f"{least} or later (postgresql-client-{least})"
    )


@contextmanager
def running(
    tool: Tool, arguments: Sequence[str], target: Target, what: str
) -> Iterator[Callable[[], list[str]]]:
    """Run a program against a target while the block runs; it is ended with the block.

    No password is among its arguments: it gets one by its environment.

    Args:
        tool: the program.
        arguments: all but the connection.
        target: the database.
        what: the work, for messages, such as ``the backup``.

    Yields:
        a function that waits for its end and returns what it complained of, one line each; none
        means that it ended well.
    """
    found = {
        "connect_timeout": str(CONNECT_SECONDS),
        **KEEPALIVE,
        **parameters(target),
        "application_name": BACKUP,
    }
    if "sslpassword" in found:
        raise InputError(
            f"{what}: sslpassword would be seen among the arguments of {tool.path.name}; use a key "
            "without a passphrase"
        )
    password = found.pop("password", None)
    environment = {**os.environ, "LC_ALL": "C", "PGCLIENTENCODING": "UTF8"}
    if password is not None:
        environment["PGPASSWORD"] = password
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            [str(tool.path), f"--dbname={make_dsn(**found)}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # so that what it forks ends with it
            umask=0o077,
        )

        def finished() -> list[str]:
            code = process.wait()
            if code == 0:
                return []
            output.seek(0)
            lines = list(_complaints(output.read(), password))
            return lines or [f"{tool.path.name} ended with exit code {code}"]

        try:
            yield finished
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()


def raise_for(complaints: Sequence[str], what: str) -> None:
    """Raise the error that a program's first complaint means.

    Args:
        complaints: of :func:`running`.
        what: the work, such as ``the backup of shop``.

    Raises:
        BrokenOffError: server, way or disk was lost.
        InputError: anything else, such as a right that is missing.
    """
    if not complaints:
        return
    text = "; ".join(complaints[:2])
    if any(ENDED.search(line) for line in complaints):
        advice = "make room, then run again" if "No space left" in text else "run again"
        raise BrokenOffError(f"{what} broke off: {text}; {advice}")
    raise InputError(f"{what} is not possible: {text}")


def listing(tool: Tool, archive: Path) -> list[str]:
    """The table of contents of an archive, one line an entry (``pg_restore --list``).

    Raises:
        InputError: it is not an archive that the program can read.
    """
    done = subprocess.run(
        [str(tool.path), "--list", str(archive)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "LC_ALL": "C"},
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode:
        lines = list(_complaints(done.stderr, None)) or [f"exit code {done.returncode}"]
        raise InputError(f"{archive} can not be read: {lines[0]}")
    return done.stdout.splitlines()


def _complaints(text: str, password: str | None) -> Iterator[str]:
    """The errors among a program's output; what they quote of rows is left out."""
    for line in text.splitlines():
        said = re.match(r"\S*pg_(?:dump|restore): (?:error|fatal): (.*)", line)
        # ``errors='detail'`` of a worker comes as a line of PostgreSQL's own.
        message = said[1] if said else line if re.match(r"(?:ERROR|FATAL): ", line) else None
        if message is None:
            continue
        message = _VALUE.sub(r"\1 (a value)", " ".join(message.split()))
        yield redact(message.replace(password, "***") if password else message)


def _installed(name: str, bundled: bool) -> Iterator[Tool]:
    """All programs of that name on this machine, those that the user prefers first."""
    seen = set()
    for path in _candidates(name, bundled):
        real = path.resolve()
        if real in seen or not os.access(path, os.X_OK):
            continue
        seen.add(real)
        version = _version(path)
        if version is not None:
            yield Tool(path, version)


def _candidates(name: str, bundled: bool) -> Iterator[Path]:
    on_path = shutil.which(name)
    if on_path:
        yield Path(on_path)
    config = shutil.which("pg_config")
    if config:
        asked = subprocess.run([config, "--bindir"], capture_output=True, text=True)
        if asked.returncode == 0:
            yield Path(asked.stdout.strip()) / name
    for pattern in FOLDERS:
        for folder in sorted(glob(pattern)):
            yield Path(folder) / name
    if bundled:
        with suppress(InputError):  # it is an optional place to look at
            yield embedded.program(name)


def _version(path: Path) -> int | None:
    """The major version of a program, None if it does not run or is another one of that name."""
    try:
        asked = subprocess.run([str(path), "--version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", asked.stdout)
    return int(match[1]) if match else None
