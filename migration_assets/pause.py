"""Pause a migration: what runs stands still at its next safe point, and nothing new begins.

A file in the migration's folder says so, which every process of a run looks for between two
batches of rows, two statements, two tables and two steps. A run that stands still keeps its
snapshot and its connections, and goes on in place.
"""

from __future__ import annotations

import getpass
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

FILE = "paused"


@dataclass(frozen=True)
class Pause:
    """Why a migration stands still: ``since`` (ISO 8601, UTC), ``by`` (a user), ``reason``."""

    since: str
    by: str
    reason: str | None = None

    def __str__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        return f"paused since {self.since} by {self.by}{why}"


def marker(folder: Path) -> Path:
    """The file that pauses the migration in ``folder``; it is there while the pause lasts."""
    return folder / FILE


def read(folder: Path) -> Pause | None:
    """The pause of the migration in ``folder``, None if there is none."""
    try:
        return Pause(**json.loads(marker(folder).read_bytes()))
    except FileNotFoundError:
        return None


def begin(folder: Path, reason: str | None = None) -> Pause:
    """Pause the migration in ``folder``; one that is paused already stays so as it was."""
    there = read(folder)
    if there is not None:
        return there
    made = Pause(datetime.now(UTC).isoformat(timespec="seconds"), getpass.getuser(), reason)
    path = marker(folder)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(made), file)
    part.replace(path)
    return made


def end(folder: Path) -> Pause | None:
    """Let the migration in ``folder`` go on; returns the pause that is over, if there was one."""
    there = read(folder)
    marker(folder).unlink(missing_ok=True)
    return there
