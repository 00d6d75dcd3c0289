"""Small processes: what they need not import, and how they give memory back."""

from __future__ import annotations

import ctypes
import importlib.abc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType

ARENAS = 2
MAPPED_BYTES = 1 << 20
"""Blocks of this size go back to the system as soon as they are freed."""
KEPT_BYTES = 32 << 20
"""Freed memory at the end of an arena that is kept for the next batch.

Less of the two saves memory and costs time, since the system clears every page that it gives out:
256 KiB and 128 KiB take 1 s more and 35 MB less for a million rows.
"""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


class _Absent(importlib.abc.MetaPathFinder):
    """Says of some modules that they are not installed."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if fullname in self._names:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def never_import(*names: str) -> None:
    """Let this process do without optional modules for good."""
    sys.meta_path.insert(0, _Absent(frozenset(names)))


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Import other modules as if these optional ones were not installed."""
    finder = _Absent(frozenset(names))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def give_memory_back() -> None:
    """Let this process hold little memory that it does not use; before Arrow is imported.

    Batches come and go in several threads. By default each thread keeps an arena of its own, and
    Arrow's allocator keeps what was freed: some 150 MB more at the peak, and never less.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    with suppress(OSError, AttributeError):  # no GNU libc: nothing to set
        set_option = ctypes.CDLL(None).mallopt
        set_option(_M_ARENA_MAX, ARENAS)
        set_option(_M_MMAP_THRESHOLD, MAPPED_BYTES)
        set_option(_M_TRIM_THRESHOLD, KEPT_BYTES)
