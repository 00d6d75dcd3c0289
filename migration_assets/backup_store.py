"""Where backups are: one folder each, complete or not there, with checksums and retention.

::

    <backups>/<kind>/<id>/manifest.json    what it holds, and the SHA-256 of each file
    <backups>/<kind>/<id>/drill.json       what came of restoring it, if that was tried

``kind`` is a target environment, or ``source``. All of it is readable by its owner only.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from migration_assets import private
from migration_assets.core.backup import FileSum
from migration_assets.errors import BrokenOffError, InputError
from migration_assets.home import Migration

MANIFEST = "manifest.json"
DRILL = "drill.json"
_PART = ".part"


def folder(migration: Migration, kind: str) -> Path:
    """The folder of one kind of backup; it need not be there."""
    named = migration.config.backup.folder
    root = migration.folder / (named or "backups")
    # A place for several migrations may be named.
    return (root / migration.name if named else root) / kind


def ids(migration: Migration, kind: str) -> list[str]:
    """All complete backups of a kind, the newest first."""
    found = folder(migration, kind).glob(f"*/{MANIFEST}")
    return sorted((path.parent.name for path in found), reverse=True)


@contextmanager
def new(migration: Migration, kind: str) -> Iterator[Path]:
    """A folder to make a backup in, which is a backup when the block has ended without an error.

    Args:
        migration: the migration.
        kind: a target environment, or ``source``.

    Raises:
        InputError: another one is being made or restored, or the folder can not be made.
        BrokenOffError: its disk is full.
    """
    place = folder(migration, kind)
    with locked(migration, kind), _written(place):
        for left in place.glob(f"*{_PART}"):
            shutil.rmtree(left)  # of a process that was killed: the lock is ours
        # To the millisecond: the order of names is that of time.
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"[:-3] + "Z"
        part = place / f"{name}{_PART}"
        part.mkdir(mode=0o700)
        try:
            yield part
            part.rename(place / name)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def identity(part: Path) -> str:
    """The id that a backup in the making will have."""
    return part.name.removesuffix(_PART)


@contextmanager
def locked(migration: Migration, kind: str) -> Iterator[None]:
    """Let nobody else make, restore or drop backups of a kind.

    Raises:
        InputError: somebody does, or the folder can not be made.
    """
    place = folder(migration, kind)
    with _written(place):
        private.make_folder(place)
        lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another backup or restore drill of {migration.name} ({kind}) is under way; wait "
                "for it"
            ) from None
        yield
    finally:
        os.close(lock)


def write_record(place: Path, name: str, text: str) -> None:
    """Write a small file (0600) of a backup, for good."""
    part = place / f"{name}.part"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(place / name)


def sums(place: Path) -> tuple[FileSum, ...]:
    """All files of a backup but its own records, which are in no manifest."""
    paths = (path for path in sorted(place.rglob("*")) if path.is_file())
    return tuple(
        FileSum(str(path.relative_to(place)), path.stat().st_size, _sha256(path))
        for path in paths
        if path.name not in (MANIFEST, DRILL) and path.suffix != _PART
    )


def damaged(place: Path, expected: Sequence[FileSum]) -> list[str]:
    """Where the files of a backup are not what they were, one line each."""
    found = {file.path: file for file in sums(place)}
    lines = []
    for file in expected:
        other = found.pop(file.path, None)
        if other is None:
            lines.append(f"file {file.path} is missing")
        elif other != file:
            lines.append(f"file {file.path} is damaged: its checksum is another one")
    return [*lines, *(f"file {path} does not belong to it" for path in found)]


def prune(
    migration: Migration,
    kind: str,
    keep: int,
    group: Callable[[Path], str | None],
    warn: Callable[[str], None],
) -> list[str]:
    """Drop all but the newest backups of each group; returns the ids of what was dropped.

    Args:
        migration: the migration.
        kind: a target environment, or ``source``.
        keep: of each group.
        group: names the group of a backup by its folder; None for one that stays.
        warn: is told what could not be dropped, which is no failure of a backup.
    """
    place = folder(migration, kind)
    counts: dict[str, int] = {}
    dropped = []
    for name in ids(migration, kind):
        of = group(place / name)
        if of is None:
            continue
        counts[of] = counts.get(of, 0) + 1
        if counts[of] <= keep:
            continue
        try:
            # Without its manifest it is no backup, if it is dropped in part only.
            (place / name / MANIFEST).unlink()
            shutil.rmtree(place / name)
        except OSError as error:
            warn(f"an old backup was not dropped, drop it yourself: {error}")
        else:
            dropped.append(name)
    return dropped


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _written(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"backups can not be written to {place}: {error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BrokenOffError(f"{message}; make room, then run again") from error
        raise InputError(f"{message}; see backup.folder in defs.yaml") from error
