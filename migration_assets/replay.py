"""Statements that repeat on the source what was written to PostgreSQL, in the source's dialect."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, Self

import pyarrow.parquet as pq

from migration_assets.core.plan import ColumnPlan, Conversion, TablePlan
from migration_assets.core.source_literals import (
    MYSQL,
    SQLITE,
    NoLiteralError,
    TimeForm,
    identifier,
    literals,
)
from migration_assets.errors import MigrationError
from migration_assets.postgres.written_since import DELETED, INSERTED, UPDATED, Write
from migration_assets.run_folder import RunFolder
from migration_assets.sources.base import QueryError, Source

SAMPLED_ROWS = 10_000
_SECONDS = 10.0

_BEGIN = {
    MYSQL: """\
SET NAMES utf8mb4;
SET SESSION time_zone = '+00:00';
SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES';
SET SESSION foreign_key_checks = 0;
START TRANSACTION;
""",
    SQLITE: """\
PRAGMA foreign_keys = OFF;
CREATE TEMP TABLE "migration_assets replay"
  (n CONSTRAINT "the statement before this one found no row" CHECK (n = 1));
BEGIN IMMEDIATE;
""",
}
"""References hold again when all is done; until then no action of theirs may interfere."""
_FOUND_ONE = {
    MYSQL: "SET @found = IF(ROW_COUNT() = 1, 1, (SELECT 1 UNION ALL SELECT 'no row was found'));",
    SQLITE: 'INSERT INTO temp."migration_assets replay" SELECT changes();',
}
"""An error unless the statement before it changed one row: none must be passed over unseen."""
_END = {MYSQL: "COMMIT;\n", SQLITE: 'COMMIT;\nDROP TABLE temp."migration_assets replay";\n'}

_MOMENTS = frozenset(
    {Conversion.TIMESTAMP, Conversion.TIMESTAMPTZ, Conversion.UTC, Conversion.ZONED}
)
_UNCOMPARED = frozenset({Conversion.JSON, Conversion.GEOMETRY, Conversion.DOUBLE})
"""Columns by which a row without a key is not looked for."""


def time_forms(source: Source, place: RunFolder, table: TablePlan) -> dict[str, TimeForm]:
    """How the columns of a table write a moment in the run's snapshot, by source name.

    Empty where that can not be seen any more; the usual form is taken then.
    """
    columns = [column.source for column in table.columns if column.conversion in _MOMENTS]
    forms: dict[str, TimeForm] = {}
    if not columns:
        return forms
    with suppress(MigrationError, OSError, QueryError):
        reader = source.open_snapshot(place.snapshot)
        try:
            for name in columns:
                column = reader.quote(name)
                rows = reader.rows(
                    f"SELECT {column} FROM (SELECT {column} FROM {reader.quote(table.source)}"
                    f" WHERE {column} IS NOT NULL LIMIT {SAMPLED_ROWS}) AS sampled"
                    f" ORDER BY length({column}) LIMIT 1",
                    _SECONDS,
                )
                for (value,) in rows:
                    forms[name] = TimeForm.of(str(value))
        finally:
            reader.close()
    return forms


def changed_values(place: RunFolder, table: TablePlan) -> dict[str, set[str | None]]:
    """Values of a table that a rule had made of others, by source column: the ledger's."""
    if not place.ledger.exists():
        return {}
    found = pq.read_table(
        place.ledger, columns=["column", "after"], filters=[("table", "==", table.source)]
    )
    values: dict[str, set[str | None]] = {}
    for column, after in zip(*(part.to_pylist() for part in found.columns), strict=True):
        values.setdefault(column, set()).add(after)
    return values


class TableReplay:
    """Makes the statements of one table.

    Args:
        table: its plan.
        columns: in the order of the values of a row.
        dialect: of the source.
        forms: as :func:`time_forms` gives them.
        changed: as :func:`changed_values` gives them: no row of the source is found by these.
    """

    def __init__(
        self,
        table: TablePlan,
        columns: Sequence[ColumnPlan],
        dialect: str,
        forms: Mapping[str, TimeForm],
        changed: Mapping[str, Set[str | None]] = MappingProxyType({}),
    ) -> None:
        self._changed = changed
        self._ways = literals(table, dialect, forms)
        there = {column.name for column in columns} & set(self._ways)
        self._key = frozenset(table.key) if there.issuperset(table.key) else frozenset[str]()
        self._columns = [
            (place, column, identifier(column.source, dialect))
            for place, column in enumerate(columns)
            if column.name in self._ways
        ]
        self._dialect = dialect
        self._name = identifier(table.source, dialect)

    def statement(self, write: Write) -> str | None:
        """The statement that repeats ``write``; None if only what the source computes changed.

        Raises:
            NoLiteralError: the source can not hold a value; says which column's and why.
        """
        if write.after is None:
            assert write.before is not None, "a deleted row had values"
            return f"DELETE FROM {self._name} WHERE {self._found(write.before)};"
        if write.before is None:
            names = ", ".join(name for _, _, name in self._columns)
            values = ", ".join(self._literal(c, write.after[at]) for at, c, _ in self._columns)
            return f"INSERT INTO {self._name} ({names}) VALUES ({values});"
        changed = ", ".join(
            f"{name} = {self._literal(column, write.after[at])}"
            for at, column, name in self._columns
            if write.before[at] != write.after[at]
        )
        if not changed:
            return None
        return f"UPDATE {self._name} SET {changed} WHERE {self._found(write.before)};"

    def _found(self, values: Sequence[str | None]) -> str:
        """The condition that holds for the row: by its key, else by all of its values."""
        if self._key:
            return " AND ".join(
                f"{name} = {self._sought(column, values[at])}"
                for at, column, name in self._columns
                if column.name in self._key
            )
        same = "<=>" if self._dialect == MYSQL else "IS"
        condition = " AND ".join(
            f"{name} {same} {self._sought(column, values[at])}"
            for at, column, name in self._columns
            if column.conversion not in _UNCOMPARED
        )
        if self._dialect == MYSQL:
            return f"{condition} LIMIT 1"
        return f"rowid = (SELECT rowid FROM {self._name} WHERE {condition} LIMIT 1)"

    def _sought(self, column: ColumnPlan, text: str | None) -> str:
        if text in self._changed.get(column.source, ()):
            raise NoLiteralError(
                f'column "{column.name}": it may not be found by a value that the ledger has; '
                "look there for what it is in the source"
            )
        return self._literal(column, text)

    def _literal(self, column: ColumnPlan, text: str | None) -> str:
        try:
            return self._ways[column.name](text)
        except NoLiteralError as error:
            raise NoLiteralError(f'column "{column.name}": {error}') from error


class Replay:
    """A file of statements; use as a context manager, it comes into being at the end.

    Rows go first that were deleted, then updates, then what was inserted, so that a value that
    must be unique is free before it is taken.

    Args:
        path: the file, readable by its owner only.
        dialect: of the source.
        title: lines of the comment at its beginning.
    """

    def __init__(self, path: Path, dialect: str, title: Sequence[str]) -> None:
        self.statements = 0
        """So many were added."""
        self._path = path
        self._dialect = dialect
        self._title = title
        self._parts: dict[str, IO[str]] = {}

    def __enter__(self) -> Self:
        return self

    def add(self, change: str, statement: str) -> None:
        """Take in one statement of a kind of change."""
        if change not in self._parts:
            self._parts[change] = _opened(self._part(change))
        check = "" if change == INSERTED else f"{_FOUND_ONE[self._dialect]}\n"
        self._parts[change].write(f"{statement}\n{check}")
        self.statements += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self.statements:
                self._join()
        finally:
            for change, part in self._parts.items():
                part.close()
                self._part(change).unlink(missing_ok=True)

    def _join(self) -> None:
        with _opened(self._path) as file:
            file.writelines(f"-- {' '.join(line.split())}\n" for line in self._title)
            file.write(_BEGIN[self._dialect])
            for change in (DELETED, UPDATED, INSERTED):
                if change in self._parts:
                    self._parts[change].flush()
                    with self._part(change).open(encoding="utf-8", newline="") as part:
                        shutil.copyfileobj(part, file)
            file.write(_END[self._dialect])

    def _part(self, change: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{change}")


def _opened(path: Path) -> IO[str]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="")
