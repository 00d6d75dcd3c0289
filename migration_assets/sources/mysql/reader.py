"""Reads one snapshot of a MySQL server, from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any, TypeVar

import pyarrow as pa
import pymysql

from migration_assets.core.catalog import Catalog, Kind, Table
from migration_assets.core.profile import Lane
from migration_assets.core.standing import (
    Movement,
    Position,
    Standing,
    TableMovement,
    TableState,
    movement,
)
from migration_assets.sources.base import BATCH_ROWS, LanesMissing, QueryError, SourceFacts
from migration_assets.sources.mysql import connect, facts, query, ranges, standing, wire, written
from migration_assets.sources.mysql.forms import ARROW, Form, LaneMissingError, form, lanes
from migration_assets.sources.mysql.reflect import Reflection, reflect
from migration_assets.sources.mysql.snapshot import Connections, Record

Found = TypeVar("Found")

_DEFAULT_SECONDS = 10
_LONG_TEXT = 255
"""Characters of a column beyond which nobody compares it as a whole."""


class MySQLReader:
    """The open transactions of one snapshot; it ends when they are closed."""

    def __init__(self, connections: Connections, record: Record) -> None:
        self.snapshot = record.snapshot
        self._record = record
        self._connections = connections
        self._reflection: Reflection | None = None
        self._lock = threading.Lock()
        self._counting = ThreadPoolExecutor(1, thread_name_prefix="facts")
        self._begun: dict[tuple[str, str], Future[Any]] = {}

    def catalog(self) -> Catalog:
        """Reflect what the source declares."""
        return self._reflect().catalog

    def expected_lanes(self, table: Table) -> dict[str, tuple[Lane, ...]]:
        """The lanes to try first, per column, from the declaration alone."""
        return {name: (shape.lane,) for name, shape in self._forms(table).items()}

    def read(self, table: Table, lanes: Mapping[str, tuple[Lane, ...]]) -> Iterator[pa.RecordBatch]:
        """Yield the table; see :meth:`SnapshotReader.read`.

        The order is that of its primary key, a large table is read from two places in turn.

        Raises:
            LanesMissing: as soon as a value turns up that fits no requested lane.
            InputError: the table cannot be read.
            BrokenOffError: the server was lost.
        """
        shapes = self._forms(table)
        with connect.errors(f'table "{table.name}"'):
            parts = ranges.parts(self._ask, table, self._connections.readers)
            with self._connections.several(len(parts)) as connections:
                if (table.rows or 0) >= ranges.LARGE_ROWS:
                    for connection in connections:
                        self._connections.enlarge(connection)
                streams = [
                    _batches(connection, table, shapes, lanes, part)
                    for connection, part in zip(connections, parts, strict=True)
                ]
                yield from ranges.together(streams)
                self._connections.check_name(connections[0], table.name)

    def facts(
        self, table: Table, lanes: Mapping[str, tuple[Lane, ...]] | None = None
    ) -> SourceFacts:
        """Count and sum the table by the server itself; see :meth:`SnapshotReader.facts`.

        Which lanes hold values follows from what is counted; ``lanes`` is not needed.
        """
        return self._found("facts", table, self._facts)

    def begin_facts(self, tables: Sequence[Table]) -> None:
        """Let the server count meanwhile, if a connection is left; see the protocol.

        Tables that are not held still are counted while they are read, and no earlier.
        """
        if self._connections.readers == 1:
            return
        finders = {"facts": self._facts, "orphans": self._orphans, "case_folds": self._case_folds}
        for table in tables:
            large = (table.rows or 0) >= ranges.LARGE_ROWS
            if large and table.name not in self._connections.restless:
                for what, find in finders.items():
                    self._begun[what, table.name] = self._counting.submit(find, table)

    def standing(self, catalog: Catalog, *, lasting: bool) -> Standing:
        """What the snapshot leaves behind; see :meth:`SnapshotReader.standing`."""
        with connect.errors(self.snapshot.source):
            return standing.standing(self._ask, self._forms, self._record, catalog, lasting=lasting)

    def moved_since(self, before: Standing, *, known: bool) -> Movement | None:
        """What is in this snapshot, and was not so ``before``.

        Args:
            before: what another snapshot left behind.
            known: its tables are known to be as they were.
        """
        reasons: list[str] = []
        tables: list[TableMovement] = []
        with connect.errors(self.snapshot.source):
            with self._connections.one() as connection:
                writers = written.writers(connection)
            if writers:
                sessions = "a session has" if writers == 1 else f"{writers} sessions have"
                reasons.append(f"{sessions} written to it in a transaction that is open")
            if not known:
                found = standing.moved(self._ask, self._forms, self._record, self.catalog, before)
                if isinstance(found, str):
                    reasons.append(found)
                else:
                    tables = found
        return movement(reasons, tables)

    def states(self) -> dict[str, TableState]:
        """Rows and digest of every table of this snapshot."""
        with connect.errors(self.snapshot.source):
            return standing.states(self._ask, self._forms, self.catalog())

    def position(self) -> Position:
        """Where the database stood as this snapshot began."""
        return standing.position(self._record)

    def next_value(self, table: Table) -> int | None:
        """The number ``table.auto_column`` would take next, None without such a column."""
        if table.auto_column is None:
            return None
        name, column = connect.quote(table.name), connect.quote(table.auto_column)
        with connect.errors(f'table "{table.name}"'):
            counter = self._ask(
                "SELECT AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA ="
                f" DATABASE() AND TABLE_NAME = {connect.literal(table.name)}"
            )
            return facts.next_value(counter, self._ask(f"SELECT MAX({column}) FROM {name}"))

    def orphans(self, table: Table) -> dict[int, int]:
        """Foreign key position -> rows whose parent is missing (only those above 0)."""
        return self._found("orphans", table, self._orphans)

    def case_folds(self, table: Table) -> dict[str, int]:
        """Column -> values that another one equals but for the case.

        Asked of indexed columns only, which are those an application looks values up by, and
        not where the index is unique: there the source keeps such values out.
        """
        return self._found("case_folds", table, self._case_folds)

    def rows(self, statement: str, seconds: float) -> Iterator[tuple[Any, ...]]:
        """The rows of a query; raises QueryError."""
        try:
            with self._connections.one() as connection:
                yield from query.rows(connection, statement, seconds)
        except pymysql.err.MySQLError as error:
            raise QueryError(connect.line(error)) from error

    def default_values(self, source_type: str, default: str, count: int) -> list[Any]:
        """What new rows hold, by a query that touches no table; raises QueryError."""
        statement = query.default_query(source_type, default)
        return [value for _ in range(count) for (value,) in self.rows(statement, _DEFAULT_SECONDS)]

    def quote(self, identifier: str) -> str:
        """Quote one identifier for MySQL."""
        return connect.quote(identifier)

    def close(self) -> None:
        """End the transactions, and the snapshot with them; nobody is waited for."""
        self._counting.shutdown(wait=False, cancel_futures=True)
        self._connections.close()

    def _ask(self, statement: str) -> list[connect.Row]:
        with self._connections.one() as connection:
            return connect.rows(connection, statement)

    def _found(self, what: str, table: Table, find: Callable[[Table], Found]) -> Found:
        """What was begun before, else, or where that failed, what is found out now."""
        begun: Future[Found] | None = self._begun.get((what, table.name))
        if begun is not None:
            with suppress(pymysql.err.MySQLError, CancelledError):
                return begun.result()
        with connect.errors(f'table "{table.name}"'):
            return find(table)

    def _facts(self, table: Table) -> SourceFacts:
        return facts.facts(self._ask, table, self._forms(table))

    def _orphans(self, table: Table) -> dict[int, int]:
        return facts.orphans(self._ask, table)

    def _case_folds(self, table: Table) -> dict[str, int]:
        leading = {index.terms[0].column for index in table.indexes if index.method == "btree"}
        folding = [
            column.name
            for column in table.columns
            if column.ignores_case
            and column.name in leading
            and (column.type.length or _LONG_TEXT + 1) <= _LONG_TEXT
            and column.type.kind is Kind.TEXT
        ]
        return facts.case_folds(self._ask, table, folding)

    def _reflect(self) -> Reflection:
        with self._lock:
            if self._reflection is None:
                with connect.errors(self.snapshot.source):
                    self._reflection = reflect(self._ask)
            return self._reflection

    def _forms(self, table: Table) -> dict[str, Form]:
        charsets = self._reflect().charsets.get(table.name, {})
        return {column.name: form(column, charsets.get(column.name)) for column in table.columns}


def _batches(
    connection: connect.Connection,
    table: Table,
    shapes: Mapping[str, Form],
    asked: Mapping[str, tuple[Lane, ...]],
    part: str | None,
) -> Generator[pa.RecordBatch, None, None]:
    with closing(wire.stream(connection, _select(table, shapes, part), BATCH_ROWS)) as chunks:
        for values in chunks:
            yield _batch(table, shapes, asked, values)


def _select(table: Table, shapes: Mapping[str, Form], part: str | None) -> str:
    terms = ", ".join(e for column in table.columns for e in shapes[column.name].expressions)
    name = connect.quote(table.name)
    if not table.primary_key:
        return f"SELECT {terms} FROM {name}"
    key = ", ".join(map(connect.quote, table.primary_key))
    # Without it a secondary index that has all the columns may be read instead, and sorted.
    where = f" WHERE {part}" if part else ""
    return f"SELECT {terms} FROM {name} FORCE INDEX (PRIMARY){where} ORDER BY {key}"


def _batch(
    table: Table,
    shapes: Mapping[str, Form],
    asked: Mapping[str, tuple[Lane, ...]],
    values: list[pa.Array],
) -> pa.RecordBatch:
    fields: list[pa.Field] = []
    arrays: list[pa.Array] = []
    missing: list[str] = []
    place = 0
    for position, column in enumerate(table.columns):
        shape = shapes[column.name]
        wanted = sorted(asked[column.name], key=list(Lane).index)
        own = values[place : place + len(shape.expressions)]
        place += len(shape.expressions)
        try:
            arrays += lanes(shape, wanted, own)
        except LaneMissingError:
            missing.append(column.name)
        fields += [pa.field(f"{position}:{lane}", ARROW[lane]) for lane in wanted]
    if missing:
        raise LanesMissing(table.name, missing)
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
