"""The first 100 bytes of a database file (SQLite, "Database File Format", section 1.3)."""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from migration_assets.errors import InputError

MAGIC = b"SQLite format 3\0"
SIZE = 100
COUNTERS = ((18, 20), (24, 32), (40, 44), (92, 100))
"""Bytes that tell nothing of what is stored: mode, change counter and pages, schema cookie, and
the counter and version of the last writer."""


@dataclass(frozen=True)
class Header:
    """What the header tells.

    Attributes:
        wal: the file is in write-ahead-log mode.
        page_size: bytes. pages: pages in the database, None where the header does not know.
        utf16: texts are stored as UTF-16.
        changes: counter of transactions; not kept in write-ahead-log mode.
    """

    wal: bool
    page_size: int
    pages: int | None
    utf16: bool
    changes: int = 0


EMPTY = Header(wal=False, page_size=4096, pages=0, utf16=False)
"""A file of no bytes is a valid database without tables."""


def parse(raw: bytes) -> Header | None:
    """Read the header; None if ``raw`` is not the start of a SQLite database."""
    if len(raw) < SIZE or not raw.startswith(MAGIC):
        return None
    (size,) = struct.unpack_from(">H", raw, 16)
    page_size = 65_536 if size == 1 else size
    if page_size < 512 or page_size & (page_size - 1):
        return None
    changes, pages = struct.unpack_from(">II", raw, 24)
    (valid_for,) = struct.unpack_from(">I", raw, 92)
    (encoding,) = struct.unpack_from(">I", raw, 56)
    # Versions before 3.7 do not keep the page count; it counts only beside its change counter.
    known = pages > 0 and changes == valid_for
    return Header(raw[19] == 2, page_size, pages if known else None, encoding in (2, 3), changes)


def read(path: Path, location: str) -> Header:
    """Check that ``path`` can be a whole SQLite database and return its header.

    Args:
        path: the database file.
        location: how to call it in messages.

    Raises:
        InputError: missing, a folder, unreadable, not a database, encrypted or truncated.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{location}: is a folder; give the database file in it")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{location}: is not a regular file")
        with path.open("rb") as file:
            raw = file.read(SIZE)
    except FileNotFoundError:
        raise InputError(f"{location}: no such file") from None
    except PermissionError:
        raise InputError(f"{location}: no permission to read it") from None
    except OSError as error:
        raise InputError(f"{location}: cannot be read ({error.strerror})") from None
    if status.st_size == 0:
        return EMPTY
    header = parse(raw)
    if header is None:
        if raw.startswith(MAGIC[: max(1, len(raw))]) and len(raw) < SIZE:
            raise InputError(f"{location}: truncated; only {status.st_size} bytes are left of it")
        raise InputError(f"{location}: not a SQLite database, or it is encrypted")
    if header.pages is not None and not _unsettled(path):
        expected = header.pages * header.page_size
        if status.st_size < expected:
            raise InputError(
                f"{location}: truncated; {status.st_size:,} of {expected:,} bytes are there"
            )
    return header


def _unsettled(path: Path) -> bool:
    """True if a log or journal beside the file may still hold pages of it."""
    for suffix in ("-wal", "-journal"):
        try:
            if os.stat(f"{path}{suffix}").st_size:
                return True
        except FileNotFoundError:
            continue
        except OSError:
            return True
    return False
