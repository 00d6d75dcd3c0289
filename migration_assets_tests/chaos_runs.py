"""Runs in processes of their own that can be killed at any moment, without waiting for imports.

A parent that has imported everything forks a child for each run; the child's end is reported. It
is a program: ``python -m migration_assets_tests.chaos_runs``, one JSON object a line on standard
input, ``{"home", "name", "job", "run"}``; it answers ``{"pid"}``, then ``{"code"}``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from migration_assets.home import Migration
from migration_assets.run_folder import RunFolder


@dataclass(frozen=True)
class Started:
    """A run that is under way."""

    pid: int
    folder: RunFolder


class Runs:
    """The parent of the runs, as the test sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, migration: Migration, job: str = "shop_rehearsal") -> Started:
        """Begin a run; it has its process already."""
        run_id = str(uuid.uuid4())
        asked = {"home": str(migration.home), "name": migration.name, "job": job, "run": run_id}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return Started(int(self._answer()["pid"]), migration.run_folder(run_id))

    def end(self) -> int:
        """Wait for the end of the run; its exit code, negative for the signal that killed it."""
        return int(self._answer()["code"])

    def _answer(self) -> dict[str, int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the parent of the runs has ended"
        found: dict[str, int] = json.loads(line)
        return found


@contextmanager
def runs(log: Path) -> Iterator[Runs]:
    """Start the parent; what the runs print goes to ``log``."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "migration_assets_tests.chaos_runs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield Runs(process)
        finally:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()
            process.wait(30)
            process.stdout.close()


def main() -> None:
    """Fork a child for each line."""
    from migration_assets import home as homes
    from migration_assets.expectations.client import ExpectationsWorker
    from migration_assets.launch import launch

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what runs print is no answer
    worker = ExpectationsWorker()
    for line in sys.stdin:
        asked = json.loads(line)
        migration = homes.load(Path(asked["home"]), asked["name"])
        # The first line that it says must not be read by a child alone.
        worker._ask({"do": "validate", "expectations": []})
        child = os.fork()
        if child == 0:
            code = 70
            try:
                outcome = launch(migration, asked["job"], worker=worker, run_id=asked["run"])
                codes = [failure.exit_code for failure in outcome.failures]
                code = 0 if outcome.success else max(codes, default=1)
            finally:
                os._exit(code)
        print(json.dumps({"pid": child}), file=answers, flush=True)
        _, status = os.waitpid(child, 0)
        loaded = migration.run_folder(asked["run"]).path / "results" / "load"
        if os.WIFSIGNALED(status) and loaded.exists():
            # It may have been asked something that nobody has read the answer of.
            worker.close()
            worker.start()
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps({"code": code}), file=answers, flush=True)
    worker.close()


if __name__ == "__main__":
    main()
