"""Run a command and watch what it and its children take."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.05
PSS_EVERY = 10
"""Samples between two looks at the shared sizes: those walk all pages, and would slow it down."""


@dataclass(frozen=True)
class Usage:
    """What one command took.

    Attributes:
        seconds: wall time from start to exit.
        code: exit code.
        peak_rss: greatest sum of the resident sizes of all its processes, bytes. Pages that
            several processes share are counted once for each.
        peak_pss: the same, shared pages divided among those that share them.
    """

    seconds: float
    code: int
    peak_rss: int
    peak_pss: int


class TreeWatch(threading.Thread):
    """Samples the memory of a process and all its descendants until it ends.

    A PostgreSQL server that was started before, by another process, is not among them.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak_rss = 0
        self.peak_pss = 0
        self._pid = pid
        self._done = threading.Event()

    def run(self) -> None:
        """Sample until stopped."""
        tick = 0
        tree: list[psutil.Process] = []
        while not self._done.wait(SAMPLE_SECONDS):
            rss = pss = 0
            if tick % PSS_EVERY == 0:
                # Who is whose child is told by a look at every process of the machine: done at
                # each tick it took a tenth of a processor from what is measured.
                tree = self._tree()
            for process in tree:
                try:
                    rss += process.memory_info().rss
                    if tick % PSS_EVERY == 0:
                        pss += process.memory_full_info().pss
                except psutil.Error:
                    continue  # it ended between the listing and the look
            self.peak_rss = max(self.peak_rss, rss)
            self.peak_pss = max(self.peak_pss, pss)
            tick += 1

    def stop(self) -> None:
        """End the sampling."""
        self._done.set()
        self.join()

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def run(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Usage:
    """Run ``command`` to its end, its output into ``log``."""
    with log.open("w") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
        )
        watch = TreeWatch(process.pid)
        watch.start()
        code = process.wait()
        seconds = time.perf_counter() - started
    watch.stop()
    return Usage(seconds, code, watch.peak_rss, watch.peak_pss)
