"""Run a command of the user's own: a hook, a check of the application, its own migrations."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from migration_assets import private
from migration_assets.command_output import Mask, secrets_in
from migration_assets.core.cutover_config import CommandConfig
from migration_assets.core.results import CommandResult

KEPT_CHARACTERS = 4_000
"""The end of the output that goes into the record."""
LEFT_SECONDS = 2
"""Time for the rest of the output, where something else still has the command's pipe."""
END_SECONDS = 3
"""Time to end by itself, for a command that took too long."""


@dataclass(frozen=True)
class Command:
    """One command, ready to be run.

    Attributes:
        name: what it is for, such as ``stop_app``.
        text: for the shell.
        timeout: seconds that it may take.
        place: the folder that it runs in.
        variables: added to the environment of this process.
        secrets: never shown, beside what the variables and the environment have of them.
    """

    name: str
    text: str
    timeout: int
    place: Path
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(
        cls,
        name: str,
        config: CommandConfig,
        place: Path,
        variables: Mapping[str, str],
        secrets: tuple[str, ...] = (),
    ) -> Command:
        """The command that ``defs.yaml`` names."""
        return cls(name, config.command, config.timeout, place, variables, secrets)

    @property
    def mask(self) -> Mask:
        """Takes everything secret out of what the command says."""
        return Mask(*self.secrets, *secrets_in(self.variables), *secrets_in(os.environ))


def run(command: Command, log: Path, given: str | None = None) -> CommandResult:
    """Run a command to its end, or to the end of its time.

    What it leaves running in the background goes on, and is not waited for. A command that takes
    too long, or during which this process is stopped, is ended with all that it started.

    Args:
        command: what to run.
        log: takes what it prints, readable by the owner only, without anything secret.
        given: its standard input, None for an empty one.
    """
    mask = command.mask
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    started = time.monotonic()
    _make(log)
    with _given(given) as stdin:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command.text],
            cwd=command.place,
            env={**os.environ, **command.variables},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        )
    assert process.stdout is not None, "it is a pipe"
    copying = threading.Thread(
        target=mask.copy, args=(process.stdout, log), name=command.name, daemon=True
    )
    copying.start()
    code: int | None = None
    try:
        code = process.wait(command.timeout)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        if process.poll() is None:
            _end(process)
        copying.join(LEFT_SECONDS)
    return CommandResult(
        command.name,
        mask.masked(command.text),
        code,
        round(time.monotonic() - started, 3),
        _last(log),
        command.timeout,
        started_at,
    )


def would_run(command: Command) -> str:
    """What :func:`run` would do, in one line without anything secret."""
    variables = "".join(f" {name}={value}" for name, value in sorted(command.variables.items()))
    return command.mask.masked(
        f"{command.name}: {command.text} (in {command.place}, at most {command.timeout} s"
        f"{', with' if variables else ''}{variables})"
    )


def run_variables(migration: str, folder: Path) -> dict[str, str]:
    """What every command of a run finds in its environment: whose it is, and the run's folder."""
    return {
        "MIGRATION_NAME": migration,
        "MIGRATION_RUN_ID": folder.name,
        "MIGRATION_RUN_FOLDER": str(folder),
    }


def _make(log: Path) -> None:
    private.make_folder(log.parent)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)
    os.close(descriptor)


@contextmanager
def _given(text: str | None) -> Iterator[IO[bytes] | int]:
    """A file with the text, which is read or not: a pipe would have to be emptied."""
    if text is None:
        yield subprocess.DEVNULL
        return
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        yield file


def _end(process: subprocess.Popen[str]) -> None:
    """End a command and what it started; some of it may ignore the first signal."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(END_SECONDS)
    with suppress(ProcessLookupError):  # all of it has ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last(log: Path) -> str:
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 4 * KEPT_CHARACTERS, 0))
        return file.read().decode("utf-8", "replace")[-KEPT_CHARACTERS:]
