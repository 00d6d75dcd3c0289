"""Where the public databases are, and what their authors' files are known to hold.

They are not part of this repository, since their licences differ. The folder is
``../shared/fixtures`` beside the checkout, or what ``MIGRATION_FIXTURES`` names.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(
    os.environ.get("MIGRATION_FIXTURES")
    or Path(__file__).resolve().parents[2] / "shared" / "fixtures"
)


@dataclass(frozen=True)
class SQLiteFixture:
    """One database file.

    Attributes:
        path: the file.
        rows: table -> rows, of all tables that can be read.
        virtual: names of virtual tables; shadow: names of their shadow tables.
        views: names of views; triggers: how many there are.
    """

    path: Path
    rows: dict[str, int]
    virtual: tuple[str, ...]
    shadow: tuple[str, ...]
    views: tuple[str, ...]
    triggers: int

    @property
    def name(self) -> str:
        """``folder/file``, for people."""
        return f"{self.path.parent.name}/{self.path.name}"


def sqlite_fixtures(folder: Path = FOLDER) -> list[SQLiteFixture]:
    """Every SQLite database file with its expected contents; empty where the folder is absent."""
    found = []
    for meta_file in sorted((folder / "sqlite").glob("*/meta.json")):
        meta: dict[str, Any] = json.loads(meta_file.read_text())
        expected: dict[str, Any] = json.loads((meta_file.parent / "expected.json").read_text())
        for file, facts in meta.items():
            found.append(
                SQLiteFixture(
                    path=meta_file.parent / file,
                    rows=expected[file] if isinstance(expected.get(file), dict) else expected,
                    virtual=tuple(facts["virtual"]),
                    shadow=tuple(facts["shadow"]),
                    views=tuple(facts["views"]),
                    triggers=facts["triggers"],
                )
            )
    return found
