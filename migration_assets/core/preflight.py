"""What a look before a run found, and how much room a run needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a finding means for the run."""

    GO = "go"
    WARNING = "warning"
    NO_GO = "no_go"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: of what was looked at, such as ``rights``.
        verdict: whether a run may begin.
        reason: one line: what is there, and what to do where that is not good.
    """

    name: str
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Sizes:
    """What is known of a source's size.

    Attributes:
        bytes: on its disk, None if it does not tell.
        tables: how many come along at most.
    """

    bytes: int | None = None
    tables: int = 0


def passed(findings: Iterable[Finding]) -> bool:
    """True if nothing speaks against a run; warnings do not."""
    return all(finding.verdict is not Verdict.NO_GO for finding in findings)


def needed_on_target(stored: int | None, source: int | None, wal: int) -> int | None:
    """Bytes that a load needs on the target's disk, None if nothing is known of the sizes.

    A new schema stands beside those that are there, its indexes are sorted in temporary files,
    and what was written stays in the write-ahead log until a checkpoint.

    Args:
        stored: bytes of tables and indexes that a rehearsal made.
        source: bytes of the source, of which twice as much is taken where none was made.
        wal: ``max_wal_size`` in bytes.
    """
    size = stored if stored is not None else source * 2 if source is not None else None
    return None if size is None else size * 5 // 4 + min(size, wal)


def needed_here(run: int | None, source: int | None) -> int | None:
    """Bytes that a run needs in the migration's folder, None if nothing is known of the sizes.

    Args:
        run: bytes that the last whole run has left there, beside which it had some for a while.
        source: bytes of the source: a snapshot, the rows as they were read, and Parquet.
    """
    if run is not None:
        return run * 3 // 2
    return None if source is None else source * 3
