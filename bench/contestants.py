"""The three ways into PostgreSQL that the benchmark compares, on one private server."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
from measure import Usage, run
from psycopg2 import sql

from migration_assets.postgres import embedded

VERIFICATION = ("checks", "structure")
"""Stages of ``evidence.json`` that only prove."""

LOAD_FILE = """
LOAD DATABASE
    FROM sqlite://{source}
    INTO postgresql://postgres@unix:{socket}:{port}/postgres
WITH include drop, create tables, create indexes, reset sequences
SET work_mem TO '64MB', maintenance_work_mem TO '128MB', search_path TO '{schema}';
"""

MYSQL_LOAD_FILE = """
LOAD DATABASE
    FROM {source}
    INTO postgresql://postgres@unix:{socket}:{port}/postgres
WITH include drop, create tables, create indexes, reset sequences
SET PostgreSQL PARAMETERS work_mem TO '64MB', maintenance_work_mem TO '128MB'
ALTER SCHEMA 'trades' RENAME TO '{schema}';
"""

RAW_TABLE = """
CREATE TABLE {} (
    id bigint NOT NULL, account_id bigint NOT NULL, symbol varchar(12) NOT NULL,
    kind text NOT NULL, price double precision, quantity bigint, fee numeric(12, 2),
    is_open boolean, opened_at timestamp, day date, note text, payload bytea
)
"""


@dataclass(frozen=True)
class Server:
    """The benchmark's own PostgreSQL: the project's embedded one, with its usual settings."""

    work: Path

    @property
    def url(self) -> str:
        """Its URL; starts it if need be."""
        return embedded.start(self.work / "server")

    @property
    def socket(self) -> Path:
        """The folder of its socket."""
        return embedded.data_folder(self.work / "server")

    def stop(self) -> None:
        """Stop it and remove its data."""
        embedded.stop(self.work / "server")
        shutil.rmtree(self.socket.parent, ignore_errors=True)

    def settle(self, *drop: str) -> None:
        """Drop schemas and write everything out, so that one run does not pay for another."""
        with closing(psycopg2.connect(self.url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for prefix in drop:
                    cursor.execute(
                        "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", (prefix,)
                    )
                    for (name,) in cursor.fetchall():
                        cursor.execute(
                            sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name))
                        )
                cursor.execute("CHECKPOINT")


@dataclass(frozen=True)
class Outcome:
    """One measured run: what it took, and its stages in seconds where they are known."""

    usage: Usage
    stages: dict[str, float] = field(default_factory=dict)
    load_seconds: float | None = None
    verdict: str | None = None

    @property
    def unverified_seconds(self) -> float:
        """Wall time less the stages that only prove (an upper bound where stages overlap)."""
        return self.usage.seconds - sum(self.stages.get(name, 0.0) for name in VERIFICATION)


def migrate(server: Server, source: Path | str, schema: str, new_home: bool = False) -> Outcome:
    """This project's whole command, for a migration that is new to its home.

    Args:
        server: the target.
        source: a SQLite file, or a URL.
        schema: the target schema.
        new_home: the home is new as well: Dagster's databases are made first.
    """
    home, out = server.work / "home", server.work / "out"
    # What Dagster keeps of earlier runs stays, as it would for a user.
    known = [] if new_home or not home.exists() else [p for p in home.iterdir() if p.is_dir()]
    for folder in (out, *(p for p in known if p.name != "dagster"), *([home] if new_home else [])):
        shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-c", "from migration_assets.cli import main; main()", "migrate"]
    url = f"sqlite:///{source}" if isinstance(source, Path) else source
    command += [url, "--target", server.url, "--schema", schema]
    usage = run(
        [*command, "--out", str(out)],
        server.work / "migrate.log",
        {**os.environ, "MIGRATION_HOME": str(home)},
    )
    if not (out / "evidence.json").exists():
        return Outcome(usage)  # its exit code and migrate.log say why
    evidence: dict[str, Any] = json.loads((out / "evidence.json").read_text())
    return Outcome(
        usage,
        evidence["stages"],
        sum(table["seconds"].get("load", 0.0) for table in evidence["tables"]),
        evidence["run"]["verdict"],
    )


def pgloader(server: Server, source: Path | str, schema: str) -> Outcome | None:
    """The Debian package: data, primary key and indexes; it verifies nothing."""
    program = shutil.which("pgloader")
    if program is None:
        return None
    with (
        closing(psycopg2.connect(server.url)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    load = server.work / "pgloader.load"
    target = {"socket": server.socket, "port": embedded.PORT, "schema": schema}
    text = LOAD_FILE if isinstance(source, Path) else MYSQL_LOAD_FILE
    load.write_text(text.format(source=source, **target))
    root = server.work / "pgloader"
    return Outcome(
        run([program, "--root-dir", str(root), str(load)], server.work / "pgloader.log", os.environ)
    )


def copy_bytes(server: Server, schema: str, target: Path) -> None:
    """Write the binary COPY form of a loaded ``trades`` to ``target``."""
    query = sql.SQL(
        "COPY (SELECT id::bigint, account_id::bigint, symbol::varchar(12), kind::text,"
        " price::double precision, quantity::bigint, fee::numeric(12, 2), is_open::boolean,"
        " opened_at::timestamp, day::date, note::text, payload::bytea FROM {} ORDER BY id)"
        " TO STDOUT (FORMAT binary)"
    ).format(sql.Identifier(schema, "trades"))
    with (
        closing(psycopg2.connect(server.url)) as connection,
        connection.cursor() as cursor,
        target.open("wb") as file,
    ):
        cursor.copy_expert(query.as_string(connection), file)


def raw_copy(server: Server, ready: Path, schema: str, freeze: bool) -> float:
    """Seconds of CREATE TABLE and COPY of ready-made bytes in one transaction: the floor."""
    table = sql.Identifier(schema, "trades")
    options = sql.SQL("FORMAT binary, FREEZE" if freeze else "FORMAT binary")
    with closing(psycopg2.connect(server.url)) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        connection.commit()
        with io.FileIO(ready) as file:
            started = time.perf_counter()
            cursor.execute(sql.SQL(RAW_TABLE).format(table))
            copy = sql.SQL("COPY {} FROM STDIN ({})").format(table, options)
            cursor.copy_expert(copy.as_string(connection), file, 1 << 20)
            connection.commit()
            return time.perf_counter() - started
