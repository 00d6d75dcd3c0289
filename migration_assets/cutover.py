"""The steps of a cutover around the load: what is done with the application, and the way back.

Each step leaves a record in the run folder and can be taken again. What stopped the application is
undone by :func:`bring_back` when the cutover ends before the swap.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
    run_lock,
    source_backup,
    switch_env,
)
from migration_assets.core.cutover_config import PRODUCTION, STAGING, CommandConfig, SwitchConfig
from migration_assets.core.preflight import Verdict
from migration_assets.core.results import CommandResult, StepResult
from migration_assets.errors import InputError, MigrationError, NotProvenError
from migration_assets.home import Migration
from migration_assets.passwords import known_passwords
from migration_assets.postgres.connect import Target
from migration_assets.postgres.variables import DATABASE_URL, application_variables
from migration_assets.progress import Progress
from migration_assets.retention import run_folders
from migration_assets.run_folder import RunFolder

BEFORE = ("preflight", "stop_app", "freeze")
AFTER = ("switch_env", "start_app", "smoke", "enable_traffic")
STEPS = (*BEFORE, "backup", "swap", *AFTER)
"""In their order; extract, load, checks and constraints lie between BEFORE and the backup."""

BROUGHT_BACK = "bring_back"
"""The step that undoes ``stop_app``; a run that has it goes on no more."""


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
        result = _command(place, step, config)
        say(f"{result.command}: exit code {result.exit_code}")
    return _taken(place, step)


def _taken(place: Place, step: str) -> StepResult:
    found = done(place.folder, step)
    assert found is not None, "it was recorded just now"
    return found


def _command(place: Place, step: str, config: CommandConfig) -> CommandResult:
    command = place.command(step, config, place.variables())
    result = commands.run(command, _log(place, step))
    if not result.passed:
        raise NotProvenError(f"{result.problem}; all it printed is in {_log(place, step)}")
    return result


def _log(place: Place, step: str) -> Path:
    """Takes what a hook prints; it is there as soon as the hook begins."""
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
            result = _command(place, "freeze", config)
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
            ran = _command(place, "switch_env", wanted)
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


def bring_back(place: Place, asked: bool = False) -> StepResult | None:
    """After a cutover that ended before its swap: the application again, on its old database.

    Does nothing if it was not stopped, was brought back before, or the run has gone live.

    Args:
        place: the cutover.
        asked: a person wants it, whatever ``cutover.on_failure`` says.

    Returns:
        what was done, a failed step included; None if there was nothing to do.
    """
    folder, config = place.folder, place.migration.config.cutover
    if not _stopped(place) or _brought_back(folder) or (config.on_failure == "leave" and not asked):
        return None
    name = "revert" if config.hooks.revert else "start_app"
    command = config.hooks.revert or config.hooks.start_app
    if command is None:
        return skip(folder, BROUGHT_BACK, "cutover.hooks has neither revert nor start_app")
    # The run has failed already, for another reason; what goes wrong here stands beside it.
    with suppress(MigrationError):
        if _known_live(place):
            return None
        with recorded(folder, BROUGHT_BACK) as say:
            result = _command(place, BROUGHT_BACK, command)
            say(f"{name}, on the old database: {result.command}: exit code 0")
    return folder.read_result("steps", BROUGHT_BACK, StepResult)


def left_stopped(migration: Migration) -> Place | None:
    """The last cutover, if it ended without a swap and brought the application not back."""
    place = _last(migration)
    if place is None or _brought_back(place.folder) or not _stopped(place):
        return None
    return None if gone_live.went_live(place.target, place.folder) else place


def half_way(migration: Migration) -> tuple[str, list[str]] | None:
    """The last cutover's run and the steps after its swap that are to be taken, if it is live."""
    if (place := _last(migration)) is None:
        return None
    lacking, run = [s for s in AFTER if done(place.folder, s) is None], place.folder.path.name
    live = lacking and gone_live.live_run(place.target, migration.name) == run
    return (run, lacking) if live else None


def left_half_way(migration: Migration) -> str | None:
    """One line if the last cutover is live and ended before all was done that comes after."""
    if (found := half_way(migration)) is None:
        return None
    return (
        f"cutover {found[0]} is live, but {', '.join(found[1])} did not happen: the application "
        "may be stopped, or work on its old database. Take the steps with migration-assets "
        f"cutover {migration.name} --go-on, or take it back with migration-assets rollback "
        f"{migration.name}"
    )


def _last(migration: Migration) -> Place | None:
    """The last cutover, None if there is none or one is at work."""
    if PRODUCTION not in migration.config.targets:
        return None
    at_work = run_lock.at_work(migration)
    if at_work is not None and at_work.environment == PRODUCTION:
        return None
    folders = (one for one in run_folders(migration) if one.read_results("steps", StepResult))
    last = next(folders, None)
    return Place(migration, last, backup.target_of(migration, PRODUCTION)) if last else None


def check_standing(place: Place) -> None:
    """Refuse to go on with a run whose application works on the old database again.

    Raises:
        NotProvenError: it does.
        MigrationError: the target can not be asked.
    """
    if _brought_back(place.folder) and not gone_live.went_live(place.target, place.folder):
        raise NotProvenError(
            "the application was brought back to its old database after this cutover failed: "
            f"start a new cutover ({PRODUCTION} is as it was)"
        )


def _known_live(place: Place) -> bool:
    """As :func:`gone_live.went_live`; that the target can not be asked is kept, and raised."""
    try:
        return gone_live.went_live(place.target, place.folder)
    except MigrationError as error:
        with recorded(place.folder, BROUGHT_BACK):
            raise NotProvenError(
                f"the application stays stopped, because it is not known whether the swap was "
                f"committed: {error}"
            ) from error


def _stopped(place: Place) -> bool:
    """Whether anything was done, tried, or only begun with the application or the source."""
    hooks = place.migration.config.cutover.hooks
    return any(getattr(hooks, s) and _log(place, s).exists() for s in ("stop_app", "freeze"))


def _brought_back(folder: RunFolder) -> bool:
    record = folder.read_result("steps", BROUGHT_BACK, StepResult)
    return record is not None and record.outcome != "skipped"
