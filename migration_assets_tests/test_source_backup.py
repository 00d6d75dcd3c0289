"""A backup of the source: whole, tried, and never taken for one if it is not."""

from __future__ import annotations

import gzip
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from migration_assets import backup_store, source_backup
from migration_assets import home as homes
from migration_assets.core.backup import SourceBackup
from migration_assets.errors import InputError, NotProvenError
from migration_assets.home import Migration
from migration_assets.sources import open_source
from migration_assets.sources.mysql import dump
from migration_assets_tests.mysql_server import MySQLDatabase
from migration_assets_tests.small_shop import TABLES, configure, make_migration, make_source

MYSQL = """
CREATE TABLE users (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20) CHARACTER SET latin1,
    part FLOAT, body BLOB, far DATETIME(6), j JSON);
CREATE TABLE log (what TEXT);
INSERT INTO users VALUES (1, 'é\\'`"', 0.5, x'00ff0a', '2020-01-02 03:04:05.678901', '{"a":1}'),
    (2, NULL, NULL, NULL, NULL, NULL);
CREATE VIEW names AS SELECT name FROM users;
CREATE TRIGGER noted AFTER INSERT ON users FOR EACH ROW INSERT INTO log VALUES (NEW.name);
CREATE FUNCTION one() RETURNS INT DETERMINISTIC RETURN 1;
CREATE EVENT busy ON SCHEDULE EVERY 1 DAY DO INSERT INTO log VALUES ('event');
"""


def place(migration: Migration, made: SourceBackup) -> Path:
    """The folder of a backup."""
    return backup_store.folder(migration, source_backup.KIND) / made.id


def test_a_sqlite_file_is_copied_checked_and_kept(tmp_path: Path) -> None:
    url = make_source(tmp_path / "shop.db")
    migration = configure(make_migration(tmp_path / "home", url), "  backup: {keep: 2}\n")
    with closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as shop:
        shop.execute("PRAGMA journal_mode=WAL")
        shop.execute("INSERT INTO report VALUES ('2024-01-03', 1)")
        made = source_backup.back_up(migration)
        assert (made.method, made.restored, made.notes) == ("copy", True, ())
        assert {name: state.rows for name, state in made.tables.items()} == {**TABLES, "report": 3}
        files = sorted(place(migration, made).iterdir())
        assert [file.name for file in files] == ["manifest.json", "source.db"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert source_backup.read(migration, made.id) == made
        assert backup_store.damaged(place(migration, made), made.files) == []
        # Its content is that of a snapshot, and it is a source itself.
        with closing(migration.source().take_snapshot(tmp_path / "snapshot.db")) as reader:
            assert reader.snapshot.id == made.content
        again = open_source(f"sqlite:///{files[1]}").reflect()
        assert {table.name for table in again.tables} == set(TABLES)
        for _ in range(2):
            last = source_backup.back_up(migration)
        assert len(backup_store.ids(migration, source_backup.KIND)) == 2
        assert made.id not in backup_store.ids(migration, source_backup.KIND)
        # An index that misses rows keeps none from being there; a damaged table does.
        shop.execute("PRAGMA writable_schema=ON")
        shop.execute(
            "UPDATE sqlite_schema SET sql = 'CREATE INDEX items_user ON users (name)', "
            "tbl_name = 'users' WHERE name = 'items_user'"
        )
        shop.execute("PRAGMA journal_mode=DELETE")
        pages = dict(shop.execute("SELECT name, rootpage FROM sqlite_schema").fetchall())
    assert "an index of the source is damaged" in source_backup.back_up(migration).line
    with (tmp_path / "shop.db").open("r+b") as file:
        file.seek(4096 * (pages["users"] - 1))
        file.write(bytes(4096))
    before = backup_store.ids(migration, source_backup.KIND)
    with pytest.raises(NotProvenError, match="damaged|malformed"):
        source_backup.back_up(migration)
    assert backup_store.ids(migration, source_backup.KIND) == before
    assert last.id in before
    with (
        backup_store.locked(migration, source_backup.KIND),
        pytest.raises(InputError, match="is under way"),
    ):
        source_backup.back_up(migration)


def test_a_folder_of_csv_files_is_copied(tmp_path: Path) -> None:
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "users.csv").write_text("id;name\n1;a\n2;b\n")
    migration = make_migration(tmp_path / "home", f"csv:///{tmp_path}/csv?delimiter=semicolon")
    made = source_backup.back_up(migration)
    assert made.restored
    assert made.tables["users"].rows == 2
    with closing(migration.source().take_snapshot(tmp_path / "snapshot")) as reader:
        assert reader.snapshot.id == made.content
    assert (place(migration, made) / "users.csv").read_bytes() == (
        tmp_path / "csv" / "users.csv"
    ).read_bytes()


def test_a_mysql_database_is_dumped_and_restored_beside_itself(
    mysql_database: MySQLDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mysql_database.script(MYSQL)
    migration = make_migration(tmp_path / "home", mysql_database.url)
    homes.keep_source_password(migration, mysql_database.url)
    with closing(mysql_database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW MASTER STATUS")
        log = cursor.fetchall()
        made = source_backup.back_up(migration)
        # The trial is none of the replicas' business.
        cursor.execute("SHOW MASTER STATUS")
        assert cursor.fetchall() == log
    assert (made.method, made.restored, made.notes) == ("dump", True, ())
    assert {name: state.rows for name, state in made.tables.items()} == {"users": 2, "log": 0}
    texts = {
        name: gzip.decompress((place(migration, made) / name).read_bytes()).decode()
        for name in (dump.TABLES, dump.CODE)
    }
    assert "TRIGGER" in texts[dump.TABLES] and "EVENT" not in texts[dump.TABLES]
    assert "FUNCTION" in texts[dump.CODE] and "EVENT" in texts[dump.CODE]
    assert (
        mysql_database.server.password not in (place(migration, made) / "manifest.json").read_text()
    )

    with closing(mysql_database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW DATABASES LIKE %s", (f"{mysql_database.name}%",))
        assert cursor.fetchall() == ((mysql_database.name,),)
        # A dump holds fewer digits of a FLOAT than the column does.
        cursor.execute("UPDATE users SET part = 1.0000001 WHERE id = 1")
        found = source_backup.back_up(migration)
        assert found.restored
        assert 'mariadb-dump rounds FLOAT columns to six digits: "users"' in found.line
        # A dump that lacks a row is none.
        with monkeypatch.context() as patched:
            patched.setattr(dump, "_DUMP", (*dump._DUMP, "--where=id<2", "--tables"))
            patched.setattr(dump, "_CODE_ONLY", ("--no-data",))
            cursor.execute("DROP TABLE log")
            with pytest.raises(NotProvenError, match="1 rows less"):
                source_backup.back_up(migration)
            cursor.execute("CREATE TABLE log (what TEXT)")
        with monkeypatch.context() as patched:
            patched.setattr(dump.shutil, "which", lambda name: None)
            none = source_backup.back_up(migration)
            assert "Parquet files of the run; neither mariadb-dump nor mysqldump" in none.line
        # An account that may only read.
        cursor.execute(f"CREATE USER {mysql_database.name}@'%' IDENTIFIED BY 'p\"\\\\#'")
        try:
            cursor.execute(
                f"GRANT SELECT, SHOW VIEW, TRIGGER ON {mysql_database.name}.* TO "
                f"{mysql_database.name}@'%'"
            )
            server = mysql_database.server
            reader = (
                f"mysql://{mysql_database.name}:p%22%5C%23@{server.host}:{server.port}/"
                f"{mysql_database.name}"
            )
            other = make_migration(tmp_path / "other", reader)
            homes.keep_source_password(other, reader)
            line = source_backup.back_up(other).line
            assert "not restored" in line
            assert "without routines and events" in line
            assert "the account may not create a database" in line
        finally:
            cursor.execute(f"DROP USER {mysql_database.name}@'%'")
