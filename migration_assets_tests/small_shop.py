"""A small shop: names that need quoting, keys and references, a table called like a step."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from migration_assets import home as homes
from migration_assets.home import Migration
from migration_assets.sources import open_source
from migration_assets.state import State

SCRIPT = """
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, born DATE);
CREATE TABLE "order items" (
    id INTEGER PRIMARY KEY,
    user INTEGER NOT NULL REFERENCES users (id),
    "Preis" DECIMAL(10, 2) CHECK ("Preis" >= 0),
    note TEXT
);
CREATE TABLE report (day TEXT PRIMARY KEY, total REAL);
CREATE INDEX items_user ON "order items" (user);
CREATE VIEW buyers AS SELECT DISTINCT u.name FROM users u JOIN "order items" i ON i.user = u.id;
INSERT INTO users VALUES (1, 'Ada', '1815-12-10'), (2, 'Bob', NULL), (7, 'Zoë', '2000-02-29');
INSERT INTO "order items" (user, "Preis", note) VALUES
    (1, 9.99, 'first'), (1, 0.1, NULL), (7, 100, 'x'), (2, 3.5, '');
INSERT INTO report VALUES ('2024-01-01', 109.5), ('2024-01-02', 0.1);
"""
TABLES = {"users": 3, "order items": 4, "report": 2}
SLUGS = {"users": "users", "order items": "order_items", "report": "report"}


def make_source(path: Path) -> str:
    """Write the database; returns its URL."""
    connection = sqlite3.connect(path)
    connection.executescript(SCRIPT)
    connection.close()
    return f"sqlite:///{path}"


def make_migration(
    home: Path, source: str, target: str | None = None, schema: str | None = None
) -> Migration:
    """A migration called ``shop`` with its catalog cached."""
    migration = homes.create(home, "shop", source, target, schema)
    State(open_source(source).reflect()).write(migration.state)
    return migration


def configure(migration: Migration, lines: str) -> Migration:
    """Add lines to the attributes of ``defs.yaml``, as a user would."""
    text = migration.defs_yaml.read_text()
    migration.defs_yaml.write_text(text.rstrip() + "\n" + lines)
    return homes.load(migration.home, migration.name)
