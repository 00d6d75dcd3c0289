"""The part of ``defs.yaml`` about going live: gate, steps, checks of the application, way back."""

from __future__ import annotations

import re
from datetime import time
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from migration_assets.core.config_base import Identifier, StrictModel, ZoneName
from migration_assets.core.watch import MEASURES

STAGING: Literal["staging"] = "staging"
PRODUCTION: Literal["production"] = "production"
Environment = Literal["staging", "production"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)


def _plain_command(value: object) -> object:
    return {"command": value} if isinstance(value, str) else value


def _clock(value: object) -> object:
    """``02:00`` without quotes is a number of seconds, or minutes, to YAML."""
    return f"{value // 60:02}:{value % 60:02}" if isinstance(value, int) else value


def _clock_text(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise ValueError(f'"{text}" is no time of day; write it as "02:00"')
    return text


Clock = Annotated[str, AfterValidator(_clock_text), BeforeValidator(_clock)]
Seconds = Annotated[int, Field(ge=1)]


class CommandConfig(StrictModel):
    """A command of the user's own, run by the shell in the migration's folder.

    Attributes:
        command: as in a shell; a plain text in YAML is the command alone.
        timeout: seconds that it may take.
    """

    command: str = Field(min_length=1)
    timeout: Seconds = 600


Command = Annotated[CommandConfig, BeforeValidator(_plain_command)]


class AppCheckConfig(CommandConfig):
    """A command that looks whether the application works on what was loaded.

    It gets ``DATABASE_URL`` of the environment that it looks at, and passes with exit code 0.

    Attributes:
        name: of the check, ``[A-Za-z0-9_]+``.
        environments: where it is run: after each load of staging, after the swap in production.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_]+$", max_length=60)
    environments: list[Environment] = Field(default=[STAGING, PRODUCTION], min_length=1)


class WindowConfig(StrictModel):
    """When an approved cutover may be started by the approval sensor.

    Attributes:
        days: on which it begins; all by default.
        start: time of day, ``from`` in YAML.
        end: time of day, ``to`` in YAML; before ``start`` it is one of the next day.
        timezone: of both.
    """

    days: list[Day] = Field(default=list(DAYS), min_length=1)
    start: Clock = Field(default="00:00", alias="from")
    end: Clock = Field(default="00:00", alias="to")
    timezone: ZoneName = "UTC"

    @property
    def times(self) -> tuple[time, time]:
        """Begin and end as times of day."""
        return time.fromisoformat(self.start), time.fromisoformat(self.end)


class SwitchConfig(StrictModel):
    """How the application is told its new database.

    Attributes:
        file: a file of ``NAME=value`` lines, of which the variable's is replaced.
        variable: its name.
        command: run after the file was written, or instead of it.
        timeout: seconds that the command may take.
    """

    file: str | None = None
    variable: str = Field(default="DATABASE_URL", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    command: str | None = Field(default=None, min_length=1)
    timeout: Seconds = 600


Switch = Annotated[SwitchConfig, BeforeValidator(_plain_command)]


class HooksConfig(StrictModel):
    """What is done with the application around a cutover, in the order in which it happens.

    Attributes:
        stop_app: no application writes to the source after it.
        freeze: makes the source refuse writes, where it can.
        switch_env: tells the application its new database.
        start_app: starts it.
        enable_traffic: lets users in, after the checks of the application passed.
        revert: the old database again: environment, start, and a look at it.
    """

    stop_app: Command | None = None
    freeze: Command | None = None
    switch_env: Switch | None = None
    start_app: Command | None = None
    enable_traffic: Command | None = None
    revert: Command | None = None


class CutoverConfig(StrictModel):
    """The change-over.

    Attributes:
        hooks: commands around it.
        window: when the approval sensor may start it, None for at any time.
        app_url: what ``DATABASE_URL`` is to the application afterwards, None for the URL of
            the target.
        app_password_file: a file with the password for ``app_url``.
        app_url_schema: put the target schema into the URL's ``search_path``.
        on_failure: before the swap, a cutover that fails brings the application back
            (``revert``), or leaves it stopped (``leave``).
    """

    hooks: HooksConfig = HooksConfig()
    window: WindowConfig | None = None
    app_url: str | None = None
    app_password_file: str | None = None
    app_url_schema: bool = True
    on_failure: Literal["revert", "leave"] = "revert"


class GateConfig(StrictModel):
    """What a cutover needs beyond its approval.

    Attributes:
        rehearsals: proven rehearsals in a row, of the plan that goes live.
        distinct: they count by ``runs``, or by ``days`` (UTC) on which there was one.
        app_checks_days: days in a row on which all application checks passed, 0 for the last
            rehearsal's alone.
        restore_drill: what is live before the swap must be in a backup that was restored.
    """

    rehearsals: int = Field(default=3, ge=1)
    distinct: Literal["runs", "days"] = "runs"
    app_checks_days: int = Field(default=0, ge=0)
    restore_drill: bool = True


class BackupConfig(StrictModel):
    """Backups of the target, and of the source before it is left.

    Attributes:
        folder: where they go, None for ``backups`` in the migration's folder.
        keep: the newest so many of each kind stay.
        jobs: tables that ``pg_dump`` and ``pg_restore`` handle at once.
        schedule: cron line in UTC of the backups after the cutover, stopped until started.
        source: also back up the source before the final extract.
    """

    folder: str | None = None
    keep: int = Field(default=7, ge=1)
    jobs: int = Field(default=2, ge=1, le=64)
    schedule: str = "0 3 * * *"
    source: bool = True


class NotifyConfig(StrictModel):
    """Who is told of a run that failed.

    Attributes:
        webhook: gets a JSON document by POST. An address with a secret in it belongs into an
            environment variable: ``{{ env.NAME }}``.
        command: gets the same document on its standard input.
    """

    webhook: str | None = Field(default=None, pattern="^https?://")
    command: Command | None = None


class WatchConfig(StrictModel):
    """The look at production after the cutover.

    Attributes:
        hours: for how long it goes on.
        every_minutes: how often.
        thresholds: measure -> limit, in place of the default limits.
    """

    hours: int = Field(default=48, ge=1)
    every_minutes: int = Field(default=15, ge=1, le=60)
    thresholds: dict[str, float] = {}

    @field_validator("thresholds")
    @classmethod
    def _known(cls, thresholds: dict[str, float]) -> dict[str, float]:
        for name in thresholds:
            if name not in MEASURES:
                raise ValueError(f'"{name}" is not measured; there are {", ".join(MEASURES)}')
        return thresholds


class GoingLive(StrictModel):
    """The keys of ``defs.yaml`` about going live.

    Attributes:
        gate: what a cutover needs.
        cutover: its steps.
        app_checks: checks of the application, in their order.
        app_role: the role that the application connects as: what it may do stays as it was.
        backup: backups and their drill.
        notify: who is told of failures.
        watch: the look at production afterwards.
        display_timezone: zone of times in reports.
        retries: how often the daemon does the rest of a failed rehearsal again.
        source_sensor_minutes: how often the source is looked at for changes.
    """

    gate: GateConfig = GateConfig()
    cutover: CutoverConfig = CutoverConfig()
    app_checks: list[AppCheckConfig] = []
    app_role: Identifier | None = None
    backup: BackupConfig = BackupConfig()
    notify: NotifyConfig = NotifyConfig()
    watch: WatchConfig = WatchConfig()
    display_timezone: ZoneName = "UTC"
    retries: int = Field(default=1, ge=0)
    source_sensor_minutes: int = Field(default=5, ge=1)

    @field_validator("app_checks")
    @classmethod
    def _names_differ(cls, checks: list[AppCheckConfig]) -> list[AppCheckConfig]:
        names = [check.name for check in checks]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f'two checks are called "{twice}"')
        return checks
