"""Show where a run is: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as Grid
from rich.text import Text

from migration_assets.progress import Task, read_tasks

LOOK_EVERY = 0.25
LINE_EVERY = 5.0
SHOW_AFTER = 1.0
"""A task shorter than this is counted, not shown (seconds)."""
_LAST = 6


def plain_console(stderr: bool = False) -> Console:
    """A console that prints names as they are: ``[b]`` is no markup and ``:b:`` no emoji.

    Args:
        stderr: print there, so that the standard output is left to data.
    """
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


class ProgressView:
    """Follows the progress files of a run while the block runs.

    Args:
        console: where to show it.
        folder: the run's ``progress`` folder; it need not exist yet.
    """

    def __init__(self, console: Console, folder: Path) -> None:
        self._console = console
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._said: dict[tuple[str, str], float] = {}
        self._done: set[tuple[str, str]] = set()

    def __enter__(self) -> ProgressView:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        if not self._console.is_terminal:
            while not self._stop.wait(LOOK_EVERY):
                self._print_lines(read_tasks(self._folder))
            self._print_lines(read_tasks(self._folder))
            return
        with Live(console=self._console, refresh_per_second=8, transient=True) as live:
            while not self._stop.wait(LOOK_EVERY):
                live.update(self._bars(read_tasks(self._folder)))

    def _print_lines(self, tasks: list[Task]) -> None:
        """Say each longer task every few seconds, and once when it is done."""
        now = time.time()
        for task in tasks:
            name = (task.stage, task.table)
            if name in self._done or (task.finished or now) - task.started < SHOW_AFTER:
                continue
            if task.finished is not None:
                self._done.add(name)
            elif now - self._said.get(name, task.started - LINE_EVERY) < LINE_EVERY:
                continue
            self._said[name] = now
            self._console.print(Text(task.line(now)), soft_wrap=True)

    def _bars(self, tasks: list[Task]) -> Group:
        """The stages so far as counts, and the running tasks as bars."""
        now = time.time()
        stages: dict[str, list[Task]] = {}
        for task in tasks:
            stages.setdefault(task.stage, []).append(task)
        overview = Text("  ").join(
            Text(
                f"{stage} {sum(t.finished is not None for t in members)}/{len(members)}",
                style="bold" if any(t.finished is None for t in members) else "dim",
            )
            for stage, members in stages.items()
        )
        grid = Grid.grid(padding=(0, 1))
        for task in [t for t in tasks if t.finished is None][-_LAST:]:
            bar = ProgressBar(total=task.total, completed=task.rows, width=24, pulse=not task.total)
            grid.add_row(bar, Text(task.line(now)))
        return Group(overview, grid)
