"""Where a migration is, as ``migration-assets status`` shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskStatus:
    """One table at work: rows so far and to come, and seconds left, None where nobody knows."""

    stage: str
    table: str
    rows: int
    total: int | None
    seconds: float
    left_seconds: float | None
    paused: bool


@dataclass(frozen=True)
class StageStatus:
    """Tables that a stage is done with, of those that it has begun or of all."""

    stage: str
    done: int
    tables: int


@dataclass(frozen=True)
class Running:
    """The run that is under way.

    Attributes:
        run_id: Dagster's id.
        environment: where it goes, None if it has not come so far.
        started_at: ISO 8601 in UTC.
        seconds: since then.
        stages: in the order in which they began.
        tasks: what is at work now.
        step: step of the cutover that was finished last, None in a rehearsal.
        left_seconds: until it is done if it takes as long as the last proven one into this
            environment; None if there is none.
    """

    run_id: str
    environment: str | None
    started_at: str
    seconds: float
    stages: tuple[StageStatus, ...]
    tasks: tuple[TaskStatus, ...]
    step: str | None
    left_seconds: float | None


@dataclass(frozen=True)
class PastRun:
    """A run that came to its end; ``outcome`` is ``proven``, ``not proven`` or ``live``."""

    run_id: str
    job: str
    finished_at: str
    seconds: float
    outcome: str
    rows: int
    reason: str | None


@dataclass(frozen=True)
class Live:
    """What readers of a target environment see.

    ``run_id`` is None if nothing of this migration is live there; ``problem`` says why nobody can
    know.
    """

    environment: str
    schema: str
    location: str | None = None
    run_id: str | None = None
    since: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Gate:
    """Whether a cutover could begin: what is missing, and the window for the sensor.

    ``opens_at`` is when the window opens next, ISO 8601 in UTC; None while it is open.
    """

    missing: tuple[str, ...]
    approved_by: str | None
    window_open: bool
    opens_at: str | None


@dataclass(frozen=True)
class Backups:
    """The backups of one kind (an environment, or ``source``), by id: it is when they were made.

    ``restored`` is the newest that was restored and was what it must be, None without any.
    """

    kind: str
    kept: int
    newest: str
    restored: str | None


@dataclass(frozen=True)
class Watch:
    """The last look at production; ``failed`` has a line for each figure beyond its limit."""

    at: str
    looks: int
    failed: tuple[str, ...]


@dataclass(frozen=True)
class Status:
    """One migration.

    ``stopped`` says that a cutover ended on its way, and what to do. ``gate`` is None where there
    is no production, ``watch`` where nobody has looked at it; ``zone`` is the one in which times
    are shown to people.
    """

    name: str
    source: str
    zone: str
    paused: str | None
    stopped: str | None
    running: Running | None
    runs: tuple[PastRun, ...]
    live: tuple[Live, ...]
    gate: Gate | None
    backups: tuple[Backups, ...]
    watch: Watch | None
