"""Each line of the fidelity page, in one database that goes through the command."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow.parquet as pq
import pytest
from psycopg2 import sql

from migration_assets.cli import run
from migration_assets.postgres.connect import Target
from migration_assets.run_folder import RunFolder
from migration_assets.verify import structure
from migration_assets_tests.comparator import compare
from migration_assets_tests.comparator_objects import missing_objects
from migration_assets_tests.torture import UTF8, UTF16, Case, make
from migration_assets_tests.torture_objects import CASES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "fidelity.md"
SECTIONS = ("SQLite", "Values no column can hold", "Names")
"""Whose lines all have a case; what equal means is the judge's own table."""


@dataclass(frozen=True)
class Migrated:
    """A torture database after its migration."""

    source: Path
    url: str
    schema: str
    out: Path
    cases: tuple[Case, ...]
    folder: RunFolder

    def query(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Ask the target; names are found without a schema."""
        with closing(psycopg2.connect(self.url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT set_config('search_path', %s, false)", (self.schema,))
            cursor.execute("SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'")
            cursor.execute(query, arguments)
            return cursor.fetchall()

    def execute(self, *statements: str) -> None:
        """Change the target; names are found without a schema."""
        with (
            closing(psycopg2.connect(self.url)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT set_config('search_path', %s, false)", (self.schema,))
            cursor.execute("; ".join(statements))


RUNS = {UTF8: "", UTF16: "  foreign_key_indexes: false\n"}
"""The two databases by their encoding, and the lines of ``defs.yaml`` each is migrated with."""


@pytest.fixture(scope="module", params=RUNS)
def migrated(
    request: pytest.FixtureRequest, pg_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Migrated]:
    folder = tmp_path_factory.mktemp("torture")
    source, out = folder / "torture.db", folder / "out"
    cases = tuple(c for c in CASES if c.only in {None, request.param})
    make(source, cases, request.param)
    schema = f"torture_{request.param[-2:].strip('-')}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIGRATION_HOME", str(folder / "home"))
        target = ["--target", pg_url, "--schema", schema]
        assert run(["init", f"sqlite:///{source}", *target]) == 0
        definition = folder / "home" / "torture" / "defs.yaml"
        definition.write_text(definition.read_text().rstrip() + "\n" + RUNS[request.param])
        code = run(["migrate", f"sqlite:///{source}", *target, "--out", str(out)])
    evidence = json.loads((out / "evidence.json").read_text())
    assert evidence["run"]["reasons"] == []
    assert code == 0
    [path] = (folder / "home").glob("*/runs/*")
    shutil.copy(path / "plan.json", out)
    yield Migrated(source, pg_url, schema, out, cases, RunFolder(path))
    with closing(psycopg2.connect(pg_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


def test_every_value_and_object_arrives_or_is_declared(migrated: Migrated, tmp_path: Path) -> None:
    where = (migrated.source, migrated.url, migrated.schema, migrated.out, tmp_path)
    verdict = compare(*where)
    assert verdict.faults == []
    assert missing_objects(*where) == []
    assert len(verdict.rows) == len(migrated.folder.plan().tables)


def test_types_and_not_null_are_as_the_page_says(migrated: Migrated) -> None:
    found = {
        (table, column): (type_, required)
        for table, column, type_, required in migrated.query(
            "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull"
            " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " WHERE c.relnamespace = %s::regnamespace AND c.relkind = 'r' AND a.attnum > 0",
            migrated.schema,
        )
    }
    faults = [
        f"{table}.{column} is {found[table, column][0]}, not {type_}"
        for case in migrated.cases
        for table, columns in case.types.items()
        for column, type_ in columns.items()
        if found[table, column][0] != type_
    ]
    for case in migrated.cases:
        for table, columns in case.required.items():
            required = {c for (t, c), (_, required) in found.items() if t == table and required}
            if required != columns:
                faults.append(f"NOT NULL of {table} are {required}, not {columns}")
    assert faults == []


def test_values_are_as_the_page_says(migrated: Migrated) -> None:
    faults = []
    for case in migrated.cases:
        for table, columns in case.values.items():
            for column, texts in columns.items():
                quoted = ['"' + name.replace('"', '""') + '"' for name in (column, table)]
                rows = migrated.query("SELECT {}::text FROM {} ORDER BY ctid".format(*quoted))
                if [text for (text,) in rows] != list(texts):
                    faults.append(f"{table}.{column} holds {rows}, not {texts}")
    assert faults == []


def test_the_ledger_holds_these_rules_and_no_other(migrated: Migrated) -> None:
    rows = pq.read_table(migrated.out / "ledger.parquet").to_pylist()
    found = Counter((row["table"], row["column"], row["rule"]) for row in rows)
    expected = {
        (table, column, rule): count
        for case in migrated.cases
        for table, columns in case.ledger.items()
        for column, rules in columns.items()
        for rule, count in rules.items()
    }
    assert dict(found) == expected


def test_objects_are_made_or_reported_as_the_page_says(migrated: Migrated) -> None:
    evidence = json.loads((migrated.out / "evidence.json").read_text())
    reported = {(item["kind"], item["name"]) for item in evidence["skipped"]}
    made = set(
        migrated.query(
            "SELECT contype::text, conrelid::regclass::text, pg_get_constraintdef(oid)"
            " FROM pg_constraint WHERE connamespace = %s::regnamespace"
            " UNION ALL SELECT 'i', indrelid::regclass::text, pg_get_indexdef(indexrelid)"
            " FROM pg_index JOIN pg_class ON pg_class.oid = indrelid"
            " WHERE relnamespace = %s::regnamespace"
            " UNION ALL SELECT 'v', viewname, '' FROM pg_views WHERE schemaname = %s",
            *[migrated.schema] * 3,
        )
    )
    shapes = {
        (kind, table.strip('"'), definition[definition.find("(") :] if definition else "")
        for kind, table, definition in made
    }
    faults = [
        f"{item} is not reported"
        for case in migrated.cases
        for item in case.reported
        if item not in reported
    ]
    faults += [
        f"{item} is not there"
        for case in migrated.cases
        for item in case.made
        if item not in shapes
    ]
    faults += [
        f"{item} is there" for case in migrated.cases for item in case.absent if item in shapes
    ]
    assert faults == [], (sorted(reported), sorted(shapes))


def test_all_objects_are_counted_in_postgresql_or_as_reported(migrated: Migrated) -> None:
    evidence = json.loads((migrated.out / "evidence.json").read_text())
    counts = {count["kind"]: count for count in evidence["objects"]}
    assert [c for c in counts.values() if c["source"] != c["target"] + c["reported"]] == []
    with closing(sqlite3.connect(migrated.source)) as source:
        there = dict(
            source.execute(
                "SELECT type, count(*) FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%'"
                " ESCAPE '\\' GROUP BY type"
            )
        )
    tables = ("table", "virtual table", "shadow table")
    assert sum(counts[kind]["source"] for kind in tables) == there["table"]
    for kind in ("index", "view", "trigger"):
        assert counts[kind]["source"] == there[kind]
    reported = Counter(item["kind"] for item in evidence["skipped"])
    assert {kind: reported[kind] for kind in counts} == {
        kind: count["reported"] for kind, count in counts.items()
    }


def test_generated_columns_are_made_as_the_page_says(migrated: Migrated) -> None:
    found = {
        (table, column): text
        for table, column, text in migrated.query(
            "SELECT c.relname, a.attname, CASE WHEN a.attgenerated = 's'"
            " THEN pg_get_expr(d.adbin, d.adrelid) END FROM pg_attribute a"
            " JOIN pg_class c ON c.oid = a.attrelid"
            " LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
            " WHERE c.relnamespace = %s::regnamespace",
            migrated.schema,
        )
    }
    expected = {
        (table, column): text
        for case in migrated.cases
        for table, columns in case.generated.items()
        for column, text in columns.items()
    }
    assert {key: found[key] for key in expected} == expected
    reported = [s for s in migrated.folder.kept_plan().skipped if s.kind == "generated column"]
    assert {(s.table, s.name) for s in reported} == {k for k, v in expected.items() if v is None}


def test_structure_check_finds_what_is_lost_or_has_another_text(migrated: Migrated) -> None:
    target = Target(migrated.url, migrated.schema)
    plan, profile = migrated.folder.kept_plan(), migrated.folder.profile()
    assert structure.findings(target, migrated.schema, plan, profile) == []
    spoiled = [item for case in migrated.cases for item in case.spoiled]
    migrated.execute(*(statement for statement, _, _ in spoiled))
    found = [f.problem for f in structure.findings(target, migrated.schema, plan, profile)]
    migrated.execute(*(undoing for _, undoing, _ in spoiled))
    assert len(found) == len(spoiled)
    assert [said for _, _, said in spoiled if not any(said in f for f in found)] == [], found


def test_the_next_number_is_the_sources(migrated: Migrated) -> None:
    for case in migrated.cases:
        for table, expected in case.next_values.items():
            [(sequence,)] = migrated.query("SELECT pg_get_serial_sequence(%s, 'id')", table)
            [(start,)] = migrated.query(f"SELECT last_value + is_called::int FROM {sequence}")
            assert (table, start) == (table, expected)


def test_each_line_of_the_page_has_a_case() -> None:
    lines = list(_lines())
    assert [line for line in lines if not any(case.line in line for case in CASES)] == []
    assert [case.line for case in CASES if not any(case.line in line for line in lines)] == []


def _lines() -> Iterator[str]:
    """Rows of tables, bullets and paragraphs of the sections that say what becomes of something."""
    for section in re.split(r"^#{2,3} ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        if title not in SECTIONS:
            continue
        rows = [line for line in body.splitlines() if line.startswith("| ")]
        # What defs.yaml asks for has tests of its own.
        yield from (row for row in rows[1:] if "source_timezone" not in row)
        rest = "\n".join(line for line in body.splitlines() if not line.startswith("|"))
        for paragraph in re.split(r"\n(?=- )|\n\n", rest):
            if text := " ".join(paragraph.split()).removeprefix("- "):
                yield text
