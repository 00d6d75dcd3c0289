"""Reading a snapshot: every value in its lane, in a fixed order, with the engine's own facts."""

from __future__ import annotations

import math
import sqlite3
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from migration_assets.core.catalog import Table
from migration_assets.core.profile import Lane
from migration_assets.core.results import ColumnFacts
from migration_assets.errors import InputError
from migration_assets.sources.base import BATCH_ROWS, LanesMissing, SourceFacts
from migration_assets.sources.sqlite import SQLiteSource
from migration_assets.sources.sqlite.read import batch_rows
from migration_assets.sources.sqlite.reader import SQLiteReader
from migration_assets_tests.sqlite_databases import make, plain_rows, read_table, rows_of


def snapshot(path: Path) -> SQLiteReader:
    return SQLiteSource(path).take_snapshot(path.with_name("snapshot.db"))


def read_all(path: Path) -> tuple[Table, list[tuple[object, ...]], SourceFacts]:
    """The only table of ``path``, its rows, its facts; the rows are as plain SQLite reads them."""
    reader = snapshot(path)
    (table,) = reader.catalog().tables
    rows = read_table(reader, table)
    assert rows == list(plain_rows(path, table))
    facts = reader.facts(table)
    again = SQLiteSource(path).open_snapshot(path.with_name("snapshot.db"))
    assert again.facts(table) == facts, "the facts do not depend on an earlier read"
    reader.close()
    again.close()
    return table, rows, facts


def lane(values: int, **facts: object) -> ColumnFacts:
    return ColumnFacts(values, **facts)  # type: ignore[arg-type]


def test_fields_are_named_by_position_and_lane_and_have_fixed_types(tmp_path: Path) -> None:
    path = make(tmp_path / "a.db", "CREATE TABLE t (a, b TEXT)", {"t": [(None, None)]})
    reader = snapshot(path)
    (table,) = reader.catalog().tables
    (batch,) = reader.read(table, reader.expected_lanes(table))
    assert batch.schema == pa.schema(
        [
            ("0:int", pa.int64()),
            ("0:real", pa.float64()),
            ("0:text", pa.binary()),
            ("0:blob", pa.binary()),
            ("1:text", pa.binary()),
        ]
    )
    reader.close()


def test_an_empty_table_yields_one_empty_batch(tmp_path: Path) -> None:
    path = make(tmp_path / "a.db", "CREATE TABLE t (a INTEGER, b REAL)")
    reader = snapshot(path)
    (table,) = reader.catalog().tables
    (batch,) = reader.read(table, reader.expected_lanes(table))
    assert (batch.num_rows, batch.schema.names) == (0, ["0:int", "1:real"])
    assert reader.facts(table) == SourceFacts(0, {"a": 0, "b": 0}, {"a": {}, "b": {}})
    reader.close()


EXTREMES = [
    (2**63 - 1, 1e308, "", b""),
    (-(2**63), -5e-324, "with\0nul", b"\0\1\2"),
    (0, math.inf, "trailing  ", b"x" * 100_000),
    (-1, -math.inf, "ünïcödé ☃ 😀", None),
    (None, 0.1 + 0.2, None, b"\xff"),
]


def test_extreme_values_arrive_whole(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.db", "CREATE TABLE t (i INTEGER, r REAL, s TEXT, b BLOB)", {"t": EXTREMES}
    )
    _, rows, facts = read_all(path)
    assert rows[1][2] == b"with\0nul"
    texts = [row[2].encode() for row in EXTREMES if row[2] is not None]
    assert facts.columns == {
        "i": {
            Lane.INT: lane(
                4,
                sum_low=0xFFFFFFFF + 0 + 0 + 0xFFFFFFFF,
                sum_high=(2**31 - 1) + -(2**31) + 0 + -1,
                minimum=str(-(2**63)),
                maximum=str(2**63 - 1),
            )
        },
        "r": {Lane.REAL: lane(5, minimum="-inf", maximum="inf")},
        "s": {Lane.TEXT: lane(4, bytes=sum(map(len, texts)))},
        "b": {Lane.BLOB: lane(4, bytes=100_004)},
    }


def test_text_that_is_not_utf8_comes_as_it_is(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.db",
        "CREATE TABLE t (s TEXT); INSERT INTO t VALUES (CAST(x'66c3' AS TEXT)), ('ok');",
    )
    _, rows, _ = read_all(path)
    assert rows == [(b"f\xc3",), (b"ok",)]


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_utf16_text_comes_as_utf8(tmp_path: Path, encoding: str) -> None:
    path = make(
        tmp_path / "a.db",
        "CREATE TABLE t (s TEXT, x)",
        {"t": [("naïve ☃ 😀\0tail", "ü"), (None, 5), ("", b"\0\1")]},
        prepare=lambda connection: connection.execute(f"PRAGMA encoding='{encoding}'"),
    )
    _, rows, facts = read_all(path)
    assert rows == [("naïve ☃ 😀\0tail".encode(), "ü".encode()), (None, 5), (b"", b"\0\1")]
    assert facts.columns["s"] == {Lane.TEXT: lane(2)}
    assert facts.columns["x"][Lane.BLOB] == lane(1, bytes=2)


LATE = BATCH_ROWS + 5_000


@pytest.mark.parametrize("value", [7, 1.5, "text", b"blob"])
@pytest.mark.parametrize("declared", ["", "INTEGER", "REAL", "NUMERIC", "TEXT", "BLOB", "DATE"])
def test_a_value_that_comes_after_a_batch_of_nulls_is_read(
    tmp_path: Path, declared: str, value: object
) -> None:
    path = make(
        tmp_path / "a.db",
        f"CREATE TABLE t (a {declared});"
        "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        f" LIMIT {LATE}) SELECT NULL FROM n;",
        {"t": [(value,)]},
    )
    reader = snapshot(path)
    (table,) = reader.catalog().tables
    rows = read_table(reader, table)
    assert len(rows) == LATE + 1
    assert rows == list(plain_rows(path, table))
    reader.close()


@pytest.mark.parametrize("first", [None, 3, 1.5, "t", b"b"])
@pytest.mark.parametrize("second", [3, 4.0, 1.5, "t", "5", b"b"])
@pytest.mark.parametrize("wanted", [(Lane.INT,), (Lane.REAL,), (Lane.TEXT,), (Lane.BLOB,),
                                    (Lane.INT, Lane.REAL), (Lane.TEXT, Lane.BLOB)])  # fmt: skip
def test_a_value_in_no_requested_lane_is_always_noticed(
    tmp_path: Path, first: object, second: object, wanted: tuple[Lane, ...]
) -> None:
    path = make(tmp_path / "a.db", "CREATE TABLE t (a, b TEXT)", {"t": [(first, ""), (second, "")]})
    reader = snapshot(path)
    (table,) = reader.catalog().tables
    kinds = {int: Lane.INT, float: Lane.REAL, str: Lane.TEXT, bytes: Lane.BLOB}
    outside = {kinds[type(v)] for v in (first, second) if v is not None} - set(wanted)
    lanes = {"a": wanted, "b": (Lane.TEXT,)}
    if outside:
        with pytest.raises(LanesMissing) as caught:
            list(reader.read(table, lanes))
        assert caught.value.columns == ("a",)
    else:
        assert rows_of(table, list(reader.read(table, lanes))) == list(plain_rows(path, table))
    reader.close()


def test_a_class_that_first_occurs_in_a_later_batch_is_noticed(tmp_path: Path) -> None:
    for value in (1, 1.5, "t", b"b"):
        path = make(
            tmp_path / f"{type(value).__name__}.db",
            "CREATE TABLE t (i, r, s, b); "
            "INSERT INTO t WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n"
            f" LIMIT {LATE}) SELECT 1, 1.5, 't', x'00' FROM n;",
            {"t": [(value,) * 4]},
        )
        reader = SQLiteSource(path).take_snapshot(tmp_path / "copy.db")
        (table,) = reader.catalog().tables
        own = {int: "i", float: "r", str: "s", bytes: "b"}[type(value)]
        lanes = {"i": (Lane.INT,), "r": (Lane.REAL,), "s": (Lane.TEXT,), "b": (Lane.BLOB,)}
        with pytest.raises(LanesMissing) as caught:
            list(reader.read(table, lanes))
        assert set(caught.value.columns) == {"i", "r", "s", "b"} - {own}
        reader.close()


def test_a_column_without_lanes_is_an_error_rather_than_lost(tmp_path: Path) -> None:
    path = make(tmp_path / "a.db", "CREATE TABLE t (a)", {"t": [(1,)]})
    reader = snapshot(path)
    (table,) = reader.catalog().tables
    with pytest.raises(ValueError, match='column "a"'):
        list(reader.read(table, {"a": ()}))
    reader.close()


def test_rows_come_in_the_order_of_rowid_or_primary_key_whatever_the_indexes(
    tmp_path: Path,
) -> None:
    path = make(
        tmp_path / "a.db",
        "CREATE TABLE r (a INTEGER); CREATE INDEX ra ON r (a);"
        "CREATE TABLE w (a TEXT, b INTEGER, PRIMARY KEY (b, a)) WITHOUT ROWID;"
        "CREATE INDEX wa ON w (a);",
        {
            "r": [((n * 7919) % 1000,) for n in range(1000)],
            "w": [(f"{n}", (n * 31) % 100) for n in range(1000)],
        },
    )
    reader = snapshot(path)
    r, w = reader.catalog().tables
    assert [row[0] for row in read_table(reader, r)] == [(n * 7919) % 1000 for n in range(1000)]
    keys = [(row[1], row[0]) for row in read_table(reader, w)]
    assert keys == sorted(keys, key=lambda key: (int(str(key[0])), key[1]))
    reader.close()


def test_a_table_wider_than_one_select_is_read_whole(tmp_path: Path) -> None:
    names = [f"c{n}" for n in range(600)]
    path = make(
        tmp_path / "a.db",
        f"CREATE TABLE t ({', '.join(names)})",
        {"t": [tuple((n + i) % 3 and f"v{n}.{i}" for n in range(600)) for i in range(50)]},
    )
    _, rows, facts = read_all(path)
    assert len(rows) == 50
    assert facts.rows == 50
    assert len(facts.columns) == 600


def test_long_rows_come_in_smaller_batches() -> None:
    table = Table("t", (), rows=1000, bytes=1000 * 10_000_000)
    assert batch_rows(table, 1) == 3
    assert batch_rows(Table("t", (), rows=10**6, bytes=3 * 10**8), 13) == BATCH_ROWS
    assert batch_rows(Table("t", ()), 1) == BATCH_ROWS
    assert batch_rows(Table("t", (), rows=1, bytes=10**9), 1) == 1


def test_a_batch_of_one_row_each_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migration_assets.sources.sqlite.read.BATCH_ROWS", 1)
    path = make(tmp_path / "a.db", "CREATE TABLE t (a)", {"t": [(n,) for n in range(5)]})
    _, rows, _ = read_all(path)
    assert rows == [(n,) for n in range(5)]


ODD = ['a"b', "a'b", "a b", "select", "ünï ☃", "[x]", "`y`", "%s {} \\", "1", "a;--", "Order"]


def test_names_of_any_characters_are_read(tmp_path: Path) -> None:
    columns = ", ".join('"' + name.replace('"', '""') + '" INTEGER' for name in ODD)
    script = "".join(
        f'CREATE TABLE "{name.replace(chr(34), chr(34) * 2)}" ({columns});' for name in ODD
    )
    path = make(tmp_path / "a.db", script, {name: [tuple(range(len(ODD)))] for name in ODD})
    reader = snapshot(path)
    catalog = reader.catalog()
    assert [table.name for table in catalog.tables] == ODD
    for table in catalog.tables:
        assert [column.name for column in table.columns] == ODD
        assert read_table(reader, table) == [tuple(range(len(ODD)))]
        assert reader.facts(table).rows == 1
    reader.close()


def test_a_missing_collation_does_not_stop_the_reading(tmp_path: Path) -> None:
    def prepare(connection: sqlite3.Connection) -> None:
        connection.create_collation("german", lambda a, b: (a > b) - (a < b))

    path = make(
        tmp_path / "a.db",
        "CREATE TABLE p (k TEXT COLLATE german PRIMARY KEY, n INT COLLATE german UNIQUE);"
        "CREATE TABLE c (k TEXT COLLATE german REFERENCES p, n INT COLLATE german REFERENCES p(n));"
        "CREATE INDEX ck ON c (k);",
        {"p": [("ä", 1), ("b", 2)], "c": [("ä", 1), ("x", 3)]},
        prepare,
    )
    reader = snapshot(path)
    p, c = reader.catalog().tables
    assert len(read_table(reader, p)) == 2
    assert reader.facts(p).columns["n"][Lane.INT].maximum == "2"
    assert reader.orphans(c) == {0: 1, 1: 1}
    reader.close()


def test_a_generated_column_is_read_and_one_of_a_missing_function_is_reported(
    tmp_path: Path,
) -> None:
    def prepare(connection: sqlite3.Connection) -> None:
        connection.create_function("mine", 1, lambda value: value, deterministic=True)

    path = make(
        tmp_path / "a.db",
        "CREATE TABLE t (a INT, b INT AS (a * 2), c AS (mine(a)), d INT AS (a + 1) STORED);"
        "INSERT INTO t (a) VALUES (1), (2);",
        prepare=prepare,
    )
    reader = snapshot(path)
    catalog = reader.catalog()
    assert read_table(reader, catalog.tables[0]) == [(1, 2, 2), (2, 4, 3)]
    (skipped,) = catalog.skipped
    assert (skipped.kind, skipped.name, skipped.table) == ("generated column", "c", "t")
    assert "mine" in skipped.reason
    reader.close()


def test_mixed_classes_have_facts_per_lane(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.db",
        "CREATE TABLE t (a, n NUMERIC)",
        {"t": [(1, 1), (2.5, 2.5), ("x\0yz", -3), (b"ab", None), (-0.0, 1e20), (None, "x")]},
    )
    _, _, facts = read_all(path)
    assert facts.columns["a"] == {
        Lane.INT: lane(1, sum_low=1, sum_high=0, minimum="1", maximum="1"),
        Lane.REAL: lane(2, minimum="0.0", maximum="2.5"),
        Lane.TEXT: lane(1, bytes=4),
        Lane.BLOB: lane(1, bytes=2),
    }
    assert facts.columns["n"] == {
        Lane.INT: lane(2, sum_low=1 + 0xFFFFFFFD, sum_high=-1, minimum="-3", maximum="1"),
        Lane.REAL: lane(2, minimum="2.5", maximum="1e+20"),
        Lane.TEXT: lane(1, bytes=1),
    }


def test_sums_of_large_integers_are_exact(tmp_path: Path) -> None:
    values = [2**62 + n for n in range(100)] + [-(2**62) - n for n in range(50)]
    path = make(
        tmp_path / "a.db",
        "CREATE TABLE t (a INTEGER, b INTEGER)",
        {"t": [(v, 2**32 - 1) for v in values]},
    )
    _, _, facts = read_all(path)
    fact = facts.columns["a"][Lane.INT]
    assert fact.sum_low == sum(v & 0xFFFFFFFF for v in values)
    assert fact.sum_high == sum(v >> 32 for v in values)
    assert facts.columns["b"][Lane.INT].sum_low == 150 * (2**32 - 1)


@pytest.mark.parametrize(
    ("declared", "ids", "expected"),
    [
        ("INTEGER PRIMARY KEY", [], 1),
        ("INTEGER PRIMARY KEY", [5, 9], 10),
        ("INTEGER PRIMARY KEY", [-9, -5], 1),
        ("INTEGER PRIMARY KEY", [0], 1),
        ("INTEGER PRIMARY KEY", [2**63 - 1], 2**63),
        ("INTEGER PRIMARY KEY AUTOINCREMENT", [], 1),
        ("INTEGER PRIMARY KEY AUTOINCREMENT", [5], 6),
        ("INT PRIMARY KEY", [5], None),
        ("INTEGER", [5], None),
    ],
)
def test_the_next_number_is_the_one_sqlite_would_take(
    tmp_path: Path, declared: str, ids: list[int], expected: int | None
) -> None:
    rows = {"t": [(n, "") for n in ids]} if ids else None
    path = make(tmp_path / "a.db", f"CREATE TABLE t (id {declared}, x)", rows)
    reader = snapshot(path)
    assert reader.next_value(reader.catalog().tables[0]) == expected
    reader.close()


def test_the_next_number_of_autoincrement_counts_deleted_rows(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO t VALUES (41), (42);"
        "DELETE FROM t;",
    )
    reader = snapshot(path)
    assert reader.next_value(reader.catalog().tables[0]) == 43
    reader.close()


def test_orphans_are_counted_per_foreign_key(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.db",
        "CREATE TABLE p (id INTEGER PRIMARY KEY, code TEXT COLLATE NOCASE UNIQUE, x INT, y INT);"
        "CREATE TABLE c (p INT REFERENCES p, code TEXT REFERENCES p(code), x INT, y INT,"
        " FOREIGN KEY (x, y) REFERENCES p (x, y));",
        {
            "p": [(1, "one", 1, 1), (2, "Two", 1, None), (3, None, None, 7)],
            "c": [
                (1, "one", 1, 1),
                (9, "two", 1, None),
                (None, None, None, 99),
                (8, "three", 7, 7),
            ],
        },
    )
    reader = snapshot(path)
    _, c = reader.catalog().tables
    assert [key.columns for key in c.foreign_keys] == [("p",), ("code",), ("x", "y")]
    assert reader.orphans(c) == {0: 2, 1: 2, 2: 1}
    reader.close()


def test_a_reading_that_is_given_up_leaves_the_snapshot_usable(tmp_path: Path) -> None:
    path = make(tmp_path / "a.db", "CREATE TABLE t (a)", {"t": [(n,) for n in range(10)]})
    reader = snapshot(path)
    (table,) = reader.catalog().tables
    for _ in range(3):
        reading = reader.read(table, reader.expected_lanes(table))
        next(reading)
        reading.close()
    assert len(read_table(reader, table)) == 10
    reader.close()


def test_many_threads_read_one_snapshot(tmp_path: Path) -> None:
    path = make(tmp_path / "a.db", "CREATE TABLE t (a)", {"t": [(n,) for n in range(1000)]})
    reader = snapshot(path)
    (table,) = reader.catalog().tables
    found: list[int] = []

    def work() -> None:
        for _ in range(5):
            found.append(len(read_table(reader, table)) + reader.facts(table).rows)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [2000] * 30
    reader.close()


def test_a_table_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = make(tmp_path / "a.db", "CREATE TABLE t (a)", {"t": [(1,)]})
    reader = snapshot(path)
    (table,) = reader.catalog().tables
    gone = Table("gone", table.columns)
    for ask in (
        lambda: list(reader.read(gone, {"a": (Lane.INT,)})),
        lambda: reader.facts(gone),
    ):
        with pytest.raises(InputError, match='table "gone"') as caught:
            ask()
        assert "\n" not in str(caught.value)
    reader.close()


def test_orphans_among_numbers_and_texts_are_counted_as_texts(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.db",
        "CREATE TABLE p (code TEXT PRIMARY KEY, n NUMERIC UNIQUE);"
        "CREATE TABLE c (code INTEGER REFERENCES p, n BLOB REFERENCES p (n));",
        {"p": [("000", 1), ("7", "x")], "c": [(0, 1), (7, "1"), (None, "01"), (8, "x")]},
    )
    reader = snapshot(path)
    _, c = reader.catalog().tables
    assert reader.orphans(c) == {0: 2, 1: 1}  # 0 is not 000, and 01 not 1
    reader.close()


def test_values_that_a_strict_table_would_refuse_are_read_and_no_damage(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.db",
        "CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('x'); PRAGMA writable_schema = ON;"
        "UPDATE sqlite_schema SET sql = 'CREATE TABLE t (a INTEGER) STRICT';",
    )
    reader = snapshot(path)
    [table] = reader.catalog().tables
    assert read_table(reader, table) == [(b"x",)]
    assert reader.facts(table).rows == 1
    reader.close()
