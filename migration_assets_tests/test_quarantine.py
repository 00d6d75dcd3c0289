"""Policies of anomalies, and rows set aside: by the conversion, and by PostgreSQL itself."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg2 import sql

from migration_assets import home as homes
from migration_assets import ledger, load, refusals
from migration_assets.cli import run
from migration_assets.core.plan import ColumnPlan, Conversion, TablePlan
from migration_assets.core.types import PgType
from migration_assets.errors import BrokenOffError, NotProvenError
from migration_assets.home import Migration
from migration_assets.postgres.connect import Target
from migration_assets.progress import Progress
from migration_assets.refusals import Refusal
from migration_assets.run_folder import RunFolder
from migration_assets_tests.attempts import run as attempt
from migration_assets_tests.small_shop import configure, make_migration

DIRTY = """
CREATE TABLE notes (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c DECIMAL(8, 2), d TEXT);
INSERT INTO notes VALUES
    (1, 'clean', 'clean', 1.5, 'x'),
    (2, 'nul' || char(0), 'clean', 2.5, 'x'),
    (3, CAST(X'636166E9' AS TEXT), 'clean', 3.5, 'x'),
    (4, 'clean', 'nul' || char(0), 4.5, 'x'),
    (5, 'clean', CAST(X'636166E9' AS TEXT), 5.5, 'x'),
    (6, CAST(X'FF00' AS TEXT), 'both' || char(0), 6.5, NULL);
"""


@pytest.fixture
def move(
    tmp_path: Path, pg_url: str, schema: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Callable[..., tuple[int, dict[str, Any], RunFolder]]:
    """``move(script, yaml)``: migrate a database under these lines of ``defs.yaml``.

    Returns the exit code, the evidence and the run's folder. Called again without a script it
    migrates the same database.
    """
    home = tmp_path / "home"
    monkeypatch.setenv(homes.VARIABLE, str(home))
    source = tmp_path / "shop.db"

    def call(
        script: str = "", lines: str = "", url: str = pg_url
    ) -> tuple[int, dict[str, Any], RunFolder]:
        connection = sqlite3.connect(source)
        connection.executescript(script)
        connection.commit()
        connection.close()
        location = f"sqlite:///{source}"
        if not (home / "shop").exists():
            make_migration(home, location, url, schema)
        migration: Migration = configure(homes.load(home, "shop"), lines)
        capsys.readouterr()
        code = run(["migrate", location, "--target", url, "--schema", schema, "--json"])
        evidence = json.loads(capsys.readouterr().out)
        return code, evidence, migration.run_folder(evidence["run"]["id"])

    return call


def rows_of(url: str, schema: str, table: str) -> list[tuple[Any, ...]]:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT * FROM {} ORDER BY 1").format(sql.Identifier(schema, table)))
        return cursor.fetchall()


def entries(folder: RunFolder) -> list[tuple[str, str, str, str | None]]:
    return [
        (row["key"], row["column"], row["rule"], row["after"])
        for row in pq.read_table(folder.ledger).to_pylist()
    ]


def quarantine(folder: RunFolder) -> dict[str, tuple[str, dict[str, Any]]]:
    """Key -> error and values."""
    found = pq.read_table(folder.quarantine)
    assert found.schema.names == ["table", "key", "error", "values"]
    return {row["key"]: (row["error"], json.loads(row["values"])) for row in found.to_pylist()}


def test_policies_of_column_table_and_migration_each_win_over_the_next(
    move, pg_url: str, schema: str
) -> None:
    code, evidence, folder = move(
        DIRTY,
        "  max_quarantined: 4\n"
        "  policies: {nul_characters: quarantine, invalid_utf8: quarantine}\n"
        "  overrides:\n    notes:\n      policies: {nul_characters: 'null'}\n"
        "      columns:\n        b: {policies: {invalid_utf8: escape}}\n",
    )
    assert code == 0, evidence["run"]["reasons"]
    assert rows_of(pg_url, schema, "notes") == [
        (1, "clean", "clean", 1.5, "x"),
        (2, None, "clean", 2.5, "x"),
        (4, "clean", None, 4.5, "x"),
        (5, "clean", r"caf\xe9", 5.5, "x"),
    ]
    assert sorted(entries(folder)) == [
        ("[2]", "a", "nul_removed", None),
        ("[4]", "b", "nul_removed", None),
        ("[5]", "b", "invalid_utf8", r"caf\xe9"),
    ]
    aside = quarantine(folder)
    assert aside.keys() == {"[3]", "[6]"}
    assert aside["[3]"] == (
        'column "a": the value is not valid UTF-8',
        {"id": 3, "a": {"text": "636166e9"}, "b": "clean", "c": 3.5, "d": "x"},
    )
    assert aside["[6]"][1] == {"id": 6, "a": {"text": "ff00"}, "b": "both\0", "c": 6.5, "d": None}
    (table,) = evidence["tables"]
    assert (table["rows_source"], table["rows_loaded"], table["quarantined"]) == (6, 4, 2)
    assert (table["rows_identical"], table["ledger"]) == (4, 3)
    assert evidence["quarantine"]["rows"] == 2
    assert evidence["quarantine"]["by_cause"] == [
        {"anomaly": "invalid_utf8", "table": "notes", "column": "a", "count": 2}
    ]
    report = folder.report.read_text()
    assert "the value is not valid UTF-8" in report


def test_more_rows_in_quarantine_than_allowed_are_not_proven_but_all_else_is_shown(
    move, pg_url: str, schema: str, capsys: Any
) -> None:
    code, evidence, folder = move(
        DIRTY, "  max_quarantined: 1\n  policies: {invalid_utf8: quarantine}\n"
    )
    assert code == 1
    assert any("3 rows in quarantine, 1 allowed" in r for r in evidence["run"]["reasons"])
    assert not evidence["target"]["swapped"]
    (table,) = evidence["tables"]
    assert table["passed"] and table["rows_identical"] == 3
    assert all(c["passed"] for c in evidence["checks"]["target"] if c["name"] == "keys")
    assert len(quarantine(folder)) == 3


@pytest.mark.parametrize(
    ("anomaly", "key", "column"),
    [
        ("nul_characters", "[2]", "a"),
        ("invalid_utf8", "[3]", "a"),
    ],
)
def test_policy_fail_names_table_column_and_key(move, anomaly: str, key: str, column: str) -> None:
    code, evidence, _ = move(DIRTY, f"  policies: {{{anomaly}: fail}}\n")
    assert code == 1
    assert any(
        r.startswith(f'table "notes", column "{column}", key {key}: the value ')
        and f'the policy of {anomaly} is "fail"' in r
        for r in evidence["run"]["reasons"]
    ), evidence["run"]["reasons"]


OVERRIDDEN = """
CREATE TABLE docs (id INTEGER PRIMARY KEY, doc TEXT NOT NULL, total TEXT, day TEXT NOT NULL, n);
INSERT INTO docs VALUES
    (1, '{"a": 1}', '1.5', '2024-01-01', 1),
    (2, '{"a": 1, "a": 2}', '2.5', '2024-01-02', 2),
    (3, '{', 'n/a', '2024-01-03', 3),
    (4, '[]', 'n/a', '2024-01-04', X'00FF'),
    (5, '[]', '12345.678', 'yesterday', 9e999),
    (6, '[]', NULL, '2024-01-06', NULL);
"""


def test_value_that_an_overridden_type_can_not_hold_follows_the_policy_of_its_column(
    move, pg_url: str, schema: str
) -> None:
    code, evidence, folder = move(
        OVERRIDDEN,
        "  max_quarantined: 3\n  overrides:\n    docs:\n      columns:\n"
        "        doc: {type: jsonb}\n"
        "        total: {type: 'numeric(8,2)', policies: {unfit: null}}\n"
        "        day: {type: date}\n",
    )
    assert code == 0, evidence["run"]["reasons"]
    assert [row[:4] for row in rows_of(pg_url, schema, "docs")] == [
        (1, {"a": 1}, Decimal("1.50"), date(2024, 1, 1)),
        (4, [], None, date(2024, 1, 4)),
        (6, [], None, date(2024, 1, 6)),
    ]
    assert entries(folder) == [("[4]", "total", "unfit", None)]
    found = quarantine(folder)
    assert {key: error for key, (error, _) in found.items()} == {
        "[2]": 'column "doc": the value is a document of which jsonb would lose something, but '
        "the type is jsonb",
        "[3]": 'column "doc": the value is not JSON, but the type is jsonb',
        "[5]": 'column "day": the value is not an ISO date, but the type is date',
    }
    assert found["[5]"][1]["n"] == {"real": "Infinity"}
    assert evidence["quarantine"]["by_cause"] == [
        {"anomaly": "unfit", "table": "docs", "column": "day", "count": 1},
        {"anomaly": "unfit", "table": "docs", "column": "doc", "count": 2},
    ]


NULLS = """
CREATE TABLE things (name TEXT, id INTEGER NOT NULL);
INSERT INTO things VALUES ('a', 1), ('b' || char(0), 2), ('c', 3);
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, 'name TEXT', 'name TEXT NOT NULL');
PRAGMA writable_schema = RESET;
"""


def test_null_in_a_not_null_column_follows_its_policy_in_a_table_without_a_key(
    move, pg_url: str, schema: str
) -> None:
    script = NULLS.replace("('c', 3)", "(NULL, 3)")
    lines = (
        "  max_quarantined: 1\n  overrides: {things: {policies: {null_in_not_null: quarantine}}}\n"
    )
    code, evidence, folder = move(script, lines)
    assert code == 0, evidence["run"]["reasons"]
    assert quarantine(folder) == {
        "[3]": ('column "name": NULL in a column declared NOT NULL', {"name": None, "id": 3})
    }
    assert entries(folder) == [("[2]", "name", "nul_removed", "b")]
    with psycopg2.connect(pg_url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT is_nullable FROM information_schema.columns "
            "WHERE table_schema = %s AND column_name = 'name'",
            (schema,),
        )
        assert cursor.fetchall() == [("NO",)]


DEEP = "[" * 900 + "]" * 900
FAMILY = f"""
CREATE TABLE parents (id INTEGER PRIMARY KEY, doc JSON, note TEXT);
CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents (id));
CREATE VIEW notes AS SELECT note FROM parents;
INSERT INTO parents VALUES
    (1, '[1]', 'x'), (2, '{DEEP}', 'y' || char(0)), (3, '{DEEP}', 'z'), (4, '{{}}', char(0) || 'z');
INSERT INTO children VALUES (1, 1), (2, 2), (3, NULL), (4, 4);
"""


@pytest.fixture
def shallow(database: str) -> str:
    """URL of a fresh database that takes no deep documents."""
    connection = psycopg2.connect(database)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("ALTER DATABASE {} SET max_stack_depth = '100kB'").format(
                sql.Identifier(connection.info.dbname)
            )
        )
    connection.close()
    return database


def test_row_that_postgresql_refuses_goes_to_quarantine_and_its_children_dangle(
    move, shallow: str, schema: str, tmp_path: Path, capsys: Any
) -> None:
    code, evidence, folder = move(FAMILY, "  max_quarantined: 2\n", url=shallow)
    assert code == 0, evidence["run"]["reasons"]
    aside = quarantine(folder)
    assert aside.keys() == {"[2]", "[3]"}
    assert aside["[2]"] == (
        'column "doc": PostgreSQL: stack depth limit exceeded',
        {"id": 2, "doc": DEEP, "note": "y\0"},
    )
    # The entry of the refused row is gone, that of its neighbour is not.
    assert entries(folder) == [("[4]", "note", "nul_removed", "z")]
    assert rows_of(shallow, schema, "parents") == [(1, [1], "x"), (4, {}, "z")]
    assert rows_of(shallow, schema, "notes") == [("x",), ("z",)]
    table = {t["name"]: t for t in evidence["tables"]}["parents"]
    assert (table["rows_source"], table["rows_loaded"], table["quarantined"]) == (4, 2, 2)
    assert (table["rows_identical"], table["ledger"]) == (2, 1)
    assert evidence["quarantine"]["by_cause"] == [
        {"anomaly": "load_refused", "table": "parents", "column": "doc", "count": 2}
    ]
    dangling = [d for d in evidence["plan"]["decisions"] if d["choice"] == "NOT VALID"]
    assert [(d["table"], d["column"], d["value"]) for d in dangling] == [
        ("children", "parent", "1 rows")
    ]
    uncompared = [(u["kind"], u["name"]) for u in evidence["uncompared"]]
    assert uncompared == [("view", "notes")]
    assert "reads a table of which rows are in quarantine" in folder.report.read_text()

    # A proof afterwards finds the same rows refused, and only what has really gone missing.
    command = ["verify", f"sqlite:///{tmp_path}/shop.db", "--target", shallow, "--schema", schema]
    assert run([*command, "--json"]) == 0
    proof = json.loads(capsys.readouterr().out)
    assert proof["quarantine"]["by_cause"] == evidence["quarantine"]["by_cause"]
    assert proof["ledger"]["by_rule"] == evidence["ledger"]["by_rule"]
    with psycopg2.connect(shallow) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("DELETE FROM {}.children").format(sql.Identifier(schema)))
        cursor.execute(
            sql.SQL("DELETE FROM {}.parents WHERE id = 4").format(sql.Identifier(schema))
        )
    assert run([*command, "--json"]) == 1
    proof = json.loads(capsys.readouterr().out)
    missing = {t["name"]: [d["key"] for d in t["differences"]] for t in proof["tables"]}
    assert missing == {"children": ["[1]", "[2]", "[3]", "[4]"], "parents": ["[4]"]}

    # Without such rows the next run finds nothing to set aside, and nothing of this one.
    code, evidence, folder = move("UPDATE parents SET doc = NULL", url=shallow)
    assert code == 0, evidence["run"]["reasons"]
    assert quarantine(folder) == {} and evidence["quarantine"]["rows"] == 0


def test_attempt_counts_nothing_twice_and_nothing_of_the_attempt_before(
    tmp_path: Path, shallow: str, schema: str
) -> None:
    source = tmp_path / "shop.db"
    with sqlite3.connect(source) as connection:
        connection.executescript(FAMILY)
    connection.close()
    migration = make_migration(tmp_path / "home", f"sqlite:///{source}", shallow, schema)
    extracts = dg.AssetSelection.assets(["shop", "extract", "parents"]).without_checks()
    loads = dg.AssetSelection.assets(["shop", "staging", "parents"]).without_checks()

    def counted(folder: RunFolder) -> tuple[int, int, int, int]:
        manifest = folder.manifests()["parents"]
        assert ledger.count(folder, "ledger") == sum(manifest.ledger.values())
        assert ledger.count(folder, "quarantine") == manifest.quarantined
        merged = ledger.merge(folder, "ledger")[0], ledger.merge(folder, "quarantine")[0]
        return manifest.rows, manifest.quarantined, *merged

    done, folder = attempt(migration, extracts | loads)
    assert done and counted(folder) == (2, 2, 1, 2)
    for kind in ("ledger", "quarantine", "refused"):
        # As a process that was killed leaves it.
        (folder.path / kind / "parents.parquet.part").write_bytes(b"PAR1")
    done, _ = attempt(migration, extracts | loads, folder.path.name)
    assert done and counted(folder) == (2, 2, 1, 2)
    with psycopg2.connect(shallow) as connection, connection.cursor() as cursor:
        name = sql.Identifier(connection.info.dbname)
        cursor.execute(sql.SQL("ALTER DATABASE {} RESET max_stack_depth").format(name))
    done, _ = attempt(migration, loads, folder.path.name)
    assert done and counted(folder) == (4, 0, 2, 0)


def test_refused_row_ends_the_run_where_the_policy_says_so(move, shallow: str, schema: str) -> None:
    code, evidence, _ = move(
        FAMILY, "  overrides: {parents: {policies: {load_refused: fail}}}\n", url=shallow
    )
    assert code == 1
    assert any(
        'table "parents", row with id = 2, column doc: stack depth' in reason
        for reason in evidence["run"]["reasons"]
    ), evidence["run"]["reasons"]


def make_table(url: str, schema: str, columns: list[tuple[str, str]]) -> TablePlan:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    plans = tuple(
        ColumnPlan(name, name, "", PgType(kind), Conversion.TEXT) for name, kind in columns
    )
    return TablePlan("t", "t", "t", plans)


def find(
    url: str, schema: str, plan: TablePlan, path: Path, table: pa.Table, group: int = 32_768
) -> list[Refusal]:
    """The refused rows, after a load has failed for the first of them; then the rest is loaded."""
    pq.write_table(table, path, row_group_size=group)
    target = Target(url, schema)
    with pq.ParquetFile(path) as file:
        with pytest.raises(load.RowRefusedError) as caught:
            load.load_table(target, schema, plan, file, Progress())
        found = refusals.find(target, schema, plan, file, caught.value.line, 50_000, Progress())
    kept = np.ones(table.num_rows, bool)
    kept[[refusal.position for refusal in found]] = False
    pq.write_table(table.filter(pa.array(kept)), path)
    with pq.ParquetFile(path) as file:
        load.load_table(target, schema, plan, file, Progress())
    return found


def test_rows_too_big_for_a_page_are_found_among_those_that_fit(
    tmp_path: Path, pg_url: str, schema: str
) -> None:
    names = [f"c{n}" for n in range(460)]
    plan = make_table(pg_url, schema, [(name, "text") for name in names])
    big = {0, 6, 7, 1_499, 2_999}
    values = pa.array(["x" * 20 if row in big else "x" for row in range(3_000)])
    table = pa.table({name: values for name in names})
    found = find(pg_url, schema, plan, tmp_path / "t.parquet", table, 700)
    assert {refusal.position for refusal in found} == big
    assert all(refusal.message.startswith("row is too big") for refusal in found)


def test_documents_that_postgresql_does_not_take_are_found_with_their_column(
    tmp_path: Path, pg_url: str, schema: str
) -> None:
    plan = make_table(pg_url, schema, [("n", "text"), ("doc", "jsonb")])
    documents = ["{}"] * 20_000
    documents[3] = "[" * 20_000 + "]" * 20_000
    documents[17_000] = "{"
    documents[17_001] = '"\\u0000"'
    table = pa.table({"n": ["x"] * 20_000, "doc": documents})
    found = find(pg_url, schema, plan, tmp_path / "t.parquet", table)
    assert [(r.position, r.column, r.message) for r in found] == [
        (3, "doc", "stack depth limit exceeded"),
        (17_000, "doc", "invalid input syntax for type json"),
        (17_001, "doc", "unsupported Unicode escape sequence"),
    ]


SNAG = """
CREATE FUNCTION snag() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.doc = 'snag' THEN RAISE 'could not do it' USING ERRCODE = 'XX000'; END IF;
    IF NEW.doc = 'end' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION lay() RETURNS event_trigger LANGUAGE plpgsql AS $$ DECLARE made text; BEGIN
    SELECT object_identity INTO made FROM pg_event_trigger_ddl_commands();
    EXECUTE 'CREATE TRIGGER snag BEFORE INSERT ON ' || made || ' FOR EACH ROW '
        'EXECUTE FUNCTION public.snag()';
END $$;
CREATE EVENT TRIGGER lay ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION lay();
"""


def test_internal_error_of_a_row_is_a_refusal_unless_the_connection_is_lost(
    tmp_path: Path, database: str, schema: str
) -> None:
    plan = make_table(database, schema, [("doc", "text")])
    with psycopg2.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(SNAG)
    path = tmp_path / "t.parquet"
    table = pa.table({"doc": ["a", "snag", "b", "snag"]})
    found = find(database, schema, plan, path, table)
    assert [(r.position, r.message) for r in found] == [
        (1, "could not do it"),
        (3, "could not do it"),
    ]
    pq.write_table(pa.table({"doc": ["a", "end"]}), path)
    with pq.ParquetFile(path) as file, pytest.raises(BrokenOffError, match='load of table "t"'):
        load.load_table(Target(database, schema), schema, plan, file, Progress())


def test_many_refused_rows_are_all_found_and_no_other(
    tmp_path: Path, pg_url: str, schema: str
) -> None:
    plan = make_table(pg_url, schema, [("doc", "jsonb")])
    bad = {row for row in range(30_000) if row % 100 == 99 or 5_000 < row < 5_300}
    table = pa.table({"doc": ["{" if row in bad else "{}" for row in range(30_000)]})
    found = find(pg_url, schema, plan, tmp_path / "t.parquet", table)
    assert {refusal.position for refusal in found} == bad and len(found) == len(bad)


def test_more_refused_rows_than_wanted_end_the_search(
    tmp_path: Path, pg_url: str, schema: str
) -> None:
    plan = make_table(pg_url, schema, [("doc", "jsonb")])
    pq.write_table(pa.table({"doc": ["{"] * 100}), tmp_path / "t.parquet")
    with (
        pq.ParquetFile(tmp_path / "t.parquet") as file,
        pytest.raises(NotProvenError, match='table "t": PostgreSQL refuses more than 10 rows'),
    ):
        refusals.find(Target(pg_url, schema), schema, plan, file, 1, 10, Progress())
