"""Copy one consistent state of a database file without writing anything beside it.

Two ways, because opening a file in write-ahead-log mode makes or touches its ``-shm`` even when
opened read-only:

- rollback mode: the file's bytes, under SQLite's own read lock, which keeps writers out of it;
- write-ahead-log mode, or a journal left by a crash: the files are copied byte by byte, and the
  copy counts only if none of them moved meanwhile. If they keep moving there is a live writer,
  then ``-shm`` is there already and SQLite's backup reads beside the writer.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from migration_assets.errors import InputError
from migration_assets.sources.sqlite import header
from migration_assets.sources.sqlite.connect import WAIT_SECONDS, input_error, open_read_only

STILL_ATTEMPTS = 3
"""Byte copies to try before SQLite's backup is taken beside a live writer."""

CLOCK_TICK_SECONDS = 0.02
"""File times may be this coarse: a file that moved more recently could move again unseen."""

_CHUNK = 8 * 1024 * 1024
_PARTS = ("", "-wal", "-journal")
_SUPER_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")

Mark = tuple[int, int, int, int]


def copy_database(source: Path, target: Path, location: str) -> None:
    """Copy the whole state of ``source`` into the new file ``target`` (0600), log included.

    Nothing is left beside ``target``, which is in rollback mode so that reading it needs no
    other file.

    Args:
        source: the database file; it and its folder are only read.
        target: made or replaced when the copy is whole.
        location: how to call the source in messages.

    Raises:
        InputError: the source cannot be used, is locked, or never stands still.
    """
    # The log lies beside the file itself, not beside a link to it.
    real = Path(os.path.realpath(source))
    part = target.with_name(target.name + ".part")
    try:
        _copy(real, part, location)
        _settle(part)
        os.replace(part, target)
    except sqlite3.Error as error:
        raise input_error(location, error) from error
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        raise InputError(f"{location}: cannot be copied ({error.strerror}{where})") from error
    finally:
        remove(part)


def content_id(path: Path) -> str:
    """32 hex digits over the content of ``path``; the same for the same state of a source.

    Counters that a checkpoint, or the way in which a file was copied, may move are left out.
    """
    # SHA-256 has its own processor instructions: 0.2 s for 270 MB, BLAKE2 takes 0.33 s.
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        first = True
        while size := file.readinto(buffer):
            if first and header.parse(bytes(buffer[: header.SIZE])) is not None:
                for start, end in header.COUNTERS:
                    buffer[start:end] = bytes(end - start)
            first = False
            digest.update(buffer[:size])
    return digest.hexdigest()[:32]


def needs_copy(path: Path) -> bool:
    """True if even a read-only connection to ``path`` would write beside it, or cannot read it."""
    real = Path(os.path.realpath(path))
    with real.open("rb") as file:
        parsed = header.parse(file.read(header.SIZE))
    return (parsed is not None and parsed.wal) or _size(f"{real}-journal") > 0


def _copy(source: Path, part: Path, location: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    attempts = 0
    while True:
        remove(part)
        _create(part)
        with source.open("rb") as file:
            parsed = header.parse(file.read(header.SIZE))
        if parsed is None or not parsed.wal:
            try:
                if _copy_locked(source, part):
                    return
            except sqlite3.OperationalError as error:
                # A journal that a crash left cannot be rolled back by a read-only connection.
                if not _unfinished(error):
                    raise
        attempts += 1
        if _copy_still(source, part, location):
            return
        if attempts >= STILL_ATTEMPTS and os.path.exists(f"{source}-shm"):
            remove(part)
            _create(part)
            _back_up(source, part, location)
            return
        if time.monotonic() > deadline:
            raise InputError(
                f"{location}: kept changing while it was copied; stop the writing application"
            )
        time.sleep(0.05)


def _copy_locked(source: Path, part: Path) -> bool:
    """Copy the bytes while a reading transaction is open: half the time of SQLite's backup.

    False if the file has turned to write-ahead-log mode before it was locked.
    """
    reader = open_read_only(source)
    try:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        # The lock is the process's: it ends when any descriptor of the file is closed, which is
        # when the last byte was read.
        _copy_file(source, part, lambda: False)
    finally:
        reader.close()
    with part.open("rb") as file:
        parsed = header.parse(file.read(header.SIZE))
    return parsed is None or not parsed.wal


def _back_up(source: Path, part: Path, location: str) -> None:
    """SQLite's own backup, in one step: it restarts for nobody and no writer can tear it."""
    deadline = time.monotonic() + WAIT_SECONDS

    def watch(status: int, remaining: int, total: int) -> None:
        if remaining and time.monotonic() > deadline:
            raise InputError(f"{location}: locked by another process; try again when it is done")

    reader = open_read_only(source)
    try:
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        writer = sqlite3.connect(part)
        try:
            # The copy is of no use unless whole, so nothing is gained by journal or syncs.
            writer.execute("PRAGMA journal_mode=OFF")
            writer.execute("PRAGMA synchronous=OFF")
            reader.backup(writer, pages=-1, progress=watch)
        finally:
            writer.close()
    finally:
        reader.close()


def _copy_still(source: Path, part: Path, location: str) -> bool:
    """Copy file, log and journal; False if one of them moved before all were copied."""
    before = marks(source)
    if not settled(before):
        time.sleep(CLOCK_TICK_SECONDS)

    def moved() -> bool:
        return marks(source) != before

    for suffix, mark in zip(_PARTS, before, strict=True):
        if mark is None:
            continue
        try:
            if not _copy_file(Path(f"{source}{suffix}"), Path(f"{part}{suffix}"), moved):
                return False
        except FileNotFoundError:
            return False
    _refuse_shared_journal(Path(f"{part}-journal"), location)
    return not moved()


def _copy_file(source: Path, target: Path, moved: Callable[[], bool]) -> bool:
    _create(target)
    buffer = memoryview(bytearray(_CHUNK))
    with source.open("rb", buffering=0) as read, target.open("wb", buffering=0) as write:
        while size := read.readinto(buffer):
            if moved():
                return False
            write.write(buffer[:size])
    return True


def _refuse_shared_journal(journal: Path, location: str) -> None:
    """Refuse a transaction over several files: undoing it in a copy would touch the others."""
    if _size(journal) < 8:
        return
    with journal.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        if file.read() == _SUPER_JOURNAL_MAGIC:
            raise InputError(
                f"{location}: has an unfinished transaction over several database files; "
                "open it once with its application"
            )


def _settle(part: Path) -> None:
    """Take log or journal into the copy itself and leave it in rollback mode."""
    connection = sqlite3.connect(part, isolation_level=None)
    try:
        # A schema that this SQLite cannot parse in full must not stop the copy.
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    finally:
        connection.close()


def _unfinished(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorname.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN"))


def marks(source: Path) -> tuple[Mark | None, ...]:
    """Identity, size and times of file, log and journal; None for one that is not there.

    A log or journal of no bytes is as good as none: readers leave such ones.
    """
    found: list[Mark | None] = []
    for suffix in _PARTS:
        try:
            status = os.stat(f"{source}{suffix}")
        except FileNotFoundError:
            found.append(None)
            continue
        mark = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        found.append(None if suffix and not status.st_size else mark)
    return tuple(found)


def settled(found: tuple[Mark | None, ...]) -> bool:
    """Whether a write from now on would show in the files' times."""
    newest = max((max(mark[2:]) for mark in found if mark is not None), default=0)
    return not 0 <= time.time_ns() - newest < CLOCK_TICK_SECONDS * 1e9


def _create(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))


def remove(part: Path) -> None:
    """Delete a copy with all that SQLite may have left beside it."""
    for suffix in (*_PARTS, "-shm"):
        Path(f"{part}{suffix}").unlink(missing_ok=True)


def _size(path: Path | str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
