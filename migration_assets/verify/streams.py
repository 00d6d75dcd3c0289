"""Two streams of batches side by side: Parquet, and a table read back in heap order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from migration_assets.verify.cells import Cells


@dataclass(frozen=True)
class Rows:
    """Some consecutive rows: ``first`` is the position of the first one in the table, from 0."""

    first: int
    length: int
    columns: Sequence[Cells]

    def slice(self, offset: int, length: int) -> Rows:
        """The rows from ``offset`` on, without a copy."""
        return Rows(
            self.first + offset, length, [cells.slice(offset, length) for cells in self.columns]
        )


class Aligned:
    """Cuts two streams of rows into pairs of equal length, then yields what one has left over."""

    def __init__(self, left: Iterator[Rows], right: Iterator[Rows]) -> None:
        self._streams = (left, right)

    def __iter__(self) -> Iterator[tuple[Rows | None, Rows | None]]:
        left, right = (self._next(stream) for stream in self._streams)
        while left is not None and right is not None:
            length = min(left.length, right.length)
            yield left.slice(0, length), right.slice(0, length)
            left = self._rest(left, length, self._streams[0])
            right = self._rest(right, length, self._streams[1])
        while left is not None:
            yield left, None
            left = self._next(self._streams[0])
        while right is not None:
            yield None, right
            right = self._next(self._streams[1])

    def _rest(self, rows: Rows, used: int, stream: Iterator[Rows]) -> Rows | None:
        if rows.length > used:
            return rows.slice(used, rows.length - used)
        return self._next(stream)

    @staticmethod
    def _next(stream: Iterator[Rows]) -> Rows | None:
        """The next rows that are not an empty batch."""
        for rows in stream:
            if rows.length:
                return rows
        return None
