"""Random schemas with random, dirty values arrive whole, by the judgement of plain drivers.

``RANDOM_DATABASES=3000 pytest migration_assets_tests/test_random_databases.py`` judges more of
them; a fault names its seed, and ``RANDOM_SEED=<seed> RANDOM_DATABASES=1`` makes that one again.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from migration_assets.cli import run
from migration_assets.core.evidence import Evidence
from migration_assets_tests import random_databases
from migration_assets_tests.random_run import Judged, judge, run_many

DATABASES = int(os.environ.get("RANDOM_DATABASES", "300"))
FIRST_SEED = int(os.environ.get("RANDOM_SEED", "20261"))
MANY_TABLES = 40
MOST_PROCESSES = 4


def test_random_databases_arrive_whole(pg_url: str, tmp_path: Path) -> None:
    seeds = range(FIRST_SEED, FIRST_SEED + DATABASES)
    processes = max(1, min(MOST_PROCESSES, os.cpu_count() or 1, DATABASES))
    parts = [seeds[first::processes] for first in range(processes)]
    folders = [tmp_path / str(first) for first in range(processes)]
    for folder in folders:
        folder.mkdir()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        found = pool.map(run_many, parts, [pg_url] * processes, folders)
        judged = [one for part in found for one in part]
    assert {one.seed: one.faults[:5] for one in judged if one.faults} == {}
    assert len(judged) == DATABASES
    if DATABASES >= 300:  # the seed makes what it is meant to make
        assert sum(one.rows for one in judged) > 5_000
        assert sum(one.ledger for one in judged) > 300


def test_a_random_database_of_many_tables_arrives_whole(
    pg_url: str, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out, mine = tmp_path / "random.db", tmp_path / "out", tmp_path / "judge"
    mine.mkdir()
    random_databases.make(source, FIRST_SEED, MANY_TABLES)
    monkeypatch.setenv("MIGRATION_HOME", str(tmp_path / "home"))
    target = ["--target", pg_url, "--schema", schema, "--out", str(out)]
    assert run(["migrate", f"sqlite:///{source}", *target]) == 0
    [plan] = (tmp_path / "home").glob("*/runs/*/plan.json")
    shutil.copy(plan, out)
    evidence = Evidence.from_json((out / "evidence.json").read_bytes())
    judged = Judged(FIRST_SEED)
    judge(judged, evidence, source, pg_url, schema, out, mine)
    assert judged.faults == []
    assert judged.tables == MANY_TABLES
    assert len(evidence.tables) == MANY_TABLES
