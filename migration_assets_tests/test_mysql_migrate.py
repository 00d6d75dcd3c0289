"""The whole command on a MySQL database, and the same source again."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import psycopg2
import pytest

from migration_assets import ahead
from migration_assets import home as homes
from migration_assets.cli import run
from migration_assets.launch import launch
from migration_assets.sources.mysql import ranges
from migration_assets_tests.mysql_server import MySQLDatabase, MySQLServer
from migration_assets_tests.small_shop import make_migration

SCRIPT = """
CREATE TABLE users (id int unsigned AUTO_INCREMENT PRIMARY KEY, email varchar(100) NOT NULL UNIQUE,
    name varchar(60) CHARACTER SET latin1 DEFAULT 'nobody', active tinyint(1) NOT NULL DEFAULT 1,
    score double, created datetime DEFAULT CURRENT_TIMESTAMP, note text COMMENT 'free')
    COMMENT 'people';
CREATE TABLE orders (id bigint AUTO_INCREMENT PRIMARY KEY, user_id int unsigned NOT NULL,
    total decimal(10,2) NOT NULL CHECK (total >= 0), placed date, KEY (placed),
    FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE);
INSERT INTO users (email, name, active, score, note) VALUES ('a@x', 'Ä€', 1, 1.5, 'hé'),
    ('b@x', NULL, 0, -0.1, NULL), ('c@x', '', 1, NULL, '');
INSERT INTO orders (user_id, total, placed) VALUES (1, 10.50, '2020-01-01'), (1, 3, NULL),
    (3, 0.01, '1999-12-31');
CREATE VIEW active_users AS SELECT id, email FROM users WHERE active = 1;
"""


@pytest.fixture(scope="module")
def database(mysql_server: MySQLServer) -> Iterator[MySQLDatabase]:
    with mysql_server.database() as made:
        made.script(SCRIPT)
        yield made


def test_migrate_proves_a_mysql_database_and_again_with_the_password_it_kept(
    database: MySQLDatabase,
    pg_url: str,
    schema: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    monkeypatch.setenv("MIGRATION_HOME", str(home))
    server = database.server
    secret = quote(server.password, safe="")
    without = database.url.replace(f":{secret}@", "@")
    for url in (database.url, without):
        arguments = ["migrate", url, "--target", pg_url, "--schema", schema, "--out", str(out)]
        assert run(arguments) == 0, capsys.readouterr()
    evidence = json.loads((out / "evidence.json").read_text())
    source = evidence["source"]
    assert (source["kind"], source["location"]) == ("mysql", without)
    assert source["position"] and source["notes"] == [] and source["bytes"] is None
    with psycopg2.connect(pg_url) as connection, connection.cursor() as cursor:
        cursor.execute(f'SELECT name, note FROM "{schema}".users ORDER BY id')
        assert cursor.fetchall() == [("Ä€", "hé"), (None, None), ("", "")]
        cursor.execute(f'SELECT sum(total) FROM "{schema}".orders')
        assert str(cursor.fetchall()[0][0]) == "13.51"
    (folder,) = (path.parent for path in home.glob("*/defs.yaml"))
    kept = folder / "secrets" / "source.password"
    assert kept.read_text() == server.password and kept.stat().st_mode & 0o777 == 0o600
    for path in home.rglob("*"):
        if path.is_file() and path != kept:
            content = path.read_bytes()
            assert secret.encode() not in content, path
            assert server.password.encode() not in content, path
    captured = capsys.readouterr()
    assert secret not in captured.out + captured.err


def test_a_snapshot_taken_ahead_is_the_runs_own_and_ends_if_no_run_wants_it(
    mysql_server: MySQLServer,
    pg_url: str,
    schema: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranges, "LARGE_ROWS", 1)
    with mysql_server.database() as made:
        made.script(SCRIPT)
        migration = make_migration(tmp_path / "home", made.url, pg_url, schema)
        homes.keep_source_password(migration, made.url)

        def connected() -> int:
            statement = f"SELECT id FROM information_schema.processlist WHERE db = '{made.name}'"
            with closing(made.server.connect()) as connection, connection.cursor() as cursor:
                return int(cursor.execute(statement))

        folder = migration.run_folder(str(uuid.uuid4()))
        with ahead.taken_ahead(migration, folder), folder.lock():  # held until it is taken
            assert connected() > 0
        deadline = time.monotonic() + 30
        while connected() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert connected() == 0

        run_id = str(uuid.uuid4())
        folder = migration.run_folder(run_id)
        with ahead.taken_ahead(migration, folder):
            with (
                folder.lock(),
                closing(made.connect()) as connection,
                connection.cursor() as cursor,
            ):
                cursor.execute("DELETE FROM orders")
            outcome = launch(migration, "shop_rehearsal", run_id=run_id)
        assert outcome.success, outcome.failures
        evidence = json.loads(outcome.folder.evidence.read_text())
        rows = {table["name"]: table["rows_source"] for table in evidence["tables"]}
        assert rows == {"users": 3, "orders": 3}
