"""One MySQL database with every line of the fidelity page, migrated once and looked at closely."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow.parquet as pq
import pytest

from migration_assets.cli import run
from migration_assets_tests.command import Migrated
from migration_assets_tests.comparator_mysql import compare, missing_objects
from migration_assets_tests.mysql_server import MySQLDatabase, MySQLServer
from migration_assets_tests.torture_mysql import LEDGER, SCRIPT, SKIPPED, TYPES


@dataclass(frozen=True)
class Tortured:
    """The finished run, its folder, and the source, which is still there."""

    migrated: Migrated
    source: MySQLDatabase
    out: Path


@pytest.fixture(scope="module")
def tortured(
    mysql_server: MySQLServer, pg_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tortured]:
    folder = tmp_path_factory.mktemp("torture")
    with pytest.MonkeyPatch.context() as patch, mysql_server.database() as source:
        patch.setenv("MIGRATION_HOME", str(folder / "home"))
        patch.setenv("MYSQL_PWD", mysql_server.password)
        source.script(SCRIPT)
        out, schema = folder / "out", source.name
        # The second run finds the types, triggers and functions of the first in the live schema.
        for _ in range(2):
            code = run(
                ["migrate", source.url, "--target", pg_url, "--schema", schema, "--out", str(out)]
            )
        newest = max((folder / "home").glob("*/runs/*/plan.json"), key=lambda p: p.stat().st_mtime)
        shutil.copy(newest, out)
        evidence = json.loads((out / "evidence.json").read_text())
        yield Tortured(Migrated(code, evidence, pg_url, schema), source, out)
        with psycopg2.connect(pg_url) as connection, connection.cursor() as cursor:
            cursor.execute(f'DROP SCHEMA "{schema}" CASCADE')
            cursor.execute(f'DROP SCHEMA IF EXISTS "{schema}__previous" CASCADE')


def test_each_type_of_the_page_has_a_case() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "fidelity.md").read_text()
    section = page.partition("\n## MySQL and MariaDB\n")[2].partition("\n## ")[0]
    declared = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| ")]
    names = {name for cell in declared for name in re.findall(r"`…?(\w+)", cell)}
    assert len(names) > 25
    assert [name for name in names if name.lower() not in SCRIPT.lower()] == []


def test_it_is_proven_twice(tortured: Tortured) -> None:
    assert tortured.migrated.evidence["run"]["reasons"] == []
    assert tortured.migrated.code == 0


def test_every_value_is_equal_or_in_the_ledger(tortured: Tortured) -> None:
    verdict = compare(
        tortured.source, tortured.migrated.url, tortured.migrated.schema, tortured.out
    )
    assert verdict.faults == []
    entries = pq.read_table(tortured.out / "ledger.parquet").to_pylist()
    assert Counter(f"{e['rule']}:{e['column']}" for e in entries) == LEDGER
    assert verdict.ledger == len(entries)


def test_types_are_those_of_the_fidelity_page(tortured: Tortured) -> None:
    rows = tortured.migrated.ask(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a"
        " JOIN pg_class c ON c.oid = a.attrelid WHERE c.relkind = 'r' AND a.attnum > 0"
        " AND c.relnamespace = current_schema()::regnamespace ORDER BY a.attrelid, a.attnum"
    )
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        found.setdefault(table, {})[column] = kind
    assert found == TYPES


def test_every_object_is_there_or_reported(tortured: Tortured) -> None:
    migrated = tortured.migrated
    assert missing_objects(tortured.source, migrated.url, migrated.schema, tortured.out) == []
    reported = {(s["kind"], s["name"]) for s in migrated.evidence["skipped"]}
    assert reported == SKIPPED


def test_enums_keep_their_order_and_zero_dates_lose_not_null(tortured: Tortured) -> None:
    ask = tortured.migrated.ask
    assert ask("SELECT enum_range(NULL::words_size)::text") == [("{small,large,it's}",)]
    assert ask(
        "SELECT attname, attnotnull FROM pg_attribute WHERE attrelid = 'moments'::regclass"
        " AND attname IN ('must', 'kept') ORDER BY 1"
    ) == [("kept", True), ("must", False)]


def test_defaults_give_what_the_source_gives(tortured: Tortured) -> None:
    connection = psycopg2.connect(tortured.migrated.url)
    with connection.cursor() as cursor:
        cursor.execute(f'SET search_path TO "{tortured.migrated.schema}"')
        cursor.execute(
            "INSERT INTO words (id) VALUES (9) RETURNING plain, size, many, length(quick)"
        )
        assert cursor.fetchone() == ('it\'s \\ "x"', "large", ["a", "b"], 36)
        cursor.execute(
            "INSERT INTO computed (id, name) VALUES (9, 'x') RETURNING a, b, total, label, big_one,"
            " price::text, day = current_date, created <= clock_timestamp(), changed <= now()"
        )
        assert cursor.fetchone() == (7, -1, 6, "x-7", False, "9.90", True, True, True)
        cursor.execute("INSERT INTO numbers (flag) VALUES (true) RETURNING id, bit10::text")
        assert cursor.fetchone() == (77, "0000000101")
    connection.rollback()
    connection.close()


def test_on_update_sets_the_column_when_a_value_changes_and_only_then(tortured: Tortured) -> None:
    connection = psycopg2.connect(tortured.migrated.url)

    def changed(statement: str) -> bool:
        cursor.execute(statement)
        cursor.execute("SELECT changed > '2024-06-01' FROM computed WHERE id = 1")
        return bool(_one(cursor))

    with connection.cursor() as cursor:
        cursor.execute(f'SET search_path TO "{tortured.migrated.schema}"')
        assert not changed("UPDATE computed SET a = a WHERE id = 1")
        assert not changed("UPDATE computed SET a = 5, changed = '2024-05-05' WHERE id = 1")
        assert changed("UPDATE computed SET a = 6 WHERE id = 1")
    connection.rollback()
    connection.close()


def test_keys_actions_checks_and_indexes_hold(tortured: Tortured) -> None:
    migrated = tortured.migrated
    assert migrated.ask(
        "SELECT conname, confdeltype, confupdtype, convalidated FROM pg_constraint WHERE contype ="
        " 'f' AND connamespace = current_schema()::regnamespace ORDER BY 1"
    ) == [("pets_friend", "n", "r", False), ("pets_owner", "c", "c", True)]
    assert "a_not_negative" in migrated.refused("UPDATE computed SET a = -1")
    assert "check" in migrated.refused("UPDATE computed SET name = 'q'")
    assert "email_key" in migrated.refused("UPDATE words SET email = 'same'")
    assert "plain_start" in migrated.refused("UPDATE words SET plain = 'same ' || id")
    indexes = dict(
        migrated.ask(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()"
        )
    )
    assert "USING gin (to_tsvector('simple'::regconfig" in indexes["body_words"]
    assert indexes["body_start"].endswith("USING btree (body)")
    assert '"left"' in indexes["plain_start"]


def test_views_comments_and_names_come_along(tortured: Tortured) -> None:
    ask = tortured.migrated.ask
    assert ask("SELECT * FROM rich ORDER BY 1") == [("Ann", 1, "one"), ("Bob", 2, "many")]
    assert ask("SELECT * FROM flags ORDER BY 1") == [(2, 0, "n2"), (4, 1, "n4")]
    assert ask("SELECT obj_description('words'::regclass)") == [("all kinds of 'words'",)]
    assert ask("SELECT col_description('owners'::regclass, 2)") == [("as on the passport",)]


def _one(cursor: Any) -> Any:
    row = cursor.fetchone()
    return row[0] if row else None
