"""Great Expectations: derived suites, hostile names, planted faults, a worker that dies."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote as percent

import psutil
import psycopg2
import pytest
from psycopg2 import sql

from migration_assets.core.config import ExpectationConfig
from migration_assets.core.plan import ColumnPlan, Conversion, TablePlan
from migration_assets.core.profile import ColumnProfile, Lane, TableProfile
from migration_assets.core.results import ColumnFacts, Manifest, SuiteResult
from migration_assets.core.types import PgType
from migration_assets.errors import BrokenOffError, InputError, NotProvenError
from migration_assets.expectations.arguments import exact_number
from migration_assets.expectations.client import ExpectationsWorker
from migration_assets.expectations.suite import (
    Expectation,
    Suite,
    derive_suite,
    own_expectations,
)
from migration_assets.postgres.connect import Target

BIG = 9_007_199_254_740_993  # 2**53 + 1: no double holds it


@pytest.fixture(scope="module")
def worker() -> Iterator[ExpectationsWorker]:
    with ExpectationsWorker(run_timeout=120) as worker:
        yield worker


def column(name: str, type_: PgType, conversion: Conversion, nullable: bool = True) -> ColumnPlan:
    return ColumnPlan(name, name, type_.sql, type_, conversion, nullable=nullable)


def prices(name: str = "prices") -> TablePlan:
    return TablePlan(
        source=name,
        name=name,
        slug="prices",
        columns=(
            column("Id", PgType("bigint"), Conversion.INTEGER, nullable=False),
            column("price", PgType("numeric", (12, 2)), Conversion.DECIMAL),
            column("note", PgType("text"), Conversion.TEXT),
            column("ratio", PgType("double precision"), Conversion.DOUBLE),
        ),
    )


ROWS = [(1, "1.50", "é", 0.1), (2, None, "three", 0.2), (BIG, "7.00", None, 0.3)]


def facts() -> tuple[Manifest, TableProfile]:
    total = sum(row[0] for row in ROWS)
    manifest = Manifest(
        slug="prices",
        source="prices",
        target="prices",
        path="prices.parquet",
        rows=3,
        source_rows=3,
        facts={
            "Id": ColumnFacts(
                3, sum_low=total & 0xFFFFFFFF, sum_high=total >> 32, minimum="1", maximum=str(BIG)
            ),
            "price": ColumnFacts(2, minimum="1.5", maximum="7.0"),
            "note": ColumnFacts(2, bytes=7),
            "ratio": ColumnFacts(3, minimum="0.1", maximum="0.3"),
        },
    )
    profile = TableProfile(
        rows=3,
        columns={
            "Id": ColumnProfile(lanes={Lane.INT: 3}),
            "price": ColumnProfile(nulls=1, lanes={Lane.REAL: 2}),
            "note": ColumnProfile(nulls=1, lanes={Lane.TEXT: 2}, text_chars=5),
            "ratio": ColumnProfile(lanes={Lane.REAL: 3}),
        },
    )
    return manifest, profile


def load(url: str, schema: str, table: str = "prices") -> None:
    execute(
        url,
        sql.SQL(
            "CREATE SCHEMA {0}; CREATE TABLE {0}.{1} "
            '("Id" bigint, price numeric(12,2), note text, ratio double precision)'
        ).format(sql.Identifier(schema), sql.Identifier(table)),
    )
    for row in ROWS:
        execute(
            url,
            sql.SQL("INSERT INTO {}.{} VALUES (%s, %s, %s, %s)").format(
                sql.Identifier(schema), sql.Identifier(table)
            ),
            row,
        )


def execute(url: str, statement: sql.Composable, values: tuple[object, ...] | None = None) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
    connection.close()


def run(
    worker: ExpectationsWorker, url: str, schema: str, *extra: ExpectationConfig
) -> SuiteResult:
    suite = derive_suite(prices(), *facts(), extra)
    return worker.run(Target(url, schema), schema, prices(), suite)


def failed(result: SuiteResult) -> set[tuple[str, str | None]]:
    return {(r.expectation, r.column) for r in result.results if not r.passed}


def test_suite_holds_on_a_faithful_load(
    worker: ExpectationsWorker, pg_url: str, schema: str
) -> None:
    load(pg_url, schema)
    result = run(worker, pg_url, schema)
    assert failed(result) == set()
    assert {r.column for r in result.results} == {None, "Id", "price", "note", "ratio"}
    assert result.seconds > 0


def test_extreme_between_two_doubles_is_bracketed() -> None:
    largest = next(
        e.kwargs for e in derive_suite(prices(), *facts()).expectations if "max" in e.type
    )
    assert largest["min_value"] == BIG - 1
    assert largest["max_value"] == BIG + 1


def test_sum_beyond_doubles_is_exact(worker: ExpectationsWorker, pg_url: str, schema: str) -> None:
    load(pg_url, schema)
    sums = [r for r in run(worker, pg_url, schema).results if "sum" in r.expectation]
    assert [r.observed for r in sums] == [str(sum(row[0] for row in ROWS))]
    execute(
        pg_url,
        sql.SQL('UPDATE {}.prices SET "Id" = 3 WHERE "Id" = 2').format(sql.Identifier(schema)),
    )
    assert failed(run(worker, pg_url, schema)) == {("expect_column_sum_to_be_between", "Id")}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (
            "INSERT INTO {}.prices SELECT * FROM {}.prices",
            ("expect_table_row_count_to_equal", None),
        ),
        ('UPDATE {}.prices SET "Id" = NULL', ("expect_column_values_to_not_be_null", "Id")),
        (
            "UPDATE {}.prices SET price = NULL",
            ("expect_column_proportion_of_non_null_values_to_be_between", "price"),
        ),
        ("UPDATE {}.prices SET price = 700", ("expect_column_max_to_be_between", "price")),
        ("UPDATE {}.prices SET ratio = -ratio", ("expect_column_min_to_be_between", "ratio")),
        (
            "UPDATE {}.prices SET note = note || 'Ã©'",
            ("expect_column_value_lengths_to_be_between", "note"),
        ),
    ],
)
def test_planted_fault_fails_naming_the_column(
    worker: ExpectationsWorker,
    pg_url: str,
    schema: str,
    fault: str,
    expected: tuple[str, str | None],
) -> None:
    load(pg_url, schema)
    name = sql.Identifier(schema)
    execute(pg_url, sql.SQL(fault).format(*[name] * fault.count("{}")))
    result = run(worker, pg_url, schema)
    assert expected in failed(result)
    found = next(r for r in result.results if (r.expectation, r.column) == expected)
    assert found.observed
    assert found.error is None


HOSTILE = [
    "Name",
    "name",
    "two words",
    'quote " inside',
    "it's",
    "per%cent %s",
    "colon :x ::y",
    "dollar $HOME ${HOME}",
    "back\\slash",
    "brace {batch} {{x}}",
    "semi;-- /* comment",
    "c1",
    "é漢字",
]


def test_hostile_names_keep_their_true_names(
    worker: ExpectationsWorker, pg_url: str, schema: str
) -> None:
    schema_name = sql.Identifier(schema)
    execute(pg_url, sql.SQL("CREATE SCHEMA {}").format(schema_name))
    for table in (*HOSTILE, "Two", "two"):
        names = HOSTILE if table != "two" else [n.upper() for n in HOSTILE if n != "name"]
        columns = sql.SQL(", ").join(
            sql.SQL("{} bigint").format(sql.Identifier(name)) for name in names
        )
        values = sql.SQL(", ").join(sql.Literal(n) for n in range(len(names)))
        where = sql.SQL("{}.{}").format(schema_name, sql.Identifier(table))
        execute(pg_url, sql.SQL("CREATE TABLE {} ({})").format(where, columns))
        execute(pg_url, sql.SQL("INSERT INTO {} VALUES ({})").format(where, values))
        plan = TablePlan(
            table,
            table,
            "t",
            tuple(column(n, PgType("bigint"), Conversion.INTEGER, False) for n in names),
        )
        suite = Suite(
            "t",
            table,
            tuple(names),
            tuple(
                Expectation(
                    "expect_column_max_to_be_between",
                    name,
                    {"column": name, "min_value": n, "max_value": n + (n == 3) * -1},
                )
                for n, name in enumerate(names)
            ),
        )
        result = worker.run(Target(pg_url, schema), schema, plan, suite)
        assert [r.column for r in result.results] == names
        assert [r.observed for r in result.results] == [str(n) for n in range(len(names))]
        assert [r.column for r in result.results if not r.passed] == [names[3]]


def test_password_with_dollar_and_at_sign_connects(
    worker: ExpectationsWorker, pg_server: object, schema: str
) -> None:
    password = "p$HOME@${x}:/%?#'\\ "
    execute(
        pg_server.url,  # type: ignore[attr-defined]
        sql.SQL(
            "CREATE ROLE keeper LOGIN PASSWORD {}; GRANT CREATE ON DATABASE postgres TO keeper"
        ).format(sql.Literal(password)),
    )
    url = pg_server.tcp("keeper", percent(password, safe=""))  # type: ignore[attr-defined]
    load(url, schema)
    assert run(worker, url, schema).passed


def test_users_own_expectation_is_evaluated_under_its_true_name(
    worker: ExpectationsWorker, pg_url: str, schema: str
) -> None:
    load(pg_url, schema)
    own = [
        ExpectationConfig(
            type="expect_column_values_to_be_in_set", kwargs={"column": "note", "value_set": ["é"]}
        ),
        ExpectationConfig(
            type="expect_column_pair_values_a_to_be_greater_than_b",
            kwargs={"column_A": "Id", "column_B": "ratio"},
        ),
        ExpectationConfig(
            type="expect_column_values_to_not_be_null",
            kwargs={
                "column": "note",
                "row_condition": 'col("Id") < 3',
                "condition_parser": "great_expectations",
            },
        ),
    ]
    result = run(worker, pg_url, schema, *own)
    assert failed(result) == {("expect_column_values_to_be_in_set", "note")}
    found = next(r for r in result.results if not r.passed)
    assert "three" in str(found.observed)


def test_own_expectation_on_an_unknown_column_is_refused_before_the_load() -> None:
    own = [ExpectationConfig(type="expect_column_max_to_be_between", kwargs={"column": "PRICE"})]
    with pytest.raises(InputError, match=r'table "prices", .*max_to_be_between.* "PRICE"'):
        own_expectations(prices(), own)


@pytest.mark.parametrize(
    ("type_", "kwargs"),
    [
        ("expect_the_unexpected", {"column": "Id"}),
        ("expect_column_values_to_be_in_set", {"column": "Id", "no_such": 1}),
        ("expect_column_values_to_be_in_set", {"column": "Id", "value_set": 5}),
    ],
)
def test_unknown_expectation_is_refused_before_the_load(
    worker: ExpectationsWorker, type_: str, kwargs: dict[str, object]
) -> None:
    with pytest.raises(InputError, match=rf'table "prices", expectation {type_}') as caught:
        worker.validate(prices(), [ExpectationConfig(type=type_, kwargs=kwargs)])
    assert "\n" not in str(caught.value)
    worker.validate(
        prices(),
        [ExpectationConfig(type="expect_column_values_to_be_unique", kwargs={"column": "Id"})],
    )


def test_every_expectation_of_great_expectations_can_be_asked_for(
    worker: ExpectationsWorker,
) -> None:
    # They are imported when they are asked for. Each refuses an argument that none of them has.
    package = find_spec("great_expectations")
    assert package is not None and package.origin is not None
    core = Path(package.origin).parent / "expectations" / "core" / "__init__.py"
    types = re.findall(r"^from \.(expect_\w+) import", core.read_text(), re.MULTILINE)
    types.remove("expect_multicolumn_values_to_be_unique")  # it registers itself by no such name
    assert len(types) > 40
    for type_ in types:
        own = ExpectationConfig(type=type_, kwargs={"column": "Id", "no_such": 1})
        with pytest.raises(InputError, match="no_such|field required"):
            worker.validate(prices(), [own])


def test_expectation_that_cannot_be_evaluated_fails_alone(
    worker: ExpectationsWorker, pg_url: str, schema: str
) -> None:
    load(pg_url, schema)
    own = ExpectationConfig(
        type="expect_column_value_lengths_to_be_between", kwargs={"column": "ratio", "max_value": 1}
    )
    result = run(worker, pg_url, schema, own)
    assert failed(result) == {("expect_column_value_lengths_to_be_between", "ratio")}
    assert next(r for r in result.results if not r.passed).error


def test_empty_table_needs_only_its_row_count(
    worker: ExpectationsWorker, pg_url: str, schema: str
) -> None:
    manifest = Manifest("prices", "prices", "prices", "p", 0, 0, facts={"Id": ColumnFacts(0)})
    suite = derive_suite(prices(), manifest, TableProfile(0, {}))
    assert [e.type for e in suite.expectations] == ["expect_table_row_count_to_equal"]
    execute(
        pg_url,
        sql.SQL("CREATE SCHEMA {0}; CREATE TABLE {0}.prices ()").format(sql.Identifier(schema)),
    )
    empty = Suite("prices", "prices", (), suite.expectations)
    assert worker.run(Target(pg_url, schema), schema, prices(), empty).passed


def test_length_is_left_out_where_the_ledger_changed_the_column() -> None:
    manifest, profile = facts()
    lengths = [e for e in derive_suite(prices(), manifest, profile).expectations if "len" in e.type]
    assert [e.kwargs["max_value"] for e in lengths] == [5]
    changed = Manifest(**{**vars(manifest), "ledger": {"nul_removed:note": 1}})
    assert not [e for e in derive_suite(prices(), changed, profile).expectations if "len" in e.type]


def test_suite_survives_json() -> None:
    suite = derive_suite(prices(), *facts())
    assert Suite.from_json(suite.to_json()) == suite


def test_whole_numbers_stay_exact() -> None:
    assert exact_number("12345678901234567890.00") == 12345678901234567890
    assert exact_number("1e3") == 1000
    assert exact_number("0.10") == 0.1


def test_lost_target_breaks_off(worker: ExpectationsWorker) -> None:
    suite = derive_suite(prices(), *facts())
    target = Target("postgresql://nobody:geheim@127.0.0.1:1/none", "x")
    with pytest.raises(BrokenOffError, match='"prices"') as caught:
        worker.run(target, "x", prices(), suite)
    assert "geheim" not in str(caught.value)


def test_missing_table_fails_in_results_not_in_a_crash(
    worker: ExpectationsWorker, pg_url: str, schema: str
) -> None:
    result = run(worker, pg_url, schema)
    assert not result.passed
    assert all(r.error for r in result.results)


def test_dead_worker_is_an_error_and_the_next_request_starts_another(
    pg_url: str, schema: str
) -> None:
    load(pg_url, schema)
    with ExpectationsWorker() as worker:
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(NotProvenError, match="process ended"):
            run(worker, pg_url, schema)
        assert run(worker, pg_url, schema).passed


def test_hung_worker_is_given_up_in_time() -> None:
    with ExpectationsWorker(start_timeout=0.5) as worker:
        assert worker.pid is not None
        child = psutil.Process(worker.pid)
        child.suspend()
        started = time.monotonic()
        with pytest.raises(NotProvenError, match="no answer within"):
            run(worker, "postgresql://x@127.0.0.1:1/x", "x")
        assert time.monotonic() - started < 5
        assert not child.is_running()


def test_password_is_on_no_command_line_and_memory_stays_small(
    worker: ExpectationsWorker, pg_url: str, schema: str
) -> None:
    load(pg_url, schema)
    run(worker, pg_url, schema)
    assert worker.pid is not None
    child = psutil.Process(worker.pid)
    assert not any("postgres" in part for part in child.cmdline())
    assert child.memory_info().rss < 220 << 20


def test_columns_of_a_wide_table_are_looked_at_in_parts_and_reported_as_one(
    worker: ExpectationsWorker, pg_url: str, schema: str
) -> None:
    names = tuple(f"n{number}" for number in range(230))
    columns = sql.SQL(", ").join(sql.SQL("{} bigint").format(sql.Identifier(n)) for n in names)
    values = sql.SQL(", ").join(map(sql.Literal, range(230)))
    execute(
        pg_url,
        sql.SQL("CREATE SCHEMA {0}; CREATE TABLE {0}.wide ({1}); INSERT INTO {0}.wide VALUES ({2})")
        .format(sql.Identifier(schema), columns, values),
    )  # fmt: skip
    bigint = PgType("bigint")
    plan = TablePlan(
        "wide", "wide", "wide", tuple(column(n, bigint, Conversion.INTEGER) for n in names)
    )
    own = [
        Expectation("expect_column_max_to_be_between", name, {"column": name, "max_value": most})
        for most, name in enumerate(names)
    ]
    own[205] = Expectation("expect_column_values_to_be_null", "n205", {"column": "n205"})
    pair = {"column_A": "n229", "column_B": "n0"}
    own += [
        Expectation("expect_table_column_count_to_equal", None, {"value": 230}),
        Expectation("expect_column_pair_values_a_to_be_greater_than_b", None, pair),
    ]
    result = worker.run(Target(pg_url, schema), schema, plan, Suite("wide", "wide", names, (*own,)))
    assert failed(result) == {("expect_column_values_to_be_null", "n205")}
    assert [r.column for r in result.results] == [*names, None, None]
    assert [r.observed for r in result.results][204:207] == ["204", "1 unexpected: [205]", "206"]
