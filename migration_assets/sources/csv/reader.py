"""Reads the copies of CSV files that make a snapshot, from any thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.core.catalog import Catalog, Table
from migration_assets.core.naming import quote
from migration_assets.core.profile import Lane
from migration_assets.core.standing import Standing, TableState
from migration_assets.errors import InputError
from migration_assets.sources.base import (
    LanesMissing,
    QueryError,
    Snapshot,
    SourceFacts,
    copy_standing,
)
from migration_assets.sources.csv.facts import file_facts
from migration_assets.sources.csv.files import CsvFile, Dialect, SyntaxFault, batches
from migration_assets.sources.csv.forms import ARROW, lanes_of, parsed_as, split
from migration_assets.sources.csv.second_look import explain

_NO_ENGINE = "CSV files answer no queries"


@dataclass(frozen=True)
class TableFile:
    """One table's copy, and what the manifest says that no row tells.

    Attributes:
        copy: name of the copy beside the snapshot's own file.
        name: what the file is called in messages.
        dialect: how it is written.
        header: names of its first line.
        rows: that it must hold, None for any.
        next_value: of the identity column, at least.
        orphans: position of a foreign key -> rows without a parent that are known of.
        sha256: of its bytes.
        hidden: columns whose values are in no message.
    """

    copy: str
    name: str
    dialect: Dialect
    header: tuple[str, ...]
    rows: int | None = None
    next_value: int | None = None
    orphans: dict[int, int] = field(default_factory=dict)
    sha256: str | None = None
    hidden: frozenset[str] = frozenset()


class CsvReader:
    """One snapshot."""

    def __init__(
        self, folder: Path, snapshot: Snapshot, catalog: Catalog, files: Mapping[str, TableFile]
    ) -> None:
        self.snapshot = snapshot
        self._folder = folder
        self._catalog = catalog
        self._files = files

    def catalog(self) -> Catalog:
        """What the manifest declares, or what was inferred when the snapshot was taken."""
        return self._catalog

    def expected_lanes(self, table: Table) -> dict[str, tuple[Lane, ...]]:
        """The lanes of each column: those of its type."""
        return {column.name: lanes_of(column) for column in table.columns}

    def read(self, table: Table, lanes: Mapping[str, tuple[Lane, ...]]) -> Iterator[pa.RecordBatch]:
        """Yield the table; see :meth:`SnapshotReader.read`.

        Raises:
            LanesMissing: as soon as a value turns up that fits no requested lane.
            InputError: the file cannot be read; names line and column.
        """
        known, file = self._files[table.name], self._file(table)
        types = {column.name: parsed_as(column) for column in table.columns}
        rows = 0
        yield _raw(table, lanes, pa.RecordBatch.from_pylist([], pa.schema(list(types.items()))))
        try:
            for batch in batches(file, known.header, types):
                rows += batch.num_rows
                yield _raw(table, lanes, batch)
        except (SyntaxFault, pa.ArrowInvalid) as error:
            columns = {column.name: column for column in table.columns}
            raise explain(file, known.header, columns, str(error)) from error
        if known.rows is not None and known.rows != rows:
            raise InputError(f"{file.name}: holds {rows} rows, the manifest says {known.rows}")

    def facts(
        self, table: Table, lanes: Mapping[str, tuple[Lane, ...]] | None = None
    ) -> SourceFacts:
        """Count and sum the file by reading it once more, as texts."""
        return file_facts(self._file(table), self._files[table.name].header, table)

    def begin_facts(self, tables: Sequence[Table]) -> None:
        """Nothing: there is no server that would do it."""

    def standing(self, catalog: Catalog, *, lasting: bool) -> Standing:
        """What the copies leave behind; see :meth:`SnapshotReader.standing`."""
        known = copy_standing(self.snapshot, catalog)
        tables = {
            name: TableState(state.rows, self._files[name].sha256)
            for name, state in known.tables.items()
        }
        return replace(known, tables=tables)

    def next_value(self, table: Table) -> int | None:
        """The manifest's number, or the one after the greatest of the file."""
        column = next((c for c in table.columns if c.name == table.auto_column), None)
        if column is None:
            return None
        known = self._files[table.name]
        greatest = 0
        for batch in batches(self._file(table), known.header, {column.name: parsed_as(column)}):
            greatest = max(greatest, pc.max(batch.column(0)).as_py() or 0)
        return max(known.next_value or 1, greatest + 1)

    def orphans(self, table: Table) -> dict[int, int]:
        """The orphans that the manifest allows; all others are refused before the first row."""
        return dict(self._files[table.name].orphans)

    def case_folds(self, table: Table) -> dict[str, int]:
        """None: nothing folds case."""
        return {}

    def rows(self, statement: str, seconds: float) -> Iterator[tuple[Any, ...]]:
        """Raise QueryError: there is no engine."""
        raise QueryError(_NO_ENGINE)

    def default_values(self, source_type: str, default: str, count: int) -> list[Any]:
        """Raise QueryError: there is no engine."""
        raise QueryError(_NO_ENGINE)

    def quote(self, identifier: str) -> str:
        """Quote a name as PostgreSQL does."""
        return quote(identifier)

    def close(self) -> None:
        """Nothing is open between reads."""

    def _file(self, table: Table) -> CsvFile:
        known = self._files[table.name]
        return CsvFile(self._folder / known.copy, known.name, known.dialect, known.hidden)


def _raw(
    table: Table, lanes: Mapping[str, tuple[Lane, ...]], parsed: pa.RecordBatch
) -> pa.RecordBatch:
    """A raw batch of the requested lanes; raises LanesMissing."""
    names, arrays = [], []
    for position, column in enumerate(table.columns):
        parts = split(column, parsed.column(column.name))
        wanted = lanes[column.name]
        if any(p.null_count < len(p) for lane, p in parts.items() if lane not in wanted):
            raise LanesMissing(table.name, [column.name])
        for lane in (lane for lane in Lane if lane in wanted):
            array = parts.get(lane)
            names.append(f"{position}:{lane}")
            arrays.append(pa.nulls(parsed.num_rows, ARROW[lane]) if array is None else array)
    return pa.RecordBatch.from_arrays(arrays, names=names)
