"""How long the web interface takes to answer for a graph of many tables."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

from contestants import Server, migrate
from make_table import make_empty

QUERY = "{ assetNodes { assetKey { path } } }"
LIMIT_SECONDS = 180


def seconds_until_graph(server: Server, tables: int) -> dict[str, Any]:
    """Migrate ``tables`` empty tables, then start the UI and wait for all of its assets."""
    source = server.work / f"empty_{tables}.db"
    make_empty(source, tables)
    migrate(server, source, "bench_ui")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from migration_assets.cli import main; main()", "ui"]
    environment = {**os.environ, "MIGRATION_HOME": str(server.work / "home")}
    with (server.work / "ui.log").open("w") as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        try:
            assets = _wait(port, process, 2 * tables, started)
            seconds = time.perf_counter() - started
        finally:
            _end(process)
    server.settle("bench_ui")
    shutil.rmtree(server.work / "home", ignore_errors=True)
    return {"tables": tables, "assets": assets, "seconds": seconds}


def _wait(port: int, process: subprocess.Popen[bytes], wanted: int, started: float) -> int:
    """Ask until at least ``wanted`` assets are there; returns how many."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": QUERY}).encode(),
        {"Content-Type": "application/json"},
    )
    while time.perf_counter() - started < LIMIT_SECONDS:
        if process.poll() is not None:
            raise RuntimeError(f"the UI ended with exit code {process.returncode}; see ui.log")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                nodes = json.load(answer)["data"]["assetNodes"]
        except (urllib.error.URLError, OSError, KeyError, TypeError):
            nodes = []
        if len(nodes) >= wanted:
            return len(nodes)
        time.sleep(0.1)
    raise RuntimeError(f"no graph of {wanted} assets within {LIMIT_SECONDS} s; see ui.log")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process group that was started here."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
