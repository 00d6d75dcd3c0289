"""What is measured in production after a cutover, and when a figure is a bad sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from migration_assets.core.standing import Position, Standing


@dataclass(frozen=True)
class MeasureKind:
    """One measure.

    Attributes:
        meaning: what the figure says.
        limit: where it becomes a bad sign, unless ``watch.thresholds`` names another one.
        unit: ``share`` (0 to 1), ``seconds``, ``ms`` or ``count``.
        floor: the figure must not fall below the limit; else it must not rise above it.
        severity: ``error`` where data or the application are in danger, else ``warning``.
    """

    meaning: str
    limit: float
    unit: Literal["share", "seconds", "ms", "count"]
    floor: bool = False
    severity: Literal["error", "warning"] = "warning"


MEASURES: dict[str, MeasureKind] = {
    "source_writes": MeasureKind(
        "Writes to the old database since its snapshot: somebody still works there.",
        0,
        "count",
        severity="error",
    ),
    "rows_lost": MeasureKind(
        "Share of a table's rows at the cutover that is gone, in the worst table; tables of fewer "
        "than 100 rows do not count.",
        0.1,
        "share",
        severity="error",
    ),
    "sequence_headroom": MeasureKind(
        "Share of numbers that are left in the fullest sequence, or in its column's type.",
        0.2,
        "share",
        floor=True,
        severity="error",
    ),
    "sequences_behind": MeasureKind(
        "Sequences whose next number is not above the greatest one in their column: inserts fail.",
        0,
        "count",
        severity="error",
    ),
    "errors": MeasureKind(
        "Deadlocks, checksum failures, and sessions that were killed or ended by a fatal error, "
        "since the last look.",
        0,
        "count",
        severity="error",
    ),
    "rollbacks": MeasureKind(
        "Share of transactions that were rolled back since the last look.", 0.05, "share"
    ),
    "slow_statements": MeasureKind(
        "Mean time of the slowest statement since the last look that ran at least five times "
        "(pg_stat_statements).",
        1000,
        "ms",
    ),
    "longest_statement": MeasureKind(
        "How long the longest statement of the moment has been running.", 60, "seconds"
    ),
    "idle_in_transaction": MeasureKind(
        "How long the oldest session has been idle in an open transaction.", 300, "seconds"
    ),
    "connections": MeasureKind(
        "Share of the server's connections that is taken, of those for ordinary roles.",
        0.8,
        "share",
    ),
    "cache_hits": MeasureKind(
        "Share of the tables' blocks that were found in memory since the last look.",
        0.9,
        "share",
        floor=True,
    ),
    "dead_rows": MeasureKind(
        "Share of dead rows in the worst table of at least 10,000 of them: vacuum lags behind.",
        0.2,
        "share",
    ),
    "replication_lag": MeasureKind(
        "How far the slowest standby is behind.",
        60,
        "seconds",
    ),
}
"""By name, in the order in which they are shown."""


@dataclass(frozen=True)
class Measure:
    """One figure of one look.

    Attributes:
        name: of MEASURES.
        value: None where it could not be measured, or not yet.
        limit: where it is a bad sign.
        detail: what it is about: the table, the sequence; or why there is no figure.
    """

    name: str
    value: float | None
    limit: float
    detail: str = ""

    @property
    def kind(self) -> MeasureKind:
        """What the figure says."""
        return MEASURES[self.name]

    @property
    def passed(self) -> bool:
        """False if the figure is a bad sign."""
        if self.value is None:
            return True
        return self.value >= self.limit if self.kind.floor else self.value <= self.limit

    def line(self) -> str:
        """The figure for people, with its limit."""
        if self.value is None:
            return f"not measured: {self.detail}"
        word = "at least" if self.kind.floor else "at most"
        text = f"{self._shown(self.value)} ({word} {self._shown(self.limit)})"
        return f"{text}; {self.detail}" if self.detail else text

    def _shown(self, figure: float) -> str:
        return {
            "share": f"{figure:.1%}",
            "seconds": f"{figure:,.1f} s",
            "ms": f"{figure:,.1f} ms",
            "count": f"{figure:,.0f}",
        }[self.kind.unit]


@dataclass(frozen=True)
class Look:
    """One look at production: ``at`` (ISO 8601 in UTC) and the figures."""

    at: str
    measures: tuple[Measure, ...]

    @property
    def failed(self) -> tuple[Measure, ...]:
        """The bad signs."""
        return tuple(measure for measure in self.measures if not measure.passed)


@dataclass(frozen=True)
class Counters:
    """What PostgreSQL counts up; two looks give what happened between them.

    Attributes:
        since: when counting began, as PostgreSQL says: another value is another count.
        database: name -> count in ``pg_stat_database``.
        blocks_hit, blocks_read: of the schema's tables and indexes.
        statements: id -> calls and milliseconds, of the statements that took most in all.
    """

    since: str
    database: dict[str, int]
    blocks_hit: int
    blocks_read: int
    statements: dict[str, tuple[int, float]]


@dataclass(frozen=True)
class Baseline:
    """What went live.

    Attributes:
        run_id: of the cutover.
        rows: table (name in PostgreSQL) -> rows.
        source: where the source stood, None if the cutover left no record of it.
    """

    run_id: str
    rows: dict[str, int]
    source: Standing | None = None


@dataclass(frozen=True)
class Seen:
    """What was found at a look, and makes the next one cheaper or comparable.

    Attributes:
        counters: of PostgreSQL.
        source: where the source stood, None if it could not be asked.
        writes: tables of it that had moved since its snapshot, and what is said about them.
    """

    counters: Counters
    source: Position | None
    writes: tuple[float | None, str]
