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


@dataclass(frozen=True)
class MySQLFixture:
    """One database of the dumps in one folder.

    Attributes:
        name: of the folder, and of the database where the folder has several.
        files: the dumps that make it, in order.
        rows: table -> rows.
    """

    name: str
    files: tuple[Path, ...]
    rows: dict[str, int]


_DUMPS = {
    "petclinic": ("schema.sql", "data.sql"),
    "sakila": ("01-schema.sql", "02-data.sql"),
    "ory_hydra": ("hydra_mariadb_dump.sql",),
    "pgloader_my/source": ("seed.sql",),
    "pgloader_my/db789": ("db789.sql",),
    "pgloader_my/fx_pgl_f1db_circuits_my": ("f1db.circuits.my.sql",),
    "pgloader_my/fx_pgl_hex": ("hex.sql",),
    "pgloader_my/fx_pgl_history": ("history.sql",),
    "pgloader_my/fx_pgl_my": ("my.sql",),
}
"""Files of a database where the folder holds more than one."""


def mysql_fixtures(folder: Path = FOLDER) -> list[MySQLFixture]:
    """Every MySQL database with its expected contents; empty where the folder is absent."""
    found = []
    for expected_file in sorted((folder / "mysql").glob("*/expected.json")):
        place = expected_file.parent
        expected: dict[str, Any] = json.loads(expected_file.read_text())
        several = all(isinstance(rows, dict) for rows in expected.values())
        for name, rows in (
            {f"{place.name}/{database}": rows for database, rows in expected.items()}
            if several
            else {place.name: expected}
        ).items():
            files = _DUMPS.get(name) or tuple(file.name for file in place.glob("*.sql"))
            found.append(MySQLFixture(name, tuple(place / file for file in files), rows))
    return found
