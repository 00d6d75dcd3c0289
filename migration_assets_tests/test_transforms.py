"""Transforms of the user's own, from ``defs.yaml`` to PostgreSQL and the ledger."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from migration_assets import home as homes
from migration_assets.cli import run as command
from migration_assets.core.evidence import Evidence, Verdict
from migration_assets.errors import InputError
from migration_assets.home import Migration
from migration_assets.launch import RunOutcome, launch
from migration_assets.transforms.expression import Expression, ExpressionError
from migration_assets_tests.small_shop import configure, make_migration

SHOP = """
CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    email TEXT,
    status INTEGER NOT NULL DEFAULT 1,
    active BOOLEAN,
    total DECIMAL(10, 2)
);
INSERT INTO users VALUES
    (1, ' Ada@Example.com', 1, 1, 9.99),
    (2, 'bob@example.com', 2, 0, 100),
    (3, NULL, 1, NULL, NULL),
    (4, 'ZOË@EXAMPLE.COM', 3, 1, -0.5);
"""


def made(path: Path, url: str, schema: str, script: str, lines: str) -> Migration:
    source = path / "shop.db"
    connection = sqlite3.connect(source)
    connection.executescript(script)
    connection.close()
    migration = make_migration(path / "home", f"sqlite:///{source}", url, schema)
    return configure(migration, lines)


def moved(path: Path, url: str, schema: str, lines: str, script: str = SHOP) -> RunOutcome:
    outcome = launch(made(path, url, schema, script, lines), "shop_rehearsal")
    assert outcome.success, outcome.failures
    found = Evidence.from_json(outcome.folder.evidence.read_bytes())
    assert found.run.verdict is Verdict.PROVEN, found.run.reasons
    return outcome


def failed(path: Path, url: str, schema: str, lines: str, script: str = SHOP) -> str:
    try:
        outcome = launch(made(path, url, schema, script, lines), "shop_rehearsal")
    except InputError as error:
        return str(error)
    assert not outcome.success
    return " | ".join(failure.message for failure in outcome.failures)


def fetched(url: str, query: str) -> list[tuple]:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def ledger(outcome: RunOutcome) -> list[tuple]:
    rows = pq.read_table(outcome.folder.ledger).to_pylist()
    return sorted((r["rule"], r["key"], r["column"], r["before"], r["after"]) for r in rows)


def test_value_map_changes_type_and_every_change_is_in_the_ledger(tmp_path, pg_url, schema):
    lines = """  transforms:
    users:
      - column: status
        name: status words
        values: {1: open, "2": closed}
        type: text
"""
    outcome = moved(tmp_path, pg_url, schema, lines)
    stored = fetched(pg_url, f"SELECT id, status FROM {schema}.users ORDER BY id")
    assert stored == [(1, "open"), (2, "closed"), (3, "open"), (4, "3")]
    rule = "transform:status words"
    assert ledger(outcome) == [
        (rule, "[1]", "status", "1", "open"),
        (rule, "[2]", "status", "2", "closed"),
        (rule, "[3]", "status", "1", "open"),
    ]
    found = Evidence.from_json(outcome.folder.evidence.read_bytes())
    assert [(r.rule, r.column, r.count) for r in found.ledger.by_rule] == [(rule, "status", 3)]
    plan = outcome.folder.plan()
    assert plan.table("users").column("status").type.sql == "text"
    assert [item.name for item in plan.skipped if item.kind == "default"] == ["status"]


def test_inverted_value_map_leaves_in_the_ledger_only_what_it_does_not_lead_back(
    tmp_path, pg_url, schema
):
    lines = """  transforms:
    users:
      - {column: status, values: {"1": "2", "3": "7"}, inverse: true}
"""
    outcome = moved(tmp_path, pg_url, schema, lines)
    stored = fetched(pg_url, f"SELECT status FROM {schema}.users ORDER BY id")
    assert stored == [(2,), (2,), (2,), (7,)]
    # The 2 that was there before can not be told from the 2 that was a 1.
    assert ledger(outcome) == [("transform:status values", "[2]", "status", "2", "2")]
    evidence = Evidence.from_json(outcome.folder.evidence.read_bytes())
    (back,) = evidence.ledger.led_back
    assert (back.rule, back.table, back.column) == ("transform:status values", "users", "status")
    assert back.count == 3 and evidence.ledger.entries == 1


@pytest.mark.parametrize(("otherwise", "last", "entries"), [("keep", 3, 3), ("null", None, 4)])
def test_values_that_a_map_does_not_name_are_kept_or_become_null(
    tmp_path, pg_url, schema, otherwise, last, entries
):
    lines = f"""  transforms:
    users:
      - {{column: status, values: {{"1": 10, "2": 20}}, otherwise: {otherwise}}}
"""
    outcome = moved(tmp_path, pg_url, schema, lines)
    stored = fetched(pg_url, f"SELECT status FROM {schema}.users ORDER BY id")
    assert stored == [(10,), (20,), (10,), (last,)]
    assert len(ledger(outcome)) == entries


def test_values_that_a_map_does_not_name_can_end_the_run(tmp_path, pg_url, schema):
    lines = """  transforms:
    users:
      - {column: status, values: {"1": 10, "2": 20}, otherwise: fail}
"""
    message = failed(tmp_path, pg_url, schema, lines)
    assert 'table "users", column "status", key [4]: transform "status values"' in message
    assert "'3' is not in its values" in message


def test_expressions_see_the_whole_row_in_the_planned_types_one_after_the_other(
    tmp_path, pg_url, schema
):
    lines = """  transforms:
    users:
      - {column: email, expression: lower(trim(email))}
      - {column: email, name: by status, expression: "case when status = 1 then email end"}
      - column: total
        expression: total * 100
        type: bigint
        inverse: total / 100.0
      - {column: active, expression: "coalesce(active, false)"}
"""
    outcome = moved(tmp_path, pg_url, schema, lines)
    stored = fetched(pg_url, f"SELECT email, total, active FROM {schema}.users ORDER BY id")
    assert stored == [
        ("ada@example.com", 999, True),
        (None, 10000, False),
        (None, None, False),
        (None, -50, True),
    ]
    assert ledger(outcome) == [
        ("transform:active expression", "[3]", "active", None, "false"),
        ("transform:by status", "[2]", "email", "bob@example.com", None),
        ("transform:by status", "[4]", "email", "zoë@example.com", None),
        ("transform:email expression", "[1]", "email", " Ada@Example.com", "ada@example.com"),
        ("transform:email expression", "[4]", "email", "ZOË@EXAMPLE.COM", "zoë@example.com"),
    ]


def test_wrong_inverse_is_found_on_every_value(tmp_path, pg_url, schema):
    lines = """  transforms:
    users:
      - {column: email, expression: lower(email), inverse: upper(email)}
"""
    outcome = moved(tmp_path, pg_url, schema, lines)
    # Only the value that was upper case to begin with is led back.
    assert [row[1] for row in ledger(outcome)] == ["[1]", "[2]"]


def test_function_of_the_migrations_folder_transforms_whole_batches(tmp_path, pg_url, schema):
    migration = made(tmp_path, pg_url, schema, SHOP, "")
    package = migration.folder / "shop_code"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "words.py").write_text("SUFFIX = '!'\n")
    (package / "clean.py").write_text(
        "import pyarrow as pa, pyarrow.compute as pc\n"
        "from shop_code.words import SUFFIX\n"
        "def loud(batch):\n"
        "    email = pc.binary_join_element_wise(batch.column('email'), SUFFIX, '')\n"
        "    place = batch.schema.get_field_index('email')\n"
        "    return batch.set_column(place, 'email', email)\n"
        "def quiet(batch):\n"
        "    place = batch.schema.get_field_index('email')\n"
        "    email = pc.utf8_slice_codeunits(batch.column('email'), 0, -1)\n"
        "    return batch.set_column(place, 'email', email)\n"
        "def doubled(batch):\n"
        "    return pc.multiply(batch.column('status'), 2)\n"
    )
    migration = configure(
        migration,
        """  transforms:
    users:
      - {function: "shop_code.clean:loud", inverse: "shop_code.clean:quiet"}
      - {column: status, function: "shop_code.clean:doubled"}
""",
    )
    outcome = launch(migration, "shop_rehearsal")
    assert outcome.success, outcome.failures
    stored = fetched(pg_url, f"SELECT email, status FROM {schema}.users ORDER BY id")
    assert stored[:3] == [(" Ada@Example.com!", 2), ("bob@example.com!", 4), (None, 2)]
    assert {row[0] for row in ledger(outcome)} == {"transform:shop_code.clean.doubled"}
    digest = outcome.folder.plan().digest
    (package / "clean.py").write_text((package / "clean.py").read_text() + "# changed\n")
    again = homes.load(migration.home, migration.name)
    assert again.config.plan.modules != migration.config.plan.modules
    assert digest != launch(again, "shop_rehearsal").folder.plan().digest


def test_function_must_keep_rows_and_columns(tmp_path, pg_url, schema):
    migration = made(tmp_path, pg_url, schema, SHOP, "")
    (migration.folder / "shop_short.py").write_text(
        "def short(batch):\n    return batch.slice(1)\n"
    )
    lines = "  transforms:\n    users:\n      - {function: 'shop_short:short'}\n"
    outcome = launch(configure(migration, lines), "shop_rehearsal")
    assert not outcome.success
    message = outcome.failures[0].message
    assert 'table "users"' in message
    assert 'transform "shop_short.short": function gave 3 rows for 4' in message


def test_value_an_expression_fails_on_is_named_by_its_key(tmp_path, pg_url, schema):
    lines = """  transforms:
    users:
      - {column: email, expression: "cast(email as integer)::varchar"}
"""
    message = failed(tmp_path, pg_url, schema, lines)
    assert 'table "users", column "email", key [1]: transform "email expression"' in message


@pytest.mark.parametrize(
    ("policy", "rows"),
    [
        ("quarantine", [(1, "15"), (2, "15"), (3, None)]),
        ("null", [(1, "15"), (2, "15"), (3, None), (4, None)]),
    ],
)
def test_values_that_do_not_fit_the_type_follow_the_policy_unfit(
    tmp_path, pg_url, schema, policy, rows
):
    script = SHOP.replace("' Ada@Example.com'", "'ada@example.com'").replace("ZOË@", "zoe12@")
    lines = f"""  max_quarantined: 1
  overrides: {{users: {{columns: {{email: {{policies: {{unfit: {policy}}}}}}}}}}}
  transforms:
    users:
      - {{column: email, expression: "length(email)::varchar", type: varchar(15)}}
      - column: email
        name: fit
        expression: "case id when 4 then repeat('x', 16) else email end"
"""
    outcome = moved(tmp_path, pg_url, schema, lines, script)
    assert fetched(pg_url, f"SELECT id, email FROM {schema}.users ORDER BY id") == rows
    aside = pq.read_table(outcome.folder.quarantine).to_pylist()
    assert [row["key"] for row in aside] == (["[4]"] if policy == "quarantine" else [])
    if policy == "quarantine":
        assert json.loads(aside[0]["values"])["email"] == "zoe12@EXAMPLE.COM"
        assert 'transform "fit"' in aside[0]["error"]


KEYS = """
CREATE TABLE kinds (code TEXT PRIMARY KEY, label TEXT);
CREATE TABLE things (id INTEGER PRIMARY KEY, kind TEXT REFERENCES kinds (code));
INSERT INTO kinds VALUES ('a', 'A'), ('b', 'B');
INSERT INTO things VALUES (1, 'a'), (2, 'b'), (3, 'a'), (4, NULL);
"""


def test_value_map_of_a_key_is_carried_to_the_columns_that_refer_to_it(tmp_path, pg_url, schema):
    lines = """  transforms:
    kinds:
      - {column: code, values: {a: 1, b: 2}, type: integer, inverse: true}
"""
    outcome = moved(tmp_path, pg_url, schema, lines, KEYS)
    joined = f"SELECT t.id, k.code FROM {schema}.things t JOIN {schema}.kinds k ON k.code = t.kind"
    assert sorted(fetched(pg_url, joined)) == [(1, 1), (2, 2), (3, 1)]
    assert ledger(outcome) == []
    assert outcome.folder.plan().table("things").foreign_keys[0].valid
    keys = fetched(
        pg_url,
        "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated "
        f"AND connamespace = '{schema}'::regnamespace",
    )
    assert keys == [(1,)]


def test_expression_of_a_key_is_refused_unless_both_sides_have_one(tmp_path, pg_url, schema):
    one = """  transforms:
    kinds:
      - {column: code, expression: upper(code)}
"""
    assert 'tied by a foreign key to "things.kind"' in failed(tmp_path, pg_url, schema, one, KEYS)
    both = f"{one}    things:\n      - {{column: kind, expression: upper(kind)}}\n"
    path = tmp_path / "both"
    path.mkdir()
    outcome = moved(path, pg_url, schema, both, KEYS)
    assert fetched(pg_url, f"SELECT kind FROM {schema}.things WHERE id = 1") == [("A",)]
    assert ("transform:code expression", '["a"]', "code", "a", "A") in ledger(outcome)


def test_function_of_a_whole_table_must_leave_keys_alone(tmp_path, pg_url, schema):
    migration = made(tmp_path, pg_url, schema, KEYS, "")
    (migration.folder / "shop_keys.py").write_text(
        "import pyarrow.compute as pc\n"
        "def upper(batch):\n"
        "    return batch.set_column(0, 'code', pc.utf8_upper(batch.column('code')))\n"
    )
    lines = "  transforms:\n    kinds:\n      - {function: 'shop_keys:upper'}\n"
    outcome = launch(configure(migration, lines), "shop_rehearsal")
    message = " | ".join(failure.message for failure in outcome.failures)
    assert 'table "kinds", column "code", key ["a"]' in message
    assert "must not change a key that others refer to" in message


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        ("{column: nosuch, values: {a: b}}", '"nosuch" is no column of "users"'),
        ("{column: id, expression: id + 1}", "takes its next number by itself"),
        ("{column: email, expression: nosuch(email)}", "nosuch"),
        ("{column: email, expression: 'lower(mail)'}", 'no column "mail"'),
        ("{column: email, expression: 'lower(email'}", "expression"),
        ("{column: email, expression: 'max(email)'}", '"max" is no function'),
        ("{column: email, expression: 'uuid()'}", '"uuid" is no function'),
        ("{column: email, expression: '(select 1)'}", "a subquery"),
        ("{column: status, values: {1: open}}", "'open' is no bigint; name the type"),
        ("{column: status, values: {1: 5, 2: 5}, inverse: true}", "leads back to one of them"),
        ("{column: email, function: 'no_such_module:f'}", 'no module "no_such_module"'),
        ("{column: email, expression: email, inverse: true}", "only a value map is inverted"),
    ],
)
def test_transform_that_can_not_be_is_bad_input_that_says_why(
    tmp_path, pg_url, schema, monkeypatch, capsys, transform, said
):
    lines = f"  transforms:\n    users:\n      - {transform}\n"
    monkeypatch.setenv(homes.VARIABLE, str(tmp_path / "home"))
    try:
        made(tmp_path, pg_url, schema, SHOP, lines)
    except InputError as error:
        assert said in str(error)
        return
    assert command(["plan", f"sqlite:///{tmp_path}/shop.db", "--name", "shop"]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert "transforms.users.0" in printed or 'transform "' in printed


def test_check_on_a_transformed_column_that_no_longer_holds_is_reported(tmp_path, pg_url, schema):
    script = SHOP.replace("status INTEGER NOT NULL DEFAULT 1", "status INTEGER CHECK (status < 9)")
    lines = """  transforms:
    users:
      - {column: status, values: {1: 11, 2: 12}}
"""
    outcome = moved(tmp_path, pg_url, schema, lines, script)
    found = Evidence.from_json(outcome.folder.evidence.read_bytes())
    assert [item.kind for item in found.skipped] == ["check"]


def test_expressions_reach_no_file_and_no_setting():
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    for text in (
        "(select count(*) from read_csv('/etc/passwd'))",
        "read_text('/etc/passwd')",
        "getenv('HOME')",
        "current_setting('memory_limit')",
        "a) FROM range(3) t(a) WHERE (true",
        "a; drop table x",
        "a, b",
        "columns(*)",
        "row_number() over ()",
        "random()",
    ):
        with pytest.raises(ExpressionError):
            Expression(text, schema)
    batch = pa.record_batch({"a": pa.array([1, None, 3]), "b": pa.array(["x", "y", None])})
    assert Expression("A + 1 -- more", schema).compute(batch).to_pylist() == [2, None, 4]
    with pytest.raises(ExpressionError, match="Overflow"):
        Expression("a + 9223372036854775807", schema).compute(batch)


def test_nothing_is_imported_for_tables_without_expressions():
    code = (
        "import sys; import migration_assets.extract, migration_assets.home;"
        "print('duckdb' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
