"""Whether a MySQL database or a folder of CSV files has moved since its snapshot."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from migration_assets.core.csv_manifest import FILE
from migration_assets.core.standing import Movement, Standing
from migration_assets.sources.base import Source
from migration_assets.sources.csv import CsvSource
from migration_assets.sources.mysql import MySQLSource, snapshot
from migration_assets_tests.mysql_server import MySQLDatabase

SCHEMA = """
CREATE TABLE account (id INT PRIMARY KEY, balance BIGINT UNSIGNED, owner VARCHAR(20)
    CHARACTER SET latin1, part FLOAT, body BLOB, at DATETIME(6), bits BIT(9), kind ENUM('a','b'));
CREATE TABLE loose (a TEXT CHARACTER SET gbk, j JSON);
INSERT INTO account VALUES (1, 10, 'é', 0.1, x'00ff', '2020-01-02 03:04:05.678901', 5, 'a'),
    (2, 18446744073709551615, NULL, NULL, NULL, NULL, NULL, 'b'), (3, 30, '', 3, '', NULL, 1, 'a');
INSERT INTO loose VALUES ('中', '{"a": 1}'), ('中', '{"a": 1}'), (NULL, NULL);
CREATE VIEW seen AS SELECT id FROM account;
"""


def standing_of(source: Source, path: Path, *, lasting: bool = True) -> Standing:
    """Take a snapshot and end it."""
    with closing(source.take_snapshot(path)) as reader:
        return reader.standing(reader.catalog(), lasting=lasting)


def line(found: Movement | None) -> str:
    """What has moved."""
    assert found is not None
    return found.line


@contextmanager
def without_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that keeps no binary log."""
    with monkeypatch.context() as patched:
        patched.setattr(snapshot.binary_log, "position", lambda *_: None)
        yield


def test_a_mysql_database_by_log_by_digests_and_by_open_transactions(
    mysql_database: MySQLDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mysql_database.script(SCHEMA)
    source, path = MySQLSource.from_url(mysql_database.url), tmp_path / "snapshot"
    before = standing_of(source, path)
    assert {name: state.rows for name, state in before.tables.items()} == {"account": 3, "loose": 3}
    assert (source.size() or 0) >= 16_384  # a page or more for each table
    assert source.moved_since(before, path) is None
    first = source.position(None, tmp_path)
    # Looked at without a lock, it is the place in the log that the snapshot has.
    assert before.position is not None and first.content == before.position.content is not None

    with closing(mysql_database.connect(autocommit=False)) as writer, writer.cursor() as cursor:
        # A writer in the middle of a transaction will come late.
        cursor.execute("UPDATE account SET balance = 11 WHERE id = 1")
        assert "written to it in a transaction that is open" in line(
            source.moved_since(before, path)
        )
        writer.rollback()
        assert source.moved_since(before, path) is None
        assert source.position(first, tmp_path).same_as(first)
        # Rows that trade values leave sums and CRCs as they may have been.
        cursor.execute("UPDATE account SET owner = IF(id = 1, '', 'é') WHERE id IN (1, 3)")
        writer.commit()
        assert line(source.moved_since(before, path)) == (
            'table "account" holds other values in as many rows (3)'
        )
        assert not source.position(first, tmp_path).same_as(first)
        with without_log(monkeypatch):
            assert 'table "account" holds other' in line(source.moved_since(before, path))
        # Written back: the log has moved, the content has not.
        cursor.execute("UPDATE account SET owner = IF(id = 1, 'é', '') WHERE id IN (1, 3)")
        writer.commit()
        assert source.moved_since(before, path) is None
        # A session with the right to do so keeps a change out of the log.
        latest = standing_of(source, path)
        cursor.execute("SET SESSION sql_log_bin = 0")
        cursor.execute("UPDATE account SET balance = 12 WHERE id = 1")
        writer.commit()
        assert 'table "account" holds other values' in line(source.moved_since(latest, path))
        cursor.execute("UPDATE account SET balance = 10 WHERE id = 1")
        writer.commit()
        cursor.execute("SET SESSION sql_log_bin = 1")
        known = replace(before, tables={})
        assert "no digests of its tables were kept" in line(source.moved_since(known, path))
        for statement, found in (
            ("INSERT INTO loose VALUES ('中', '{\"a\": 1}')", "1 rows more (3 before, 4 now)"),
            ("DELETE FROM loose WHERE a IS NOT NULL LIMIT 1", None),
            ("UPDATE loose SET j = '{\"a\":  1}' LIMIT 1", '"loose" holds other values'),
            ("ALTER TABLE account RENAME COLUMN part TO share", '"account" holds other values'),
            ("CREATE TABLE late (a INT)", 'table "late" was added (0 rows)'),
            ("DROP TABLE loose", 'table "loose" was dropped (3 rows)'),
        ):
            cursor.execute(statement)
            writer.commit()
            moved = source.moved_since(before, path)
            assert (moved is None) if found is None else (found in line(moved)), statement


def test_a_mysql_server_without_a_log_is_known_by_its_tables(
    mysql_database: MySQLDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mysql_database.script(SCHEMA)
    source, path = MySQLSource.from_url(mysql_database.url), tmp_path / "snapshot"
    with (
        without_log(monkeypatch),
        closing(mysql_database.connect()) as other,
        other.cursor() as cursor,
    ):
        first = source.position(None, tmp_path)
        cursor.execute("UPDATE account SET balance = 7 WHERE id = 1")
        assert not source.position(None, tmp_path).same_as(first)
        before = standing_of(source, path)
        assert before.position is not None and before.position.content is None
        assert source.moved_since(before, path) is None
        cursor.execute("UPDATE account SET body = x'00fe' WHERE id = 1")
        assert 'table "account" holds other values' in line(source.moved_since(before, path))
        light = standing_of(source, path, lasting=False)
        assert "it keeps no binary log" in line(source.moved_since(light, path))


def test_an_account_that_may_only_read_can_prove_it_too(
    mysql_database: MySQLDatabase, tmp_path: Path
) -> None:
    mysql_database.script(SCHEMA)
    with closing(mysql_database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE USER {mysql_database.name}@'%' IDENTIFIED BY 'p'")
        cursor.execute(
            f"GRANT SELECT, SHOW VIEW ON {mysql_database.name}.* TO {mysql_database.name}@'%'"
        )
        url = f"mysql://{mysql_database.name}:p@{mysql_database.server.host}:{mysql_database.server.port}/{mysql_database.name}"
        source, path = MySQLSource.from_url(url), tmp_path / "snapshot"
        try:
            before = standing_of(source, path)
            assert source.moved_since(before, path) is None
            cursor.execute("DELETE FROM account WHERE id = 2")
            assert "1 rows less (3 before, 2 now)" in line(source.moved_since(before, path))
        finally:
            cursor.execute(f"DROP USER {mysql_database.name}@'%'")


def test_a_folder_of_csv_files(tmp_path: Path) -> None:
    folder, path = tmp_path / "csv", tmp_path / "snapshot"
    folder.mkdir()
    (folder / "users.csv").write_text("id,name\n1,a\n2,b\n")
    (folder / "words.csv").write_text("w\nx\n")
    source = CsvSource.from_url(f"csv:///{folder}")
    before = standing_of(source, path)
    assert source.size() == len("id,name\n1,a\n2,b\n") + len("w\nx\n")
    first = source.position(None, tmp_path)
    assert source.moved_since(before, path) is None
    # Touched, and written anew with the same bytes.
    os.utime(folder / "users.csv")
    (folder / "words.csv").write_text("w\nx\n")
    assert source.moved_since(before, path) is None
    assert source.position(first, tmp_path).same_as(first)
    status = (folder / "users.csv").stat()
    (folder / "users.csv").write_text("id,name\n1,a\n2,c\n")
    os.utime(folder / "users.csv", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert line(source.moved_since(before, path)) == (
        'table "users" holds other values in as many rows (2)'
    )
    assert not source.position(first, tmp_path).same_as(first)
    (folder / "users.csv").write_text("id,name\n1,a\n2,b\n3,c\n")
    (folder / "words.csv").rename(folder / "others.csv")
    assert line(source.moved_since(before, path)) == (
        'table "others" was added (1 rows); table "users" holds 1 rows more (2 before, 3 now); '
        'table "words" was dropped (1 rows)'
    )
    (folder / FILE).write_text("{}")
    assert FILE in line(source.moved_since(before, path))
