"""What every source adapter offers; no other layer knows which source it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from migration_assets.core.catalog import Catalog, Table
from migration_assets.core.profile import Lane
from migration_assets.core.results import ColumnFacts, SourceResult
from migration_assets.core.standing import Movement, Position, Standing, TableState
from migration_assets.errors import BrokenOffError

BATCH_ROWS = 32_768
"""Rows of one raw batch: large enough to be fast, small enough to keep memory flat."""


POSITION_BYTES = 4 << 30
"""Most bytes that are read to tell where a source stands, while a sensor waits for it."""


class LanesMissing(Exception):
    """Values were found that no requested lane carries; read the table again with wider lanes."""

    def __init__(self, table: str, columns: Sequence[str]) -> None:
        super().__init__(f'table "{table}": more storage classes than asked for in {list(columns)}')
        self.columns = tuple(columns)


class SnapshotGoneError(BrokenOffError):
    """A snapshot that lived only as long as its connections is no more."""


class QueryError(Exception):
    """The source's own engine could not run a statement; says why."""


@dataclass(frozen=True)
class Snapshot:
    """One point in time of the whole source.

    Attributes:
        id: the same for the same content, as far as the engine can tell.
        taken_at: ISO 8601 in UTC.
        bytes: size of the copy or None.
        source: the source's location without credentials.
        position: where the source's log of changes stood, None if it keeps none or is a file.
        notes: what is less than it could be, in readable lines.
        token: where the source stood just before, see :class:`Position`.
    """

    id: str
    taken_at: str
    bytes: int | None
    source: str
    position: str | None = None
    notes: tuple[str, ...] = ()
    token: str | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Snapshot:
        """Make it of its fields as JSON gives them back."""
        return cls(**{**record, "notes": tuple(record.get("notes", ()))})


def source_result(kind: str, snapshot: Snapshot) -> SourceResult:
    """The record of a run about what it read."""
    return SourceResult(
        kind,
        snapshot.source,
        snapshot.id,
        snapshot.taken_at,
        snapshot.bytes,
        snapshot.position,
        snapshot.notes,
    )


def copy_standing(snapshot: Snapshot, catalog: Catalog) -> Standing:
    """What a snapshot that is a copy leaves behind: its id is a digest of all of it."""
    return Standing(
        snapshot.source,
        snapshot.id,
        snapshot.taken_at,
        Position(snapshot.token, snapshot.id) if snapshot.token else None,
        {table.name: TableState(table.rows) for table in catalog.tables},
    )


@dataclass(frozen=True)
class SourceFacts:
    """Facts of one table computed by the source's own engine.

    ``columns`` maps column -> lane -> facts of that lane (``values`` counts that lane's values).
    ``non_null`` maps column -> rows in which it is not NULL.
    """

    rows: int
    non_null: dict[str, int]
    columns: dict[str, dict[Lane, ColumnFacts]]


@dataclass(frozen=True)
class SourceCopy:
    """What a backup of a source holds.

    Attributes:
        method: ``copy`` or ``dump``; ``none`` if there could be neither.
        tables: what was in the source, by source name.
        restored: a source was made of it again, and held what the source holds.
        program: that dumped it.
        content: as in :class:`Position`, None where there is none.
        notes: what is less than it could be, in readable lines.
    """

    method: str
    tables: dict[str, TableState]
    restored: bool
    program: str | None = None
    content: str | None = None
    notes: tuple[str, ...] = ()


class SnapshotReader(Protocol):
    """A taken snapshot, to be read from any thread; nothing but the snapshot is touched."""

    snapshot: Snapshot

    def catalog(self) -> Catalog:
        """Reflect what the source declares. Unreadable tables are in ``skipped`` by name."""

    def expected_lanes(self, table: Table) -> dict[str, tuple[Lane, ...]]:
        """The lanes to try first, per column, from the declaration alone."""

    def read(self, table: Table, lanes: Mapping[str, tuple[Lane, ...]]) -> Iterator[pa.RecordBatch]:
        """Yield the table in raw batches of at most BATCH_ROWS rows, in a fixed order.

        Fields are named ``<column position>:<lane>``, in column order and lane order; types
        are int64, float64 and binary. Generated columns are read like the others.

        Raises:
            LanesMissing: after the last batch, or before, if a value fits no requested lane.
        """

    def facts(
        self, table: Table, lanes: Mapping[str, tuple[Lane, ...]] | None = None
    ) -> SourceFacts:
        """Count and sum the table by the source's own engine.

        Args:
            table: as declared.
            lanes: those it is being read with: the facts hold if that ends without
                LanesMissing. None to find out which there are.
        """

    def begin_facts(self, tables: Sequence[Table]) -> None:
        """Let a server find out meanwhile what :meth:`facts` and its like are asked for later.

        They wait for it then. Nothing begins for small tables, and where it would only hold up
        the reading.
        """

    def standing(self, catalog: Catalog, *, lasting: bool) -> Standing:
        """What shows later whether the source has moved since this snapshot.

        Args:
            catalog: of this snapshot.
            lasting: it must show even where the source itself keeps no account of its changes;
                all of it may be read for that. Asked before the tables are read, so that what
                is written meanwhile to tables that are not held still is seen.
        """

    def next_value(self, table: Table) -> int | None:
        """The number ``table.auto_column`` would take next, None without such a column."""

    def orphans(self, table: Table) -> dict[int, int]:
        """Foreign key position -> rows whose parent is missing (only those above 0)."""

    def case_folds(self, table: Table) -> dict[str, int]:
        """Column -> values that another equals but for the case, where the source folds it.

        Only columns with such values.
        """

    def rows(self, statement: str, seconds: float) -> Iterator[tuple[Any, ...]]:
        """The rows of a query in the source's own dialect.

        Raises:
            QueryError: the engine refuses it, or it takes longer than ``seconds``.
        """

    def default_values(self, source_type: str, default: str, count: int) -> list[Any]:
        """What ``count`` new rows would hold in a column of this type with this default.

        Args:
            source_type: the column's type as declared.
            default: the default's text as declared.
            count: rows.

        Raises:
            QueryError: the engine refuses it.
        """

    def quote(self, identifier: str) -> str:
        """``identifier`` as a name in the source's own dialect."""

    def close(self) -> None:
        """Release the snapshot's connections; the copy stays."""


class Source(Protocol):
    """A source database by URL; never written to."""

    kind: str
    location: str
    """The URL without credentials."""
    copies: bool
    """True if a snapshot is a copy, which any process can open again."""

    def check(self) -> None:
        """Open and read the header; raises InputError in one line if it can not be used."""

    def reflect(self) -> Catalog:
        """The catalog straight from the source, for definitions and ``init``, without a copy."""

    def size(self) -> int | None:
        """Bytes that it takes on its disk, None if it does not tell; raises as :meth:`check`."""

    def take_snapshot(self, path: Path) -> SnapshotReader:
        """Take one consistent state of the source and open it.

        A copy of it, or where there can be none a record of what it is, is left at ``path``.
        """

    def open_snapshot(self, path: Path) -> SnapshotReader:
        """Open a snapshot that :meth:`take_snapshot` made before.

        Raises:
            SnapshotGoneError: the source's snapshots last only as long as the process that took
                them, and the source has, or may have, changed since.
        """

    def position(self, before: Position | None, scratch: Path) -> Position:
        """Where the source stands, for whoever looks at it every few minutes.

        Args:
            before: what was found the last time: if nothing was touched since, it is cheap.
            scratch: a folder in which a copy may be made for a moment.

        Raises:
            InputError: the source can not be used.
        """

    def moved_since(self, before: Standing, path: Path) -> Movement | None:
        """Prove that nothing was written since a snapshot, or say what was.

        None is a proof, as far as the source can give one; what can not be told is a movement.

        Args:
            before: what the snapshot left behind.
            path: where the snapshot is, or was; copies for a moment are made beside it.

        Raises:
            InputError: the source can not be used.
            BrokenOffError: it was lost.
        """

    def back_up(self, folder: Path) -> SourceCopy:
        """Write all of the source into ``folder``, and try whether it can be restored.

        Raises:
            InputError: the source can not be used.
            NotProvenError: what was restored is not what the source holds.
            BrokenOffError: the source, or room on the disk, was lost.
        """
