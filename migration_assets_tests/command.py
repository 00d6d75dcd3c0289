"""The whole command on a database made by a script, and what it left behind."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from migration_assets.cli import run

_PATH = "SELECT set_config('search_path', quote_ident(%s), false)"


@dataclass(frozen=True)
class Migrated:
    """One finished run: exit code, evidence, and where the schema is."""

    code: int
    evidence: dict[str, Any]
    url: str
    schema: str

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a query, names looked up in the migrated schema."""
        with psycopg2.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('search_path', quote_ident(%s), false)", [self.schema]
            )
            cursor.execute(statement)
            return cursor.fetchall()

    def refused(self, statement: str) -> str:
        """What PostgreSQL says against a statement, empty if nothing; it is rolled back."""
        connection = psycopg2.connect(self.url)
        try:
            with connection.cursor() as cursor:
                cursor.execute(_PATH, [self.schema])
                try:
                    cursor.execute(statement)
                    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
                except psycopg2.Error as error:
                    return str(error)
            return ""
        finally:
            connection.rollback()
            connection.close()

    def skipped(self, kind: str) -> dict[str, dict[str, Any]]:
        """What was reported of one kind, by name."""
        return {s["name"]: s for s in self.evidence["skipped"] if s["kind"] == kind}


def migrate(script: str, url: str, schema: str, folder: Path, config: str = "") -> Migrated:
    """Make a database by ``script`` in ``folder`` and migrate it.

    ``MIGRATION_HOME`` must be set; ``config`` is added to the attributes of ``defs.yaml``.
    """
    path = folder / "shop.db"
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return again(url, schema, folder, config)


def again(url: str, schema: str, folder: Path, config: str = "") -> Migrated:
    """Migrate the database that :func:`migrate` made."""
    out = folder / "out"
    source = f"sqlite:///{folder / 'shop.db'}"
    if config:
        assert run(["init", source, "--target", url, "--schema", schema]) == 0
        [definition] = Path(folder / "home").glob("shop/defs.yaml")
        definition.write_text(definition.read_text().rstrip() + "\n" + config)
    arguments = ["--target", url, "--schema", schema, "--out", str(out)]
    code = run(["migrate", source, *arguments])
    file = out / "evidence.json"
    evidence = json.loads(file.read_text()) if file.exists() else {}
    return Migrated(code, evidence, url, schema)
