"""The ledger: every value that is not in the target as it was in the source, and why.

Each table of a run writes its own part; :func:`merge` joins them into one file per run. A part is
written beside its final name and moved there when it is whole, and there is no file without an
entry. The quarantine (rows that could not be loaded) has the same life.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq

from migration_assets.run_folder import RunFolder

LEDGER = pa.schema(
    [(name, pa.string()) for name in ("table", "key", "column", "before", "after", "rule")]
)
"""One changed value: source table and column, key as a JSON array, value before and after, rule."""

QUARANTINE = pa.schema([(name, pa.string()) for name in ("table", "key", "error", "values")])
"""One row set aside: source table, key as a JSON array, the error, the row as a JSON object."""

Kind = Literal["ledger", "quarantine"]
KINDS: tuple[Kind, Kind] = ("ledger", "quarantine")

_FLUSH_ROWS = 65_536


class _PartWriter:
    """A Parquet file of one table that comes into being when its block ends without an error.

    There is no file if nothing was added.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._schema = schema
        self._waiting: list[pa.RecordBatch] = []
        self._writer: pq.ParquetWriter | None = None

    @property
    def _part(self) -> Path:
        return self._path.with_name(self._path.name + ".part")

    def __enter__(self) -> Self:
        # What a broken-off run left would otherwise pass for this one's.
        self._path.unlink(missing_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()
        if self._writer is not None:
            self._writer.close()
            if kind is None:
                self._part.replace(self._path)
            else:
                self._part.unlink(missing_ok=True)

    def _add(self, columns: list[pa.Array]) -> None:
        self._waiting.append(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        if sum(batch.num_rows for batch in self._waiting) >= _FLUSH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        if self._writer is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._writer = _writer(self._part, self._schema)
        self._writer.write_table(pa.Table.from_batches(self._waiting))
        self._waiting = []


class LedgerWriter(_PartWriter):
    """Writes the ledger's part of one table.

    Args:
        path: the Parquet file; it comes into being when the block ends without an error and there
            was at least one entry.
        table: the table's name in the source.
    """

    def __init__(self, path: Path, table: str) -> None:
        super().__init__(path, LEDGER)
        self.counts: dict[str, int] = {}
        """Entries so far, by ``<rule>:<source column>``."""
        self._table = table

    def add(
        self,
        keys: list[str],
        column: str,
        before: list[str | None],
        after: list[str | None],
        rule: str,
    ) -> None:
        """Add one entry per key: ``column`` went from ``before`` to ``after`` by ``rule``."""
        rows = len(keys)
        if rows == 0:
            return
        name = f"{rule}:{column}"
        self.counts[name] = self.counts.get(name, 0) + rows
        self._add(
            [
                _repeated(self._table, rows),
                pa.array(keys, pa.string()),
                _repeated(column, rows),
                pa.array(before, pa.string()),
                pa.array(after, pa.string()),
                _repeated(rule, rows),
            ]
        )


class QuarantineWriter(_PartWriter):
    """Writes one table's part of the quarantine; the same life as the ledger's.

    Args:
        path: the Parquet file.
        table: the table's name in the source.
    """

    def __init__(self, path: Path, table: str) -> None:
        super().__init__(path, QUARANTINE)
        self.counts: dict[str, int] = {}
        """Rows so far, by ``<anomaly>:<source column>``; a row counts once, by its first error."""
        self._table = table

    @property
    def rows(self) -> int:
        """Rows so far."""
        return sum(self.counts.values())

    def add(
        self, keys: list[str], errors: list[str], values: list[str], causes: Sequence[str]
    ) -> None:
        """Set rows aside.

        Args:
            keys: their keys as JSON arrays.
            errors: why, naming the column.
            values: each row of the source as a JSON object.
            causes: ``<anomaly>:<source column>`` of each row.
        """
        for cause in causes:
            self.counts[cause] = self.counts.get(cause, 0) + 1
        self._add(
            [
                _repeated(self._table, len(keys)),
                pa.array(keys, pa.string()),
                pa.array(errors, pa.string()),
                pa.array(values, pa.string()),
            ]
        )


def count(folder: RunFolder, kind: Kind) -> int:
    """The number of entries in the parts of all tables, without reading them."""
    return sum(
        pq.read_metadata(path, memory_map=False).num_rows
        for path in (folder.path / kind).glob("*.parquet")
    )


def merge(folder: RunFolder, kind: Kind) -> tuple[int, str]:
    """Join the parts of all tables into the run's ``ledger.parquet`` or ``quarantine.parquet``.

    The file is written even if there is no entry; parts stand in order of the tables' slugs.

    Returns:
        the number of entries and a digest (32 hex digits) over what they say, the same for the
        same entries in any order.
    """
    schema, target = {
        "ledger": (LEDGER, folder.ledger),
        "quarantine": (QUARANTINE, folder.quarantine),
    }[kind]
    part = target.with_name(target.name + ".part")
    entries, total = 0, 0
    with _writer(part, schema) as writer:
        for path in sorted((folder.path / kind).glob("*.parquet"), key=lambda p: p.stem):
            with pq.ParquetFile(path, memory_map=False) as file:
                for batch in file.iter_batches(_FLUSH_ROWS):
                    writer.write_batch(batch)
                    entries += batch.num_rows
                    total += _digest(batch)
    part.replace(target)
    return entries, f"{total % 2**128:032x}"


def _repeated(value: str, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), rows)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a Parquet file that only its owner reads: it holds values of the source."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return pq.ParquetWriter(path, schema, compression="zstd", compression_level=1)


def _digest(batch: pa.RecordBatch) -> int:
    """Sum of the entries' own digests, so that their order does not matter."""
    rows: Iterable[tuple[str | None, ...]] = zip(
        *(column.to_pylist() for column in batch.columns), strict=True
    )
    return sum(
        int.from_bytes(hashlib.blake2b(json.dumps(row).encode(), digest_size=16).digest(), "big")
        for row in rows
    )
