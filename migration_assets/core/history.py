"""What outlives the runs of a migration: rehearsals, approvals and cutovers that there were."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

QUARANTINE = "quarantine:"
"""Before an anomaly's name: the rule under which its quarantined rows are accepted."""


class Record(BaseModel):
    """A frozen record; unknown keys are ignored, so that newer files can be read."""

    model_config = ConfigDict(frozen=True)


class Change(Record):
    """How often one rule changed one column of one table (source names), or set rows aside.

    ``column`` is None where the change is one of whole rows.
    """

    rule: str
    table: str
    column: str | None
    count: int

    @property
    def place(self) -> tuple[str, str, str | None]:
        """What is accepted with an upper count."""
        return self.rule, self.table, self.column

    def __str__(self) -> str:
        column = f', column "{self.column}"' if self.column is not None else ""
        return f'{self.count:,} of {self.rule} in table "{self.table}"{column}'


class Outcome(Record):
    """What a run came to that moved everything.

    Attributes:
        run_id: the root run id.
        job: name of the job.
        environment: the target environment.
        started_at, finished_at: ISO 8601 in UTC.
        proven: True if every value was shown to be there.
        swapped: True if it went live in its environment.
        plan_digest, snapshot_id: None if it did not come so far.
        taken_at: when the snapshot was taken, ISO 8601 in UTC.
        rows: rows loaded.
        ledger: all changes and quarantined rows, counted.
        app_checks: check of the application -> whether it passed.
        reasons: why it was not proven.
    """

    run_id: str
    job: str
    environment: str
    started_at: str
    finished_at: str
    proven: bool
    swapped: bool = False
    plan_digest: str | None = None
    snapshot_id: str | None = None
    taken_at: str | None = None
    rows: int = 0
    ledger: tuple[Change, ...] = ()
    app_checks: dict[str, bool] = {}
    reasons: tuple[str, ...] = ()


class Approval(Record):
    """The recorded decision that a cutover may happen.

    Attributes:
        id: names it; the id of the run that recorded it.
        approved_by: the person.
        approved_at: ISO 8601 in UTC.
        rehearsal_run_id: the rehearsal that was looked at.
        plan_digest: that rehearsal's plan, the one that may go live.
        accepted: changes that may happen again; ``count`` is the most that may.
        note: the person's own words.
    """

    id: str
    approved_by: str
    approved_at: str
    rehearsal_run_id: str
    plan_digest: str
    accepted: tuple[Change, ...] = ()
    note: str | None = None


class Cutover(Record):
    """A cutover that went live.

    Attributes:
        run_id: the root run id.
        approval_id: by which approval; it is used up with it.
        live_at: when the swap was committed, ISO 8601 in UTC.
        location, schema_name: where.
        previous: the schema that is kept of what was live before, None on a first cutover.
        snapshot_id, position: what was moved; the source's own word for its state.
        plan_digest: by which plan.
        rolled_back_at: when it was taken back, None if it was not.
    """

    run_id: str
    approval_id: str
    live_at: str
    location: str
    schema_name: str
    previous: str | None
    snapshot_id: str | None
    plan_digest: str | None
    rolled_back_at: str | None = None
