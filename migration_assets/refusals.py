"""Rows that PostgreSQL refuses, found among those it takes without loading each by itself.

The table is sent once more in batches, each a COPY that may fail by itself, into a table that
nobody sees and that is rolled back in the end. What failed is narrowed to a row by the line that
PostgreSQL names, or by halving. The load that follows is one COPY FREEZE again, so that all of it
costs about a second load, however many rows are refused.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.plan import TablePlan
from migration_assets.errors import NotProvenError
from migration_assets.load import CHUNK_BYTES, batch_rows, is_refusal, place_of, shown_message
from migration_assets.pipeline import ahead
from migration_assets.postgres import ddl, marker
from migration_assets.postgres.connect import Target, session
from migration_assets.postgres.empty import empty_table
from migration_assets.postgres.encode import CopyEncoder
from migration_assets.progress import Progress

BUFFERED_ROWS = 1_000
"""Rows that PostgreSQL may have read, but not written, when it refuses one (``copyfrom.c``)."""

MOST = 10_000
"""Rows of a table that are looked for, if ``max_quarantined`` does not allow more."""

FIRST_STEP = 2 * BUFFERED_ROWS
"""Rows sent together after one was refused; four times as many with each success."""

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Refusal:
    """One row that PostgreSQL does not take.

    Attributes:
        position: its number in the Parquet file, from 0.
        column: target column, if PostgreSQL names one.
        message: what PostgreSQL says.
    """

    position: int
    column: str | None
    message: str


def find(
    target: Target,
    incoming: str,
    plan: TablePlan,
    parquet: pq.ParquetFile,
    line: int | None,
    most: int,
    progress: Progress,
) -> list[Refusal]:
    """Find all rows of a Parquet file that PostgreSQL refuses, in order.

    Args:
        target: the database.
        incoming: the schema that the table is to be loaded into, or ``pg_temp``; nothing is left
            there.
        plan: the table.
        parquet: its rows.
        line: near the first of them (from 1), as a failed load tells it; None if unknown.
        most: how many may be found before it is given up.
        progress: shown as stage ``load``.

    Raises:
        NotProvenError: there are more than ``most``, or rows are refused together that are taken
            alone.
        BrokenOffError: the target was lost.
    """
    if not plan.existing:
        # What PostgreSQL generates is looked at by those who load; here it is sent like the rest.
        plan = replace(plan, columns=tuple(replace(c, generated=None) for c in plan.columns))
    start = max((line or 1) - 1 - BUFFERED_ROWS, 0)
    found: list[Refusal] = []
    shown = f"{plan.source} (rows that are refused)"
    with (
        session(target, f'search for refused rows of table "{plan.name}"') as connection,
        connection.cursor() as cursor,
        ahead(_batches(plan, parquet, start)) as batches,
        progress.task("load", shown, parquet.metadata.num_rows - start) as advance,
    ):
        probe = _Probe(cursor, incoming, plan)
        for first, batch, encoded in batches:
            for refusal in probe.refused(first, batch, encoded):
                found.append(refusal)
                if len(found) > most:
                    raise NotProvenError(
                        f'table "{plan.name}": PostgreSQL refuses more than {most:,} rows; row '
                        f"{refusal.position + 1:,}: {refusal.message}"
                    )
            advance(batch.num_rows)
        connection.rollback()
    return sorted(found, key=lambda refusal: refusal.position)


def _batches(
    plan: TablePlan, parquet: pq.ParquetFile, start: int
) -> Iterator[tuple[int, pa.RecordBatch, bytes]]:
    """The batches from row ``start`` on: the number of the first row, the rows, their COPY."""
    first = 0
    for group in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        if first + rows <= start:
            first += rows
            continue
        for batch in parquet.iter_batches(
            batch_rows(parquet), row_groups=[group], use_threads=False
        ):
            skip = min(max(start - first, 0), batch.num_rows)
            first += skip
            if skip < batch.num_rows:
                left = batch.slice(skip)
                yield first, left, _encoded(plan, left)
                first += left.num_rows


def _encoded(plan: TablePlan, batch: pa.RecordBatch) -> bytes:
    encoder = CopyEncoder(plan.copied_columns)
    copied = batch.select([column.name for column in plan.copied_columns])
    return encoder.header() + encoder.encode(copied) + encoder.finish()


class _Probe:
    """A table that rows are tried on.

    Args:
        cursor: in a transaction that is rolled back when the search is over.
        incoming: the schema.
        plan: the table.
    """

    def __init__(self, cursor: Cursor, incoming: str, plan: TablePlan) -> None:
        self._cursor = cursor
        self._plan = plan
        marker.hold(cursor, incoming)
        # Rolled back in the end, so that triggers that are silent now need not be woken.
        empty_table(cursor, incoming, plan)
        self._copy = ddl.copy_statement(incoming, plan, freeze=False)
        cursor.execute("SAVEPOINT probe")

    def refused(self, first: int, batch: pa.RecordBatch, encoded: bytes) -> Iterator[Refusal]:
        """The rows of a batch that are refused; ``first`` is the number of its first row."""
        if self._send(encoded) is None:
            return
        left: Positions = np.arange(batch.num_rows)
        step = FIRST_STEP
        while len(left):
            part = left[:step]
            error = self._try(batch, part)
            if error is None:
                left, step = left[step:], step * 4
                continue
            line, _ = place_of(error)
            # What stands before these rows is written already, so PostgreSQL took it.
            low = 0 if line is None else max(line - 1 - BUFFERED_ROWS, 0)
            high = len(part) if line is None else min(line, len(part))
            place, error = self._narrowed(batch, part, low, high, error)
            message = shown_message(error, self._plan)
            yield Refusal(int(first + part[place]), place_of(error)[1], message)
            left = np.concatenate([part[low:place], left[place + 1 :]])
            step = max(FIRST_STEP, len(part) // 4)

    def _narrowed(
        self, batch: pa.RecordBatch, part: Positions, low: int, high: int, error: psycopg2.Error
    ) -> tuple[int, psycopg2.Error]:
        """One refused row among ``part[low:high]``, the named one first, and its own error."""
        alone = self._try(batch, part[high - 1 : high])
        if alone is not None:
            return high - 1, alone
        while high - low > 1:
            middle = (low + high) // 2
            if self._try(batch, part[low:middle]) is not None:
                high = middle
            else:
                low = middle
        alone = self._try(batch, part[low:high])
        if alone is None:
            message = shown_message(error, self._plan)
            raise NotProvenError(
                f'table "{self._plan.name}": rows are refused together that PostgreSQL takes one '
                f"by one: {message}"
            )
        return low, alone

    def _try(self, batch: pa.RecordBatch, rows: Positions) -> psycopg2.Error | None:
        return self._send(_encoded(self._plan, batch.take(pa.array(rows))))

    def _send(self, encoded: bytes) -> psycopg2.Error | None:
        """Send rows; returns why they are refused, None if they are not."""
        try:
            self._cursor.copy_expert(self._copy, io.BytesIO(encoded), CHUNK_BYTES)
        except psycopg2.Error as error:
            if not is_refusal(error):
                raise
            # What was tried before goes with it, which nobody needs.
            self._cursor.execute("ROLLBACK TO SAVEPOINT probe")
            return error
        return None
