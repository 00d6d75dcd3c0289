"""The steps of a cutover around the load: what is done with the application, and the way back.

Each step leaves a record in the run folder and can be taken again.
:mod:`migration_assets.unfinished` is about cutovers that ended before all of them were taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from migration_assets import (
    app_checks,
    backup,
    commands,
    gate,
    gone_live,
    preflight,
    replaced,
    restore_drill,
    source_backup,
    switch_env,
)
from migration_assets.core.cutover_config import PRODUCTION, STAGING, CommandConfig, SwitchConfig
from migration_assets.core.preflight import Verdict
from migration_assets.core.results import CommandResult, StepResult
from migration_assets.errors import InputError, NotProvenError
from migration_assets.home import Migration
from migration_assets.passwords import known_passwords
from migration_assets.postgres.connect import Target
from migration_assets.postgres.variables import DATABASE_URL, application_variables
from migration_assets.progress import Progress
from migration_assets.run_folder import RunFolder

BEFORE = ("preflight", "stop_app", "freeze")
AFTER = ("switch_env", "start_app", "smoke", "enable_traffic")
STEPS = (*BEFORE, "backup", "swap", *AFTER)
"""In their order; extract, load, checks and constraints lie between BEFORE and the backup."""


@dataclass(frozen=True)
class Place:
    """Whose cutover it is, where it works, and where it goes."""

    migration: Migration
    folder: RunFolder
    target: Target

    def variables(self) -> dict[str, str]:
        """What every hook finds in its environment beside this process's own."""
        return {
            **application_variables(
                self.migration.config.cutover, self.target, self.migration.folder
            ),
            **commands.run_variables(self.migration.name, self.folder.path),
        }

    def command(
        self, name: str, config: CommandConfig, variables: Mapping[str, str]
    ) -> commands.Command:
        """A command of the user's, which may print no password that is known here."""
        migration = self.migration
        known = known_passwords(migration.config, migration.folder)
        return commands.Command.of(name, config, migration.folder, variables, known)


def done(folder: RunFolder, step: str) -> StepResult | None:
    """The record of a step that was taken, or needed no taking; None if it is still to come."""
    record = folder.read_result("steps", step, StepResult)
    return record if record is not None and record.outcome != "failed" else None


@contextmanager
def recorded(folder: RunFolder, step: str) -> Iterator[Callable[[str], None]]:
    """Time a step and keep what becomes of it; gives a function that takes its one-line detail."""
    started_at, started = datetime.now(UTC).isoformat(timespec="milliseconds"), time.monotonic()
    detail = [""]
    outcome: Literal["done", "failed"] = "failed"
    try:
        yield lambda line: detail.append(line)
        outcome = "done"
    except BaseException as error:
        detail.append(" ".join(str(error).split()) or type(error).__name__)
        raise
    finally:
        seconds = round(time.monotonic() - started, 3)
        record = StepResult(step, started_at, seconds, outcome, detail[-1])
        folder.write_result("steps", step, record)


def skip(folder: RunFolder, step: str, why: str) -> StepResult:
    """Keep that a step needed nothing."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    record = StepResult(step, now, 0.0, "skipped", why)
    folder.write_result("steps", step, record)
    return record


def missing(migration: Migration, run_id: str | None = None) -> list[str]:
    """What a cutover lacks, one line each: of the gate, and of what it will need.

    Args:
        migration: the migration.
        run_id: the cutover that asks, None for one that is still to begin.
    """
    lines = gate.missing(migration, run_id=run_id)
    if PRODUCTION in migration.config.targets:
        findings = preflight.look(migration, PRODUCTION, run_id)
        no_go = [f"{f.name}: {f.reason}" for f in findings if f.verdict is Verdict.NO_GO]
        lines += no_go or gone_live.unrecorded(migration, backup.target_of(migration, PRODUCTION))
    hooks = migration.config.cutover.hooks
    if hooks.switch_env is not None and hooks.switch_env.file is not None:
        try:
            switch_env.check(migration.folder / hooks.switch_env.file)
        except InputError as error:
            lines.append(str(error))
    return lines


def back_up(place: Place) -> StepResult:
    """Have what is live in a backup that was restored, if the gate asks for it.

    Raises:
        MigrationError: it can not be backed up, or what was restored is not what is live.
    """
    migration, progress = place.migration, Progress(place.folder.path / "progress")
    with recorded(place.folder, "backup") as say:
        made = backup.before_swap(migration, PRODUCTION, place.target, progress)
        written = replaced.words(migration, place.target, place.folder) if made else ""
        if made is None:
            say(f'nothing is live in schema "{place.target.schema}"')
        elif not migration.config.gate.restore_drill:
            untried = "not restored (gate.restore_drill)"
            say(f"backup {made.id}, {made.seconds:.1f} s, {untried}; {written}")
        else:
            # Where it may be restored: beside production, or else where rehearsals go.
            scratch = [place.target, backup.target_of(migration, STAGING)]
            drill = restore_drill.drill(migration, made, scratch, progress)
            if not drill.passed:
                raise NotProvenError(
                    f"backup {made.id} was restored, and is not what is live: "
                    f"{'; '.join(drill.problems[:3])}"
                )
            say(
                f"backup {made.id} ({made.seconds:.1f} s) was restored and is what is live "
                f"({drill.seconds:.1f} s); {written}"
            )
    return _taken(place, "backup")


def smoke(place: Place) -> StepResult:
    """Let the application's checks look at production.

    Raises:
        NotProvenError: some failed; their records have the end of their output.
    """
    config = place.migration.config
    if not app_checks.configured(config, PRODUCTION):
        return skip(place.folder, "smoke", "no check of the application is for production")
    with recorded(place.folder, "smoke") as say:
        count = app_checks.run_all(config, PRODUCTION, place.folder, place.variables())
        say(f"{count} checks of the application passed")
    return _taken(place, "smoke")


def hook(place: Place, step: str) -> StepResult:
    """Run the command that ``cutover.hooks`` has for a step.

    Raises:
        NotProvenError: it failed; the record has the end of its output.
    """
    config: CommandConfig | None = getattr(place.migration.config.cutover.hooks, step)
    if config is None:
        return skip(place.folder, step, f"cutover.hooks has no {step}")
    with recorded(place.folder, step) as say:
        result = run_command(place, step, config)
        say(f"{result.command}: exit code {result.exit_code}")
    return _taken(place, step)


def _taken(place: Place, step: str) -> StepResult:
    found = done(place.folder, step)
    assert found is not None, "it was recorded just now"
    return found


def run_command(place: Place, step: str, config: CommandConfig) -> CommandResult:
    """Run a command of the user's for a step.

    Raises:
        NotProvenError: it failed; the message says what it said last.
    """
    command = place.command(step, config, place.variables())
    result = commands.run(command, log_of(place, step))
    if not result.passed:
        raise NotProvenError(f"{result.problem}; all it printed is in {log_of(place, step)}")
    return result


def log_of(place: Place, step: str) -> Path:
    """Takes what a step's command prints; it is there as soon as that begins."""
    return place.folder.path / "steps" / f"{step}.log"


def freeze(place: Place) -> StepResult:
    """Let the source stand still, where there is a command for it, and back it up.

    Raises:
        NotProvenError: the command failed, or the source can not be backed up.
    """
    config = place.migration.config.cutover.hooks.freeze
    with recorded(place.folder, "freeze") as say:
        lines = []
        if config is not None:
            result = run_command(place, "freeze", config)
            lines.append(f"{result.command}: exit code {result.exit_code}")
        if place.migration.config.backup.source:
            lines.append(source_backup.back_up(place.migration).line)
        say("; ".join(lines) or "cutover.hooks has no freeze")
    return _taken(place, "freeze")


def switch(place: Place) -> StepResult:
    """Tell the application its new database.

    Raises:
        NotProvenError: the file can not be written, or the command failed.
    """
    config = place.migration.config.cutover.hooks.switch_env
    if config is None:
        return skip(place.folder, "switch_env", "cutover.hooks has no switch_env")
    migration, variables = place.migration, place.variables()
    with recorded(place.folder, "switch_env") as say:
        if config.file is not None:
            file, kept = migration.folder / config.file, kept_url(place)
            result = switch_env.switch(file, config.variable, variables[DATABASE_URL], kept)
            say(f"{result.variable} in {result.file}: {result.before} became {result.after}")
        if config.command is not None:
            wanted = CommandConfig(command=config.command, timeout=config.timeout)
            ran = run_command(place, "switch_env", wanted)
            say(f"{ran.command}: exit code {ran.exit_code}")
    return _taken(place, "switch_env")


def words(place: Place) -> list[str]:
    """What a cutover would do, a line a step, without doing any of it."""
    config = place.migration.config
    hooks, target = config.cutover.hooks, place.target
    moved = (
        f'{place.migration.source().location} into schema "{target.schema}" of {target.location}'
    )
    checks = [check.name for check in config.app_checks if PRODUCTION in check.environments]
    own = {
        "preflight": "look at the gate and at everything that the cutover needs",
        "extract": f"move and prove {moved}",
        "backup": "back up what is live there, and restore the backup, if there is anything",
        "swap": "look whether the source stood still, then let the tables go live",
        "smoke": f"application checks: {', '.join(checks)}" if checks else "no application checks",
    }
    lines = []
    for step in (*BEFORE, "extract", "backup", "swap", *AFTER):
        command = getattr(hooks, step, None)
        if step in own:
            lines.append(f"{step}: {own[step]}")
        elif isinstance(command, CommandConfig):
            lines.append(_would_run(place, step, command))
        elif isinstance(command, SwitchConfig):
            lines.append(f"{step}: {_switch_words(place, command)}")
        else:
            lines.append(f"{step}: nothing, cutover.hooks has no {step}")
        if step == "freeze" and config.backup.source:
            lines.append(f"{step}: back up the source, and try whether that can be restored")
    return [*lines, f"each command finds {', '.join(sorted(place.variables()))}"]


def _would_run(place: Place, step: str, config: CommandConfig) -> str:
    # Without the variables, which are the same for all of them and are told once.
    return commands.would_run(place.command(step, config, {}))


def _switch_words(place: Place, config: SwitchConfig) -> str:
    parts = []
    if config.file is not None:
        parts.append(f"{config.variable} in {place.migration.folder / config.file} is replaced")
    if config.command is not None:
        wanted = CommandConfig(command=config.command, timeout=config.timeout)
        parts.append(_would_run(place, "then", wanted))
    return "; ".join(parts) or "nothing, it has neither file nor command"


def kept_url(place: Place) -> Path:
    """Where the former value of the application's variable is kept, for the way back."""
    return switch_env.kept_path(place.migration.folder, place.folder.path.name)
