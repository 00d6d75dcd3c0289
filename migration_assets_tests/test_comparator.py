"""The judge itself is judged: it accepts what is equal and finds every planted fault."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg2 import sql

from migration_assets_tests.comparator import compare
from migration_assets_tests.comparator_values import SourceValue, Text, is_equal

LEDGER = ("table", "key", "column", "before", "after", "rule")
QUARANTINE = ("table", "key", "error", "values")
COLUMNS = {
    "id": ("INTEGER PRIMARY KEY", "bigint", "integer"),
    "name": ("TEXT", "text", "text"),
    "price": ("DECIMAL(9,2)", "numeric(9,2)", "decimal"),
    "at": ("DATETIME", "timestamp", "timestamp"),
    "body": ("BLOB", "bytea", "bytes"),
}
ROWS: list[tuple[Any, ...]] = [
    (1, "plain", 1.5, "2025-03-01 10:00:00", b"\x00\xff"),
    (2, "trailing  ", 0.1, "2025-03-01T10:00:00.5", None),
    (3, "nul\x00 inside", None, None, b""),
]
NUL_ENTRY = ("t", "[3]", "name", "nul\x00 inside", "nul inside", "nul_removed")

Check = Callable[..., list[str]]


@pytest.fixture
def check(tmp_path: Path, pg_url: str, schema: str) -> Check:
    """Load ROWS by hand, run ``statement`` on the target, and return the judge's faults."""

    def run(statement: str | None = None, ledger: list[tuple[Any, ...]] | None = None) -> list[str]:
        source = tmp_path / "source.db"
        with closing(sqlite3.connect(source)) as lite:
            names = ", ".join(f"{name} {types[0]}" for name, types in COLUMNS.items())
            lite.execute(f"CREATE TABLE t ({names})")
            lite.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", ROWS)
            lite.commit()
        with closing(psycopg2.connect(pg_url)) as pg, pg, pg.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
            cursor.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
            names = ", ".join(f"{name} {types[1]}" for name, types in COLUMNS.items())
            cursor.execute(f"CREATE TABLE t ({names})")
            for row in ROWS:
                clean = [v.replace("\x00", "") if isinstance(v, str) else v for v in row]
                cursor.execute("INSERT INTO t VALUES (%s, %s, %s, %s, %s)", clean)
            if statement:
                cursor.execute(statement)
        columns = [
            {"source": name, "name": name, "conversion": types[2]}
            for name, types in COLUMNS.items()
        ]
        table = {"source": "t", "name": "t", "key": ["id"], "columns": columns}
        (tmp_path / "plan.json").write_text(json.dumps({"tables": [table]}))
        write(tmp_path / "ledger.parquet", LEDGER, [NUL_ENTRY] if ledger is None else ledger)
        write(tmp_path / "quarantine.parquet", QUARANTINE, [])
        folder = tmp_path / "judge"
        folder.mkdir()
        return compare(source, pg_url, schema, tmp_path, folder).faults

    return run


def write(path: Path, names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    columns = [[row[i] for row in rows] for i in range(len(names))]
    arrays = [pa.array(column, pa.string()) for column in columns]
    pq.write_table(pa.table(arrays, names=list(names)), path)


def test_equal_databases_have_no_fault(check: Check) -> None:
    assert check() == []


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("DELETE FROM t WHERE id = 2", "row [2] is missing"),
        ("INSERT INTO t SELECT id + 7, name, price, at, body FROM t WHERE id = 2", "extra"),
        ("INSERT INTO t SELECT * FROM t WHERE id = 2", "extra"),
        ("UPDATE t SET name = rtrim(name) WHERE id = 2", "name of row [2]"),
        ("UPDATE t SET price = 1.51 WHERE id = 1", "price of row [1]"),
        ("UPDATE t SET at = at + interval '1 microsecond' WHERE id = 2", "at of row [2]"),
        ("UPDATE t SET body = NULL WHERE id = 3", "body of row [3]"),
        ("UPDATE t SET body = '' WHERE id = 2", "body of row [2]"),
        ("UPDATE t SET name = 'something else' WHERE id = 3", "PostgreSQL holds"),
        ("ALTER TABLE t DROP COLUMN body", "columns missing"),
    ],
)
def test_planted_fault_is_found_and_named(check: Check, statement: str, named: str) -> None:
    faults = check(statement)
    assert faults and any(named in fault for fault in faults)


def test_change_without_a_ledger_entry_is_a_fault(check: Check) -> None:
    assert "is not in the ledger" in check(ledger=[])[0]


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        (("t", "[1]", "name", "plain", "plain", "nothing"), "is unchanged"),
        (("t", "[9]", "name", "a", "b", "no_such_row"), "does not exist"),
        (("t", "[1]", "colour", "a", "b", "no_such_column"), "does not exist"),
        (("u", "[1]", "name", "a", "b", "no_such_table"), "not planned"),
    ],
)
def test_ledger_entry_for_nothing_is_a_fault(
    check: Check, entry: tuple[str, ...], named: str
) -> None:
    assert any(named in fault for fault in check(ledger=[NUL_ENTRY, entry]))


def test_ledger_entry_with_a_wrong_before_is_a_fault(check: Check) -> None:
    wrong = ("t", "[3]", "name", "something else", "nul inside", "nul_removed")
    assert "was there before" in check(ledger=[wrong])[0]


@pytest.mark.parametrize(
    ("source", "found", "pg_type"),
    [
        (5, "5", "int8"),
        (3.0, "3", "int8"),
        (0.1 + 0.2, "0.30000000000000004", "float8"),
        (-0.0, "-0", "float8"),
        (float("inf"), "Infinity", "float8"),
        (float("-inf"), "-Infinity", "numeric"),
        (1.5, "1.50", "numeric"),
        (1e22, "10000000000000000000000", "numeric"),
        (1.5, "1.5", "text"),
        (7, "7", "text"),
        (Text(b"7"), "7", "text"),
        (b"\x01", "\\x01", "bytea"),
        (Text(b"caf\xe9"), "\\x636166e9", "bytea"),
        (1, "true", "bool"),
        (Text(b"2025-01-02T03:04:05Z"), "2025-01-02 03:04:05+00", "timestamptz"),
        (Text(b"2025-01-02 03:04:05+02:00"), "2025-01-02 01:04:05+00", "timestamptz"),
        (Text(b"2025-01-02 03:04:05.5"), "2025-01-02 03:04:05.5", "timestamp"),
        (Text(b"9999-12-31 23:59"), "9999-12-31 23:59:00", "timestamp"),
        (Text(b"2024-02-29"), "2024-02-29", "date"),
        (Text(b'{"b": 1e2, "a": [1.10, null]}'), '{"a": [1.1, null], "b": 100}', "jsonb"),
        (
            Text(b"0a1b2c3d-0000-4000-8000-00000000000f"),
            "0a1b2c3d-0000-4000-8000-00000000000f",
            "uuid",
        ),
        (None, None, "text"),
    ],
)
def test_equal_values_are_equal(source: SourceValue, found: str | None, pg_type: str) -> None:
    assert is_equal(source, found, pg_type, None)


@pytest.mark.parametrize(
    ("source", "found", "pg_type"),
    [
        (2**53 + 1, "9007199254740992", "float8"),
        (0.1 + 0.2, "0.3", "float8"),
        (0.1 + 0.2, "0.3", "numeric"),
        (0.1 + 0.2, "0.3", "text"),
        (0.0, "-0", "float8"),
        (-0.0, "0", "numeric"),
        (1.005, "1.01", "numeric"),
        (2.0, "2", "text"),
        (Text(b"a "), "a", "varchar"),
        (Text(b"A"), "a", "text"),
        (Text(b"e\xcc\x81"), "é", "text"),
        (Text(b"caf\xe9"), "café", "text"),
        (Text(b"007"), "7", "int8"),
        (b"abc", "abc", "text"),
        (b"", None, "bytea"),
        (None, "", "text"),
        (Text(b""), None, "text"),
        (2, "true", "bool"),
        (Text(b"2025-01-02 03:04:05.1234567"), "2025-01-02 03:04:05.123457", "timestamp"),
        (Text(b"2025-01-02 03:04:05"), "2025-01-02 03:04:05+00", "timestamptz"),
        (Text(b"2025-01-02 03:04:05Z"), "2025-01-02 03:04:05", "timestamp"),
        (Text(b"2025-02-29"), "2025-03-01", "date"),
        (1735689600, "2025-01-01 00:00:00+00", "timestamptz"),
        (Text(b'{"a": 1, "a": 2}'), '{"a": 2}', "jsonb"),
        (Text(b"[12345678901234567890.1]"), "[12345678901234567000]", "jsonb"),
        (
            Text(b"0A1B2C3D-0000-4000-8000-00000000000F"),
            "0a1b2c3d-0000-4000-8000-00000000000f",
            "uuid",
        ),
    ],
)
def test_unequal_values_are_unequal(source: SourceValue, found: str | None, pg_type: str) -> None:
    assert not is_equal(source, found, pg_type, None)


def test_integer_is_a_time_only_in_the_planned_unit() -> None:
    assert is_equal(1735689600, "2025-01-01 00:00:00+00", "timestamptz", "epoch_s")
    assert not is_equal(1735689600, "2025-01-01 00:00:00+00", "timestamptz", "epoch_ms")
