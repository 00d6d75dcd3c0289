"""This project, pgloader and raw COPY side by side, in one run on one private server.

    python bench/run.py                       the 1,000,000-row table, three rounds
    python bench/run.py --rows 5000000 --rounds 1
    python bench/run.py --dirty 10000         also the same table with 10,000 dirty values
    python bench/run.py --mysql               the same table from a private MariaDB instead
    python bench/run.py --empty --ui          also 1, 100 and 500 empty tables, and the UI's start
    python bench/run.py --only pgloader,copy  without this project

Writes ``bench/results/<date>.json`` and ``.md``. What is measured, and how: ``bench/README.md``.
"""

from __future__ import annotations

import argparse
import compileall
import json
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from conditions import conditions
from contestants import Outcome, Server, copy_bytes, migrate, pgloader, raw_copy
from make_table import make_empty, make_trades
from mariadb_table import served
from results import markdown
from start_ui import seconds_until_graph

HERE = Path(__file__).resolve().parent
CONTESTANTS = ("migrate", "pgloader", "copy")
EMPTY_TABLES = (1, 100, 500)


def main() -> int:
    arguments = _arguments()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    # As pip does for what it installs; a checkout run under PYTHONDONTWRITEBYTECODE has none.
    compileall.compile_dir(HERE.parent / "migration_assets", quiet=1)
    server = Server(work)
    result: dict[str, Any] = {
        "conditions": conditions(server.url),
        "source": "MariaDB" if arguments.mysql else "SQLite",
        "rows": arguments.rows,
    }
    try:
        result["rounds"] = _rounds(server, arguments)
        if arguments.dirty:
            result["dirty"] = _dirty(server, arguments)
        if arguments.empty:
            result["empty_tables"] = _empty(server)
        if arguments.ui:
            result["ui"] = seconds_until_graph(server, EMPTY_TABLES[-1])
    finally:
        server.stop()
    result["conditions"]["load_average_after"] = conditions(None)["load_average"]
    result["summary"] = _summary(result["rounds"], arguments.rows)
    return _write(result)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Benchmark against pgloader and raw COPY.", epilog="See bench/README.md."
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="the median of them is reported")
    parser.add_argument("--dirty", type=int, default=0, help="also measure this many dirty values")
    parser.add_argument("--mysql", action="store_true", help="read the table from a MariaDB")
    parser.add_argument("--empty", action="store_true", help="also measure 1, 100, 500 tables")
    parser.add_argument("--ui", action="store_true", help="also measure the UI's start")
    parser.add_argument(
        "--only",
        type=lambda text: tuple(text.split(",")),
        default=CONTESTANTS,
        help=f"of {', '.join(CONTESTANTS)}",
    )
    parser.add_argument("--work", type=Path, default=HERE / "work", help="room for 2 GB")
    return parser.parse_args()


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _rounds(server: Server, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Every contestant once a round, so that a change of the machine's mood meets them all."""
    table = _table(server.work, arguments.rows, 0)
    if arguments.mysql:
        _say("filling a MariaDB")
        with served(table) as url:
            return _rounds_of(server, arguments, url)
    return _rounds_of(server, arguments, table)


def _rounds_of(
    server: Server, arguments: argparse.Namespace, source: Path | str
) -> list[dict[str, Any]]:
    ready = server.work / f"trades_{arguments.rows}.copy"
    rounds = []
    if "migrate" in arguments.only:
        _new_home(server)
    for number in range(1, arguments.rounds + 1):
        measured: dict[str, Any] = {}
        if "migrate" in arguments.only:
            measured["migrate"] = _outcome(f"migrate {number}", migrate(server, source, "bench"))
        if "pgloader" in arguments.only:
            outcome = pgloader(server, source, "pgl")
            if outcome:
                measured["pgloader"] = _outcome(f"pgloader {number}", outcome)
        if "copy" in arguments.only:
            if not ready.exists():
                copy_bytes(server, "bench" if "migrate" in measured else "pgl", ready)
            for name, freeze in (("copy", False), ("copy_freeze", True)):
                server.settle("bench", "pgl", "raw")
                seconds = raw_copy(server, ready, "raw", freeze)
                _say(f"{name} {number}: {seconds:.2f} s")
                measured[name] = {"seconds": seconds}
        server.settle("bench", "pgl", "raw")
        rounds.append(measured)
    return rounds


def _new_home(server: Server) -> dict[str, Any]:
    """One empty table in a new home: what every run costs, and what the first one costs more."""
    source = server.work / "empty_1.db"
    make_empty(source, 1)
    first = _outcome("1 table, new home", migrate(server, source, "bench", new_home=True))
    server.settle("bench")
    return first


def _outcome(name: str, outcome: Outcome) -> dict[str, Any]:
    usage = outcome.usage
    _say(f"{name}: {usage.seconds:.2f} s, exit {usage.code}, {usage.peak_rss / 1e6:.0f} MB")
    return {
        **asdict(usage),
        "stages": outcome.stages,
        "load_seconds": outcome.load_seconds,
        "unverified_seconds": outcome.unverified_seconds if outcome.stages else None,
        "verdict": outcome.verdict,
    }


def _table(work: Path, rows: int, dirty: int) -> Path:
    path = work / f"trades_{rows}_{dirty}.db"
    if not path.exists():
        _say(f"making {path.name}")
        make_trades(path, rows, dirty)
    path.read_bytes()  # every contestant finds it in the page cache
    return path


def _dirty(server: Server, arguments: argparse.Namespace) -> dict[str, Any]:
    source = _table(server.work, arguments.rows, arguments.dirty)
    outcome = migrate(server, source, "bench")
    server.settle("bench")
    return {"values": arguments.dirty, **_outcome(f"{arguments.dirty} dirty values", outcome)}


def _empty(server: Server) -> dict[str, Any]:
    measured = {"1 in a new home": _new_home(server)}
    for tables in EMPTY_TABLES:
        source = server.work / f"empty_{tables}.db"
        make_empty(source, tables)
        measured[str(tables)] = _outcome(f"{tables} tables", migrate(server, source, "bench"))
        server.settle("bench")
    return measured


def _summary(rounds: list[dict[str, Any]], rows: int) -> dict[str, Any]:
    """Medians over the rounds, rows/s and the ratios that count."""

    def median(name: str, field: str = "seconds") -> float | None:
        values = [r[name][field] for r in rounds if name in r and r[name][field] is not None]
        return statistics.median(values) if values else None

    def ratio(one: float | None, other: float | None) -> float | None:
        return one / other if one and other else None

    whole, unverified = median("migrate"), median("migrate", "unverified_seconds")
    load, theirs, copy = median("migrate", "load_seconds"), median("pgloader"), median("copy")
    return {
        "migrate_seconds": whole,
        "migrate_unverified_seconds": unverified,
        "migrate_load_seconds": load,
        "pgloader_seconds": theirs,
        "copy_seconds": copy,
        "copy_freeze_seconds": median("copy_freeze"),
        "migrate_rows_per_second": ratio(rows, whole),
        "pgloader_rows_per_second": ratio(rows, theirs),
        "copy_rows_per_second": ratio(rows, copy),
        "migrate_peak_rss": median("migrate", "peak_rss"),
        "migrate_peak_pss": median("migrate", "peak_pss"),
        "pgloader_peak_rss": median("pgloader", "peak_rss"),
        "pgloader_peak_pss": median("pgloader", "peak_pss"),
        "migrate_to_pgloader": ratio(whole, theirs),
        "migrate_unverified_to_pgloader": ratio(unverified, theirs),
        "load_to_copy": ratio(load, copy),
        "load_to_copy_freeze": ratio(load, median("copy_freeze")),
    }


def _write(result: dict[str, Any]) -> int:
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    name = f"{time.strftime('%Y-%m-%d')}_{result['source'].lower()}_{result['rows']}"
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    table = markdown(result)
    (folder / f"{name}.md").write_text(table)
    print(table)
    failed = [r["migrate"] for r in result["rounds"] if "migrate" in r and r["migrate"]["code"]]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
