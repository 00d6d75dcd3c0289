"""The machine-readable result of a run: the records of ``evidence.json``.

The records are a contract with whoever reads the file, so they are of their own and not those the
steps use among themselves. Within one ``evidence_version`` fields are only ever added. The
descriptions below are the documentation: ``docs/evidence.md`` and ``docs/evidence.schema.json``
are generated from them (:mod:`migration_assets.reports.evidence_docs`).
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Literal

from pydantic import ConfigDict, Field

from migration_assets.core.evidence_live import AppCheckEvidence, CutoverEvidence
from migration_assets.core.evidence_record import Record

EVIDENCE_VERSION = 1
MAX_DIFFERENCES = 100
"""Differences listed per table; the counts beside them are complete."""


class Verdict(StrEnum):
    """The one word for the whole run."""

    PROVEN = "proven"
    NOT_PROVEN = "not_proven"
    BROKEN_OFF = "broken_off"


class Tool(Record):
    """What made this file."""

    name: str = Field(description="Always `migration-assets`.")
    version: str = Field(description="Its version.")


class Run(Record):
    """The run and its verdict."""

    id: str = Field(description="Run id, the root one where the run was re-executed.")
    job: str = Field(description="Name of the job.")
    migration: str = Field(description="Name of the migration.")
    started_at: str = Field(description="Start, ISO 8601 in UTC.")
    finished_at: str = Field(description="End, ISO 8601 in UTC.")
    seconds: float = Field(description="Wall time from start to end, in seconds.")
    verdict: Verdict = Field(
        description="`proven`: every value is in PostgreSQL or in the ledger, shown. "
        "`not_proven`: the run ended without showing it. `broken_off`: source or target was lost "
        "on the way; the live schema is as it was."
    )
    exit_code: int = Field(
        description="Exit code of the command line: 0 proven, 1 not proven, 2 bad input, "
        "3 broken off."
    )
    reasons: tuple[str, ...] = Field(
        description="One line for each thing that keeps the run from being proven; empty if proven."
    )


class SourceEvidence(Record):
    """What was read."""

    kind: str = Field(description="Kind of database, such as `sqlite`.")
    location: str = Field(description="Where it is, without credentials.")
    snapshot_id: str | None = Field(
        description="Id of the snapshot everything was read from; null if none was taken."
    )
    taken_at: str | None = Field(description="When the snapshot was taken, ISO 8601 in UTC.")
    bytes: int | None = Field(description="Size of the snapshot, in bytes; null if it is no copy.")
    position: str | None = Field(
        default=None,
        description="Where the source's log of changes stood (binary log, GTID); null without one.",
    )
    notes: tuple[str, ...] = Field(
        default=(), description="What of the snapshot is less than it could be, one line each."
    )


class TargetEvidence(Record):
    """What was written."""

    name: str = Field(description="Target environment, such as `staging`.")
    location: str = Field(description="Where it is, without credentials.")
    schema_name: str = Field(alias="schema", description="The schema the application reads.")
    previous: str | None = Field(
        description="The schema that was live before and is kept as the way back, if any."
    )
    swapped: bool = Field(description="True if the loaded schema went live in this run.")
    server_version: str | None = Field(description="PostgreSQL's version, null if never reached.")

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)


class DecisionEvidence(Record):
    """One choice of the plan."""

    table: str | None = Field(description="Source table, null for the whole migration.")
    column: str | None = Field(description="Source column, null for the whole table.")
    choice: str = Field(description="What was chosen.")
    reason: str = Field(description="Why.")
    value: str | None = Field(description="The value that decided, if one did.")


class SchemaCommandEvidence(Record):
    """The application's own migration command, which made the tables."""

    command: str = Field(description="The command, without the target's password.")
    exit_code: int | None = Field(description="Its exit code, null if it took too long.")
    seconds: float = Field(description="Wall time in seconds.")
    output: str = Field(
        description="The end of what it printed; all of it is in `schema_command.log` in the "
        "run's folder."
    )


class PlanEvidence(Record):
    """The plan the run followed."""

    digest: str | None = Field(
        description="16 hex digits over target DDL and conversions; null if there was no plan."
    )
    cached_digest: str | None = Field(
        description="Digest of the plan the definitions were made from, null if not known."
    )
    changed: bool | None = Field(
        description="True if the two digests differ: the source changed since it was last "
        "reflected. Null if not known."
    )
    decision_count: int = Field(description="Number of decisions.")
    decisions: tuple[DecisionEvidence, ...] = Field(description="All of them, in plan order.")


class Check(Record):
    """One check of one table, or of the whole target."""

    name: str = Field(
        description="Per table: `source` (source against Parquet), `load` (rows sent), `content` "
        "(every cell, Parquet against PostgreSQL), `values` (Great Expectations). Per target: "
        "`constraints`, `schema`, `keys`, `references`, `quarantine`, `swap`, and "
        "`app_check:<name>` once the tables are live."
    )
    passed: bool = Field(description="True if it passed; a check that did not run did not pass.")
    ran: bool = Field(description="False if it did not run.")
    detail: str = Field(description="What was found, in one line.")


class DifferenceEvidence(Record):
    """One row that is not as it should be."""

    kind: Literal["missing", "extra", "changed"] = Field(
        description="`missing`: extracted, not in PostgreSQL. `extra`: the other way round. "
        "`changed`: in both, with another value."
    )
    key: str = Field(description="JSON array of the key's values, or of the row's number.")
    column: str | None = Field(description="The column, for `changed`.")
    expected: str | None = Field(description="The extracted value, for `changed`.")
    found: str | None = Field(description="The value in PostgreSQL, for `changed`.")


class ExpectationEvidence(Record):
    """One Great Expectations result."""

    expectation: str = Field(description="Type of the expectation, in snake case.")
    column: str | None = Field(description="Column in PostgreSQL, null for the whole table.")
    passed: bool = Field(description="True if it holds.")
    expected: str | None = Field(description="Its arguments, for people.")
    observed: str | None = Field(description="What was observed.")
    error: str | None = Field(description="Why it could not be evaluated, if so.")


class ParquetEvidence(Record):
    """The extract of one table."""

    path: str = Field(description="File name below the run's storage root.")
    bytes: int = Field(description="Size in bytes.")
    digest: str = Field(description="16 hex digits over the file's bytes.")


class TableEvidence(Record):
    """One table, from source to target."""

    name: str = Field(description="Name in the source.")
    target: str = Field(description="Name in PostgreSQL.")
    slug: str = Field(description="Name in asset keys and file names.")
    passed: bool = Field(description="True if all checks of the table passed.")
    rows_source: int | None = Field(
        description="Rows in the snapshot, counted by the source's own engine; null before it."
    )
    rows_loaded: int | None = Field(description="Rows sent to PostgreSQL; null without a load.")
    rows_identical: int | None = Field(
        description="Rows whose every cell reads back as extracted; null if not compared."
    )
    ledger: int = Field(description="Declared changes: entries of this table in the ledger.")
    quarantined: int = Field(description="Rows set aside because they could not be loaded.")
    missing: int | None = Field(description="Rows extracted but not found in PostgreSQL.")
    extra: int | None = Field(description="Rows found in PostgreSQL but not extracted.")
    changed: int | None = Field(description="Rows with at least one cell that differs.")
    columns_differing: tuple[str, ...] = Field(description="Columns with differing cells.")
    differences: tuple[DifferenceEvidence, ...] = Field(
        max_length=MAX_DIFFERENCES,
        description=f"At most {MAX_DIFFERENCES} of them; the counts are complete.",
    )
    checks: tuple[Check, ...] = Field(description="The table's checks.")
    expectations: tuple[ExpectationEvidence, ...] = Field(
        description="Great Expectations results of the table."
    )
    seconds: dict[str, float] = Field(
        description="Stage (`extract`, `load`, `content`, `values`) -> wall time in seconds."
    )
    parquet: ParquetEvidence | None = Field(description="The extract, null before it.")
    bytes_copied: int | None = Field(description="Bytes of COPY data sent, null without a load.")


class LedgerRule(Record):
    """How often one rule changed values of one column."""

    rule: str = Field(description="The rule that changed the values.")
    table: str = Field(description="Table in the source.")
    column: str = Field(description="Column in the source.")
    count: int = Field(description="Number of values changed.")


class LedgerEvidence(Record):
    """All declared changes of the run."""

    entries: int = Field(description="Number of entries.")
    digest: str | None = Field(
        description="Digest over the entries, whatever their order; null if it was not merged."
    )
    path: str | None = Field(description="Parquet file with all entries, in the run's folder.")
    by_rule: tuple[LedgerRule, ...] = Field(description="Entries by rule, table and column.")
    led_back: tuple[LedgerRule, ...] = Field(
        default=(),
        description="Values of the extract that a transform changed and its declared inverse leads "
        "back, by transform, table and column: proven so, they are no entries.",
    )


class QuarantineCause(Record):
    """How many rows of one table one anomaly set aside."""

    anomaly: str = Field(
        description="The anomaly whose policy is `quarantine`; `load_refused` if PostgreSQL "
        "refused the row."
    )
    table: str = Field(description="Table in the source.")
    column: str | None = Field(description="Column in the source, null if it is not known.")
    count: int = Field(description="Number of rows; a row counts once, by its first cause.")


class QuarantineEvidence(Record):
    """Rows that could not be loaded."""

    rows: int = Field(description="Number of rows.")
    allowed: int = Field(description="`max_quarantined`: more than this is not proven.")
    digest: str | None = Field(description="As for the ledger.")
    path: str | None = Field(description="Parquet file with all of them, in the run's folder.")
    by_cause: tuple[QuarantineCause, ...] = Field(
        default=(), description="Rows by anomaly, table and column."
    )


class StatementEvidence(Record):
    """One key, index, constraint, view or other statement after the load."""

    table: str | None = Field(description="Table in PostgreSQL, null for none.")
    kind: str = Field(description="Kind of object, such as `primary key`.")
    name: str = Field(description="Name of the object.")
    seconds: float = Field(description="Wall time in seconds.")
    error: str | None = Field(description="PostgreSQL's message if it could not be made.")


class FindingEvidence(Record):
    """One object of the loaded schema that is not as planned."""

    category: str = Field(description="`schema`, `keys` or `references`.")
    table: str = Field(description="Table in PostgreSQL.")
    object: str = Field(description="The object.")
    problem: str = Field(description="What is not as planned.")


class SkippedEvidence(Record):
    """Something that does not come along."""

    kind: str = Field(description="Kind of object, such as `trigger`.")
    name: str = Field(description="Its name in the source.")
    table: str | None = Field(description="Its table in the source, null for none.")
    reason: str = Field(description="Why it does not come.")
    sql: str | None = Field(description="Its original SQL, if it has any.")


class UncomparedEvidence(Record):
    """A translated object that is in PostgreSQL, but was not compared with the source's."""

    kind: str = Field(description="Kind of object, such as `view`.")
    name: str = Field(description="Its name in PostgreSQL.")
    reason: str = Field(description="Why it could not be compared.")


class ObjectEvidence(Record):
    """Objects of one kind, counted: `source` is `target` plus `reported`."""

    kind: str = Field(description="Kind of object, such as `index`.")
    source: int = Field(
        description="Objects that the source declares; a table that is left out stands for all "
        "that belongs to it."
    )
    target: int = Field(description="Those of them that are found in PostgreSQL's catalog.")
    reported: int = Field(description="Those that do not come along, listed under `skipped`.")


class ChecksEvidence(Record):
    """All checks of the run: those of the tables counted, those of the whole target listed."""

    passed: int = Field(description="Checks that passed, those of the tables included.")
    failed: int = Field(description="Checks that ran and did not pass.")
    not_run: int = Field(description="Checks that did not run.")
    target: tuple[Check, ...] = Field(description="The checks of the whole target.")


class Environment(Record):
    """What the run was made with."""

    python: str = Field(description="Python's version.")
    platform: str = Field(description="Operating system and machine.")
    packages: dict[str, str] = Field(description="Package -> version, of those that matter.")


class Evidence(Record):
    """The machine-readable result of one run."""

    evidence_version: Literal[1] = Field(description="Version of this format.")
    tool: Tool = Field(description="What made this file.")
    run: Run = Field(description="The run and its verdict.")
    source: SourceEvidence = Field(description="What was read.")
    target: TargetEvidence = Field(description="What was written.")
    plan: PlanEvidence = Field(description="The plan the run followed.")
    stages: dict[str, float] = Field(description="Stage -> wall time in seconds, in order.")
    tables: tuple[TableEvidence, ...] = Field(description="Every planned table.")
    ledger: LedgerEvidence = Field(description="All declared changes.")
    quarantine: QuarantineEvidence = Field(description="Rows that could not be loaded.")
    constraints: tuple[StatementEvidence, ...] = Field(
        description="Keys, indexes and all else that was made after the load, in order."
    )
    findings: tuple[FindingEvidence, ...] = Field(
        description="Objects of the loaded schema that are not as planned."
    )
    skipped: tuple[SkippedEvidence, ...] = Field(description="What does not come along, and why.")
    objects: tuple[ObjectEvidence, ...] = Field(
        default=(), description="The source's objects counted, by kind; empty before the checks."
    )
    uncompared: tuple[UncomparedEvidence, ...] = Field(
        default=(), description="Translated objects that were not compared, and why."
    )
    schema_command: SchemaCommandEvidence | None = Field(
        default=None,
        description="What made the target's tables, null if it was not a command of the "
        "application.",
    )
    cutover: CutoverEvidence | None = Field(
        default=None, description="The steps of a cutover, null for a rehearsal."
    )
    app_checks: tuple[AppCheckEvidence, ...] = Field(
        default=(), description="The application's own checks, of this environment."
    )
    checks: ChecksEvidence = Field(description="All checks of the run.")
    environment: Environment = Field(description="What the run was made with.")

    def to_json(self) -> str:
        """Serialize as written to ``evidence.json``."""
        return self.model_dump_json(indent=1) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> Evidence:
        """Read what :meth:`to_json` wrote; raises pydantic.ValidationError on anything else."""
        return Evidence.model_validate_json(text)


def json_schema() -> str:
    """The JSON schema of ``evidence.json``, as kept in ``docs/evidence.schema.json``."""
    schema = Evidence.model_json_schema(mode="serialization", by_alias=True)
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
