"""A database in which each line of the fidelity page occurs, with what must become of it.

Each :class:`Case` names the line of ``docs/fidelity.md`` that it is an example of. What is
expected is written out: types, PostgreSQL's own text of the values, rules in the ledger, and
objects that are reported. Nothing of it is computed by the package under test.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = Sequence[Any]
INT64 = 2**63 - 1
UUID_A = "550e8400-e29b-41d4-a716-446655440000"
UUID_B = "00000000-0000-0000-0000-00000000000a"
FIVE_MEGABYTES = bytes(range(256)) * 20_480
UTF8, UTF16 = "UTF-8", "UTF-16le"
"""Encodings of the two databases. The second is migrated without indexes for foreign keys."""
TS, TZ = "timestamp without time zone", "timestamp with time zone"


@dataclass(frozen=True)
class Bad:
    """A text of these bytes, which are not UTF-8."""

    octets: bytes


@dataclass(frozen=True)
class Case:
    """Examples of one line of the page.

    Attributes:
        line: words of the page that occur in that line only; of a table's line its first cells.
        script: SQL that makes the tables and objects.
        rows: table -> rows.
        after: SQL that runs when the rows are there.
        types: table -> column -> type as ``format_type`` shows it.
        required: table -> columns that are NOT NULL in PostgreSQL.
        values: table -> column -> PostgreSQL's texts, in the order of the rows.
        ledger: table -> column -> rule -> how many entries.
        reported: (kind, name) of objects that the evidence lists.
        made: (PostgreSQL's word for the kind, table, definition) of objects that must be there;
            the definition is as ``pg_get_constraintdef`` or ``pg_get_indexdef`` prints it, from
            the first parenthesis on.
        absent: as ``made``, of objects that must not be there.
        generated: table -> column -> PostgreSQL's text of the generation expression, None for an
            ordinary column with the source's values.
        spoiled: (statement, its undoing, what the structure check then says).
        next_values: table -> what its identity column hands out next.
        only: the one database, by its encoding, that holds the case; None for each.
    """

    line: str
    script: str
    rows: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    after: str = ""
    types: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    required: Mapping[str, set[str]] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, Sequence[str | None]]] = field(default_factory=dict)
    ledger: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    reported: Iterable[tuple[str, str]] = ()
    made: Iterable[tuple[str, str, str]] = ()
    absent: Iterable[tuple[str, str, str]] = ()
    generated: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    spoiled: Iterable[tuple[str, str, str]] = ()
    next_values: Mapping[str, int] = field(default_factory=dict)
    only: str | None = None


def make(path: Path, cases: Iterable[Case], encoding: str) -> None:
    """Write a database of ``cases``."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA encoding = '{encoding}'")
        connection.execute("PRAGMA foreign_keys = OFF")
        for case in cases:
            connection.executescript(case.script)
            for table, rows in case.rows.items():
                name = '"' + table.replace('"', '""') + '"'
                for row in rows:
                    marks = ["CAST(? AS TEXT)" if isinstance(v, Bad) else "?" for v in row]
                    values = [v.octets if isinstance(v, Bad) else v for v in row]
                    connection.execute(f"INSERT INTO {name} VALUES ({', '.join(marks)})", values)
            connection.executescript(case.after)


def _column(values: Iterable[Any]) -> list[tuple[Any]]:
    return [(value,) for value in values]


TYPES = (
    Case(
        "| `INTEGER PRIMARY KEY` | integers |",
        "CREATE TABLE k_plain (id INTEGER PRIMARY KEY, t TEXT);"
        "CREATE TABLE k_auto (id INTEGER PRIMARY KEY AUTOINCREMENT, t TEXT);"
        "CREATE TABLE k_empty (id INTEGER PRIMARY KEY AUTOINCREMENT);"
        "CREATE TABLE k_negative (id INTEGER PRIMARY KEY);",
        {
            "k_plain": [(-5, "a"), (1, "b"), (2**40, "c")],
            "k_auto": [(1, "a"), (500, "b")],
            "k_negative": _column([-(2**63), -1]),
        },
        after="DELETE FROM k_auto WHERE id = 500;",
        types={"k_plain": {"id": "bigint"}, "k_auto": {"id": "bigint"}},
        required={"k_plain": {"id"}, "k_empty": {"id"}},
        next_values={"k_plain": 2**40 + 1, "k_auto": 501, "k_empty": 1, "k_negative": 1},
    ),
    Case(
        "| `INTEGER`, `INT`, `BIGINT`, … | integers |",
        "CREATE TABLE ints (a INTEGER, b INT, c BIGINT, d UNSIGNED BIG INT, e INT NOT NULL);",
        {"ints": [(INT64, -(2**63), 0, 2**53 + 1, 1), (None, 1, -1, None, 2)]},
        types={"ints": dict.fromkeys("abcde", "bigint")},
        required={"ints": {"e"}},
        values={"ints": {"a": [str(INT64), None], "b": [str(-(2**63)), "1"]}},
    ),
    Case(
        "| `SMALLINT`, `INT2`, `TINYINT`; `INT4`, `MEDIUMINT` | integers that fit |",
        "CREATE TABLE small (a SMALLINT, b TINYINT, c INT4, d SMALLINT, e INT2, f MEDIUMINT);",
        {"small": [(32767, -128, 2**31 - 1, 32768, 2**31, -(2**31) - 1)]},
        types={
            "small": {
                "a": "smallint",
                "b": "smallint",
                "c": "integer",
                "d": "integer",
                "e": "bigint",
                "f": "bigint",
            }
        },
    ),
    Case(
        "| `BOOLEAN` | 0, 1 |",
        "CREATE TABLE bools (a BOOLEAN, b BOOL NOT NULL, c BOOLEAN, d BOOLEAN);",
        {"bools": [(0, 1, 2, "true"), (1, 0, -1, "false"), (None, 1, 0, None)]},
        types={"bools": {"a": "boolean", "b": "boolean", "c": "bigint", "d": "text"}},
        required={"bools": {"b"}},
        values={"bools": {"a": ["false", "true", None], "d": ["true", "false", None]}},
    ),
    Case(
        "| `REAL`, `FLOAT`, `DOUBLE` | reals |",
        "CREATE TABLE reals (a REAL, b DOUBLE PRECISION, c FLOAT);",
        {
            "reals": [
                (float("inf"), -0.0, 5e-324),
                (float("-inf"), 0.1 + 0.2, 1.7976931348623157e308),
                (None, 1e22, 2.0**53),
            ]
        },
        types={"reals": dict.fromkeys("abc", "double precision")},
        values={
            "reals": {
                "a": ["Infinity", "-Infinity", None],
                # A whole real is stored as an integer, which has no -0.
                "b": ["0", "0.30000000000000004", "1e+22"],
                "c": ["5e-324", "1.7976931348623157e+308", "9.007199254740992e+15"],
            }
        },
    ),
    Case(
        "| `DECIMAL(p,s)` | numbers that fit |",
        "CREATE TABLE decimals (a DECIMAL(6,2), b DECIMAL(6,2), c DECIMAL(4,2), d NUMERIC,"
        " e DECIMAL(20,0), f DECIMAL(10,2), g DECIMAL(40,20));",
        {
            "decimals": [
                (9999.99, 0.125, 100, 0.1, "12345678901234567890", float("inf"), 1e-20),
                (-1.5, 1, 1.5, INT64, 1, 1, 1e19),
            ]
        },
        types={
            "decimals": {
                "a": "numeric(6,2)",
                "b": "numeric",
                "c": "numeric",
                "d": "numeric",
                "e": "numeric(20,0)",
                "f": "numeric",
                "g": "numeric(40,20)",
            }
        },
        values={
            "decimals": {
                "a": ["9999.99", "-1.50"],
                "b": ["0.125", "1"],
                "d": ["0.1", str(INT64)],
                # NUMERIC affinity: SQLite itself keeps a double of it.
                "e": ["12345678901234567000", "1"],
                "f": ["Infinity", "1"],
                "g": ["0.00000000000000000001", "10000000000000000000.00000000000000000000"],
            }
        },
    ),
    Case(
        "| `VARCHAR(n)`, `CHAR(n)`, … | texts of at most n characters |",
        "CREATE TABLE chars (a VARCHAR(5), b VARCHAR(5), c CHAR(3), d NVARCHAR(2), e TEXT,"
        " f VARCHAR, g DECIMAL_TEXT);",
        {
            "chars": [
                ("ab   ", "123456", "a  ", "\U0001f600ü", "12345678901234567890", "1", "1e400"),
                ("", None, " ", "é", "0.1234567890123456789", "", "-0"),
            ]
        },
        types={
            "chars": {
                "a": "character varying(5)",
                "b": "text",
                "c": "character varying(3)",
                "d": "character varying(2)",
                "e": "text",
                "f": "text",
                "g": "text",
            }
        },
        values={
            "chars": {
                "a": ["ab   ", ""],
                "c": ["a  ", " "],
                "e": ["12345678901234567890", "0.1234567890123456789"],
            }
        },
    ),
    Case(
        "| `CHAR(36)`, `VARCHAR(36)`, `UUID`, `GUID` | canonical lower-case UUIDs |",
        "CREATE TABLE uuid_parent (id CHAR(36) PRIMARY KEY, loud CHAR(36), short VARCHAR(36));"
        "CREATE TABLE uuid_child (p TEXT REFERENCES uuid_parent (id), g GUID, v VARCHAR(36));",
        {
            "uuid_parent": [(UUID_A, UUID_A.upper(), UUID_A), (UUID_B, UUID_A, "short")],
            "uuid_child": [(UUID_B, UUID_A, UUID_B), (None, None, UUID_B)],
        },
        types={
            "uuid_parent": {
                "id": "uuid",
                "loud": "character varying(36)",
                "short": "character varying(36)",
            },
            "uuid_child": {"p": "uuid", "g": "uuid", "v": "uuid"},
        },
        required={"uuid_parent": {"id"}},
        values={"uuid_child": {"p": [UUID_B, None]}},
    ),
    Case(
        "| `UUID`, `GUID` | 16-byte blobs |",
        "CREATE TABLE uuid_blobs (a UUID, b GUID, c UUID);",
        {"uuid_blobs": [(bytes(range(16)), b"\xff" * 16, b"\0" * 15), (None, None, UUID_A)]},
        types={"uuid_blobs": {"a": "uuid", "b": "uuid", "c": "bytea"}},
        values={"uuid_blobs": {"a": ["00010203-0405-0607-0809-0a0b0c0d0e0f", None]}},
    ),
    Case(
        "TIMESTAMP` | all ISO dates; all ISO datetimes; all with an offset |",
        "CREATE TABLE moments (d DATE, dt DATETIME, ts TIMESTAMP, tz DATETIME, dd DATETIME);",
        {
            "moments": [
                (
                    "0001-01-01",
                    "2024-02-29 23:59:59",
                    "1969-12-31T00:00",
                    "1970-01-01T00:00:00Z",
                    "2024-01-02",
                ),
                (
                    "9999-12-31",
                    "0001-01-01T00:00:00.000001",
                    "9999-12-31 23:59:59.999999",
                    "2024-01-02 03:04:05.5+05:45",
                    "1582-10-10",
                ),
            ]
        },
        types={"moments": {"d": "date", "dt": TS, "ts": TS, "tz": TZ, "dd": "date"}},
        values={
            "moments": {
                "d": ["0001-01-01", "9999-12-31"],
                "dt": ["2024-02-29 23:59:59", "0001-01-01 00:00:00.000001"],
                "ts": ["1969-12-31 00:00:00", "9999-12-31 23:59:59.999999"],
                "tz": ["1970-01-01 00:00:00+00", "2024-01-01 21:19:05.5+00"],
            }
        },
    ),
    Case(
        "TIMESTAMP` | integers that all fit one unit since 1970 (s, ms, µs) |",
        "CREATE TABLE epochs (s TIMESTAMP, ms DATETIME, us TIMESTAMP, mixed TIMESTAMP);",
        {
            "epochs": [
                (1_700_000_000, 1_700_000_000_123, 1_700_000_000_123_456, 1_700_000_000),
                (0, 1_600_000_000_000, None, 1_700_000_000_000),
            ]
        },
        types={"epochs": {"s": TZ, "ms": TZ, "us": TZ, "mixed": "bigint"}},
        values={
            "epochs": {
                "s": ["2023-11-14 22:13:20+00", "1970-01-01 00:00:00+00"],
                "ms": ["2023-11-14 22:13:20.123+00", "2020-09-13 12:26:40+00"],
                "us": ["2023-11-14 22:13:20.123456+00", None],
            }
        },
    ),
    Case(
        "| `DATE`, `DATETIME`, `TIMESTAMP` | mixed forms |",
        "CREATE TABLE odd_moments (form TIMESTAMP, seven TIMESTAMP, zero DATE, far DATE,"
        " late DATETIME, leap DATE, number DATETIME);",
        {
            "odd_moments": [
                (
                    "2024-01-01",
                    "2024-01-02 03:04:05.1234567",
                    "0000-01-01",
                    "10000-01-01",
                    "2024-01-02 25:00:00",
                    "2023-02-29",
                    20240101,
                ),
                (
                    "2024-01-01 00:00:00",
                    "2024-01-02 03:04:05",
                    "0000-00-00",
                    "2024-01-01",
                    "2024-01-02 24:00:00",
                    "2024-02-29",
                    "2024-01-01",
                ),
            ]
        },
        types={
            "odd_moments": dict.fromkeys(
                ("form", "seven", "zero", "far", "late", "leap", "number"), "text"
            )
        },
        values={
            "odd_moments": {
                "seven": ["2024-01-02 03:04:05.1234567", "2024-01-02 03:04:05"],
                "zero": ["0000-01-01", "0000-00-00"],
                "number": ["20240101", "2024-01-01"],
            }
        },
    ),
    Case(
        "| `TIME` | ISO times |",
        "CREATE TABLE clocks (a TIME, b TIME);",
        {"clocks": [("23:59:59.999999", "24:00:00"), ("00:00", "12:00:00")]},
        types={"clocks": {"a": "time without time zone", "b": "text"}},
        values={"clocks": {"a": ["23:59:59.999999", "00:00:00"]}},
    ),
    Case(
        "| `JSON`, or a `json_valid` check | JSON that `jsonb` keeps whole |",
        "CREATE TABLE jsons (whole JSON, twice JSON, nul JSON, lone JSON, bad JSON,"
        " checked TEXT CHECK (json_valid(checked)), big JSON, number JSON);",
        {
            "jsons": [
                (
                    '{"b": [1.10, null], "a": {}}',
                    '{"a": 1, "a": 2}',
                    '"\\u0000"',
                    '"\\ud800"',
                    "[",
                    '{"x": 1}',
                    '{"n": 12345678901234567890.12345678901234567890}',
                    "1",
                ),
                ("[]", "{}", "{}", "{}", "{}", " [ 1 ] ", "[1e5]", '"t"'),
            ]
        },
        types={
            "jsons": {
                "whole": "jsonb",
                "twice": "json",
                "nul": "json",
                "lone": "json",
                "bad": "text",
                "checked": "jsonb",
                "big": "jsonb",
            }
        },
        values={
            "jsons": {
                "whole": ['{"a": {}, "b": [1.10, null]}', "[]"],
                "twice": ['{"a": 1, "a": 2}', "{}"],
                "big": ['{"n": 12345678901234567890.12345678901234567890}', "[100000]"],
            }
        },
    ),
    Case(
        "| `BLOB` | blobs |",
        "CREATE TABLE blobs (a BLOB, b VARBINARY(4));",
        {"blobs": [(b"", b"\0"), (FIVE_MEGABYTES, b"longer than declared"), (None, b"\xff")]},
        types={"blobs": {"a": "bytea", "b": "bytea"}},
        values={"blobs": {"b": ["\\x00", "\\x" + b"longer than declared".hex(), "\\xff"]}},
    ),
    Case(
        "| none, or anything else | one storage class |",
        "CREATE TABLE bare (i, r, t, b, n, word GEOMETRY);",
        {"bare": [(1, 1.5, "x", b"y", None, "POINT(1 2)"), (INT64, 2.0, "", b"", None, None)]},
        types={
            "bare": {
                "i": "bigint",
                "r": "double precision",
                "t": "text",
                "b": "bytea",
                "n": "text",
                "word": "text",
            }
        },
    ),
    Case(
        "| any | integers and reals |",
        "CREATE TABLE numbers (near, far, zero, whole REAL);",
        {"numbers": [(1, 2**53 + 1, 2**53 + 1, 1), (0.5, 0.5, -0.0, 2.5)]},
        types={
            "numbers": {
                "near": "double precision",
                "far": "numeric",
                "zero": "numeric",
                "whole": "double precision",
            }
        },
        values={"numbers": {"far": ["9007199254740993", "0.5"]}},
        ledger={"numbers": {"zero": {"negative_zero": 1}}},
    ),
    Case(
        "| any | numbers and texts |",
        "CREATE TABLE words (a, b INTEGER, c DATE);",
        {"words": [(1, 1, "2024-01-01"), (0.1 + 0.2, "one", 1), ("x", 1.5, 2.0), (1e22, "1", "")]},
        types={"words": dict.fromkeys("abc", "text")},
        values={
            "words": {
                "a": ["1", "0.30000000000000004", "x", "1e+22"],
                "b": ["1", "one", "1.5", "1"],
            }
        },
    ),
    Case(
        "| any | blobs among others |",
        "CREATE TABLE bytes_among (a, b TEXT);",
        {"bytes_among": [("text", "é"), (b"\0\xff", b"blob"), (1, None)]},
        types={"bytes_among": {"a": "bytea", "b": "bytea"}},
        values={"bytes_among": {"a": ["\\x74657874", "\\x00ff", "\\x31"]}},
    ),
)

VALUES = (
    Case(
        "| NUL character in a text |",
        "CREATE TABLE nuls (id INTEGER PRIMARY KEY, t TEXT, v VARCHAR(3));",
        {"nuls": [(1, "a\0b", "ab\0"), (2, "\0", "abc"), (3, "whole", "")]},
        types={"nuls": {"t": "text", "v": "character varying(3)"}},
        values={"nuls": {"t": ["ab", "", "whole"], "v": ["ab", "abc", ""]}},
        ledger={"nuls": {"t": {"nul_removed": 2}, "v": {"nul_removed": 1}}},
    ),
    Case(
        "| bytes that are not UTF-8 |",
        "CREATE TABLE bad_texts (id INTEGER PRIMARY KEY, t TEXT, both TEXT);",
        {
            "bad_texts": [
                (1, Bad(b"caf\xe9"), Bad(b"a\x00\xff")),
                (2, Bad(b"\xed\xa0\x80"), "x"),
                (3, "fine", Bad(b"\xc3")),
            ]
        },
        values={
            "bad_texts": {
                "t": ["caf\\xe9", "\\xed\\xa0\\x80", "fine"],
                "both": ["a\\xff", "x", "\\xc3"],
            }
        },
        ledger={
            "bad_texts": {"t": {"invalid_utf8": 2}, "both": {"invalid_utf8": 2, "nul_removed": 1}}
        },
        only=UTF8,
    ),
    Case(
        "| -0.0 in a `numeric` column |",
        "CREATE TABLE zeros (id INTEGER PRIMARY KEY, n);",
        {"zeros": [(1, -0.0), (2, INT64), (3, 0.0)]},
        types={"zeros": {"n": "numeric"}},
        values={"zeros": {"n": ["0", str(INT64), "0"]}},
        ledger={"zeros": {"n": {"negative_zero": 1}}},
    ),
)
