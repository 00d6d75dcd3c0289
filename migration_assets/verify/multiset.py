"""Rows of two sides that did not meet at the same position, matched whatever their order.

Each row is its position, a 128-bit hash of all its cells and one of its key. Rows with equal hashes
on both sides cancel, duplicates one against one; what is left is paired by key. Memory is bounded:
above IN_MEMORY rows both steps go through files, split by hash.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from migration_assets.verify.cells import Cells
from migration_assets.verify.streams import Rows

Hashes = npt.NDArray[np.uint64]
Entries = npt.NDArray[np.void]

EXPECTED = 0
FOUND = 1

IN_MEMORY = 250_000
"""Rows of both sides together that are held before files are used (48 bytes each)."""

PARTS = 256
LISTED = 100
"""Rows of each kind that are listed by position."""

ENTRY = np.dtype(
    [
        ("row1", "<u8"),
        ("row2", "<u8"),
        ("key1", "<u8"),
        ("key2", "<u8"),
        ("side", "<u8"),
        ("position", "<i8"),
    ]
)

SEEDS = ((0x9E3779B97F4A7C15, "8a5f0e3c91d7b264"), (0xC2B2AE3D27D4EB4F, "31c6f9a07be2d548"))
NULL = 0xA0761D6478BD642F
MISFIT = 0xE7037ED1A0B428DB


@dataclass
class Unmatched:
    """What is left after all that is equal has cancelled.

    ``missing`` and ``extra`` list the first positions, ``changed`` the first pairs of positions
    (expected, found); the counts are complete.
    """

    missing_rows: int = 0
    extra_rows: int = 0
    changed_rows: int = 0
    missing: list[int] = field(default_factory=list)
    extra: list[int] = field(default_factory=list)
    changed: list[tuple[int, int]] = field(default_factory=list)


class Candidates:
    """Collects rows of both sides; use as a context manager, its files go at the end.

    Args:
        key: positions of the key columns among the columns of the rows, empty to pair by row
            number.
    """

    def __init__(self, key: Sequence[int]) -> None:
        self._key = tuple(key)
        self._rows = _Pile("row1")
        self._keys = _Pile("key1")

    def __enter__(self) -> Candidates:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rows.close()
        self._keys.close()

    def __bool__(self) -> bool:
        return self._rows.count > 0

    def add(self, side: int, rows: Rows, which: npt.NDArray[np.int64] | None = None) -> None:
        """Take the rows at ``which`` (None for all) of one side."""
        columns = rows.columns if which is None else [cells.take(which) for cells in rows.columns]
        positions = np.arange(rows.length) if which is None else which
        entries = np.empty(len(positions), dtype=ENTRY)
        entries["side"] = side
        entries["position"] = positions + rows.first
        for lane in (0, 1):
            hashed = [hash_cells(cells, lane) for cells in columns]
            entries[f"row{lane + 1}"] = combine(hashed, len(positions), lane)
            entries[f"key{lane + 1}"] = (
                combine([hashed[i] for i in self._key], len(positions), lane)
                if self._key
                else _mix(entries["position"].astype(np.uint64), lane)
            )
        self._rows.add(entries)

    def finish(self) -> Unmatched:
        """Cancel what is equal and pair the rest by key."""
        for part in self._rows.parts():
            self._keys.add(_surplus(part))
        left = Unmatched()
        changed: list[npt.NDArray[np.int64]] = []
        for part in self._keys.parts():
            pairs, alone = _pairs(part)
            missing = alone["position"][alone["side"] == EXPECTED]
            extra = alone["position"][alone["side"] == FOUND]
            left.changed_rows += len(pairs)
            left.missing_rows += len(missing)
            left.extra_rows += len(extra)
            left.missing = sorted(left.missing + np.sort(missing)[:LISTED].tolist())[:LISTED]
            left.extra = sorted(left.extra + np.sort(extra)[:LISTED].tolist())[:LISTED]
            changed.append(pairs[np.argsort(pairs[:, 0])][:LISTED])
        if changed:
            all_pairs = np.concatenate(changed)
            first = all_pairs[np.argsort(all_pairs[:, 0])][:LISTED]
            left.changed = [(int(e), int(f)) for e, f in first]
        return left


class _Pile:
    """Entries in memory, or in files by the top bits of one of their hashes."""

    def __init__(self, split: str) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._split = split
        self._held: list[Entries] = []
        self._held_rows = 0
        self.count = 0

    def close(self) -> None:
        """Remove the files, if any were needed."""
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, entries: Entries) -> None:
        self._held.append(entries)
        self._held_rows += len(entries)
        self.count += len(entries)
        if self._held_rows >= IN_MEMORY:
            self._spill()

    def parts(self) -> Iterator[Entries]:
        """All entries, those with equal hashes in the same part."""
        if self._folder is None:
            if self._held:
                yield np.concatenate(self._held)
            return
        self._spill()
        for path in sorted(Path(self._folder.name).iterdir()):
            yield np.fromfile(path, dtype=ENTRY)

    def _spill(self) -> None:
        if not self._held:
            return
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="migration_assets_")
        entries = np.concatenate(self._held)
        self._held, self._held_rows = [], 0
        part = (entries[self._split] >> np.uint64(56)).astype(np.int64)
        order = np.argsort(part, kind="stable")
        entries = entries[order]
        starts = np.searchsorted(part[order], np.arange(PARTS + 1))
        for number in range(PARTS):
            if starts[number + 1] > starts[number]:
                with (Path(self._folder.name) / f"{number:03}").open("ab") as file:
                    entries[starts[number] : starts[number + 1]].tofile(file)


def hash_cells(cells: Cells, lane: int) -> Hashes:
    """One of two independent 64-bit hashes of each cell; equal cells have equal hashes."""
    values = cells.values
    if pa.types.is_string(values.type) or pa.types.is_binary(values.type):
        hashed = _hash_bytes(values, lane)
    else:
        hashed = _hash_fixed(values, lane)
    if values.null_count:
        hashed[~np.array(values.is_valid(), dtype=np.bool_)] = NULL
    if cells.misfits is not None:
        hashed[cells.misfits] = MISFIT
    return hashed


def combine(columns: Sequence[Hashes], rows: int, lane: int) -> Hashes:
    """One hash of each row out of the hashes of its cells; the order of columns matters."""
    total = np.full(rows, SEEDS[lane][0], dtype=np.uint64)
    for hashed in columns:
        total = _mix(total ^ hashed, lane)
    return total


def _hash_bytes(values: pa.Array, lane: int) -> Hashes:
    from pandas.util import hash_array  # slow to import, needed only where rows differ

    filled = values.cast(pa.binary()).fill_null(b"")
    objects = filled.to_numpy(zero_copy_only=False)
    return np.array(hash_array(objects, hash_key=SEEDS[lane][1], categorize=False), dtype=np.uint64)


def _hash_fixed(values: pa.Array, lane: int) -> Hashes:
    hashed = np.full(len(values), SEEDS[lane][0], dtype=np.uint64)
    for word in _words(values):
        hashed = _mix(hashed ^ word, lane)
    return hashed


def _words(values: pa.Array) -> list[Hashes]:
    """The cells of a fixed-width column as 64-bit words; what stands in a null is left as it is."""
    kind = values.type
    rows = len(values)
    if pa.types.is_boolean(kind):
        return [np.array(values.fill_null(False), dtype=np.uint64)]
    width = kind.byte_width
    data = values.buffers()[1]
    raw = np.frombuffer(data, np.uint8, rows * width, values.offset * width)
    if pa.types.is_floating(kind):
        raw = _one_nan(raw.view(f"<f{width}"))
    if width in (1, 2, 4):
        return [raw.view(f"<u{width}").astype(np.uint64)]
    table = raw.reshape(rows, width)
    if width % 8:
        table = np.pad(table, ((0, 0), (0, 8 - width % 8)))
    words = np.ascontiguousarray(table).view("<u8")
    return [words[:, i] for i in range(words.shape[1])]


def _one_nan(values: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """All NaN are equal, so all get the same bits."""
    values = values.copy()
    values[np.isnan(values)] = np.nan
    return values.view(np.uint8)


def _mix(value: Hashes, lane: int) -> Hashes:
    """The finalizer of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Numbers)."""
    value = value + np.uint64(SEEDS[lane][0])
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _grouped(entries: Entries, high: str, low: str) -> tuple[Entries, npt.NDArray[np.bool_]]:
    """Sort by a hash, side and position; True marks an entry that has a partner in its group.

    Within a group of equal hashes the first of one side is the partner of the first of the other.
    """
    order = np.lexsort((entries["position"], entries["side"], entries[low], entries[high]))
    entries = entries[order]
    new = np.ones(len(entries), dtype=np.bool_)
    new[1:] = (entries[high][1:] != entries[high][:-1]) | (entries[low][1:] != entries[low][:-1])
    group = np.cumsum(new) - 1
    is_found = entries["side"] == FOUND
    groups = int(group[-1]) + 1 if len(group) else 0
    expected = np.bincount(group[~is_found], minlength=groups)
    found = np.bincount(group[is_found], minlength=groups)
    rank = np.arange(len(entries)) - np.flatnonzero(new)[group]
    rank = np.where(is_found, rank - expected[group], rank)
    return entries, rank < np.minimum(expected, found)[group]


def _surplus(entries: Entries) -> Entries:
    """The rows that have no equal on the other side."""
    entries, partnered = _grouped(entries, "row1", "row2")
    return entries[~partnered]


def _pairs(entries: Entries) -> tuple[npt.NDArray[np.int64], Entries]:
    """Pairs of positions with the same key (expected, found), and the rows left alone."""
    entries, partnered = _grouped(entries, "key1", "key2")
    paired = entries[partnered]
    is_found = paired["side"] == FOUND
    pairs = np.column_stack((paired["position"][~is_found], paired["position"][is_found]))
    return pairs, entries[~partnered]
