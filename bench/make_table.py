"""Make the databases that the benchmark moves: one large table, or many empty ones.

    python bench/make_table.py trades.db                      1,000,000 rows, about 270 MB
    python bench/make_table.py trades.db --rows 5000000
    python bench/make_table.py trades.db --dirty 10000        with 10,000 values PostgreSQL refuses
    python bench/make_table.py empty.db --tables 500          500 empty tables instead

The same bytes every time.
"""

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

CHUNK = 100_000
EPOCH = np.datetime64("2023-01-01T00:00:00", "us")
SYMBOLS = [f"{a}{b}{c}" for a in "ABCDEFGH" for b in "KLMNOP" for c in ("", "X", "-USD")]
KINDS = ["buy", "sell", "transfer", "dividend"]
WORDS = ["limit order", "Überweisung", "split adjusted", "café", "reversed", "価格", "manual entry"]

TABLE = """
CREATE TABLE trades (
    id INTEGER PRIMARY KEY,
    account_id INTEGER NOT NULL,
    symbol VARCHAR(12) NOT NULL,
    kind TEXT NOT NULL,
    price REAL,
    quantity INTEGER,
    fee DECIMAL(12, 2),
    is_open BOOLEAN,
    opened_at DATETIME,
    day DATE,
    note TEXT,
    payload BLOB
)
"""
INDEXES = """
CREATE INDEX trades_account ON trades (account_id, opened_at);
CREATE INDEX trades_symbol ON trades (symbol);
"""
EMPTY = """
CREATE TABLE t{n} (
    id INTEGER PRIMARY KEY,
    parent_id INTEGER REFERENCES t{parent} (id),
    name VARCHAR(40) NOT NULL UNIQUE,
    amount DECIMAL(12, 2) NOT NULL DEFAULT 0,
    is_active BOOLEAN NOT NULL DEFAULT 1,
    created_at DATETIME
);
CREATE INDEX t{n}_parent ON t{n} (parent_id);
"""


def make_trades(path: Path, rows: int, dirty: int = 0) -> None:
    """Write the large table; ``dirty`` values of four kinds are spread evenly over it."""
    with _new(path) as connection:
        connection.executescript(TABLE)
        connection.execute("BEGIN")
        insert = f"INSERT INTO trades VALUES ({', '.join('?' * 12)})"
        for start in range(0, rows, CHUNK):
            connection.executemany(insert, _rows(start, min(CHUNK, rows - start)))
        _soil(connection, rows, dirty)
        connection.execute("COMMIT")
        connection.executescript(INDEXES)


def make_empty(path: Path, tables: int) -> None:
    """Write ``tables`` empty tables, each with two keys, a foreign key and an index."""
    with _new(path) as connection:
        connection.execute("BEGIN")
        for n in range(tables):
            for statement in EMPTY.format(n=n, parent=max(n - 1, 0)).split(";"):
                connection.execute(statement)
        connection.execute("COMMIT")


def _new(path: Path) -> closing[sqlite3.Connection]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    return closing(connection)


def _rows(start: int, count: int) -> Iterator[tuple[Any, ...]]:
    """``count`` rows from id ``start + 1``, a chunk of columns at a time."""
    bits = np.random.PCG64(start + 1)
    draw = [(bits.random_raw(count) >> np.uint64(24)).astype(np.int64) for _ in range(6)]
    ids = np.arange(start + 1, start + count + 1)
    moments = EPOCH + (ids * 61_000_000 + draw[0] % 1_000_000).astype("timedelta64[us]")
    stamps = [text.replace("T", " ") for text in np.datetime_as_string(moments, "us").tolist()]
    octets = bits.random_raw(4 * count).astype("<u8").tobytes()
    for i, (number, stamp) in enumerate(zip(ids.tolist(), stamps, strict=True)):
        word = WORDS[number % len(WORDS)]
        yield (
            number,
            int(draw[0][i] % 50_000) + 1,
            SYMBOLS[draw[1][i] % len(SYMBOLS)],
            KINDS[draw[2][i] % 4],
            float(draw[1][i] / 7e8),
            int(draw[2][i] % 100_000) if number % 20 else None,
            int(draw[3][i] % 1_000_000) / 100,
            int(draw[4][i] % 2),
            stamp,
            stamp[:10],
            f"{word} #{number} of {stamp}, ref {draw[5][i]:012x}; settled by the back office",
            octets[32 * i : 32 * i + 32] if number % 10 else None,
        )


def _soil(connection: sqlite3.Connection, rows: int, dirty: int) -> None:
    """Overwrite ``dirty`` values: a NUL, Latin-1 bytes, a word for a number, an infinity."""
    statements = (
        "UPDATE trades SET note = note || char(0) || 'rest' WHERE id = ?",
        "UPDATE trades SET note = CAST(X'436166E9' AS TEXT) WHERE id = ?",
        "UPDATE trades SET quantity = 'n/a' WHERE id = ?",
        "UPDATE trades SET price = 9e999 WHERE id = ?",
    )
    for i in range(dirty):
        connection.execute(statements[i % 4], (1 + i * rows // dirty,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dirty", type=int, default=0, help="values PostgreSQL does not take")
    parser.add_argument("--tables", type=int, help="make this many empty tables instead")
    arguments = parser.parse_args()
    if arguments.tables is not None:
        make_empty(arguments.path, arguments.tables)
    else:
        make_trades(arguments.path, arguments.rows, arguments.dirty)
    print(f"{arguments.path}: {arguments.path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
