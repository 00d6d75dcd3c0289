"""Parquet into the incoming schema by binary COPY: one transaction a table, constant memory."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.plan import TablePlan
from migration_assets.core.results import LoadResult
from migration_assets.core.sensitive import names, shown_values, without_values
from migration_assets.errors import BrokenOffError, InputError, NotProvenError
from migration_assets.postgres import checkpoint, ddl, marker, run_log
from migration_assets.postgres.connect import Target, broken_off, is_lost, session
from migration_assets.postgres.empty import empty_table
from migration_assets.postgres.encode import CopyEncoder
from migration_assets.progress import Progress

CHUNK_BYTES = 65_536
"""Bytes of one COPY message; the fastest of 8 KiB to 8 MiB, measured on a local socket."""

BATCH_ROWS = 16_384
BATCH_BYTES = 4 << 20
"""A batch stays near this size and below BATCH_ROWS: larger ones are no faster and cost memory."""

WAITING_BATCHES = 2
UNFINISHED_DAYS = 1


_PLACE = re.compile(r"^COPY .*, line (\d+)(?:, column ([^:\n]+))?", re.MULTILINE)


class RowRefusedError(NotProvenError):
    """PostgreSQL refused a row; ``line`` is near it (from 1), None if PostgreSQL did not tell."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.line = line


def prepare(
    target: Target,
    incoming: str,
    run_id: str,
    migration: str,
    plan_digest: str | None = None,
    snapshot_id: str | None = None,
    who: str | None = None,
    anew: Callable[[], object] | None = None,
) -> str:
    """Make the incoming schema, log the run, and drop what earlier runs left behind.

    May be called again for the same run: what is there stays. An incoming schema of an earlier
    run of the same migration is dropped if that run has finished, or has begun more than
    UNFINISHED_DAYS ago, and no connection works in it.

    Args:
        target: the database and the schema that readers use.
        incoming: the schema to make.
        run_id: the root run id.
        migration: the migration's name.
        plan_digest: for the log.
        snapshot_id: for the log.
        who: for the log.
        anew: called if the schema is not there, before it is.

    Returns:
        PostgreSQL's version.

    Raises:
        InputError: no right to create, or a schema of that name that is not this run's.
        BrokenOffError: the target was lost.
    """
    with session(target, "the preparation of the target") as connection:
        run_log.ensure_log(connection)
        with connection.cursor() as cursor:
            run_log.record_run(
                cursor,
                run_id,
                migration,
                target.schema,
                plan_digest=plan_digest,
                snapshot_id=snapshot_id,
                who=who,
            )
            mark = marker.Mark(migration, run_id, marker.Role.INCOMING)
            if not marker.schema_exists(cursor, incoming):
                if anew:
                    anew()
                cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(incoming)))
                marker.write_mark(cursor, incoming, mark)
            elif marker.read_mark(cursor, incoming) != mark:
                raise InputError(
                    f'schema "{incoming}" is there and is not of this run; drop it, then run again'
                )
            left = leftovers(cursor, incoming, migration)
        connection.commit()
        for schema in left:
            marker.drop_schema(connection, schema)
        return str(connection.get_parameter_status("server_version"))


def load_table(
    target: Target,
    incoming: str,
    plan: TablePlan,
    parquet: pq.ParquetFile,
    progress: Progress,
    connection: Connection | None = None,
    digest: str = "",
) -> LoadResult:
    """Make the table of ``plan`` in ``incoming`` and fill it; a table of that name is replaced.

    An application's own table is emptied and filled; its triggers do not fire.

    Decoding and encoding run in a thread beside the COPY. On any error the transaction leaves
    nothing behind. A very large table has several, and the next attempt goes on after those that
    were committed (:mod:`migration_assets.postgres.checkpoint`).

    Args:
        target: the database.
        incoming: the schema that :func:`prepare` made.
        plan: the table.
        parquet: its rows, in the plan's physical types.
        progress: shows the rows as they are sent.
        connection: an idle connection of :func:`postgres.connect.connect` to use, which saves
            some milliseconds a table; None for one of the table's own.
        digest: of the Parquet file; without it nothing of an earlier attempt is kept.

    Raises:
        RowRefusedError: PostgreSQL refused a row; :mod:`migration_assets.refusals` finds all.
        NotProvenError: the encoder refused a value, or PostgreSQL took fewer or more rows than
            the Parquet file holds; table, column and row are named where known.
        InputError: no right to write there.
        BrokenOffError: the target was lost, or the Parquet file can not be read.
    """
    started = time.monotonic()
    what = f'load of table "{plan.name}"'
    pieces = checkpoint.pieces(parquet, plan)
    rows = parquet.metadata.num_rows
    sent = 0
    with progress.task("load", plan.source, rows) as advance:
        name, there = "", 0
        if len(pieces) > 1:
            with _transaction(target, what, connection) as cursor:
                name = checkpoint.identity(cursor, plan, digest)
                there = checkpoint.committed(cursor, incoming, plan, name) if digest else 0
                there = there if any(piece.before == there for piece in pieces) else 0
        if there:
            advance(there)
        for piece in (piece for piece in pieces if piece.before >= there):
            with _transaction(target, what, connection) as cursor:
                marker.hold(cursor, incoming)
                sent += _load_piece(cursor, incoming, plan, parquet, piece, advance)
                if piece.before + piece.rows < rows:
                    checkpoint.note(cursor, incoming, plan, name, piece.before + piece.rows)
                elif len(pieces) > 1:
                    checkpoint.clear(cursor, incoming, plan)
    return LoadResult(plan.slug, rows, sent, time.monotonic() - started)


def _load_piece(
    cursor: Cursor,
    incoming: str,
    plan: TablePlan,
    parquet: pq.ParquetFile,
    piece: checkpoint.Piece,
    advance: Callable[[int], None],
) -> int:
    """Copy the rows of ``piece``, the first of them into a new table; returns the bytes sent."""
    stream = _CopyStream(plan, parquet, piece.groups)
    try:
        freeze, waking = (False, []) if piece.before else empty_table(cursor, incoming, plan)
        if piece.rows:
            statement = ddl.copy_statement(incoming, plan, freeze)
            with stream:
                stream.advance = advance
                cursor.copy_expert(statement, stream, CHUNK_BYTES)
            if cursor.rowcount != piece.rows:
                raise NotProvenError(
                    f'table "{plan.name}": PostgreSQL took {cursor.rowcount} rows, Parquet '
                    f"holds {piece.rows}"
                )
        for statement in waking:
            cursor.execute(statement)
    except psycopg2.Error as error:
        if isinstance(stream.error, BrokenOffError):
            raise stream.error from error
        if stream.error is not None:
            raise _unreadable(plan, stream.error) from stream.error
        _raise_refusal(error, plan, parquet, piece.before)
        raise
    return stream.sent


@contextmanager
def _transaction(target: Target, what: str, connection: Connection | None) -> Iterator[Cursor]:
    if connection is None:
        with session(target, what) as own, own.cursor() as cursor:
            yield cursor
        return
    with broken_off(what, target):
        try:
            with connection.cursor() as cursor:
                yield cursor
            connection.commit()
        except BaseException:
            if not connection.closed:
                connection.rollback()
            raise


class _CopyStream:
    """What ``copy_expert`` reads from: the encoded table, made in a thread ahead of the reader.

    An empty answer ends a COPY, so one is given only at the end. ``error`` holds what went wrong
    here; psycopg2 turns it into a cancelled COPY.
    """

    def __init__(self, plan: TablePlan, parquet: pq.ParquetFile, groups: Sequence[int]) -> None:
        self._chunks = _encoded(plan, parquet, groups)
        self._queue: queue.Queue[tuple[bytes, int] | None] = queue.Queue(WAITING_BATCHES)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fill, name=f"encode {plan.slug}", daemon=True)
        self._chunk = b""
        self._at = 0
        self._ended = False
        self.advance: Any = None
        self.error: Exception | None = None
        self.sent = 0

    def __enter__(self) -> _CopyStream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        while self._thread.is_alive():  # it may wait for room in the queue
            with suppress(queue.Empty):
                self._queue.get(timeout=0.05)

    def read(self, size: int = CHUNK_BYTES, /) -> bytes:
        """At most ``size`` bytes; none only at the end."""
        while self._at >= len(self._chunk):
            if self._ended:
                return b""
            item = self._queue.get()
            if item is None:
                self._ended = True
                if self.error is not None:
                    raise self.error
                return b""
            self._chunk, rows = item
            self._at = 0
            if rows:
                self._advance(rows)
        part = self._chunk[self._at : self._at + size]
        self._at += len(part)
        self.sent += len(part)
        return part

    def _advance(self, rows: int) -> None:
        try:
            self.advance(rows)
        except BrokenOffError as error:  # the run is to end; COPY knows no such error
            self.error = error
            raise

    def readline(self, size: int = CHUNK_BYTES, /) -> bytes:
        """Binary COPY has no lines; psycopg2 asks for this name only."""
        return self.read(size)

    def _fill(self) -> None:
        try:
            for item in self._chunks:
                self._queue.put(item)
                if self._stopped.is_set():
                    return
        except Exception as error:  # handed to the reader, who raises it
            self.error = error
        self._queue.put(None)


def _encoded(
    plan: TablePlan, parquet: pq.ParquetFile, groups: Sequence[int]
) -> Iterator[tuple[bytes, int]]:
    """The COPY stream in pieces, each with the rows that it adds."""
    names = [column.name for column in plan.stored_columns]
    if parquet.schema_arrow.names != names:
        raise ValueError(f"Parquet holds columns {parquet.schema_arrow.names}, the plan {names}")
    encoder = CopyEncoder(plan.copied_columns)
    copied = [column.name for column in plan.copied_columns]
    yield encoder.header(), 0
    rows = batch_rows(parquet)
    for group in groups:  # a reader of all keeps what it has decoded
        for batch in parquet.iter_batches(rows, [group], copied, use_threads=False):
            yield encoder.encode(batch), batch.num_rows
    yield encoder.finish(), 0


def batch_rows(parquet: pq.ParquetFile) -> int:
    """Rows of one batch of this file: near BATCH_BYTES, at most BATCH_ROWS."""
    metadata = parquet.metadata
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    row_bytes = max(int(size) // max(int(metadata.num_rows), 1), 1)
    return max(1, min(BATCH_ROWS, BATCH_BYTES // row_bytes))


def leftovers(cursor: Cursor, incoming: str, migration: str) -> list[str]:
    """Incoming schemas of other runs of ``migration`` that nobody comes back to."""
    found = marker.marked_schemas(cursor, migration, marker.Role.INCOMING)
    cursor.execute(
        "SELECT run_id FROM migration_assets.runs WHERE migration = %s AND finished_at IS NULL"
        " AND started_at > now() - make_interval(days => %s)",
        (migration, UNFINISHED_DAYS),
    )
    running = {row[0] for row in cursor.fetchall()}
    others = [name for name, mark in found.items() if name != incoming and mark.run not in running]
    obsolete = [
        name
        for name in marker.marked_schemas(cursor, migration, marker.Role.PREVIOUS)
        if "__obsolete_" in name
    ]
    return [name for name in others + obsolete if marker.is_free(cursor, name)]


def _unreadable(plan: TablePlan, error: Exception) -> Exception:
    if isinstance(error, ValueError) and not isinstance(error, pa.ArrowException):
        return NotProvenError(f'table "{plan.name}": {error}')
    return BrokenOffError(f'table "{plan.name}": its Parquet file can not be read: {error}')


def _raise_refusal(
    error: psycopg2.Error, plan: TablePlan, parquet: pq.ParquetFile, before: int
) -> None:
    """Raise what PostgreSQL refused in our words; returns if the cause is the server.

    Args:
        error: of a COPY.
        plan: the table.
        parquet: its rows.
        before: rows of it that were no part of this COPY, and came before.
    """
    state = error.pgcode or ""
    message = shown_message(error, plan)
    if state == "42501":
        raise InputError(f'table "{plan.name}" can not be made: {message}') from error
    if is_refusal(error):
        line, column = place_of(error)
        line = None if line is None else before + line
        where = _row(plan, parquet, line) if line is not None else ""
        text = f'table "{plan.name}"{where}{f", column {column}" if column else ""}: {message}'
        raise RowRefusedError(text, line) from error
    if state[:2] in {"22", "23", "42", "0A", "54"}:
        raise NotProvenError(f'table "{plan.name}": {message}') from error


def shown_message(error: psycopg2.Error, plan: TablePlan) -> str:
    """What PostgreSQL says of a table's rows, in one line, without sensitive values."""
    message = " ".join((error.diag.message_primary or str(error)).split())
    return without_values(message) if names(plan) else message


def is_refusal(error: psycopg2.Error) -> bool:
    """True if a COPY failed for what is in its rows: data, a constraint, a limit, or a fault.

    An internal error (``XX000``) is one of a row only if the connection has outlived it.
    """
    state = error.pgcode or ""
    of_rows = state[:2] in {"22", "23", "54"} or (state == "XX000" and not is_lost(error))
    return of_rows and "COPY" in (error.diag.context or "")


def place_of(error: psycopg2.Error) -> tuple[int | None, str | None]:
    """The line (from 1) and the column that PostgreSQL names for a failed COPY.

    The line is exact only with a column: rows are written some time after they were read.
    """
    # Beside it may stand the line of a JSON document.
    place = _PLACE.search(error.diag.context or "")
    column = error.diag.column_name or (place[2] if place else None)
    return (int(place[1]) if place else None), column


def _row(plan: TablePlan, parquet: pq.ParquetFile, line: int) -> str:
    """The ``line``-th row (from 1) for people: by its key, else by its number."""
    first = 0
    for group in range(parquet.num_row_groups if plan.key else 0):
        rows = parquet.metadata.row_group(group).num_rows
        if line <= first + rows:
            keys = parquet.read_row_group(group).select(list(plan.key)).slice(line - first - 1, 1)
            values = [column[0].as_py() for column in keys.columns]
            return f", row with {shown_values(names(plan), plan.key, values)}"
        first += rows
    return f", row {line}"
