"""The benchmark's large table in a private MariaDB, filled from the SQLite one."""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

# The benchmark is run from a checkout, where the tests' private server is.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from migration_assets_tests.mysql_server import private_server

DATABASE, USER = "trades", "bench"

TABLE = """
CREATE TABLE trades (
    id BIGINT PRIMARY KEY AUTO_INCREMENT,
    account_id BIGINT NOT NULL,
    symbol VARCHAR(12) NOT NULL,
    kind TEXT NOT NULL,
    price DOUBLE,
    quantity BIGINT,
    fee DECIMAL(12, 2),
    is_open TINYINT(1),
    opened_at DATETIME(6),
    day DATE,
    note TEXT,
    payload BLOB
) CHARACTER SET utf8mb4
"""
LOAD = """
LOAD DATA INFILE %s INTO TABLE trades CHARACTER SET utf8mb4
(id, account_id, symbol, kind, price, quantity, fee, is_open, opened_at, day, note, @payload)
SET payload = UNHEX(@payload)
"""
INDEXES = (
    "CREATE INDEX trades_account ON trades (account_id, opened_at)",
    "CREATE INDEX trades_symbol ON trades (symbol)",
    "ANALYZE TABLE trades",
)


@contextmanager
def served(source: Path) -> Iterator[str]:
    """A private MariaDB with the table of ``source``; yields the database's URL."""
    with (
        private_server() as server,
        closing(server.connect()) as connection,
        connection.cursor() as cursor,
        tempfile.TemporaryDirectory() as folder,
    ):
        cursor.execute(f"CREATE DATABASE {DATABASE}")
        # pgloader takes no special characters in a password.
        cursor.execute(f"CREATE USER {USER}@'%' IDENTIFIED BY '{USER}'")
        cursor.execute(f"GRANT ALL ON *.* TO {USER}@'%'")
        cursor.execute(f"USE {DATABASE}")
        cursor.execute(TABLE)
        rows = Path(folder) / "rows.tsv"
        _write(source, rows)
        Path(folder).chmod(0o755)
        cursor.execute(LOAD, (str(rows),))
        rows.unlink()
        for statement in INDEXES:
            cursor.execute(statement)
        yield f"mysql://{USER}:{USER}@{server.host}:{server.port}/{DATABASE}"


def _write(source: Path, target: Path) -> None:
    """All rows as LOAD DATA reads them; the payload as hex."""
    with closing(sqlite3.connect(source)) as connection, target.open("w", encoding="utf-8") as file:
        rows = connection.execute(
            "SELECT id, account_id, symbol, kind, price, quantity, fee, is_open, opened_at, day,"
            " note, hex(payload) FROM trades ORDER BY id"
        )
        for row in rows:
            file.write("\t".join(map(_text, row)) + "\n")


def _text(value: Any) -> str:
    if value is None:
        return "\\N"
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
