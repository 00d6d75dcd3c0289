"""Random schemas with random, dirty values arrive whole, by the judgement of plain drivers.

``RANDOM_DATABASES=200 pytest migration_assets_tests/test_random_databases.py`` runs more of them.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from migration_assets.cli import run
from migration_assets_tests import random_databases
from migration_assets_tests.comparator import compare

DATABASES = int(os.environ.get("RANDOM_DATABASES", "3"))
FIRST_SEED = int(os.environ.get("RANDOM_SEED", "20261"))
TABLES = 40


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + DATABASES))
def test_a_random_database_arrives_whole(
    seed: int, pg_url: str, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out, mine = tmp_path / "random.db", tmp_path / "out", tmp_path / "judge"
    mine.mkdir()
    random_databases.make(source, seed, TABLES)
    monkeypatch.setenv("MIGRATION_HOME", str(tmp_path / "home"))
    code = run(
        [
            "migrate",
            f"sqlite:///{source}",
            "--target",
            pg_url,
            "--schema",
            schema,
            "--out",
            str(out),
        ]
    )
    evidence = json.loads((out / "evidence.json").read_text())
    assert evidence["run"]["reasons"] == []
    assert code == 0
    [plan] = (tmp_path / "home").glob("*/runs/*/plan.json")
    shutil.copy(plan, out)
    verdict = compare(source, pg_url, schema, out, mine)
    assert verdict.faults == []
    # A text that two rules changed has an entry for each.
    changed = pq.read_table(out / "ledger.parquet").select(["table", "key", "column"])
    assert changed.group_by(changed.column_names).aggregate([]).num_rows == verdict.ledger
    assert len(evidence["tables"]) == TABLES
