"""The ledger: every value that is not in the target as it was in the source, and why.

Each table of a run writes its own part; :func:`merge` joins them into one file per run. A part is
written beside its final name and moved there when it is whole, and there is no file without an
entry. The quarantine (rows that could not be loaded) has the same life.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from migration_assets import private
from migration_assets.run_folder import RunFolder

LEDGER = pa.schema(
    [(name, pa.string()) for name in ("table", "key", "column", "before", "after", "rule")]
)
"""One changed value: source table and column, key as a JSON array, value before and after, rule."""

QUARANTINE = pa.schema([(name, pa.string()) for name in ("table", "key", "error", "values")])
"""One row set aside: source table, key as a JSON array, the error, the row as a JSON object."""

QUARANTINE_PART = QUARANTINE.append(pa.field("row", pa.int64()))
"""A table's own part of it: with the row's number in the source, from 0."""

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
        super().__init__(path, QUARANTINE_PART)
        self.counts: dict[str, int] = {}
        """Rows so far, by ``<anomaly>:<source column>``; a row counts once, by its first error."""
        self._table = table

    @property
    def rows(self) -> int:
        """Rows so far."""
        return sum(self.counts.values())

    def add(
        self,
        keys: list[str],
        errors: Sequence[str],
        values: list[str],
        causes: Sequence[str],
        rows: Sequence[int],
    ) -> None:
        """Set rows aside.

        Args:
            keys: their keys as JSON arrays.
            errors: why, naming the column.
            values: each row of the source as a JSON object.
            causes: ``<anomaly>:<source column>`` of each row.
            rows: their numbers in the source, from 0.
        """
        for cause in causes:
            self.counts[cause] = self.counts.get(cause, 0) + 1
        self._add(
            [
                _repeated(self._table, len(keys)),
                pa.array(keys, pa.string()),
                pa.array(errors, pa.string()),
                pa.array(values, pa.string()),
                pa.array(rows, pa.int64()),
            ]
        )


def count(folder: RunFolder, kind: Kind) -> int:
    """The number of entries in the parts of all tables."""
    return sum(
        pq.read_metadata(path, memory_map=False).num_rows
        if gone is None
        else sum(batch.num_rows for batch in _entries(path, _SCHEMAS[kind], gone))
        for path, gone in _parts(folder, kind)
    )


def counts_without(path: Path, keys: pa.Array) -> dict[str, int]:
    """Entries of a ledger's part by ``<rule>:<source column>``, but for the rows of some keys."""
    counts: dict[str, int] = {}
    if not path.exists():
        return counts
    for batch in _entries(path, LEDGER, keys):
        names = zip(batch["rule"].to_pylist(), batch["column"].to_pylist(), strict=True)
        for name in (f"{rule}:{column}" for rule, column in names):
            counts[name] = counts.get(name, 0) + 1
    return counts


def merge(folder: RunFolder, kind: Kind) -> tuple[int, str]:
    """Join the parts of all tables into the run's ``ledger.parquet`` or ``quarantine.parquet``.

    The file is written even if there is no entry; parts stand in order of the tables' slugs. Rows
    that PostgreSQL refused have no entries in the ledger: nothing of them was changed.

    Returns:
        the number of entries and a digest (32 hex digits) over what they say, the same for the
        same entries in any order.
    """
    schema, target = _SCHEMAS[kind], getattr(folder, kind)
    part = target.with_name(target.name + ".part")
    entries, total = 0, 0
    with _writer(part, schema) as writer:
        for path, gone in _parts(folder, kind):
            for batch in _entries(path, schema, gone):
                writer.write_batch(batch)
                entries += batch.num_rows
                total += _digest(batch)
    part.replace(target)
    return entries, f"{total % 2**128:032x}"


_SCHEMAS = {"ledger": LEDGER, "quarantine": QUARANTINE}


def _parts(folder: RunFolder, kind: Kind) -> Iterator[tuple[Path, pa.Array | None]]:
    """The parts of all tables, each with the keys whose entries do not count."""
    kinds = [kind] if kind == "ledger" else [kind, "refused"]
    paths = [path for name in kinds for path in (folder.path / name).glob("*.parquet")]
    for path in sorted(paths, key=lambda p: p.stem):
        refused = folder.refused_part(path.stem)
        gone = refused_keys(refused) if kind == "ledger" and refused.exists() else None
        yield path, gone


def refused_keys(path: Path) -> pa.Array:
    """The keys in a part of the quarantine."""
    return pq.read_table(path, columns=["key"], memory_map=False)["key"].combine_chunks()


def _entries(path: Path, schema: pa.Schema, gone: pa.Array | None) -> Iterator[pa.RecordBatch]:
    """A part in batches, without the entries of the keys that are ``gone``."""
    with pq.ParquetFile(path, memory_map=False) as file:
        for batch in file.iter_batches(_FLUSH_ROWS, columns=schema.names):
            if gone is not None:
                batch = batch.filter(pc.invert(pc.is_in(batch["key"], gone)))
            yield batch


def _repeated(value: str, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), rows)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a Parquet file that only its owner reads: it holds values of the source."""
    private.make_file(path)
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
