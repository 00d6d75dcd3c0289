"""What a rollback leaves: which tables are served again, and what was written meanwhile."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from migration_assets.core.history import Record

SOURCE, STOP_APP, SWAP_BACK, SWITCH_BACK, REVERT, SMOKE, ACCOUNT = STEPS = (
    "source",
    "stop_app",
    "swap_back",
    "switch_back",
    "revert",
    "smoke",
    "account",
)
"""The steps of a rollback in their order."""
UNDO = "undo"
"""The step by which a drill ends."""


class Way(StrEnum):
    """Where a rollback leads."""

    PREVIOUS = "previous"
    """The tables that were live before the swap are live again."""
    SOURCE = "source"
    """Nothing was live before: the application goes back to the source."""


class SwapBack(Record):
    """The exchange of schemas.

    Attributes:
        schema_name: the schema that readers use.
        kept: the schema that holds what was live, None if nothing was.
        run: the run whose tables were live.
        served: the run whose tables are live now, None for none.
        seconds: wall time with all waiting; ``attempts``: how often it was tried.
        notes: what a person should know, one line each.
    """

    schema_name: str
    kept: str | None
    run: str | None
    served: str | None
    seconds: float
    attempts: int
    notes: tuple[str, ...] = ()


class TableWrites(Record):
    """What was written to one table since it went live.

    Attributes:
        table, source: its names in PostgreSQL and in the source.
        inserted, updated, deleted: rows.
        file: the Parquet file with these rows, None if there are none.
        left_out: why rows have no statement for the source -> how many.
    """

    table: str
    source: str
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    file: str | None = None
    left_out: dict[str, int] = Field(default_factory=dict)

    @property
    def rows(self) -> int:
        """All of them."""
        return self.inserted + self.updated + self.deleted


class Account(Record):
    """What was written to the target between a cutover and its rollback.

    Attributes:
        run: the run whose load the tables are compared with.
        schema_name: the schema that holds them as they were last.
        complete: True if every table of the run was compared.
        tables: those with writes.
        compared: how many tables were compared.
        folder: holds the Parquet files.
        statements: the file with statements for the source, None if there are none.
        seconds: wall time.
        notes: what a person should know, one line each.
    """

    run: str
    schema_name: str
    complete: bool
    tables: tuple[TableWrites, ...] = ()
    compared: int = 0
    folder: str | None = None
    statements: str | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows written, of all tables."""
        return sum(table.rows for table in self.tables)


class Step(Record):
    """One step of a rollback.

    Attributes:
        name: one of STEPS.
        outcome: ``failed`` is taken again when the rollback is.
        seconds: wall time.
        detail: what was done or found, or why not, in one line.
    """

    name: str
    outcome: Literal["done", "skipped", "failed"]
    seconds: float
    detail: str = ""


class Rollback(Record):
    """A rollback, or what there is of it so far.

    Attributes:
        id: names it.
        environment: the target environment.
        way: where it leads.
        app_returns: the application goes back to another database than the target.
        emergency: nothing but the exchange of tables was allowed to stop it.
        drill: it was taken back at once.
        started_at, finished_at: ISO 8601 in UTC; unfinished until every step was taken.
        location, schema_name: where.
        run: the run that was taken back.
        steps: in the order in which they were taken.
        swap: the exchange of tables, None if it has not happened.
        source_moved: what was written to the source since it was read, one line; None if nothing
            was, or nobody asked.
        account: what was written to the target meanwhile.
        undone_at: when it was taken back itself, None if it was not.
    """

    id: str
    environment: str
    way: Way
    app_returns: bool = False
    emergency: bool = False
    drill: bool = False
    started_at: str
    finished_at: str | None = None
    location: str
    schema_name: str
    run: str
    steps: tuple[Step, ...] = ()
    swap: SwapBack | None = None
    source_moved: str | None = None
    account: Account | None = None
    undone_at: str | None = None

    @property
    def seconds_back(self) -> float:
        """Until what was live before is served: all steps but those that come after it."""
        return sum(step.seconds for step in self.steps if step.name not in {ACCOUNT, UNDO})

    @property
    def failed(self) -> tuple[Step, ...]:
        """The steps that failed and were not taken again."""
        return tuple(step for step in self.steps if step.outcome == "failed")

    def step(self, name: str) -> Step | None:
        """The step of that name, None if it was not taken."""
        return next((step for step in self.steps if step.name == name), None)
