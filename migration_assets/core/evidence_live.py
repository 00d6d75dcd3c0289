"""The records of ``evidence.json`` about going live: steps of a cutover, and the application."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from migration_assets.core.evidence_record import Record


class StepEvidence(Record):
    """One step of a cutover, beside the load and its checks."""

    name: str = Field(description="Name of the step, such as `stop_app`.")
    started_at: str = Field(description="Start, ISO 8601 in UTC.")
    seconds: float = Field(description="Wall time in seconds.")
    outcome: Literal["done", "skipped", "failed"] = Field(
        description="`skipped`: there was nothing to do, as where no command is configured."
    )
    detail: str = Field(description="What was done, or why not, in one line.")


class DrillEvidence(Record):
    """The last time that the way back was practised."""

    started_at: str = Field(description="Start, ISO 8601 in UTC.")
    environment: str = Field(description="The target environment that it was practised in.")
    seconds_back: float = Field(
        description="Wall time until what was live before was served again, application checks "
        "included."
    )
    tables_compared: int = Field(description="Tables whose writes since the run were looked for.")
    seconds: float = Field(description="Wall time of all of it, to the end of its undoing.")


class CutoverEvidence(Record):
    """What was done with the application and the source."""

    swap_seconds: float | None = Field(
        description="Wall time of the transaction by which the tables went live; null if none did."
    )
    steps: tuple[StepEvidence, ...] = Field(description="The steps as they began.")
    rollback_drill: DrillEvidence | None = Field(
        default=None,
        description="The last drill of the rollback before it; null if there was none.",
    )


class AppCheckEvidence(Record):
    """One check of the application, run on what went live."""

    name: str = Field(description="Its name in `app_checks` of `defs.yaml`.")
    passed: bool = Field(description="True if it ended with exit code 0.")
    ran: bool = Field(description="False if it did not run.")
    detail: str = Field(description="What became of it, in one line.")
    command: str = Field(default="", description="The command, without anything secret.")
    exit_code: int | None = Field(
        default=None, description="Its exit code, null if it took too long or did not run."
    )
    started_at: str | None = Field(default=None, description="Start, ISO 8601 in UTC.")
    seconds: float = Field(default=0.0, description="Wall time in seconds.")
    output: str = Field(
        default="",
        description="The end of what it printed; all of it is in `app_checks/<name>.log` in the "
        "run's folder.",
    )
