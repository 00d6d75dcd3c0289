"""Random schemas with random, dirty values arrive whole, by the judgement of plain drivers.

``RANDOM_DATABASES=3000 pytest migration_assets_tests/test_random_databases.py`` judges more of
them; a fault names its seed, and ``RANDOM_SEED=<seed> RANDOM_DATABASES=1`` makes that one again.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from migration_assets.cli import run
from migration_assets.core.evidence import Evidence
from migration_assets.expectations.client import ExpectationsWorker
from migration_assets_tests import random_databases
from migration_assets_tests.random_run import Judged, judge, run_many

DATABASES = int(os.environ.get("RANDOM_DATABASES", "300"))
FIRST_SEED = int(os.environ.get("RANDOM_SEED", "20261"))
PARTS = 12
"""Tests that share the databases among them, and so among processes."""
MANY_TABLES = 40


@pytest.mark.parametrize("part", range(min(PARTS, DATABASES)))
def test_random_databases_arrive_whole(
    part: int,
    pg_url: str,
    expectations_worker: ExpectationsWorker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MIGRATION_HOME", str(tmp_path / "home"))
    seeds = range(FIRST_SEED, FIRST_SEED + DATABASES)[part::PARTS]
    judged = run_many(seeds, pg_url, tmp_path, expectations_worker)
    assert {one.seed: one.faults[:5] for one in judged if one.faults} == {}
    assert [one.seed for one in judged] == list(seeds)
    if len(seeds) >= 25:  # the seeds make what they are meant to make
        assert sum(one.rows for one in judged) > 10 * len(seeds)
        assert sum(one.ledger for one in judged) > len(seeds) // 4


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
