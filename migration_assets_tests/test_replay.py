"""Statements for the source: each value comes back in the form that its column has there."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest

from migration_assets.core.plan import (
    ColumnPlan,
    Conversion,
    Recipe,
    TablePlan,
    TransformPlan,
)
from migration_assets.core.source_literals import (
    MYSQL,
    SQLITE,
    NoLiteralError,
    TimeForm,
    literals,
)
from migration_assets.core.types import PgType
from migration_assets.errors import BrokenOffError
from migration_assets.postgres.written_since import DELETED, INSERTED, UPDATED, Write
from migration_assets.replay import Replay, TableReplay, time_forms
from migration_assets.run_folder import RunFolder
from migration_assets.sources.sqlite import SQLiteSource
from migration_assets_tests.mysql_server import MySQLDatabase

BERLIN = "Europe/Berlin"


def column(name: str, conversion: Conversion) -> ColumnPlan:
    return ColumnPlan(name, name.lower(), "", PgType("text"), conversion, source_timezone=BERLIN)


def way(conversion: Conversion, dialect: str):
    table = TablePlan("T", "t", "t", (column("C", conversion),))
    return literals(table, dialect, {})["c"]


@pytest.mark.parametrize(
    ("conversion", "dialect", "text", "said"),
    [
        (Conversion.INTEGER, SQLITE, "-7", "-7"),
        (Conversion.BOOLEAN, SQLITE, "true", "1"),
        (Conversion.DOUBLE, SQLITE, "5", "5.0"),
        (Conversion.DOUBLE, SQLITE, "-Infinity", "-9e999"),
        (Conversion.DOUBLE, MYSQL, "1e+300", "1e+300"),
        (Conversion.DECIMAL, SQLITE, "0.10", "0.10"),
        (Conversion.DECIMAL, MYSQL, "12345678901234567890.12", "12345678901234567890.12"),
        (Conversion.TEXT, SQLITE, "a'b\\\n", "'a''b\\\n'"),
        (Conversion.TEXT, MYSQL, "a'b\\\n", "'a''b\\\\\n'"),
        (Conversion.BYTES, MYSQL, "\\x00ff", "X'00ff'"),
        (Conversion.BITS, MYSQL, "0101", "b'0101'"),
        (Conversion.UUID_BYTES, SQLITE, "123e4567-e89b-12d3-a456-426614174000",
         "X'123e4567e89b12d3a456426614174000'"),
        (Conversion.DATE, SQLITE, "2024-02-29", "'2024-02-29'"),
        (Conversion.TIMESTAMP, SQLITE, "0800-01-02 03:04:05.5", "'0800-01-02 03:04:05.5'"),
        (Conversion.TIMESTAMPTZ, SQLITE, "2024-05-01 10:00:00+00", "'2024-05-01 10:00:00+00:00'"),
        (Conversion.UTC, MYSQL, "2024-05-01 10:00:00.25+00", "'2024-05-01 10:00:00.25'"),
        (Conversion.ZONED, SQLITE, "2024-07-01 10:00:00+00", "'2024-07-01 12:00:00'"),
        (Conversion.EPOCH_S, SQLITE, "1969-12-31 23:59:59+00", "-1"),
        (Conversion.EPOCH_MS, SQLITE, "2024-05-01 10:00:00.123+00", "1714557600123"),
        (Conversion.INTERVAL, MYSQL, "-1 days -02:00:00.5", "'-26:00:00.5'"),
        (Conversion.INTERVAL, MYSQL, "838:59:59", "'838:59:59'"),
        (Conversion.GEOMETRY, MYSQL, "\\x0101000020e6100000" + "00" * 16,
         "X'e61000000101000000" + "00" * 16 + "'"),
    ],
)  # fmt: skip
def test_a_value_becomes_the_sources_own(
    conversion: Conversion, dialect: str, text: str, said: str
) -> None:
    literal = way(conversion, dialect)
    assert literal(text) == said and literal(None) == "NULL"


@pytest.mark.parametrize(
    ("conversion", "dialect", "text"),
    [
        (Conversion.DOUBLE, MYSQL, "NaN"),
        (Conversion.DECIMAL, SQLITE, "12345678901234567890.12"),
        (Conversion.DECIMAL, MYSQL, "1; DROP TABLE x"),
        (Conversion.INTEGER, SQLITE, "1.5"),
        (Conversion.TIMESTAMPTZ, SQLITE, "infinity"),
        (Conversion.TIMESTAMP, MYSQL, "12024-01-01 00:00:00"),
        (Conversion.DATE, SQLITE, "0044-03-15 BC"),
        (Conversion.ZONED, SQLITE, "2024-10-27 01:30:00+00"),
        (Conversion.EPOCH_S, SQLITE, "2024-05-01 10:00:00.5+00"),
        (Conversion.INTERVAL, MYSQL, "1 mon"),
        (Conversion.BYTES, SQLITE, "\\xzz"),
    ],
)
def test_what_the_source_can_not_hold_is_refused(
    conversion: Conversion, dialect: str, text: str
) -> None:
    with pytest.raises(NoLiteralError):
        way(conversion, dialect)(text)


def test_value_maps_are_led_back_and_other_transforms_refused() -> None:
    status, other = column("Status", Conversion.INTEGER), column("Other", Conversion.TEXT)
    there = Recipe(values=(("1", "open"), ("2", "closed")))
    back = Recipe(values=(("open", 1), ("closed", 2)))
    table = TablePlan("T", "t", "t", (status, other), transforms=(
        TransformPlan("words", "Status", there, "fail", inverse=back),
        TransformPlan("upper", "Other", Recipe(expression="upper(Other)")),
    ))  # fmt: skip
    ways = literals(table, SQLITE, {})
    assert ways["status"]("closed") == "2" and ways["status"](None) == "NULL"
    for name, text in (("status", "new"), ("other", "X")):
        with pytest.raises(NoLiteralError):
            ways[name](text)


def test_the_form_of_a_column_is_kept() -> None:
    table = TablePlan("T", "t", "t", (column("C", Conversion.TIMESTAMPTZ),))
    for sample, said in (
        ("2024-05-01T10:00:00.000Z", "2025-01-02T03:04:05.600Z"),
        ("2024-05-01 10:00:00+0200", "2025-01-02 03:04:05.6+0000"),
        ("2024-05-01 10:00", "2025-01-02 03:04:05.6+00:00"),
    ):
        literal = literals(table, SQLITE, {"C": TimeForm.of(sample)})["c"]
        assert literal("2025-01-02 03:04:05.6+00") == f"'{said}'"


WRITES = (
    (DELETED, ("3", "c", None), None),
    (UPDATED, ("1", "a", None), ("1", "b", "true")),
    (UPDATED, ("2", "d", None), ("2", "c", None)),
    (INSERTED, None, ("0", "it's \\ ü\r\n<0>.quit\r\n", "false")),
)
"""A value that must be unique is freed before it is taken."""
EXPECTED = [(0, "it's \\ ü\r\n<0>.quit\r\n", 0), (1, "b", 1), (2, "c", None)]


def statements(path: Path, dialect: str, key: tuple[str, ...]) -> str:
    columns = (
        column("Id", Conversion.INTEGER),
        column("select", Conversion.TEXT),
        column("Flag", Conversion.BOOLEAN),
    )
    table = TablePlan("My Table", "my_table", "t", columns, key=key)
    with Replay(path, dialect, ["title;\nDROP"]) as replay:
        made = TableReplay(table, columns, dialect, {})
        for change, before, after in reversed(WRITES):
            replay.add(change, str(made.statement(Write(change, before, after))))
    assert path.stat().st_mode & 0o777 == 0o600 and len(list(path.parent.iterdir())) == 1
    return path.read_text()


def sqlite3_shell(database: Path, text: str) -> str:
    """What the client says; it ends at the first error."""
    return subprocess.run(
        ["sqlite3", "-bail", str(database)], input=text.encode(), capture_output=True, check=False
    ).stderr.decode()


@pytest.mark.skipif(not shutil.which("sqlite3"), reason="sqlite3 is not installed")
@pytest.mark.parametrize("key", [("id",), ()])
def test_statements_run_on_sqlite(tmp_path: Path, key: tuple[str, ...]) -> None:
    file = tmp_path / "t.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(
            'CREATE TABLE "My Table" (Id INTEGER PRIMARY KEY, "select" TEXT UNIQUE, Flag BOOLEAN);'
            "INSERT INTO \"My Table\" VALUES (1, 'a', NULL), (3, 'c', NULL), (2, 'd', NULL);"
        )
        place = tmp_path / "out"
        place.mkdir()
        script = statements(place / "replay.sql", SQLITE, key)
        assert sqlite3_shell(file, script) == ""
        assert connection.execute('SELECT * FROM "My Table" ORDER BY 1').fetchall() == EXPECTED
        # A row that is not there any more is no row that may be passed over.
        assert "found no row" in sqlite3_shell(file, script)
        assert connection.execute('SELECT * FROM "My Table" ORDER BY 1').fetchall() == EXPECTED


@pytest.mark.parametrize("key", [("id",), ()])
def test_statements_run_on_mysql(
    mysql_database: MySQLDatabase, tmp_path: Path, key: tuple[str, ...]
) -> None:
    mysql_database.script(
        "CREATE TABLE `My Table` (Id INT AUTO_INCREMENT PRIMARY KEY, `select` VARCHAR(20) UNIQUE,"
        " Flag BOOLEAN) CHARACTER SET utf8mb4;"
        "INSERT INTO `My Table` VALUES (1, 'a', NULL), (3, 'c', NULL), (2, 'd', NULL)"
    )
    script = statements(tmp_path / "replay.sql", MYSQL, key)
    mysql_database.script(script, binary=False)
    with pytest.raises(AssertionError, match="Subquery returns more than 1 row"):
        mysql_database.script(script, binary=False)
    with closing(mysql_database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM `My Table` ORDER BY 1")
        assert list(cursor.fetchall()) == EXPECTED


def test_a_row_is_not_sought_by_a_value_that_a_rule_has_made() -> None:
    columns = (column("Id", Conversion.TEXT), column("V", Conversion.TEXT))
    for key, before in (("id",), ("\\xff", "x")), ((), ("1", "\\xff")):
        table = TablePlan("T", "t", "t", columns, key=key)
        place = "Id" if key else "V"
        made = TableReplay(table, columns, SQLITE, {}, {place: {"\\xff"}})
        with pytest.raises(NoLiteralError, match="ledger"):
            made.statement(Write(DELETED, before, None))
        assert made.statement(Write(INSERTED, None, before))


def test_a_snapshot_that_is_gone_leaves_the_usual_forms(tmp_path: Path) -> None:
    class Gone(SQLiteSource):
        def open_snapshot(self, snapshot: Path) -> NoReturn:
            raise BrokenOffError("its connection has ended")

    table = TablePlan("T", "t", "t", (column("C", Conversion.TIMESTAMP),))
    place = RunFolder(tmp_path)
    assert time_forms(Gone.from_url(f"sqlite:///{tmp_path}/a.db"), place, table) == {}
