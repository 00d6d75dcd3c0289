"""Random MySQL databases arrive whole, by the judgement of plain drivers.

``RANDOM_MYSQL_DATABASES=200`` judges more of them; a fault names its seed, and
``RANDOM_SEED=<seed> RANDOM_MYSQL_DATABASES=1`` makes that one again.
"""

from __future__ import annotations

import gc
import io
import os
import random
import shutil
import traceback
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql
from rich.console import Console

from migration_assets.cli.moving import copy_artefacts
from migration_assets.cli.rehearsal import rehearse
from migration_assets.expectations.client import ExpectationsWorker
from migration_assets_tests import random_mysql
from migration_assets_tests.comparator_mysql import compare, missing_objects
from migration_assets_tests.mysql_server import MySQLDatabase, MySQLServer

DATABASES = int(os.environ.get("RANDOM_MYSQL_DATABASES", "6"))
FIRST_SEED = int(os.environ.get("RANDOM_SEED", "20261"))
MOST_TABLES = 6


def test_random_mysql_databases_arrive_whole(
    mysql_server: MySQLServer, pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIGRATION_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MYSQL_PWD", mysql_server.password)
    faults: dict[int, list[str]] = {}
    with ExpectationsWorker() as worker:
        for seed in range(FIRST_SEED, FIRST_SEED + DATABASES):
            with mysql_server.database() as source:
                random_mysql.make(source, seed, random.Random(seed).randint(1, MOST_TABLES))
                try:
                    found = _judged(source, worker, pg_url, tmp_path / str(seed))
                except Exception:  # a fault of this seed like any other
                    found = [traceback.format_exc()]
                if found:
                    faults[seed] = found[:5]
            gc.unfreeze()  # each run leaves what it knows to the end of its process
    assert not faults, "\n".join(f"{seed}: {one}" for seed, all_ in faults.items() for one in all_)


def _judged(source: MySQLDatabase, worker: ExpectationsWorker, url: str, out: Path) -> list[str]:
    schema = source.name
    try:
        _, evidence, run = rehearse(Console(file=io.StringIO()), worker, source.url, url, schema)
        copy_artefacts(run, out)
        shutil.copy(run.path / "plan.json", out)
        if evidence.run.reasons:
            return [f"the run says: {reason}" for reason in evidence.run.reasons]
        faults = compare(source, url, schema, out).faults
        return faults + missing_objects(source, url, schema, out)
    finally:
        with (
            closing(psycopg2.connect(url)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            for name in (schema, f"{schema}__previous"):
                cursor.execute(
                    sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name))
                )
