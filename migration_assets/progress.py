"""Where a run is: written by the working process, read by whoever wants to show it.

Each process keeps one small JSON file in the run folder, so that a terminal, another process and
the web interface see the same thing without talking to each other.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from migration_assets.errors import BrokenOffError

WRITE_EVERY = 0.25
LOG_EVERY = 5.0
LOOK_EVERY = 0.25
"""Seconds between two looks for a pause."""


@dataclass
class Task:
    """One table in one stage.

    ``total`` is the number of rows to come, None if unknown; times are seconds since the epoch.
    ``stood`` is how many seconds it stood still, ``stands`` since when it does.
    """

    stage: str
    table: str
    total: int | None
    rows: int = 0
    started: float = 0.0
    finished: float | None = None
    stood: float = 0.0
    stands: float | None = None

    def seconds(self, now: float) -> float:
        """How long it has been at work."""
        return max((self.stands or self.finished or now) - self.started - self.stood, 1e-9)

    def left(self, now: float) -> float | None:
        """Seconds until it is done, at the rate so far; None if nobody can know."""
        if self.finished is not None or self.total is None or not self.rows:
            return None
        return max(self.total - self.rows, 0) * self.seconds(now) / self.rows

    def line(self, now: float) -> str:
        """The task as one plain line: stage, table, rows, rows/s and what is left."""
        seconds = self.seconds(now)
        rate = self.rows / seconds
        name, done = f"{self.stage} {self.table}", f"done in {seconds:.1f} s"
        if self.total is None and not self.rows:
            text = f"{name}: {done if self.finished is not None else f'{seconds:.1f} s'}"
        else:
            text = f"{name}: {self.rows:,} rows, {rate:,.0f} rows/s"
            if self.finished is not None:
                return f"{text}, {done}"
        left = self.left(now)
        if self.total is not None and left is not None:
            text += f", {max(self.total - self.rows, 0):,} left, about {left:.0f} s"
        return f"{text}, paused" if self.stands is not None else text


class Progress:
    """Keeps one process's tasks and writes them to ``folder/<pid>.json``.

    Args:
        folder: the run folder's ``progress`` folder, None to keep nothing.
        log: called with a plain line for a task that runs longer than LOG_EVERY seconds.
        pause: while this file is there, all tasks stand still; None if they never do.
    """

    def __init__(
        self,
        folder: Path | None = None,
        log: Callable[[str], None] | None = None,
        pause: Path | None = None,
    ) -> None:
        self._path = folder / f"{os.getpid()}.json" if folder else None
        self._log = log
        self._pause = pause
        self._looked = 0.0
        self._tasks: list[Task] = []
        self._written = 0.0
        self._stopped = False
        self._lock = threading.Lock()

    @contextmanager
    def task(
        self, stage: str, table: str, total: int | None = None
    ) -> Iterator[Callable[[int], None]]:
        """Show ``stage`` of ``table`` while the block runs; yields a function that adds rows."""
        task = Task(stage, table, total, started=time.time())
        logged = task.started
        with self._lock:
            self._tasks.append(task)
        self._write()

        def advance(rows: int) -> None:
            nonlocal logged
            if self._stopped:
                raise BrokenOffError(f'{stage} of table "{table}" was interrupted')
            task.rows += rows
            self._write()
            now = time.time()
            if self._pause and now - self._looked >= LOOK_EVERY:
                self._looked = now
                self.stand_still(f'{stage} of table "{table}"', task)
            if self._log and now - logged >= LOG_EVERY:
                logged = now
                self._log(task.line(now))

        try:
            self.stand_still(f'{stage} of table "{table}"', task)
            yield advance
        finally:
            task.finished = time.time()
            self._write(force=task.finished - task.started > WRITE_EVERY)

    def stand_still(self, what: str, task: Task | None = None) -> None:
        """Wait here while there is a pause; a place where nothing is harmed by hours of waiting.

        Args:
            what: what waits.
            task: its task, if it has one.

        Raises:
            BrokenOffError: the run was stopped meanwhile.
        """
        if self._pause is None or not self._pause.exists():
            return
        since = time.time()
        if task:
            task.stands = since
        self._write(force=True)
        if self._log:
            self._log(f"{what}: paused; it goes on in place after migration-assets resume")
        while self._pause.exists():
            if self._stopped:
                raise BrokenOffError(f"{what} was interrupted")
            time.sleep(LOOK_EVERY)
        if task:
            task.stands = None
            task.stood += time.time() - since
        self._write(force=True)

    def stop(self) -> None:
        """End all running tasks: the next rows each of them reports raise BrokenOffError."""
        self._stopped = True

    def flush(self) -> None:
        """Write the present state whatever the time."""
        self._write(force=True)

    def _write(self, force: bool = False) -> None:
        if self._path is None:
            return
        with self._lock:
            now = time.time()
            if not force and now - self._written < WRITE_EVERY:
                return
            self._written = now
            part = self._path.with_suffix(".part")
            part.touch(mode=0o600)
            part.write_text(json.dumps([vars(task) for task in self._tasks]))
            part.replace(self._path)


def read_tasks(folder: Path, is_alive: Callable[[int], bool] | None = None) -> list[Task]:
    """All tasks of a run in order of their start; an empty list before it has begun.

    Args:
        folder: the run folder's ``progress`` folder.
        is_alive: whether there is a process of this number; what a killed one was at work on is
            left out then. None if all that have written are at work.
    """
    tasks = [
        task
        for path in sorted(folder.glob("*.json"))
        for task in (Task(**record) for record in json.loads(path.read_text()))
        if task.finished is not None or is_alive is None or is_alive(int(path.stem))
    ]
    return sorted(tasks, key=lambda t: t.started)
