"""What is done for a large table while it is still read: its conversion and its source's facts.

The plan of a table follows from all of its values, but that of its first rows is nearly always
the same. So the conversion begins by that one; what it writes counts only if the plan turns out
to be the same, and nothing else depends on it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import pyarrow as pa

from migration_assets.core.catalog import Table
from migration_assets.core.plan import TablePlan
from migration_assets.core.profile import Lane, TableProfile
from migration_assets.parquet_file import Written, write_parquet
from migration_assets.profiler import TableProfiler
from migration_assets.run_folder import RunFolder
from migration_assets.sources.base import SnapshotReader, SourceFacts

Suggest = Callable[[str, TableProfile], TablePlan | None]
"""The plan of a table (source name) by the profile of its first rows, None if there is none."""

_WAIT_SECONDS = 0.1


@dataclass(frozen=True)
class Begun:
    """What was done for one table while it was read.

    Attributes:
        facts: what the source's own engine says of it.
        plan: the plan that was followed.
        written: the Parquet file, None if the plan could not be followed to the end.
    """

    facts: SourceFacts
    plan: TablePlan
    written: Written | None

    def settled(self, plan: TablePlan | None, folder: RunFolder) -> Begun:
        """What of it is left when the table's plan is known; the rest is removed.

        Args:
            plan: of the table; None if it has none.
            folder: of the run.
        """
        if plan is not None and _values(plan) == _values(self.plan):
            return self
        if self.written is not None:
            filesystem, root = folder.filesystem()
            filesystem.delete_file(f"{root}/{self.written.path}")
        for part in (folder.ledger_part(self.plan.slug), folder.quarantine_part(self.plan.slug)):
            part.unlink(missing_ok=True)
        return replace(self, written=None)


class Beginning:
    """Begins with a table's second batch, in threads beside the reading.

    Args:
        reader: the snapshot.
        table: as declared.
        lanes: those that it is read with.
        folder: takes the Parquet file, and the parts of ledger and quarantine.
        suggest: the plan by the first rows; None to begin nothing.
    """

    def __init__(
        self,
        reader: SnapshotReader,
        table: Table,
        lanes: Mapping[str, tuple[Lane, ...]],
        folder: RunFolder,
        suggest: Suggest | None,
    ) -> None:
        self.begun: Begun | None = None
        """What came of it, when the block has ended."""
        self._reader = reader
        self._table = table
        self._lanes = lanes
        self._folder = folder
        self._suggest = suggest
        self._first: pa.RecordBatch | None = None
        self._plan: TablePlan | None = None
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="begun")
        self._facts: Future[SourceFacts] | None = None
        self._written: Future[Written] | None = None
        self._raws: queue.Queue[pa.RecordBatch | None] = queue.Queue(1)
        self._broken_off = threading.Event()

    def __enter__(self) -> Self:
        return self

    def add(self, raw: pa.RecordBatch, profiler: TableProfiler) -> bool:
        """Take in the next batch; returns True if the conversion has begun.

        Args:
            raw: the batch.
            profiler: has seen all batches before this one.
        """
        if self._suggest is None:
            return False
        if self._first is None:
            self._first = raw
            return False
        if self._facts is None:
            self._start(profiler)
        self._put(raw)
        return self._written is not None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._broken_off.set()
        self._put(None)
        self._pool.shutdown()
        if kind is None and self._plan and self._facts and self._written:
            failed = self._written.exception() is not None
            written = None if failed else self._written.result()
            self.begun = Begun(self._facts.result(), self._plan, written)

    def _start(self, profiler: TableProfiler) -> None:
        assert self._suggest is not None
        self._plan = self._suggest(self._table.name, profiler.finish())
        if self._plan is None:
            self._suggest = None
            return
        self._facts = self._pool.submit(self._reader.facts, self._table, self._lanes)
        self._written = self._pool.submit(
            write_parquet, self._batches(), self._table, self._plan, self._folder, _unseen
        )
        self._put(self._first)

    def _put(self, raw: pa.RecordBatch | None) -> None:
        """Hand a batch over; dropped when the conversion has ended, as it does at an error."""
        while self._written is not None and not self._written.done():
            with suppress(queue.Full):
                self._raws.put(raw, timeout=_WAIT_SECONDS)
                return

    def _batches(self) -> Iterator[pa.RecordBatch]:
        while (raw := self._raws.get()) is not None:
            yield raw
        if self._broken_off.is_set():
            raise _BrokenOffError


class _BrokenOffError(Exception):
    """The reading has failed, so what was converted is not the table."""


def _unseen(_rows: int) -> None:
    """The reading shows where it is; the conversion is some batches behind."""


def _values(plan: TablePlan) -> TablePlan:
    """The plan with all that makes no difference to the table's Parquet file taken out."""
    columns = tuple(
        replace(column, reason="", deciding=None, comment=None, default=None, default_test=None)
        for column in plan.columns
    )
    return replace(
        plan, columns=columns, uniques=(), indexes=(), foreign_keys=(), checks=(), comment=None
    )
