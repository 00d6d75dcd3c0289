"""Constraints after the load: all of the plan is made, what can not be made stops nothing else."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psycopg2
import pytest

from migration_assets import constraints
from migration_assets.core.plan import (
    CheckPlan,
    ForeignKeyPlan,
    IndexPlan,
    Plan,
    TablePlan,
    UniquePlan,
    ViewPlan,
)
from migration_assets.core.results import StatementResult
from migration_assets.progress import Progress
from migration_assets.run_folder import RunFolder
from migration_assets_tests.postgres_tables import (
    ask,
    column,
    load_all,
    plan_of,
    profile_of,
    table,
)

USERS = table(
    "users",
    column("id", "bigint", nullable=False, identity=True, comment="it's the key"),
    column("Mail", "text"),
    column("age", "integer"),
    primary_key=("id",),
    primary_key_name="users_pkey",
    uniques=(UniquePlan("users_mail_key", ("Mail",)),),
    indexes=(
        IndexPlan("users_age", ('"age" DESC', 'lower("Mail")')),
        IndexPlan("users_adult", ('"age"',), where='"age" >= 18'),
    ),
    checks=(CheckPlan("users_age_check", '"age" >= 0'),),
    comment="who % they are",
)
ORDERS = table(
    "orders",
    column("id", "bigint", nullable=False, identity=True),
    column("user_id", "bigint"),
    primary_key=("id",),
    foreign_keys=(
        ForeignKeyPlan(
            "orders_user", ("user_id",), "users", ("id",), on_delete="CASCADE", deferrable=True
        ),
    ),
)
VIEWS = (
    ViewPlan("adult_count", 'SELECT count(*) AS n FROM "adults"', ""),
    ViewPlan("adults", 'SELECT "id", "Mail" FROM "users" WHERE "age" >= 18', ""),
)
PLAN = Plan((ORDERS, USERS), VIEWS)


def applied(
    url: str, schema: str, folder: Path, plan: Plan, next_values: dict[str, int | None]
) -> list[StatementResult]:
    from migration_assets.postgres.connect import Target

    return constraints.apply(
        Target(url, schema),
        f"{schema}__in_run00001",
        plan,
        profile_of(next_values),
        RunFolder(folder),
        Progress(),
    )


def load(url: str, schema: str, folder: Path, mails: list[str], users: list[int | None]) -> None:
    ids = list(range(1, len(mails) + 1))
    load_all(
        url,
        schema,
        folder,
        {USERS: [ids, mails, [20] * len(ids)], ORDERS: [range(len(users)), users]},
    )


@pytest.mark.parametrize("large", [constraints.LARGE_ROWS, -1], ids=["small", "large"])
def test_all_of_the_plan_is_made(
    pg_url: str, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    monkeypatch.setattr(constraints, "LARGE_ROWS", large)  # large: two indexes at a time
    load(pg_url, schema, tmp_path, ["a", "b"], [1, None])
    results = applied(pg_url, schema, tmp_path, PLAN, {"users": 43, "orders": 2})
    assert [r for r in results if r.error] == []
    assert len(json.loads((tmp_path / constraints.RESULTS).read_text())) == len(results)
    name = f"{schema}__in_run00001"
    found = ask(
        pg_url,
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = %s::regnamespace"
        " AND contype <> 'n' ORDER BY 1",
        name,
    )
    assert found == [
        "CHECK ((age >= 0))",
        f"FOREIGN KEY (user_id) REFERENCES {name}.users(id) ON DELETE CASCADE DEFERRABLE",
        "PRIMARY KEY (id)",
        "PRIMARY KEY (id)",
        'UNIQUE ("Mail")',
    ]
    question = (
        "SELECT split_part(indexdef, 'USING ', 2) FROM pg_indexes"
        " WHERE schemaname = %s AND indexname LIKE 'users_a%%' ORDER BY indexname DESC"
    )
    assert ask(pg_url, question, name) == [
        'btree (age DESC, lower("Mail"))',
        "btree (age) WHERE (age >= 18)",
    ]
    assert ask(pg_url, f'SELECT n FROM "{name}".adult_count') == [2]
    assert ask(pg_url, f'INSERT INTO "{name}".users ("Mail") VALUES (\'c\') RETURNING id') == [43]
    assert ask(pg_url, f"SELECT obj_description('\"{name}\".users'::regclass)") == [
        "who % they are"
    ]
    assert ask(pg_url, f"SELECT col_description('\"{name}\".users'::regclass, 1)") == [
        "it's the key"
    ]
    assert ask(
        pg_url, f"SELECT reltuples FROM pg_class WHERE oid = '\"{name}\".users'::regclass"
    ) == [2]


def test_applied_twice_gives_the_same(pg_url: str, schema: str, tmp_path: Path) -> None:
    load(pg_url, schema, tmp_path, ["a"], [1])
    first = applied(pg_url, schema, tmp_path, PLAN, {"users": 9, "orders": 1})
    second = applied(pg_url, schema, tmp_path, PLAN, {"users": 9, "orders": 1})
    named = [[(r.table, r.kind, r.name, r.error) for r in results] for results in (first, second)]
    assert named[0] == named[1]
    load(pg_url, schema, tmp_path, ["a"], [1])  # one table again drops what held on to it
    third = applied(pg_url, schema, tmp_path, PLAN, {"users": 9, "orders": 1})
    assert [(r.table, r.kind, r.name, r.error) for r in third] == named[0]


def test_what_can_not_be_made_names_its_key_and_stops_nothing_else(
    pg_url: str, schema: str, tmp_path: Path
) -> None:
    load(pg_url, schema, tmp_path, ["same", "same"], [1, 77])
    views = (
        *VIEWS,
        ViewPlan("broken", 'SELECT * FROM "nowhere"', ""),
        ViewPlan("no_sql", "SELECT FROM FROM", ""),
    )
    results = applied(pg_url, schema, tmp_path, Plan(PLAN.tables, views), {"users": 3, "orders": 2})
    assert {r.name: r.error for r in results if r.error} == {
        "users_mail_key": 'could not create unique index "users_mail_key": '
        'Key ("Mail")=(same) is duplicated',
        "orders_user": 'insert or update on table "orders" violates foreign key constraint '
        '"orders_user": Key (user_id)=(77) is not present in table "users"',
        "broken": 'relation "nowhere" does not exist',
        "no_sql": 'syntax error at or near "FROM"',
    }
    assert ask(pg_url, f'SELECT n FROM "{schema}__in_run00001".adult_count') == [2]


def test_a_reference_with_orphans_is_made_not_valid(
    pg_url: str, schema: str, tmp_path: Path
) -> None:
    load(pg_url, schema, tmp_path, ["a"], [77])
    key = ForeignKeyPlan("orders_user", ("user_id",), "users", ("id",), valid=False)
    orders = TablePlan("orders", "orders", "orders", ORDERS.columns, foreign_keys=(key,))
    results = applied(pg_url, schema, tmp_path, plan_of(orders, USERS), {})
    assert [r for r in results if r.error] == []
    question = (
        "SELECT convalidated FROM pg_constraint WHERE conname = 'orders_user'"
        " AND connamespace = %s::regnamespace"
    )
    assert ask(pg_url, question, f"{schema}__in_run00001") == [False]


@pytest.mark.parametrize(
    ("type_", "next_value"), [("bigint", -4), ("smallint", 0), ("bigint", 2**63 - 1)]
)
def test_identity_goes_on_where_the_source_would(
    pg_url: str, schema: str, tmp_path: Path, type_: str, next_value: int
) -> None:
    plan = table("t", column("id", type_, identity=True, nullable=False), column("v", "text"))
    load_all(pg_url, schema, tmp_path, {plan: [[1], ["a"]]})
    results = applied(pg_url, schema, tmp_path, plan_of(plan), {"t": next_value})
    assert [r for r in results if r.error] == []
    insert = f"INSERT INTO \"{schema}__in_run00001\".t (v) VALUES ('b') RETURNING id"
    assert ask(pg_url, insert) == [next_value]


def test_a_source_without_a_next_number_leaves_none(
    pg_url: str, schema: str, tmp_path: Path
) -> None:
    plan = table("t", column("id", "bigint", identity=True, nullable=False), column("v", "text"))
    load_all(pg_url, schema, tmp_path, {plan: [[2**63 - 1], ["a"]]})
    applied(pg_url, schema, tmp_path, plan_of(plan), {"t": 2**63})
    with pytest.raises(psycopg2.errors.SequenceGeneratorLimitExceeded):
        ask(pg_url, f"INSERT INTO \"{schema}__in_run00001\".t (v) VALUES ('b')")


def test_five_hundred_empty_tables_take_seconds(pg_url: str, schema: str, tmp_path: Path) -> None:
    tables = []
    for i in range(500):
        key = ForeignKeyPlan(f"t{i}_fk", ("other",), f"t{max(i - 1, 0)}", ("id",))
        tables.append(
            table(
                f"t{i}",
                column("id", "bigint", identity=True, nullable=False),
                column("other", "bigint"),
                primary_key=("id",),
                indexes=(IndexPlan(f"t{i}_other", ('"other"',)),),
                foreign_keys=(key,),
            )
        )
    load_all(pg_url, schema, tmp_path, {t: [[], []] for t in tables})
    started = time.monotonic()
    results = applied(pg_url, schema, tmp_path, plan_of(*tables), {})
    seconds = time.monotonic() - started
    assert [r for r in results if r.error] == [] and len(results) == 2000
    assert seconds < 15  # 2 on an idle machine; other tests run beside this one
