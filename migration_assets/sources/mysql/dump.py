"""A dump of a database by the server's own programs, restored into a database beside it.

The restored one is held against the source: rows and digest of every table. Routines and events
go into a file of their own, which is not restored: events would begin to run there.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import pymysql

from migration_assets.core.catalog import Catalog, Kind
from migration_assets.core.sensitive import without_values
from migration_assets.core.standing import TableState, held_against
from migration_assets.errors import BrokenOffError, NotProvenError
from migration_assets.sources.base import SourceCopy
from migration_assets.sources.mysql.address import Address
from migration_assets.sources.mysql.connect import Connection, connect, is_denied, quote, rows, text

_DUMP = ("--single-transaction", "--quick", "--hex-blob", "--skip-lock-tables", "--no-tablespaces")
_CODE_ONLY = ("--no-create-info", "--no-data", "--skip-triggers", "--routines", "--events")
_CHUNK = 1 << 20
_NO_RIGHT = ("(1044)", "(1142)", "(1227)", "(1370)", "(1419)", "ERROR 1044", "ERROR 1142",
             "ERROR 1227", "ERROR 1370", "ERROR 1419")  # fmt: skip
"""What the programs say when the account may not do what a dump asks for."""
_UNLOGGED = "SET SESSION sql_log_bin = 0"
TABLES, CODE = "source.sql.gz", "routines.sql.gz"


class _Failed(Exception):
    """A program ended with an error; says which, in one line."""


def dump(address: Address, folder: Path) -> tuple[str | None, tuple[str, ...]]:
    """Dump the database into ``folder``.

    Returns:
        The program that did, None if none could, and what is not as it could be.

    Raises:
        BrokenOffError: the disk is full.
    """
    with closing(connect(address)) as connection:
        mariadb = "mariadb" in text(rows(connection, "SELECT VERSION()")[0][0]).lower()
    program = _program("dump", mariadb)
    if program is None:
        return None, ("neither mariadb-dump nor mysqldump is on this machine",)
    try:
        _run_dump(program, address, _DUMP, folder / TABLES)
    except _Failed as error:
        (folder / TABLES).unlink(missing_ok=True)
        return None, (str(error),)
    notes = []
    try:
        _run_dump(program, address, (*_DUMP, *_CODE_ONLY), folder / CODE)
    except _Failed as error:
        (folder / CODE).unlink(missing_ok=True)
        notes.append(f"without routines and events: {error}")
    return Path(program).name, tuple(notes)


@contextmanager
def restored(address: Address, folder: Path) -> Iterator[Address]:
    """The dump in ``folder``, restored into a database of its own while the block runs.

    Raises:
        PermissionError: the account may not make one.
        NotProvenError: the dump can not be restored.
    """
    scratch = f"{address.database[:40]}__restore_{uuid.uuid4().hex[:8]}"
    with closing(connect(address)) as connection:
        mariadb = "mariadb" in text(rows(connection, "SELECT VERSION()")[0][0]).lower()
        program = _program("client", mariadb)
        if program is None:
            raise PermissionError("neither mariadb nor mysql, the client, is on this machine")
        unlogged = _unlogged(connection)
        try:
            connection.query(f"CREATE DATABASE {quote(scratch)}")
        except pymysql.err.MySQLError as error:
            if is_denied(error):
                raise PermissionError("the account may not create a database") from error
            raise
        try:
            there = replace(address, database=scratch)
            try:
                _run_restore(program, there, folder / TABLES, unlogged)
            except _Failed as error:
                if any(code in str(error) for code in _NO_RIGHT):
                    raise PermissionError(str(error)) from error
                raise NotProvenError(
                    f"the backup of {address.location} can not be restored: "
                    f"{without_values(str(error))}"
                ) from None
            yield there
        finally:
            # Not by that connection, which may have waited for too long.
            with closing(connect(address)) as last:
                _unlogged(last)
                last.query(f"DROP DATABASE IF EXISTS {quote(scratch)}")


def judged(
    before: dict[str, TableState],
    now: dict[str, TableState],
    catalog: Catalog,
    program: str | None,
    notes: tuple[str, ...],
) -> SourceCopy:
    """The record of a dump that was restored.

    Args:
        before: the source's tables.
        now: those that were restored.
        catalog: of the source.
        program: that dumped it.
        notes: what is not as it could be.

    Raises:
        NotProvenError: a table did not come back as it is.
    """
    different = {found.table: found for found in held_against(before, now)}
    rounded = sorted(
        table.name
        for table in catalog.tables
        if table.name in different
        and different[table.name].rows_before == different[table.name].rows_now
        and any(c.type.kind is Kind.FLOAT and c.type.bits == 32 for c in table.columns)
    )
    wrong = [found.line for name, found in different.items() if name not in rounded]
    if wrong:
        raise NotProvenError(f"the backup was restored, and is not the source: {'; '.join(wrong)}")
    if rounded:
        names = ", ".join(f'"{name}"' for name in rounded)
        notes = (
            *notes,
            f"{program} rounds FLOAT columns to six digits: {names}; the run's Parquet files "
            "hold them as they are",
        )
    return SourceCopy("dump", before, restored=True, program=program, notes=notes)


def _program(role: str, mariadb: bool) -> str | None:
    """The path of a program, that of the server's own kind first."""
    names = {"dump": ("mariadb-dump", "mysqldump"), "client": ("mariadb", "mysql")}[role]
    for name in names if mariadb else reversed(names):
        if found := shutil.which(name):
            return found
    return None


def _run_dump(program: str, address: Address, options: tuple[str, ...], path: Path) -> None:
    with _options(address) as file, tempfile.TemporaryFile() as said:
        command = [program, f"--defaults-file={file}", *options, address.database]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as process:
            assert process.stdout is not None
            try:
                with gzip.open(path, "wb", compresslevel=1) as target:
                    shutil.copyfileobj(process.stdout, target, _CHUNK)
            except OSError as error:
                process.kill()
                raise BrokenOffError(
                    f"the backup of the source can not be written to {path}: {error.strerror}; "
                    "make room, then run again"
                ) from error
        _check(process, said)


def _unlogged(connection: Connection) -> bool:
    """Keep what is done from the replicas, if the account may; all of a trial or none of it."""
    try:
        connection.query(_UNLOGGED)
    except pymysql.err.MySQLError:
        return False
    return True


def _run_restore(program: str, address: Address, path: Path, unlogged: bool) -> None:
    with _options(address) as file, tempfile.TemporaryFile() as said:
        options = ["--binary-mode", *([f"--init-command={_UNLOGGED}"] if unlogged else [])]
        command = [program, f"--defaults-file={file}", *options, address.database]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said
        ) as process:
            assert process.stdin is not None
            # One that ends early says why itself.
            try:
                with gzip.open(path) as source, process.stdin as sink:
                    shutil.copyfileobj(source, sink, _CHUNK)
            except BrokenPipeError:
                pass
        _check(process, said)


def _check(process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    if process.returncode == 0:
        return
    said.seek(0)
    lines = said.read().decode(errors="replace").split("\n")
    line = next((line for line in lines if "rror" in line), lines[0])
    args = process.args
    name = Path(args[0]).name if isinstance(args, list) else "the program"
    raise _Failed(f"{name} ended with exit code {process.returncode}: {' '.join(line.split())}")


@contextmanager
def _options(address: Address) -> Iterator[Path]:
    """A file (0600) with the connection: a password is on no list of processes."""
    mode = address.ssl_mode or ("preferred" if address.is_local else "verify_identity")
    values = {
        "user": address.user,
        "password": address.secret(),
        "loose-connect-timeout": str(address.connect_timeout),
        "default-character-set": "utf8mb4",
        # MySQL's programs know the one, MariaDB's the other.
        "loose-ssl-mode": mode.upper(),
        "loose-ssl-verify-server-cert": str(int(mode.startswith("verify"))),
        **{
            f"ssl-{name}": value
            for name in ("ca", "cert", "key")
            if (value := getattr(address, f"ssl_{name}")) is not None
        },
    }
    if address.unix_socket is not None:
        values["socket"] = address.unix_socket
    else:
        values |= {"host": address.host, "port": str(address.port), "protocol": "tcp"}
    lines = [f'{name}="{_escaped(value)}"' for name, value in values.items()]
    dumped = ["[mysqldump]", "loose-set-gtid-purged=OFF", "loose-column-statistics=0"]
    with tempfile.TemporaryDirectory(prefix="migration_assets_") as folder:
        path = Path(folder) / "options.cnf"
        path.touch(mode=0o600)
        path.write_text("\n".join(["[client]", *lines, *dumped, ""]), encoding="utf-8")
        yield path


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
