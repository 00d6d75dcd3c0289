"""Files and folders that only their owner may open."""

from __future__ import annotations

import os
from pathlib import Path


def make_file(path: Path) -> None:
    """Make an empty file (0600) in place of what was there."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are not there, each of them 0700."""
    for each in (*reversed(path.parents), path):
        if not each.is_dir():
            each.mkdir(mode=0o700, exist_ok=True)
