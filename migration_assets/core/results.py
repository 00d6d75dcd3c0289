"""What each step of a run found: kept in the run folder as JSON, gathered into the evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

from migration_assets.core.cutover_config import STAGING

T = TypeVar("T")


@dataclass(frozen=True)
class ColumnFacts:
    """Facts of one column that both the source's engine and Arrow can compute exactly.

    All are None where the column's conversion makes the fact meaningless.

    Attributes:
        values: rows that are not NULL.
        sum_low, sum_high: integers only; sums of ``v & 0xffffffff`` and ``v >> 32``.
        minimum, maximum: rendered extremes (integers and reals as Python ``repr``).
        bytes: texts and blobs only; sum of lengths in bytes.
    """

    values: int
    sum_low: int | None = None
    sum_high: int | None = None
    minimum: str | None = None
    maximum: str | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class Manifest:
    """One extract: what the Parquet file of a table holds.

    Attributes:
        slug, source, target: the table's slug, source name and target name.
        path: file name below the run's storage root.
        rows: rows in the Parquet file. source_rows: rows in the snapshot, by the source's engine.
        quarantined: rows set aside. ledger: entries, by (rule, source column) -> count.
        set_aside: the rows set aside by ``<anomaly>:<source column>`` (``load_refused:`` for those
            that PostgreSQL refused), each counted once.
        led_back: values that a transform changed and its inverse leads back, as in ``ledger``.
        digest: 16 hex digits over the Parquet file's bytes.
        facts: target column -> facts of the Parquet file.
        mismatches: readable lines where source facts and Parquet facts disagree; empty is proof.
        bytes: size of the Parquet file. seconds: wall time of read, convert and write.
    """

    slug: str
    source: str
    target: str
    path: str
    rows: int
    source_rows: int
    quarantined: int = 0
    ledger: dict[str, int] = field(default_factory=dict)
    digest: str = ""
    facts: dict[str, ColumnFacts] = field(default_factory=dict)
    mismatches: tuple[str, ...] = ()
    bytes: int = 0
    seconds: float = 0.0
    set_aside: dict[str, int] = field(default_factory=dict)
    led_back: dict[str, int] = field(default_factory=dict)


def rule_and_column(key: str) -> tuple[str, str]:
    """The rule and the source column of a key of :attr:`Manifest.ledger`.

    >>> rule_and_column("transform:words:status")
    ('transform:words', 'status')
    """
    rule, _, column = key.partition(":")
    if rule == "transform":
        # The name of a transform has no colon.
        name, _, column = column.partition(":")
        rule = f"{rule}:{name}"
    return rule, column


@dataclass(frozen=True)
class LoadResult:
    """One table's load: rows and COPY bytes sent, wall seconds."""

    slug: str
    rows: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Difference:
    """One row that is not as it should be.

    ``kind``: ``missing`` (in Parquet, not in PostgreSQL), ``extra`` (the other way round) or
    ``changed`` (then ``column``, ``expected`` and ``found`` are set). ``key`` is a JSON array of
    the key's values, or of the row number (from 1) in a table without a key.
    """

    kind: str
    key: str
    column: str | None = None
    expected: str | None = None
    found: str | None = None


@dataclass(frozen=True)
class ContentResult:
    """Every cell of one table, Parquet against PostgreSQL.

    ``columns`` are the compared ones. ``identical`` rows + ``changed`` + ``missing`` =
    ``rows_expected``. ``differences`` lists at most 100 of them, the counts are complete.
    """

    slug: str
    rows_expected: int
    rows_found: int
    identical: int
    missing: int
    extra: int
    changed: int
    columns: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """True if both sides hold the same rows."""
        return not (self.missing or self.extra or self.changed)


@dataclass(frozen=True)
class ExpectationResult:
    """One Great Expectations result, names mapped back to the true ones."""

    expectation: str
    column: str | None
    passed: bool
    observed: str | None = None
    expected: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class SuiteResult:
    """The suite of one table."""

    slug: str
    results: tuple[ExpectationResult, ...]
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """True if every expectation holds."""
        return all(r.passed for r in self.results)


@dataclass(frozen=True)
class StatementResult:
    """One constraint, index or other statement after the load, with its wall seconds.

    ``error`` is PostgreSQL's message where the object could not be made.
    """

    table: str | None
    kind: str
    name: str
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class Finding:
    """One object of the loaded schema that is not as planned.

    ``category``: ``schema`` (columns, types, nullability, defaults, views), ``keys`` (primary and
    unique keys, indexes, identity values) or ``references`` (foreign keys, checks).
    """

    category: str
    table: str
    object: str
    problem: str


@dataclass(frozen=True)
class ObjectCount:
    """Objects of one kind: those the source declares, those in PostgreSQL, those reported."""

    kind: str
    source: int
    target: int
    reported: int


@dataclass(frozen=True)
class SwapResult:
    """The swap.

    Attributes:
        schema: what went live.
        previous: the schema that is kept as the way back, None if nothing was live before.
        seconds: wall time of all of it, the waiting for locks included.
        attempts: tries, of which the last succeeded.
        exchange_seconds: wall time of the transaction that succeeded, 0 if an earlier attempt
            of the run had gone live.
        app_rights: rights of ``app_role`` on what went live, none of which it had before is lost;
            None without one.
    """

    schema: str
    previous: str | None
    seconds: float
    attempts: int
    exchange_seconds: float = 0.0
    app_rights: int | None = None


@dataclass(frozen=True)
class SourceResult:
    """What was read (stage ``source``, slug ``all``): see ``sources.base.Snapshot``.

    ``location`` is without credentials, ``taken_at`` is ISO 8601 in UTC.
    """

    kind: str
    location: str
    snapshot_id: str
    taken_at: str
    bytes: int | None = None
    position: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TargetResult:
    """What is written to (stage ``target``, slug ``all``); ``location`` is without credentials."""

    location: str
    schema: str
    incoming: str | None = None
    server_version: str | None = None
    environment: str = STAGING


@dataclass(frozen=True)
class PlanResult:
    """Which plan the run follows (stage ``plan``, slug ``all``).

    ``cached_digest`` is that of the plan the definitions were made from, None if not known.
    """

    digest: str
    cached_digest: str | None = None


@dataclass(frozen=True)
class CommandResult:
    """A command of the user's own.

    Attributes:
        name: what it is for, such as ``schema_command``.
        command: as it is in ``defs.yaml``, without passwords.
        exit_code: None if it took too long and was ended.
        seconds: wall time.
        output: the end of what it printed.
        timeout: seconds that it might have taken.
        started_at: ISO 8601 in UTC.
    """

    name: str
    command: str
    exit_code: int | None
    seconds: float
    output: str
    timeout: int
    started_at: str

    @property
    def passed(self) -> bool:
        """True if it ended well."""
        return self.exit_code == 0

    @property
    def problem(self) -> str:
        """What became of it and what it said last, in one line that begins with its name."""
        last = next(
            (line.strip() for line in reversed(self.output.splitlines()) if line.strip()), ""
        )
        said = f": {last}" if last else ", and said nothing"
        if self.exit_code is None:
            return f"{self.name} took longer than {self.timeout} s and was ended{said}"
        return f"{self.name} ended with exit code {self.exit_code}{said}"


@dataclass(frozen=True)
class SwitchResult:
    """The application's variable in its env file, switched to another database or back.

    Attributes:
        file: the env file.
        variable: the variable's name.
        before: its value until then, without password and options; None if it was not there.
        after: its value from then on, None if it is not there any more.
        changed: False if it had that value already.
        meanwhile: on the way back, True if somebody had changed it since the switch.
    """

    file: str
    variable: str
    before: str | None
    after: str | None
    changed: bool
    meanwhile: bool = False


@dataclass(frozen=True)
class StepResult:
    """One step of a cutover (stage ``steps``, slug: its name).

    Attributes:
        name: of the step, such as ``stop_app``.
        started_at: ISO 8601 in UTC.
        seconds: wall time.
        outcome: ``done``, ``skipped`` (there was nothing to do) or ``failed``.
        detail: what was done, or why not, in one line.
    """

    name: str
    started_at: str
    seconds: float
    outcome: Literal["done", "skipped", "failed"]
    detail: str


@dataclass(frozen=True)
class PurgeResult:
    """The rows of the run were removed (stage ``purged``, slug ``all``).

    Attributes:
        at: when, ISO 8601 in UTC.
        files: that were removed.
        bytes: that were freed.
    """

    at: str
    files: int
    bytes: int


@dataclass(frozen=True)
class StageResult:
    """Wall seconds of one whole stage (stage ``stages``, slug: its name), over all its tables."""

    name: str
    seconds: float


@dataclass(frozen=True)
class StepFailure:
    """Why a step of the run failed; kept as stage ``failures``, by step.

    ``exit_code`` is the command line's: 1 not proven, 2 bad input, 3 broken off. ``tables`` names
    the source tables concerned, empty for the step as a whole.
    """

    step: str
    message: str
    exit_code: int
    tables: tuple[str, ...] = ()


def to_json(record: object) -> str:
    """Serialize one result record."""
    return _adapter(type(record)).dump_json(record, indent=1).decode()


def from_json(kind: type[T], text: str | bytes) -> T:
    """Read what :func:`to_json` wrote."""
    record: T = _adapter(kind).validate_json(text)
    return record


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
"""Kept, because making one takes longer than using it a few times."""
