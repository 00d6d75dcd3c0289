"""``schema_mode: existing``: rows into tables that the application's own migrations made."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from migration_assets import home as homes
from migration_assets.cli import run
from migration_assets_tests.fixture_databases import FOLDER
from migration_assets_tests.test_truth_maps import _row_faults
from migration_assets_tests.truth_maps import load_truth, truth_map


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv(homes.VARIABLE, str(path))
    return path


def define(source: str, url: str, schema: str, config: str, home: Path) -> None:
    assert run(["init", source, "--target", url, "--schema", schema]) == 0
    [definition] = home.glob("*/defs.yaml")
    definition.write_text(definition.read_text().rstrip() + "\n" + config)


@pytest.mark.skipif(
    not (FOLDER / "postgres_truth").is_dir(), reason=f"no public databases in {FOLDER}"
)
def test_hydra_goes_into_its_own_postgresql_schema_with_the_rows_its_authors_have(
    database: str, tmp_path: Path, home: Path
) -> None:
    source = f"sqlite:///{FOLDER / 'sqlite/ory_hydra/hydra.sqlite'}"
    load_truth("hydra", database, tmp_path)
    define(source, database, "public", "  schema_mode: existing\n  replace: true\n", home)
    assert run(["plan", source, "--name", "hydra"]) == 0
    assert run(["migrate", source, "--target", database, "--schema", "public"]) == 0
    with closing(psycopg2.connect(database)) as connection:
        with connection.cursor() as cursor:
            cursor.execute("ALTER SCHEMA public RENAME TO ours")
            cursor.execute("ALTER SCHEMA public__previous RENAME TO public")
            # What was there is kept as rows alone, and their keys tell them apart.
            cursor.execute(
                "SELECT format('ALTER TABLE public.%I ADD %s', c.relname,"
                " pg_get_constraintdef(k.oid)) FROM pg_constraint k JOIN pg_class c"
                " ON c.oid = k.conrelid WHERE k.contype = 'p'"
                " AND k.connamespace = 'ours'::regnamespace"
            )
            for (statement,) in cursor.fetchall():
                cursor.execute(statement)
        faults = []
        for table, truth in truth_map("hydra").items():
            faults += _row_faults(connection, table, truth)
    assert faults == []
