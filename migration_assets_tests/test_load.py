"""The load: every type arrives as it is, errors leave nothing and name table, row and column."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg2 import sql

from migration_assets.core.plan import TablePlan
from migration_assets.core.results import LoadResult
from migration_assets.errors import BrokenOffError, InputError, NotProvenError
from migration_assets.load import RowRefusedError, load_table, prepare
from migration_assets.postgres import checkpoint
from migration_assets.postgres.connect import Target, connect
from migration_assets.progress import Progress
from migration_assets.verify.content import compare_table
from migration_assets_tests.conftest import Server
from migration_assets_tests.postgres_tables import ask, column, load_all, parquet, table

SMALL = table(
    "t", column("id", "bigint"), column("v", "varchar", 5), primary_key=("id",), key=("id",)
)


EVERY_TYPE = {
    ("boolean",): [(True, "true"), (False, "false")],
    ("smallint",): [(-(2**15), "-32768"), (2**15 - 1, "32767")],
    ("integer",): [(-(2**31), "-2147483648"), (2**31 - 1, "2147483647")],
    ("bigint",): [(-(2**63), "-9223372036854775808"), (2**63 - 1, "9223372036854775807")],
    ("double precision",): [(0.1 + 0.2, "0.30000000000000004"), (float("-inf"), "-Infinity")],
    ("real",): [(1.5, "1.5"), (-0.0, "-0")],
    ("text",): [("", ""), ("é 😀 trailing  ", "é 😀 trailing  ")],
    ("varchar", 5): [("ab  ", "ab  "), ("ééééé", "ééééé")],
    ("bytea",): [(b"", "\\x"), (b"\x00\xff", "\\x00ff")],
    ("uuid",): [(uuid.UUID(int=n).bytes, str(uuid.UUID(int=n))) for n in (1, 2**128 - 1)],
    ("json",): [('{"b": 1,  "a": 1e2}', '{"b": 1,  "a": 1e2}'), ("[]", "[]")],
    ("jsonb",): [('{"b": 1,  "a": 1.10}', '{"a": 1.10, "b": 1}'), ("null", "null")],
    ("date",): [(dt.date(1, 1, 1), "0001-01-01"), (dt.date(9999, 12, 31), "9999-12-31")],
    ("time",): [(dt.time(0, 0), "00:00:00"), (dt.time(23, 59, 59, 999999), "23:59:59.999999")],
    ("timestamp",): [
        (dt.datetime(1, 1, 1), "0001-01-01 00:00:00"),
        (dt.datetime(9999, 12, 31, 23, 59, 59, 999999), "9999-12-31 23:59:59.999999"),
    ],
    ("timestamptz",): [
        (dt.datetime(1969, 12, 31, 23, tzinfo=dt.UTC), "1969-12-31 23:00:00+00"),
        (dt.datetime(2020, 1, 1, tzinfo=dt.UTC), "2020-01-01 00:00:00+00"),
    ],
    ("numeric", 38, 2): [
        (Decimal("-0.01"), "-0.01"),
        (Decimal("9" * 36 + ".99"), "9" * 36 + ".99"),
    ],
    ("numeric",): [(n, n) for n in ("123456789012345678901234567890123456789012345.000", "NaN")],
    ("numeric", 60, 30): [
        ("1.5", "1.5" + "0" * 29),
        ("-" + "7" * 30 + "." + "3" * 30, "-" + "7" * 30 + "." + "3" * 30),
    ],
}


def test_every_type_arrives_as_it_is(pg_url: str, schema: str, tmp_path: Path) -> None:
    plan = table("all types", *(column(f"c.{i} %s", *kind) for i, kind in enumerate(EVERY_TYPE)))
    lanes = [[*(value for value, _ in cells), None] for cells in EVERY_TYPE.values()]
    _, incoming = load_all(pg_url, schema, tmp_path, {plan: lanes})
    for planned, cells in zip(plan.columns, EVERY_TYPE.values(), strict=True):
        question = sql.SQL("SELECT {}::text FROM {}").format(
            sql.Identifier(planned.name), sql.Identifier(incoming, plan.name)
        )
        assert ask(pg_url, question) == [*(text for _, text in cells), None], planned.type.sql


def test_many_batches_and_row_groups_arrive_whole_and_in_order(
    pg_url: str, schema: str, tmp_path: Path
) -> None:
    numbers = range(100_003)
    lanes = [numbers, [None if i % 3 else f"v{i}"[:5] for i in numbers]]
    target = Target(pg_url, schema)
    prepare(target, f"{schema}__in", "r", "shop")
    progress = Progress()
    with parquet(tmp_path, SMALL, *lanes, group=30_000) as file:
        result = load_table(target, f"{schema}__in", SMALL, file, progress)
    assert (result.rows, result.slug) == (100_003, "t") and result.bytes > 1_000_000
    seen = ask(pg_url, f'SELECT id FROM "{schema}__in".t')
    assert seen == list(numbers)
    assert ask(pg_url, f'SELECT count(v) FROM "{schema}__in".t') == [100_003 // 3 + 1]


class BreakingOff(Progress):
    """Ends a load after so many rows."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.left = rows
        self.first: int | None = None

    @contextmanager
    def task(
        self, stage: str, table: str, total: int | None = None
    ) -> Iterator[Callable[[int], None]]:
        def advance(rows: int) -> None:
            self.first = rows if self.first is None else self.first
            self.left -= rows
            if self.left < 0:
                raise BrokenOffError("killed")

        yield advance


def test_large_table_goes_on_after_the_rows_that_were_committed(
    pg_url: str, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "PIECE_BYTES", 1)
    lanes = [range(95), ["x"] * 95]
    target, incoming = Target(pg_url, schema), f"{schema}__in"
    prepare(target, incoming, "r", "shop")

    def attempt(progress: Progress, digest: str = "d1", plan: TablePlan = SMALL) -> LoadResult:
        with parquet(tmp_path, plan, *lanes, group=10) as file:
            return load_table(target, incoming, plan, file, progress, digest=digest)

    def broken_off(rows: int, digest: str = "d1", plan: TablePlan = SMALL) -> int | None:
        progress = BreakingOff(rows)
        with pytest.raises(BrokenOffError):
            attempt(progress, digest, plan)
        return progress.first

    def there() -> list[int]:
        return ask(pg_url, f'SELECT id FROM "{incoming}".t')

    broken_off(35)
    assert there() == list(range(30))
    # Another file, or a table of another shape, is loaded from its beginning.
    broken_off(25, "d2")
    assert there() == list(range(20))
    wider = replace(SMALL, columns=(*SMALL.columns[:1], column("v", "text")))
    broken_off(45, "d2", wider)
    assert there() == list(range(40))
    assert broken_off(75, "d2", wider) == 40
    assert there() == list(range(70))
    progress = BreakingOff(1000)
    assert attempt(progress, "d2", wider).rows == 95
    assert progress.first == 70
    assert there() == list(range(95))
    note = ask(
        pg_url,
        "SELECT obj_description(oid, 'pg_class'), reloptions::text FROM pg_class"
        " WHERE oid = %s::regclass",
        f'"{incoming}".t',
    )
    assert note == [(None, None)]
    with parquet(tmp_path, wider, *lanes, group=10) as file:
        assert compare_table(target, incoming, wider, file, Progress()).identical == 95
    # A row that is refused is named by its place in the whole table.
    lanes[1] = ["x"] * 84 + ["toolong"] + ["x"] * 10
    with pytest.raises(RowRefusedError, match="row with id = 84, column v") as caught:
        attempt(Progress(), "d3")
    assert caught.value.line == 85


def test_rows_are_frozen(pg_url: str, schema: str, tmp_path: Path) -> None:
    _, incoming = load_all(pg_url, schema, tmp_path, {SMALL: [[1, 2], ["a", "b"]]})
    frozen = ask(
        pg_url,
        "SELECT relallvisible = relpages OR relpages = 0 FROM pg_class WHERE oid = %s::regclass",
        f'"{incoming}".t',
    )
    assert frozen == [True]


def test_empty_table_identity_default_and_generated_column_are_made(
    pg_url: str, schema: str, tmp_path: Path
) -> None:
    plan = table(
        'odd "name"',
        column("id", "bigint", nullable=False, identity=True),
        column("price", "numeric", 10, 2, default="0.5"),
        column("at", "timestamptz", default="CURRENT_TIMESTAMP"),
        column("twice", "numeric", generated='"price" * 2'),
    )
    _, incoming = load_all(pg_url, schema, tmp_path, {plan: [[], [], [], []]})
    name = f'"{incoming}"."odd ""name"""'
    assert ask(
        pg_url, f"INSERT INTO {name} DEFAULT VALUES RETURNING id, price, twice, at IS NOT NULL"
    ) == [(1, Decimal("0.50"), Decimal("1.00"), True)]


def test_a_value_postgresql_refuses_names_table_row_and_column_and_leaves_nothing(
    pg_url: str, schema: str, tmp_path: Path
) -> None:
    lanes = [range(10, 60_010), ["abcde"] * 55_000 + ["toolong"] + ["x"] * 4_999]
    with pytest.raises(NotProvenError) as caught:
        load_all(pg_url, schema, tmp_path, {SMALL: lanes})
    assert str(caught.value) == (
        'table "t", row with id = 55010, column v: value too long for type character varying(5)'
    )
    assert ask(pg_url, "SELECT to_regclass(%s)", f'"{schema}__in_run00001".t') == [None]
    assert [t for t in threading.enumerate() if t.name.startswith("encode")] == []


def test_a_null_in_a_not_null_column_is_named(pg_url: str, schema: str, tmp_path: Path) -> None:
    plan = table("n", column("a", "integer", nullable=False))
    with pytest.raises(NotProvenError, match=r'table "n", row 2, column a: null value'):
        load_all(pg_url, schema, tmp_path, {plan: [[1, None]]})


def test_parquet_that_does_not_fit_the_plan_is_not_sent(
    pg_url: str, schema: str, tmp_path: Path
) -> None:
    target = Target(pg_url, schema)
    prepare(target, f"{schema}__in", "r", "shop")
    path = tmp_path / "x.parquet"
    for content, said in (
        (
            {"id": pa.array([1], pa.int32()), "v": ["a"]},
            'table "t": column "id": Parquet holds int32',
        ),
        ({"v": ["a"], "id": [1]}, 'table "t": Parquet holds columns'),
    ):
        pq.write_table(pa.table(content), path)
        with pytest.raises(NotProvenError, match=said):
            load_table(target, f"{schema}__in", SMALL, pq.ParquetFile(path), Progress())


def test_a_broken_parquet_file_breaks_the_load_off(
    pg_url: str, schema: str, tmp_path: Path
) -> None:
    target = Target(pg_url, schema)
    prepare(target, f"{schema}__in", "r", "shop")
    file = parquet(tmp_path, SMALL, range(50_000), ["abc"] * 50_000)
    data = bytearray((tmp_path / "t.parquet").read_bytes())
    data[1000:9000] = b"\x00" * 8000
    (tmp_path / "t.parquet").write_bytes(data)
    with pytest.raises(BrokenOffError, match='table "t": its Parquet file can not be read'):
        load_table(
            target, f"{schema}__in", SMALL, pq.ParquetFile(tmp_path / "t.parquet"), Progress()
        )
    file.close()


def test_a_table_loaded_again_is_replaced(pg_url: str, schema: str, tmp_path: Path) -> None:
    load_all(pg_url, schema, tmp_path, {SMALL: [[1, 2], ["a", "b"]]})
    _, incoming = load_all(pg_url, schema, tmp_path, {SMALL: [[3], ["c"]]})
    assert ask(pg_url, f'SELECT * FROM "{incoming}".t') == [(3, "c")]


def test_a_given_connection_serves_many_tables_and_outlives_a_refusal(
    pg_url: str, schema: str, tmp_path: Path
) -> None:
    target, connection = Target(pg_url, schema), connect(pg_url)
    prepare(target, f"{schema}__in", "r", "shop")
    for name, value, fits in (("a", "x", True), ("b", "too long", False), ("c", "y", True)):
        plan = table(name, column("id", "bigint"), column("v", "varchar", 5))
        with parquet(tmp_path, plan, [1], [value]) as file:
            if fits:
                load_table(target, f"{schema}__in", plan, file, Progress(), connection)
            else:
                with pytest.raises(NotProvenError):
                    load_table(target, f"{schema}__in", plan, file, Progress(), connection)
    connection.close()
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1"
    assert ask(pg_url, tables, f"{schema}__in") == ["a", "c"]


def test_target_lost_during_the_copy_breaks_off(pg_server: Server, tmp_path: Path) -> None:
    target = Target(pg_server.url, "s")
    prepare(target, "s__in", "r", "shop")
    file = parquet(tmp_path, SMALL, range(400_000), ["abc"] * 400_000)

    class Stopping(Progress):
        def task(self, *arguments):  # type: ignore[no-untyped-def]
            from contextlib import contextmanager

            @contextmanager
            def shown():  # type: ignore[no-untyped-def]
                yield lambda rows: pg_server.stop()

            return shown()

    with pytest.raises(BrokenOffError, match='load of table "t" broke off'):
        load_table(target, "s__in", SMALL, file, Stopping())


def test_leftovers_of_finished_runs_are_dropped_and_those_of_running_ones_stay(
    database: str, tmp_path: Path
) -> None:
    for run in ("finished", "running_", "old_____"):
        load_all(database, "s", tmp_path, {SMALL: [[1], ["a"]]}, run)
    ask(database, "UPDATE migration_assets.runs SET finished_at = now() WHERE run_id = 'finished'")
    ask(
        database,
        "UPDATE migration_assets.runs SET started_at = now() - interval '2 days' WHERE run_id = "
        "'old_____'",
    )
    prepare(Target(database, "other"), "other__in", "another1", "another")
    prepare(Target(database, "s"), "s__in_new", "new", "shop")
    assert ask(
        database, "SELECT nspname FROM pg_namespace WHERE nspname LIKE '%%\\_\\_in%%' ORDER BY 1"
    ) == [
        "other__in",
        "s__in_new",
        "s__in_running_",
    ]


def test_an_incoming_schema_of_others_is_not_touched(database: str) -> None:
    ask(database, "CREATE SCHEMA s__in")
    with pytest.raises(InputError, match="not of this run"):
        prepare(Target(database, "s"), "s__in", "r", "shop")
