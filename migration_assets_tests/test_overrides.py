"""``overrides:``, ``policies:`` and ``naming:`` of defs.yaml, by real runs of the command line."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from migration_assets import home as homes
from migration_assets.cli import run
from migration_assets_tests.small_shop import configure

SCRIPT = """
CREATE TABLE Customers (Id TEXT PRIMARY KEY, FullName TEXT NOT NULL, secret TEXT,
    CHECK (length(FullName) > 0), UNIQUE (secret));
CREATE TABLE "Order Items" (
    id INTEGER PRIMARY KEY,
    customer TEXT REFERENCES Customers (Id),
    Total REAL CHECK ("Total" >= 0),
    state INTEGER DEFAULT 1,
    legacy TEXT,
    parent INTEGER REFERENCES "Order Items" (id)
);
CREATE INDEX ItemsTotal ON "Order Items" (Total) WHERE Total > 5;
CREATE INDEX items_legacy ON "Order Items" (legacy, id);
CREATE INDEX items_expr ON "Order Items" (lower(legacy));
CREATE VIEW Sales AS SELECT c.FullName, i.Total, i.Total * 2 AS Twice
    FROM "Order Items" i JOIN Customers c ON c.Id = i.customer;
CREATE VIEW BigSales AS SELECT FullName, Total FROM Sales WHERE Total > 5 ORDER BY Total;
CREATE VIEW everything AS SELECT * FROM "Order Items";
INSERT INTO Customers VALUES
    ('0d4c6a1e-6a3f-4f8e-9d6b-1c2d3e4f5a6b', 'Ada', 'a'), ('b', 'Bob', 'b');
INSERT INTO "Order Items" VALUES (1, 'b', 9.99, 1, 'x', NULL), (2, 'b', 0.5, 0, 'y', 1),
    (3, '0d4c6a1e-6a3f-4f8e-9d6b-1c2d3e4f5a6b', 100, 1, NULL, 1);
"""

OVERRIDES = """\
  overrides:
    Customers:
      columns:
        secret: {drop: true}
    Order Items:
      rename: sales
      columns:
        Total: {type: "numeric(12,2)", rename: amount}
        state: {type: boolean}
        id: {type: integer}
        legacy: {drop: true}
"""


class Shop:
    """A migration of a database into a schema of its own, by the command line."""

    def __init__(self, folder: Path, url: str, schema: str, script: str = SCRIPT) -> None:
        path = folder / "shop.db"
        with sqlite3.connect(path) as connection:
            connection.executescript(script)
        connection.close()
        self.source = f"sqlite:///{path}"
        self.url, self.schema = url, schema
        self.arguments = ["--target", url, "--schema", schema]
        assert run(["init", self.source, *self.arguments]) == 0
        self.name = homes.migration_names(homes.home_path())[0]

    def configure(self, lines: str) -> None:
        """Add lines to the attributes of defs.yaml."""
        configure(homes.load(homes.home_path(), self.name), lines)

    def migrate(self, out: Path) -> tuple[int, dict[str, Any]]:
        """Run; returns the exit code and the evidence."""
        code = run(["migrate", self.source, *self.arguments, "--out", str(out)])
        return code, json.loads((out / "evidence.json").read_text())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query that has the schema in its search path."""
        with psycopg2.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT set_config('search_path', %s, false)", (f'"{self.schema}"',))
            cursor.execute(query)
            return cursor.fetchall()

    def columns(self, table: str) -> dict[str, str]:
        """Column -> type of a table or view."""
        with psycopg2.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
                "WHERE attrelid = format('%%I.%%I', %s, %s)::regclass AND attnum > 0 "
                "ORDER BY attnum",
                (self.schema, table),
            )
            return dict(cursor.fetchall())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv(homes.VARIABLE, str(path))
    return path


@pytest.fixture
def shop(tmp_path: Path, pg_url: str, schema: str) -> Shop:
    return Shop(tmp_path, pg_url, schema)


def skipped(evidence: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(s["kind"], s["name"]): s["reason"] for s in evidence["skipped"]}


def test_types_renames_and_drops_reach_every_object_and_what_is_lost_is_reported(
    shop: Shop, tmp_path: Path
) -> None:
    shop.configure(OVERRIDES)
    code, evidence = shop.migrate(tmp_path / "out")
    assert code == 0, evidence["run"]["reasons"]
    assert shop.columns("sales") == {
        "id": "integer",
        "customer": "text",
        "amount": "numeric(12,2)",
        "state": "boolean",
        "parent": "integer",
    }
    assert list(shop.columns("Customers")) == ["Id", "FullName"]
    assert shop.rows("SELECT id, amount, state FROM sales ORDER BY id")[1][2] is False
    assert shop.rows('SELECT "FullName", "Total", "Twice" FROM "Sales" ORDER BY 2')[2][0] == "Ada"
    assert list(shop.columns("BigSales")) == ["FullName", "Total"]
    definitions = [row[0] for row in shop.rows("SELECT indexdef FROM pg_indexes")]
    assert any('"ItemsTotal"' in text and "WHERE (amount >" in text for text in definitions)
    checks = shop.rows(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conrelid = 'sales'::regclass AND contype = 'c'"
    )
    assert "amount >= " in checks[0][0]
    references = shop.rows(
        "SELECT confrelid::regclass::text FROM pg_constraint "
        "WHERE conrelid = 'sales'::regclass AND contype = 'f' ORDER BY 1"
    )
    assert [name for (name,) in references] == ['"Customers"', "sales"]
    lost = skipped(evidence)
    assert lost["column", "secret"] == "dropped by overrides: of defs.yaml"
    assert lost["column", "legacy"] == "dropped by overrides: of defs.yaml"
    for place in (("unique key", "secret"), ("index", "items_legacy"), ("index", "items_expr")):
        assert "overrides:" in lost[place]
    assert "selects all columns" in lost["view", "everything"]
    decisions = {(d["table"], d["column"], d["choice"]) for d in evidence["plan"]["decisions"]}
    assert ("Order Items", None, "called sales") in decisions
    assert ("Order Items", "Total", "called amount") in decisions
    assert run(["verify", shop.source, *shop.arguments, "--name", shop.name]) == 0


def test_snake_case_names_all_and_what_meets_stops_the_plan(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.configure("  naming: snake_case\n")
    code, evidence = shop.migrate(tmp_path / "out")
    assert code == 0, evidence["run"]["reasons"]
    assert skipped(evidence) == {}
    assert list(shop.columns("customers")) == ["id", "full_name", "secret"]
    assert "total" in shop.columns("order_items")
    assert list(shop.columns("sales")) == ["full_name", "total", "twice"]
    assert list(shop.columns("big_sales")) == ["full_name", "total"]
    names = {name for (name,) in shop.rows("SELECT indexname FROM pg_indexes")}
    assert {"items_total", "order_items_pkey"} <= names
    assert shop.rows("SELECT full_name FROM big_sales ORDER BY total")[0] == ("Bob",)

    with sqlite3.connect(shop.source.removeprefix("sqlite:///")) as connection:
        connection.execute("CREATE TABLE order_items (a)")
    connection.close()
    capsys.readouterr()
    assert run(["migrate", shop.source, *shop.arguments]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert '"Order Items" and "order_items" are both "order_items"' in line


def test_every_kind_of_type_can_be_asked_for_and_values_that_do_not_fit_follow_the_policy(
    tmp_path: Path, pg_url: str, schema: str
) -> None:
    script = """
    CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER NOT NULL, b TEXT NOT NULL, c REAL, d TEXT,
        e TEXT, f TEXT, g INTEGER, h TEXT, i BLOB, j TEXT NOT NULL);
    INSERT INTO t VALUES (1, 1700000000123, '2024-02-03', 1.5, '{"a": 1}',
        '0d4c6a1e-6a3f-4f8e-9d6b-1c2d3e4f5a6b', '12.50', 1, '2024-01-01T10:00:00+02:00',
        x'0d4c6a1e6a3f4f8e9d6b1c2d3e4f5a6b', 'short'),
        (2, 0, '2024-02-04', 2, '[]', NULL, '-3', 0, '2024-01-01T10:00:00Z', NULL, 'too long');
    """
    shop = Shop(tmp_path, pg_url, schema, script)
    shop.configure(
        "  overrides:\n    t:\n      columns:\n"
        "        a: {conversion: epoch_ms}\n"
        "        b: {type: date}\n"
        "        c: {type: 'numeric(40,2)'}\n"
        "        d: {type: jsonb}\n"
        "        e: {type: uuid}\n"
        "        f: {type: 'numeric(6,2)'}\n"
        "        g: {type: boolean}\n"
        "        h: {type: timestamptz}\n"
        "        i: {type: uuid}\n"
        "        j: {type: varchar(5), policies: {unfit: null}}\n"
    )
    code, evidence = shop.migrate(tmp_path / "out")
    assert code == 0, evidence["run"]["reasons"]
    assert list(shop.columns("t").values()) == [
        "bigint",
        "timestamp with time zone",
        "date",
        "numeric(40,2)",
        "jsonb",
        "uuid",
        "numeric(6,2)",
        "boolean",
        "timestamp with time zone",
        "uuid",
        "character varying(5)",
    ]
    rows = shop.rows(
        "SELECT extract(epoch FROM a)::text, c::text, f::text, g, j FROM t ORDER BY id"
    )
    assert rows == [
        ("1700000000.123000", "1.50", "12.50", True, "short"),
        ("0.000000", "2.00", "-3.00", False, None),
    ]
    assert [(e["rule"], e["column"], e["count"]) for e in evidence["ledger"]["by_rule"]] == [
        ("unfit", "j", 1)
    ]
    decisions = {(d["column"], d["choice"]) for d in evidence["plan"]["decisions"]}
    assert ("j", "NULL allowed") in decisions
    assert ("j", "unfit: null") in decisions


def test_the_other_side_of_a_foreign_key_follows_a_fixed_type_where_every_value_fits(
    tmp_path: Path, pg_url: str, schema: str
) -> None:
    script = """
    CREATE TABLE a (id INTEGER PRIMARY KEY, small BIGINT UNIQUE, big BIGINT UNIQUE);
    CREATE TABLE b (id INTEGER PRIMARY KEY, a INTEGER REFERENCES a (id),
        small BIGINT REFERENCES a (small), big BIGINT REFERENCES a (big));
    INSERT INTO a VALUES (1, 1, 5000000000), (2, 2, 1);
    INSERT INTO b VALUES (1, 1, 2, 1), (2, 2, 1, NULL);
    """
    shop = Shop(tmp_path, pg_url, schema, script)
    shop.configure(
        "  overrides:\n"
        "    a: {columns: {id: {type: integer}}}\n"
        "    b: {columns: {small: {type: smallint}, big: {type: smallint}}}\n"
    )
    code, evidence = shop.migrate(tmp_path / "out")
    assert code == 0, evidence["run"]["reasons"]
    assert shop.columns("a") == {"id": "integer", "small": "smallint", "big": "bigint"}
    assert shop.columns("b")["a"] == "integer"
    assert [key for key in skipped(evidence) if key[0] == "foreign key"] == [
        ("foreign key", "(big) -> a")
    ]
    references = shop.rows(
        "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = 'b'::regclass"
    )
    assert len(references) == 2


def test_expectations_are_of_the_target_s_names(shop: Shop, tmp_path: Path) -> None:
    shop.configure(
        OVERRIDES
        + "  expectations:\n    sales:\n      - type: expect_column_max_to_be_between\n"
        + "        kwargs: {column: amount, max_value: 1}\n"
    )
    code, evidence = shop.migrate(tmp_path / "out")
    assert code == 1
    assert any("expect_column_max_to_be_between" in r for r in evidence["run"]["reasons"])


def test_orphans_drop_the_key_or_end_the_run_as_the_policy_says(
    tmp_path: Path, pg_url: str, schema: str
) -> None:
    script = """
    CREATE TABLE p (id INTEGER PRIMARY KEY);
    CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p (id));
    INSERT INTO c VALUES (1, 7);
    """
    shop = Shop(tmp_path, pg_url, schema, script)
    shop.configure("  policies: {orphans: drop_key}\n")
    code, evidence = shop.migrate(tmp_path / "out")
    assert code == 0, evidence["run"]["reasons"]
    assert "orphans is drop_key" in skipped(evidence)["foreign key", "(p) -> p"]
    assert any(d["choice"] == "orphans: drop_key" for d in evidence["plan"]["decisions"])

    shop.configure("  overrides: {c: {policies: {orphans: fail}}}\n")
    code, evidence = shop.migrate(tmp_path / "out")
    assert code == 1
    assert any(
        'table "c", column "p": 1 rows have no parent' in r for r in evidence["run"]["reasons"]
    )
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert ["orphans", "fail"] in next(t for t in plan["tables"] if t["name"] == "c")["policies"]


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ("  overrides: {orders: {rename: a}}\n", 'key "overrides": "orders" is no table'),
        ("  overrides: {customers: {rename: a}}\n", 'did you mean "Customers"?'),
        (
            "  overrides: {Customers: {columns: {nome: {drop: true}}}}\n",
            'key "overrides.Customers.columns": "nome" is no column',
        ),
        (
            "  overrides: {Customers: {columns: {Id: {type: uuid, conversion: epoch_s}}}}\n",
            'key "overrides.Customers.columns.Id": the conversion "epoch_s" does not lead to uuid',
        ),
        (
            "  overrides: {Order Items: {columns: {id: {type: text}}}}\n",
            'key "overrides.Order Items.columns.id": the column takes its next number by itself',
        ),
        (
            "  overrides: {Customers: {columns: {FullName: {type: bigint}}}}\n",
            "the column holds only text values",
        ),
        (
            "  overrides: {Customers: {columns: {FullName: {rename: Id}}}}\n",
            '"Id" and "FullName" are both "Id" in PostgreSQL (by overrides: of defs.yaml)',
        ),
        (
            "  overrides: {Customers: {columns: {FullName: {rename: ctid}}}}\n",
            'PostgreSQL keeps the name "ctid" for itself',
        ),
        (
            "  overrides: {Customers: {rename: Sales}}\n",
            'the view "Sales" and a table are both "Sales"',
        ),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(
    shop: Shop, capsys: pytest.CaptureFixture[str], lines: str, place: str
) -> None:
    shop.configure(lines)
    capsys.readouterr()
    assert run(["plan", shop.source, "--name", shop.name]) == 2
    captured = capsys.readouterr().err.strip()
    assert len(captured.splitlines()) == 1
    assert place in captured
