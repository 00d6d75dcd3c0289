"""Where a database file stands, by what is cheap to read, and who is about to write to it.

Every write moves a file's times. File systems whose clock is coarse, and tools that set times
back, are why the counters of the formats are looked at as well: the header of the database file
(change counter, schema cookie, pages) and the header of every frame of its write-ahead log
(salts and checksums; SQLite, "Database File Format", sections 1.3 and 4).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import sys
import time
import uuid
from pathlib import Path

from migration_assets.sources.sqlite import header, snapshot

_ATTEMPTS = 5
"""Looks at a file that moves meanwhile, before it counts as moved whatever comes."""
_WAL_HEADER = 32
_FRAME_HEADER = 24

_FORM, _FIELDS = (
    ("@hhqqi4x", ("type", "whence", "start", "length", "process"))
    if sys.platform == "linux"
    else ("@qqihh", ("start", "length", "process", "type", "whence"))
)
"""``struct flock`` of Linux, and of macOS and the BSDs."""

_PENDING = 0x4000_0000
"""The locks of a database file: pending, reserved and 510 shared bytes (SQLite, os.h)."""
_LOCKS = 512
_WAL_WRITE = 120
"""The byte of ``-shm`` that a writer of the log has locked (SQLite, "WAL-mode File Format")."""


def token(source: Path) -> str:
    """32 hex digits that are others after each write to the file or its log.

    Where there is no log, the file's counter of changes follows them.

    Raises:
        OSError: it can not be read.
    """
    real = os.path.realpath(source)
    for _ in range(_ATTEMPTS):
        before = snapshot.marks(Path(real))
        digest = hashlib.sha256(repr(before).encode())
        with open(real, "rb") as file:
            start = file.read(header.SIZE)
        digest.update(start)
        _add_log(digest, f"{real}-wal")
        if snapshot.settled(before) and snapshot.marks(Path(real)) == before:
            found = header.parse(start)
            counter = "" if found is None or found.wal else f"-{found.changes}"
            return f"{digest.hexdigest()[:32]}{counter}"
        time.sleep(snapshot.CLOCK_TICK_SECONDS)
    return uuid.uuid4().hex


def counts_more(token: str, before: str) -> bool:
    """Whether the counters of two tokens tell that something was committed between them."""
    one, other = token.partition("-")[2], before.partition("-")[2]
    return one != other and one != "" != other


def _add_log(digest: hashlib._Hash, path: str) -> None:
    """Add the headers of the log and of all its frames, those of aborted transactions too."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        size = os.fstat(descriptor).st_size
        start = os.pread(descriptor, _WAL_HEADER, 0)
        digest.update(start)
        if len(start) < _WAL_HEADER:
            return
        (page,) = struct.unpack_from(">I", start, 8)
        for place in range(_WAL_HEADER, size, _FRAME_HEADER + page):
            digest.update(os.pread(descriptor, _FRAME_HEADER, place))
    finally:
        os.close(descriptor)


def is_written(source: Path) -> bool:
    """Whether another process is in a transaction that has begun to write.

    Nothing is locked for it: the system is asked who holds SQLite's own locks. It knows of
    processes of this machine only; where it can not be asked, nobody is found.
    """
    real = os.path.realpath(source)
    # A lock for reading is refused by those that a writer holds, and by no reader's.
    return _is_locked(real, _PENDING, _LOCKS) or _is_locked(f"{real}-shm", _WAL_WRITE, 1)


def _is_locked(path: str, start: int, length: int) -> bool:
    """Whether another process has a part of a file locked for itself alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        asked = {"type": fcntl.F_RDLCK, "whence": os.SEEK_SET, "start": start, "length": length}
        lock = struct.pack(_FORM, *(asked.get(name, 0) for name in _FIELDS))
        answer = struct.unpack(_FORM, fcntl.fcntl(descriptor, fcntl.F_GETLK, lock))
        return bool(answer[_FIELDS.index("type")] == fcntl.F_WRLCK)
    except OSError:
        return False
    finally:
        os.close(descriptor)
