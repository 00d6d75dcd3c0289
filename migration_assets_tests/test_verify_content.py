"""Every planted difference between Parquet and PostgreSQL is found, and nothing else is."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg2 import sql

from migration_assets.core.plan import ColumnPlan, Conversion, TablePlan
from migration_assets.core.results import ContentResult
from migration_assets.core.types import PgType
from migration_assets.postgres import connect
from migration_assets.postgres.connect import Target
from migration_assets.progress import Progress
from migration_assets.verify import content, multiset, readback

TYPES = {
    "id": PgType("bigint"),
    "Mixed Case": PgType("text"),
    "a.b": PgType("varchar", (20,)),
    "number": PgType("integer"),
    "small": PgType("smallint"),
    "price": PgType("double precision"),
    "ratio": PgType("real"),
    "amount": PgType("numeric", (12, 2)),
    "wide": PgType("numeric"),
    "open": PgType("boolean"),
    "day": PgType("date"),
    "clock": PgType("time"),
    "at": PgType("timestamp"),
    "at_zone": PgType("timestamptz"),
    "ref": PgType("uuid"),
    "raw": PgType("bytea"),
    "plain": PgType("json"),
    "doc": PgType("jsonb"),
}

UTC = dt.UTC
MOMENT = dt.datetime(2024, 2, 29, 12, 30, 15, 123456)


def row(number: int) -> dict[str, Any]:
    if number % 7 == 3:
        return {"id": number, "Mixed Case": "", "open": True}
    return {
        "id": number,
        "Mixed Case": f"text {number}",
        "a.b": "ünïcode 'q' \\",
        "number": -number,
        "small": number % 100,
        "price": 0.1 * number,
        "ratio": 0.5 * number,
        "amount": Decimal(number) / 4,
        "wide": f"{number}.{'1' * 50}",
        "open": number % 2 == 0,
        "day": dt.date(2024, 1, 1) + dt.timedelta(days=number),
        "clock": dt.time(23, 59, 59, number),
        "at": MOMENT + dt.timedelta(microseconds=number),
        "at_zone": (MOMENT + dt.timedelta(hours=number)).replace(tzinfo=UTC),
        "ref": uuid.UUID(int=number).bytes,
        "raw": bytes([number % 256, 0, 255]),
        "plain": f'{{"b":  1, "a": {number}}}',
        "doc": f'{{"b":  1.50, "a": [{number}, null, "\\u00e9"]}}',
    }


ROWS = [row(number) for number in range(1, 41)]


class Loaded:
    """A table in PostgreSQL beside the Parquet file that it was filled from, by plain SQL."""

    def __init__(self, url: str, schema: str, folder: Path, rows: list[dict[str, Any]]) -> None:
        self.target = Target(url, schema)
        self.schema = schema
        self.plan = table_plan()
        self._path = folder / "items.parquet"
        arrow = pa.schema([(name, kind.arrow) for name, kind in TYPES.items()])
        with pq.ParquetWriter(self._path, arrow) as writer:
            for start in range(0, len(rows), 16):
                table = pa.Table.from_pylist(
                    [{name: r.get(name) for name in TYPES} for r in rows[start : start + 16]],
                    schema=arrow,
                )
                writer.write_table(table)
        self.sql("CREATE SCHEMA {schema}")
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind.sql))
            for name, kind in TYPES.items()
        )
        self.sql("CREATE TABLE {table} ({columns})", columns=columns)
        for values in rows:
            self.insert(values)

    def insert(self, values: dict[str, Any]) -> None:
        marks = sql.SQL(", ").join(
            sql.SQL("%s::{}").format(sql.SQL(kind.sql)) for kind in TYPES.values()
        )
        self.sql(
            "INSERT INTO {table} VALUES ({marks})", *map(_plain, _in_order(values)), marks=marks
        )

    def sql(self, statement: str, *values: Any, **parts: sql.Composable) -> None:
        connection = psycopg2.connect(self.target.url)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SET TimeZone = 'UTC'")
                composed = sql.SQL(statement).format(
                    schema=sql.Identifier(self.schema),
                    table=sql.Identifier(self.schema, "Items"),
                    **parts,
                )
                cursor.execute(composed, values or None)
        finally:
            connection.close()

    def compare(self, plan: TablePlan | None = None) -> ContentResult:
        with pq.ParquetFile(self._path) as parquet:
            return content.compare_table(
                self.target,
                self.schema,
                plan or self.plan,
                parquet,
                Progress(),
                again=lambda: pq.ParquetFile(self._path),
            )


def _in_order(values: dict[str, Any]) -> list[Any]:
    return [values.get(name) for name in TYPES]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes) and len(value) == 16:
        return str(uuid.UUID(bytes=value))
    return value


def table_plan(key: tuple[str, ...] = ("id",)) -> TablePlan:
    columns = tuple(
        ColumnPlan(name, name, "", kind, Conversion.TEXT) for name, kind in TYPES.items()
    )
    return TablePlan("items", "Items", "items", columns, key, None, key)


@pytest.fixture
def loaded(pg_url: str, schema: str, tmp_path: Path) -> Loaded:
    return Loaded(pg_url, schema, tmp_path, ROWS)


@pytest.fixture
def load(pg_url: str, schema: str, tmp_path: Path) -> Callable[[list[dict[str, Any]]], Loaded]:
    return lambda rows: Loaded(pg_url, schema, tmp_path, rows)


def test_equal_tables_pass_with_every_type(loaded: Loaded) -> None:
    result = loaded.compare()
    assert result.passed, result.differences
    assert (result.rows_expected, result.rows_found, result.identical) == (40, 40, 40)
    assert result.columns == tuple(TYPES)


def test_an_empty_table_equals_an_empty_parquet(load: Callable[..., Loaded]) -> None:
    result = load([]).compare()
    assert result.passed
    assert result.rows_found == 0


@pytest.mark.parametrize(
    ("column", "change", "expected", "found"),
    [
        ("number", "-6", "-5", "-6"),
        ("small", "NULL", "5", None),
        ("Mixed Case", "'text 5 '", "text 5", "text 5 "),
        ("Mixed Case", "'Text 5'", "text 5", "Text 5"),
        ("a.b", "''", "ünïcode 'q' \\", ""),
        ("price", "0.50000000000000011", "0.5", "0.5000000000000001"),
        ("price", "'NaN'", "0.5", "NaN"),
        ("ratio", "2.5000002", "2.5", "2.5000002"),
        ("amount", "1.26", "1.25", "1.26"),
        ("amount", "'NaN'", "1.25", "nan"),
        ("wide", f"5.{'1' * 49}2", f"5.{'1' * 50}", f"5.{'1' * 49}2"),
        ("open", "true", "false", "true"),
        ("day", "'2024-01-07'", "2024-01-06", "2024-01-07"),
        ("clock", "'23:59:59.000006'", "23:59:59.000005", "23:59:59.000006"),
        (
            "at",
            "'2024-02-29 12:30:15.123462'",
            "2024-02-29 12:30:15.123461",
            "2024-02-29 12:30:15.123462",
        ),
        ("ref", f"'{uuid.UUID(int=6)}'", str(uuid.UUID(int=5)), str(uuid.UUID(int=6))),
        ("raw", "'\\x0500fe'", "0500ff", "0500fe"),
        ("plain", '\'{"b":  1, "a": 6}\'', '{"b":  1, "a": 5}', '{"b":  1, "a": 6}'),
    ],
)
def test_one_changed_cell_is_found_with_key_column_and_both_values(
    loaded: Loaded, column: str, change: str, expected: str, found: str | None
) -> None:
    loaded.sql(
        "UPDATE {table} SET {column} = {change} WHERE id = 5",
        column=sql.Identifier(column),
        change=sql.SQL(change),
    )
    result = loaded.compare()
    assert (result.changed, result.missing, result.extra, result.identical) == (1, 0, 0, 39)
    (difference,) = result.differences
    assert difference.kind == "changed"
    assert json.loads(difference.key) == [5]
    assert difference.column == column
    assert (difference.expected, difference.found) == (expected, found)


def test_a_moment_one_microsecond_off_is_found(loaded: Loaded) -> None:
    loaded.sql("UPDATE {table} SET at_zone = at_zone + interval '1 microsecond' WHERE id = 5")
    (difference,) = loaded.compare().differences
    assert difference.column == "at_zone"


def test_an_infinite_moment_is_found(loaded: Loaded) -> None:
    loaded.sql("UPDATE {table} SET at_zone = 'infinity', day = '-infinity' WHERE id = 5")
    assert {d.column for d in loaded.compare().differences} == {"at_zone", "day"}


def test_a_jsonb_number_that_changed_is_found(loaded: Loaded) -> None:
    loaded.sql("UPDATE {table} SET doc = jsonb_set(doc, '{{b}}', '1.51') WHERE id = 5")
    result = loaded.compare()
    assert (result.changed, result.identical) == (1, 39)
    (difference,) = result.differences
    assert (difference.key, difference.column) == ("[5]", "doc")


def test_sql_null_and_json_null_differ(loaded: Loaded) -> None:
    loaded.sql("UPDATE {table} SET doc = 'null' WHERE id = 3")
    (difference,) = loaded.compare().differences
    assert (difference.key, difference.expected, difference.found) == ("[3]", None, "null")


def test_json_key_order_and_number_form_are_no_difference(loaded: Loaded) -> None:
    loaded.sql("""UPDATE {table} SET doc = '{{"a": [5, null, "é"], "b": 15e-1}}' WHERE id = 5""")
    result = loaded.compare()
    assert result.passed, result.differences


def test_a_number_of_another_scale_is_no_difference(loaded: Loaded) -> None:
    loaded.sql("UPDATE {table} SET wide = wide * 1.000 WHERE id = 5")
    assert loaded.compare().passed


def test_minus_zero_is_not_zero_and_nan_is_nan(load: Callable[..., Loaded]) -> None:
    loaded = load([{"id": 1, "price": 0.0}, {"id": 2, "price": float("nan")}])
    assert loaded.compare().passed
    loaded.sql("UPDATE {table} SET price = '-0' WHERE id = 1")
    (difference,) = loaded.compare().differences
    assert (difference.key, difference.expected, difference.found) == ("[1]", "0.0", "-0.0")


def test_null_and_empty_text_differ(loaded: Loaded) -> None:
    loaded.sql('UPDATE {table} SET "Mixed Case" = NULL WHERE id = 3')
    (difference,) = loaded.compare().differences
    assert (difference.expected, difference.found) == ("", None)


def test_a_deleted_row_is_missing_by_its_key(loaded: Loaded) -> None:
    loaded.sql("DELETE FROM {table} WHERE id = 7")
    result = loaded.compare()
    assert (result.missing, result.extra, result.changed, result.identical) == (1, 0, 0, 39)
    assert [(d.kind, d.key) for d in result.differences] == [("missing", "[7]")]


def test_a_duplicated_row_is_extra_by_its_key(loaded: Loaded) -> None:
    loaded.sql("INSERT INTO {table} SELECT * FROM {table} WHERE id = 7")
    result = loaded.compare()
    assert (result.missing, result.extra, result.changed, result.identical) == (0, 1, 0, 40)
    assert [(d.kind, d.key) for d in result.differences] == [("extra", "[7]")]


def test_rows_in_another_order_are_no_difference(loaded: Loaded) -> None:
    loaded.sql(
        "CREATE TEMP TABLE kept AS SELECT * FROM {table}; TRUNCATE {table};"
        " INSERT INTO {table} SELECT * FROM kept ORDER BY md5(id::text)"
    )
    result = loaded.compare()
    assert result.passed, result.differences
    assert result.identical == 40


def test_faults_of_every_kind_are_told_apart_among_moved_rows(loaded: Loaded) -> None:
    loaded.sql("UPDATE {table} SET number = 0, doc = '[]' WHERE id = 2")  # moves to the end, too
    loaded.sql("DELETE FROM {table} WHERE id = 9")
    loaded.insert(row(99))
    result = loaded.compare()
    assert (result.missing, result.extra, result.changed, result.identical) == (1, 1, 1, 38)
    assert {(d.kind, d.key, d.column) for d in result.differences} == {
        ("missing", "[9]", None),
        ("extra", "[99]", None),
        ("changed", "[2]", "number"),
        ("changed", "[2]", "doc"),
    }


def test_halves_of_a_large_table_tell_the_same_faults(
    load: Callable[..., Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "HALVES_FROM", 1)
    monkeypatch.setattr(readback, "BATCH_ROWS", 5)  # the middle is inside a batch of a row group
    loaded = load([row(number) for number in range(1, 121)])
    with connect.adbc(loaded.target) as connection, readback.snapshot(connection):
        table = readback.find_table(connection, loaded.schema, "Items")
        assert table is not None
        halves = readback.halves(connection, table)
    assert halves is not None
    middle = halves[1].first
    assert 1 < middle < 119
    files: set[int] = set()
    batches = readback.parquet_batches

    def noted(parquet: pq.ParquetFile, groups: Any = None) -> Any:
        files.add(id(parquet))
        return batches(parquet, groups)

    monkeypatch.setattr(readback, "parquet_batches", noted)
    result = loaded.compare()
    assert len(files) == 2  # two threads can not read by the same one
    assert (result.passed, result.identical, result.rows_found) == (True, 120, 120)
    loaded.sql("UPDATE {table} SET number = 0 WHERE id = %s", middle)  # moves to the other half
    loaded.sql("DELETE FROM {table} WHERE id IN (1, %s)", middle + 1)
    loaded.insert(row(999))
    result = loaded.compare()
    assert (result.rows_expected, result.rows_found) == (120, 119)
    assert {(d.kind, d.key, d.column) for d in result.differences} == {
        ("missing", "[1]", None),
        ("missing", f"[{middle + 1}]", None),
        ("extra", "[999]", None),
        ("changed", f"[{middle}]", "number"),
    }
    assert result.identical == 117


def test_without_a_key_rows_are_told_by_number_and_duplicates_are_counted(
    load: Callable[..., Loaded],
) -> None:
    twice = [{"id": 1, "Mixed Case": "same"}] * 3 + [{"id": 2}, {"id": 3}]
    loaded = load(twice)
    keyless = table_plan(key=())
    assert loaded.compare(keyless).passed
    loaded.sql("INSERT INTO {table} (id, {c}) VALUES (1, 'same')", c=sql.Identifier("Mixed Case"))
    result = loaded.compare(keyless)
    assert (result.missing, result.extra, result.changed) == (0, 1, 0)
    loaded.sql("DELETE FROM {table} WHERE id = 1")
    result = loaded.compare(keyless)
    assert (result.missing, result.extra) == (3, 0)
    assert [d.key for d in result.differences] == ["[1]", "[2]", "[3]"]


def test_a_column_of_another_type_is_compared_by_value_not_by_crash(loaded: Loaded) -> None:
    loaded.sql("ALTER TABLE {table} ALTER amount TYPE numeric, ALTER number TYPE text")
    loaded.sql("UPDATE {table} SET amount = 1.255 WHERE id = 5")
    result = loaded.compare()
    values = sum(1 for r in ROWS if r.get("number") is not None)
    assert result.changed == values
    assert ("[5]", "amount", "1.25", "1.255") in {
        (d.key, d.column, d.expected, d.found) for d in result.differences
    }
    assert ("[1]", "number", "-1", "-1") in {
        (d.key, d.column, d.expected, d.found) for d in result.differences
    }


def test_a_jsonb_column_made_text_or_left_out_is_found(loaded: Loaded) -> None:
    loaded.sql("ALTER TABLE {table} ALTER doc TYPE text, DROP COLUMN small")
    result = loaded.compare()
    assert {d.column for d in result.differences} >= {"small"}
    assert not result.passed


def test_a_table_that_is_not_there_misses_all_rows(loaded: Loaded) -> None:
    loaded.sql("DROP TABLE {table}")
    result = loaded.compare()
    assert (result.missing, result.rows_found, result.identical) == (40, 0, 0)


def test_listed_differences_end_at_100_and_long_values_are_cut(
    load: Callable[..., Loaded],
) -> None:
    loaded = load([{"id": n, "Mixed Case": "x" * 5000} for n in range(300)])
    loaded.sql("UPDATE {table} SET {c} = repeat('y', 5000)", c=sql.Identifier("Mixed Case"))
    result = loaded.compare()
    assert (result.changed, len(result.differences)) == (300, 100)
    assert len(result.differences[0].expected or "") == 200


def test_the_order_is_free_in_bounded_memory_too(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiset, "IN_MEMORY", 10)
    monkeypatch.setattr(readback, "BATCH_ROWS", 7)
    loaded.sql("DELETE FROM {table} WHERE id IN (1, 9)")
    loaded.sql("UPDATE {table} SET price = price + 1 WHERE id = 20")
    result = loaded.compare()
    assert (result.missing, result.extra, result.changed, result.identical) == (2, 0, 1, 37)
    assert {d.key for d in result.differences} == {"[1]", "[9]", "[20]"}


def test_comparing_leaves_nothing_behind(loaded: Loaded) -> None:
    loaded.compare()
    connection = psycopg2.connect(loaded.target.url)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND relkind IN ('r', 'v')",
            (loaded.schema,),
        )
        assert cursor.fetchone() == (1,)
    connection.close()
