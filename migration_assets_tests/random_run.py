"""Many random databases in one process: made, migrated by the command's own way, and judged.

What costs the time of a small database is not its rows: Great Expectations imports for 2 s,
Dagster's storage takes 0.7 s to be made, and its events about as long as all the rest. So the
databases of one process share the first two; nothing of the verification is left out.
"""

from __future__ import annotations

import gc
import io
import os
import random
import shutil
import traceback
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import pyarrow.parquet as pq
from psycopg2 import sql
from rich.console import Console

from migration_assets.cli.moving import copy_artefacts
from migration_assets.cli.rehearsal import rehearse
from migration_assets.core.evidence import Evidence
from migration_assets.expectations.client import ExpectationsWorker
from migration_assets_tests import random_databases
from migration_assets_tests.comparator import compare
from migration_assets_tests.comparator_objects import missing_objects

MOST_TABLES = 6


@dataclass
class Judged:
    """What became of one database; no faults means that it arrived whole."""

    seed: int
    tables: int = 0
    rows: int = 0
    ledger: int = 0
    faults: list[str] = field(default_factory=list)


def run_many(
    seeds: Sequence[int], url: str, folder: Path, worker: ExpectationsWorker
) -> list[Judged]:
    """Make, migrate and judge the database of every seed; ``MIGRATION_HOME`` must be set.

    Args:
        seeds: one database each.
        url: the target server's.
        folder: an empty folder.
        worker: Great Expectations' process.
    """
    console = Console(file=io.StringIO())
    found = []
    for seed in seeds:
        place = folder / str(seed)
        place.mkdir()
        judged = Judged(seed)
        try:
            _judge(judged, url, place, console, worker)
        except Exception:  # a fault of this seed like any other; the rest are judged too
            judged.faults.append(traceback.format_exc())
        found.append(judged)
        if not judged.faults:
            shutil.rmtree(place)
        gc.unfreeze()  # each run leaves what it knows to the end of its process
    return found


def _judge(
    judged: Judged, url: str, folder: Path, console: Console, worker: ExpectationsWorker
) -> None:
    seed = judged.seed
    source, schema = folder / f"random_{seed}.db", f"random_{os.getpid()}_{seed}"
    random_databases.make(source, seed, random.Random(seed).randint(1, MOST_TABLES))
    try:
        _, evidence, run = rehearse(console, worker, f"sqlite:///{source}", url, schema)
        out, mine = folder / "out", folder / "judge"
        mine.mkdir()
        copy_artefacts(run, out)
        shutil.copy(run.path / "plan.json", out)
        judge(judged, evidence, source, url, schema, out, mine)
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


def judge(
    judged: Judged, evidence: Evidence, source: Path, url: str, schema: str, out: Path, mine: Path
) -> None:
    """Judge a finished run by plain drivers, and write what is found into ``judged``.

    Args:
        judged: takes counts and faults.
        evidence: the run's own word.
        source: the SQLite file.
        url: the target server's.
        schema: the target schema.
        out: the run's plan, evidence, ledger and quarantine.
        mine: an empty folder for the judge's own copies.
    """
    judged.faults += [f"the run says: {reason}" for reason in evidence.run.reasons]
    if evidence.run.exit_code != 0:
        judged.faults.append(f"exit code {evidence.run.exit_code}")
    verdict = compare(source, url, schema, out, mine)
    judged.faults += verdict.faults
    judged.tables, judged.rows = len(verdict.rows), sum(verdict.rows.values())
    judged.ledger = verdict.ledger
    # A text that two rules changed has an entry for each.
    changed = pq.read_table(out / "ledger.parquet").select(["table", "key", "column"])
    declared = changed.group_by(changed.column_names).aggregate([]).num_rows
    if declared != verdict.ledger:
        judged.faults.append(f"{declared} values in the ledger, {verdict.ledger} differ")
    judged.faults += missing_objects(source, url, schema, out, mine)
    judged.faults += [
        f"{count.source} of kind {count.kind}, {count.target} made and {count.reported} reported"
        for count in evidence.objects
        if count.source != count.target + count.reported
    ]
