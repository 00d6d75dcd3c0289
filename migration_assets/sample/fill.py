"""What every part of the sample needs to fill its tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from migration_assets.sample.draw import Draw


@dataclass(frozen=True)
class Fill:
    """The database being filled, the draws, and the size: ``scale`` 1 is the whole sample."""

    connection: sqlite3.Connection
    draw: Draw
    scale: float

    def count(self, rows: int) -> int:
        """``rows`` to scale, at least 20."""
        return max(int(rows * self.scale), 20)

    def insert(self, table: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
        """Insert ``rows``; ``table`` and ``columns`` are constants of the sample's modules."""
        marks = ", ".join("?" * (columns.count(",") + 1))
        statement = f"INSERT INTO {table} ({columns}) VALUES ({marks})"
        self.connection.executemany(statement, rows)
