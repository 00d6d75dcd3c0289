"""What authors made of their databases for PostgreSQL, and where this project decides otherwise.

``postgres_truth/<name>/truth_map.sqlite.json`` of the public databases says which column of the
authors' PostgreSQL edition belongs to which column of their SQLite edition, and where the *data*
of the two editions differ. :data:`DEVIATIONS` are the classes in which our types differ from
theirs by policy; ``docs/fidelity.md`` lists the same classes with their reasons.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from migration_assets.postgres import embedded
from migration_assets_tests.fixture_databases import FOLDER

TRUTHS = {
    "chinook": ("chinook/Chinook_Sqlite.sqlite", "chinook_pg.sql"),
    "chinook_autoincrement": ("chinook/Chinook_Sqlite_AutoIncrementPKs.sqlite", "chinook_pg.sql"),
    "northwind": ("northwind/northwind.db", "northwind.sql"),
    "hydra": ("ory_hydra/hydra.sqlite", "hydra_pg_dump.sql"),
}
"""Name -> SQLite file, and the authors' script for PostgreSQL."""

PAIRED_BY = {"hydra_jwk": ("sid", "kid"), "hydra_client": ("id",)}
"""Tables whose primary key is random in each edition, and what tells their rows apart instead."""

_EXTENSIONS = re.compile(r"^(CREATE|COMMENT ON) EXTENSION .*$", re.MULTILINE)
_OTHER_DATABASE = re.compile(
    r"^((DROP|CREATE) DATABASE .*|\\(c|connect|restrict|unrestrict) .*)$", re.MULTILINE
)


@dataclass(frozen=True)
class Deviation:
    """A class of columns whose type is not the authors'.

    Attributes:
        name: as in the table of ``docs/fidelity.md``.
        covers: (declared type in upper case, our type, the authors' type) -> belongs to it.
    """

    name: str
    covers: Callable[[str, str, str], bool]


def _becomes(declared: str, ours: str, theirs: str) -> Callable[[str, str, str], bool]:
    def covers(source: str, mine: str, other: str) -> bool:
        return all(
            re.fullmatch(pattern, text) is not None
            for pattern, text in ((declared, source), (ours, mine), (theirs, other))
        )

    return covers


DEVIATIONS = (
    Deviation("64-bit integers", _becomes("INTEGER|INT", "bigint", "integer|smallint")),
    Deviation("0 and 1 declared integers", _becomes("INTEGER", "bigint", "boolean")),
    Deviation("texts without a length", _becomes("TEXT", "text", r"character varying\(\d+\)")),
    Deviation("JSON declared texts", _becomes("TEXT", "text", "jsonb")),
    Deviation("UUIDs declared texts", _becomes("TEXT", "text", "uuid")),
    Deviation("numbers declared texts", _becomes("TEXT", "text", "integer")),
    Deviation("exact numbers", _becomes("NUMERIC", "numeric", "real")),
    Deviation("8-byte reals", _becomes("REAL", "double precision", "real")),
    Deviation("times of day", _becomes("DATETIME", "timestamp without time zone", "date")),
)


_VARYING = r"character varying\(\d+\)"
_BARE = "timestamp without time zone"
MYSQL_DEVIATIONS = (
    Deviation("instants", _becomes("TIMESTAMP", r"timestamp\(0\) with time zone", _BARE)),
    Deviation(
        "digits of seconds", _becomes("DATETIME", r"timestamp\(0\) without time zone", _BARE)
    ),
    Deviation("times at midnight", _becomes("DATETIME", r"timestamp\(0\) .*", "date")),
    Deviation(
        "unsigned integers", _becomes(r"(SMALL)?INT.* UNSIGNED", "(big|)int.*", "int.*|smallint")
    ),
    Deviation("small integers", _becomes(r"(TINY|SMALL)INT.*", "smallint", "integer")),
    Deviation("0 and 1", _becomes(r"TINYINT\(1\)", "boolean", "integer")),
    Deviation("texts that are padded", _becomes(r"CHAR.*", _VARYING, r"text|character\(\d+\)")),
    Deviation("lengths of texts", _becomes(r"VARCHAR.*", _VARYING, f"text|{_VARYING}")),
    Deviation("enums", _becomes(r"ENUM.*", r'"?\w+"?', "text|boolean|mpaa_rating")),
    Deviation("4-byte reals", _becomes("FLOAT.*", "real", r"numeric\(10,2\)|double precision")),
    Deviation("years", _becomes(r"YEAR\(4\)", "smallint", "year")),
)
"""Classes in which the types of a MySQL database differ from those of its authors."""


NULLABILITY = "NOT NULL of the SQLite edition"
"""The class of columns whose two editions do not agree on NOT NULL: ours is the source's."""


def deviations(declared: str, ours: str, theirs: str) -> list[str]:
    """Names of the classes that a column with these types belongs to."""
    return _named(DEVIATIONS, declared, ours, theirs)


def mysql_deviations(declared: str, ours: str, theirs: str) -> list[str]:
    """As :func:`deviations`, of a column of MySQL."""
    return _named(MYSQL_DEVIATIONS, declared, ours, theirs)


def _named(classes: tuple[Deviation, ...], declared: str, ours: str, theirs: str) -> list[str]:
    return [d.name for d in classes if d.covers(declared.upper(), ours, theirs)]


def truth_map(name: str, kind: str = "sqlite") -> dict[str, Any]:
    """Source table -> what the authors' edition has of it; empty if there is none."""
    file = FOLDER / "postgres_truth" / name.partition("_")[0] / f"truth_map.{kind}.json"
    tables: dict[str, Any] = json.loads(file.read_text())["tables"] if file.exists() else {}
    return tables


def declared_required(source: Path, table: str, scratch: Path) -> dict[str, bool]:
    """Column -> the SQLite edition declares it NOT NULL, or as part of the primary key."""
    copy = scratch / "declared.db"
    shutil.copyfile(source, copy)
    with closing(sqlite3.connect(copy)) as connection:
        return {
            name: bool(required or place)
            for name, required, place in connection.execute(
                'SELECT name, "notnull", pk FROM pragma_table_info(?)', (table,)
            )
        }


def load_truth(name: str, url: str, scratch: Path) -> None:
    """Run the authors' script in the database of ``url``, into its schema ``public``.

    What it says about extensions and other databases is left out: it needs none of them here.
    """
    script = FOLDER / "postgres_truth" / name.partition("_")[0] / TRUTHS[name][1]
    text = _OTHER_DATABASE.sub("", _EXTENSIONS.sub("", script.read_text()))
    copy = scratch / "truth.sql"
    copy.write_text("SET client_min_messages = warning;\n" + text)
    psql = [str(embedded.program("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url]
    done = subprocess.run([*psql, "-f", str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def same(ours: Any, theirs: Any) -> bool:
    """Tell whether two values mean the same across the types of :data:`DEVIATIONS`."""
    if ours is None or theirs is None:
        return ours is None and theirs is None
    if isinstance(theirs, memoryview):
        return bytes(ours) == bytes(theirs)
    if isinstance(theirs, bool):
        return bool(ours == int(theirs))
    if isinstance(theirs, float):
        return float(ours) == theirs
    if isinstance(theirs, dict | list):
        return bool((json.loads(ours) if isinstance(ours, str) else ours) == theirs)
    if isinstance(theirs, int | Decimal):
        return Decimal(str(ours)) == theirs
    if isinstance(theirs, date) and not isinstance(theirs, datetime):
        return bool(ours == datetime.combine(theirs, datetime.min.time()) or ours == theirs)
    return bool(ours == theirs)
