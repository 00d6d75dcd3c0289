"""Objects in = objects in PostgreSQL + objects reported, of every kind."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from migration_assets.core.catalog import Catalog
from migration_assets.core.config import PlanConfig
from migration_assets.core.inventory import objects
from migration_assets.core.planner import build_plan
from migration_assets.errors import InputError
from migration_assets.sources import open_source
from migration_assets_tests.command import migrate
from migration_assets_tests.conftest import Role
from migration_assets_tests.fixture_databases import sqlite_fixtures
from migration_assets_tests.postgres_tables import ask

SCRIPT = """
CREATE TABLE people (
    id INTEGER PRIMARY KEY,
    name TEXT COLLATE NOCASE UNIQUE,
    age INTEGER DEFAULT 0 CHECK (age >= 0),
    born TEXT DEFAULT (date('now')),
    odd TEXT DEFAULT (printf('%d', 1)),
    doc TEXT CHECK (json_valid(doc)),
    twice INTEGER AS (age * 2),
    shape TEXT AS (printf('%d', age)),
    UNIQUE (name, age)
);
CREATE TABLE notes (
    person INTEGER, place INTEGER DEFAULT NULL, other TEXT,
    PRIMARY KEY (person, place),
    FOREIGN KEY (person) REFERENCES people (id) ON DELETE CASCADE ON UPDATE SET NULL
        DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (other) REFERENCES nowhere (x),
    CHECK (typeof(other) <> 'blob')
) WITHOUT ROWID;
CREATE TABLE children (
    a INTEGER, b INTEGER,
    FOREIGN KEY (a, b) REFERENCES notes (person, place) ON DELETE SET DEFAULT DEFERRABLE
);
CREATE INDEX by_name ON people (name DESC, age);
CREATE INDEX adults ON people (age) WHERE age >= 18;
CREATE INDEX folded ON people (lower(name));
CREATE INDEX odd_index ON people (printf('%d', age));
CREATE VIEW grown AS SELECT name FROM people WHERE age >= 18;
CREATE VIEW odd_view AS SELECT printf('%d', age) AS p FROM people;
CREATE TRIGGER t AFTER INSERT ON people BEGIN SELECT 1; END;
CREATE VIRTUAL TABLE words USING fts5(word);
INSERT INTO people (name, age, doc) VALUES ('Ann', 20, '{}'), ('Bob', 3, '{}');
INSERT INTO notes VALUES (1, 1, 'x'), (2, 1, NULL);
INSERT INTO children VALUES (1, 1), (NULL, 5);
"""
WANTED = {
    "table": (3, 0), "column": (13, 0), "primary key": (2, 0), "unique key": (2, 0),
    "foreign key": (2, 1), "check": (2, 1), "default": (3, 1), "generated column": (1, 1),
    "index": (3, 1), "view": (1, 1), "trigger": (0, 1), "virtual table": (0, 1),
    "shadow table": (0, 5),
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATION_HOME", str(tmp_path / "home"))


def test_every_object_is_in_postgresql_or_reported_with_its_text_and_a_reason(
    pg_url: str, schema: str, tmp_path: Path
) -> None:
    done = migrate(SCRIPT, pg_url, schema, tmp_path)
    assert done.code == 0, done.evidence["run"]["reasons"]
    counted = {c["kind"]: (c["target"], c["reported"]) for c in done.evidence["objects"]}
    assert counted == WANTED
    for count in done.evidence["objects"]:
        assert count["source"] == count["target"] + count["reported"], count
    for item in done.evidence["skipped"]:
        assert item["reason"]
        assert item["sql"] or item["kind"] == "foreign key", item
    keys = done.ask(
        "SELECT pg_get_constraintdef(oid, true) FROM pg_constraint"
        " WHERE contype = 'f' AND connamespace = current_schema::regnamespace ORDER BY 1"
    )
    assert [text for (text,) in keys] == [
        "FOREIGN KEY (a, b) REFERENCES notes(person, place) ON DELETE SET DEFAULT DEFERRABLE",
        "FOREIGN KEY (person) REFERENCES people(id) ON UPDATE SET NULL ON DELETE CASCADE"
        " DEFERRABLE INITIALLY DEFERRED",
    ]
    assert "people_name_key" in done.refused("INSERT INTO people (name) VALUES ('ANN')")
    assert "notes_pkey" in done.refused("INSERT INTO notes VALUES (1, 1, 'y')")
    assert "people_check" in done.refused("INSERT INTO people (age) VALUES (-1)")
    assert "children_a_b_fkey" in done.refused("INSERT INTO children VALUES (9, 9)")
    assert done.ask("SELECT twice, shape FROM people ORDER BY id") == [(40, "20"), (6, "3")]


def lost(catalog: Catalog) -> list[str]:
    """Objects that the plan neither makes nor reports."""
    plan = build_plan(catalog, None, PlanConfig())
    return [
        f"{item.kind} {item.table}.{item.name}"
        for item in objects(catalog, plan)
        if item.carrier is None and not item.reported
    ]


@pytest.mark.parametrize("fixture", sqlite_fixtures(), ids=lambda fixture: fixture.name)
def test_no_object_of_a_public_database_is_unaccounted_for(fixture) -> None:
    try:
        assert lost(open_source(f"sqlite:///{fixture.path}").reflect()) == []
    except InputError as error:
        assert "63 bytes at most" in str(error)


@pytest.mark.parametrize("seed", range(40))
def test_no_object_of_a_random_database_is_unaccounted_for(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "random.db"
    connection = sqlite3.connect(path)
    connection.executescript(random_script(random.Random(seed)))
    connection.close()
    assert lost(open_source(f"sqlite:///{path}").reflect()) == []


def random_script(chance: random.Random) -> str:
    """Tables with whatever objects SQLite takes, many of which do not translate."""
    conditions = ["{c} >= 0", "typeof({c}) = 'text'", "{c} GLOB 'x*'", "json_valid({c})", "{c}"]
    defaults = ["0", "'x'", "(1 + 1)", "(random())", "(printf('x'))", "CURRENT_TIMESTAMP", "NULL"]
    script = []
    for number in range(chance.randint(1, 4)):
        names = [f"c{n}" for n in range(chance.randint(1, 6))]
        parts = []
        for name in names:
            part = f"{name} {chance.choice(['INTEGER', 'TEXT', 'REAL', 'JSON', 'DATE', ''])}"
            if chance.random() < 0.3:
                part += f" DEFAULT {chance.choice(defaults)}"
            if chance.random() < 0.2:
                part += " COLLATE NOCASE"
            if chance.random() < 0.2:
                part += " UNIQUE"
            if chance.random() < 0.3:
                part += f" CHECK ({chance.choice(conditions).format(c=name)})"
            if chance.random() < 0.3:
                part += f" REFERENCES t{chance.randint(0, 4)} (c0) ON DELETE CASCADE"
            parts.append(part)
        if chance.random() < 0.4:
            made = chance.choice(["c0 || 'x'", "typeof(c0)", "c0 + 1"])
            parts.append(f"g AS ({made}) {chance.choice(['STORED', 'VIRTUAL'])}")
        if chance.random() < 0.6:
            parts.append(f"PRIMARY KEY ({', '.join(chance.sample(names, 1 + len(names) // 3))})")
        if chance.random() < 0.4:
            parts.append(f"UNIQUE ({', '.join(chance.sample(names, 1 + len(names) // 2))})")
        script.append(f"CREATE TABLE t{number} ({', '.join(parts)});")
        for place in range(chance.randint(0, 3)):
            term = chance.choice(
                [names[0], f"{names[-1]} DESC", f"lower({names[0]})", "typeof(c0)"]
            )
            where = f" WHERE {chance.choice(conditions[:3]).format(c='c0')}"
            script.append(
                f"CREATE {chance.choice(['', 'UNIQUE '])}INDEX i{number}_{place} ON t{number}"
                f" ({term}){chance.choice(['', where])};"
            )
        script.append(f"CREATE VIEW v{number} AS SELECT c0, typeof(c0) FROM t{number};")
    return "\n".join(script)


OWN = """
  indexes:
    people: [{expressions: ["to_tsvector('simple', name)"], method: gin}]
  constraints:
    people: [{check: "age < 200"}, {unique: [id, age]}]
"""


@pytest.mark.parametrize("where", ["shop", "public"])
def test_a_role_that_is_no_superuser_makes_and_proves_all_of_them(
    where: str, database: str, make_role: Callable[..., Role], tmp_path: Path
) -> None:
    role = make_role()
    if where == "public":
        ask(database, f"ALTER SCHEMA public OWNER TO {role.name}")
    done = migrate(SCRIPT, role.url, where, tmp_path, OWN)
    assert done.code == 0, done.evidence["run"]["reasons"]
    for count in done.evidence["objects"]:
        assert count["source"] == count["target"] + count["reported"], count
    [(taken,)] = done.ask("INSERT INTO people (name, doc) VALUES ('Zoe', '{}') RETURNING id")
    assert taken == 3
