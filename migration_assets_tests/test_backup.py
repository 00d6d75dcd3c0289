"""Backups of what is live, and the proof that they restore."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from migration_assets import backup, backup_store, restore_drill
from migration_assets import home as homes
from migration_assets.assets.keys import Keys
from migration_assets.cli import run
from migration_assets.core.backup import Backup, Contents, Drill
from migration_assets.core.naming import quote
from migration_assets.core.preflight import Finding, Verdict
from migration_assets.definitions import assemble
from migration_assets.errors import BrokenOffError, InputError
from migration_assets.home import Migration
from migration_assets.launch import instance
from migration_assets.postgres import contents, embedded, pg_tools
from migration_assets.postgres.connect import Target, connect, pooled
from migration_assets.postgres.patience import limit_locks, patiently
from migration_assets.preflight import backups
from migration_assets.progress import Progress
from migration_assets_tests.conftest import Role
from migration_assets_tests.postgres_tables import ask
from migration_assets_tests.small_shop import configure

STAGING = "staging"
SCHEMA = 'The "shop"'

EVERYTHING = """
CREATE TYPE {0}.mood AS ENUM ('glad', 'Sad ß');
CREATE SEQUENCE {0}.down INCREMENT -5;
CREATE TABLE {0}."t" (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t text, "Ä b""c" numeric, f float8, b bytea,
    j json, jb jsonb, a text[], mood {0}.mood, at timestamptz, twice bigint GENERATED ALWAYS AS
    (length(t) * 2) STORED
);
INSERT INTO {0}."t" (t, "Ä b""c", f, b, j, jb, a, mood, at)
    SELECT 'x' || g, g / 3.0, CASE g WHEN 1 THEN 'NaN' ELSE g / 7.0 END, decode('00ff', 'hex'),
        '{{"b": 1,  "a": 2}}', '{{"b": 1}}', ARRAY['a,b', NULL], 'Sad ß', '2026-01-01 12:00+05'
    FROM generate_series(1, 100) g;
INSERT INTO {0}."t" (t) VALUES (NULL), (NULL), (E'tab\\there');
CREATE TABLE {0}.part (day date, n int, PRIMARY KEY (day, n)) PARTITION BY RANGE (day);
CREATE TABLE {0}.part_1 PARTITION OF {0}.part FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
INSERT INTO {0}.part VALUES ('2026-01-05', 1);
CREATE TABLE {0}.empty ();
CREATE TABLE {0}.child (t bigint REFERENCES {0}."t", CHECK (t > 0));
INSERT INTO {0}.child VALUES (1);
CREATE VIEW {0}.seen AS SELECT t FROM {0}."t";
CREATE MATERIALIZED VIEW {0}.kept AS SELECT count(*) FROM {0}."t";
CREATE FUNCTION {0}.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER touch BEFORE UPDATE ON {0}.child FOR EACH ROW EXECUTE FUNCTION {0}.touch();
ALTER TABLE {0}.child ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON {0}.child USING (t < 0);
SELECT nextval({1});
"""


@pytest.fixture
def role(database: str, make_role: Callable[..., Role]) -> Role:
    """One without superuser, which may make databases."""
    made = make_role()
    ask(database, sql.SQL("ALTER ROLE {} CREATEDB").format(sql.Identifier(made.name)))
    return made


@pytest.fixture
def migration(tmp_path: Path, role: Role) -> Migration:
    made = homes.create(tmp_path, "shop", "sqlite:///shop.db", role.url, SCHEMA)
    return configure(made, "  backup: {keep: 1}\n")


def fill(url: str) -> None:
    name = sql.Identifier(SCHEMA)
    ask(url, sql.SQL("CREATE SCHEMA {}").format(name))
    down = sql.Literal(f"{quote(SCHEMA)}.down")
    ask(url, sql.SQL(EVERYTHING).format(name, down))


def back_up(migration: Migration, reason: str = backup.ASKED) -> Backup:
    target = backup.target_of(migration, STAGING)
    return backup.back_up(migration, STAGING, target, Progress(), reason=reason)


def drill(migration: Migration, made: Backup, *places: str) -> Drill:
    targets = [Target(url, SCHEMA) for url in places] or [backup.target_of(migration, STAGING)]
    return restore_drill.drill(migration, made, targets, Progress())


def change(url: str, statement: str) -> None:
    ask(url, sql.SQL(statement).format(sql.Identifier(SCHEMA)))


def preflight_of(migration: Migration, url: str) -> list[Finding]:
    connection = connect(url)
    try:
        target = backup.target_of(migration, STAGING)
        return list(backups.look(connection, migration, STAGING, target))
    finally:
        connection.close()


def scratch_databases(url: str) -> list[str]:
    return ask(url, "SELECT datname FROM pg_database WHERE datname LIKE 'migration_assets_%'")


def test_a_backup_restores_to_the_same_values_and_every_damage_is_found(
    migration: Migration, role: Role
) -> None:
    with pytest.raises(InputError, match="has no tables: there is nothing to back up"):
        back_up(migration)
    fill(role.url)
    made = back_up(migration)
    place = backup_store.folder(migration, STAGING) / made.id
    rows = {table.table: table.rows for table in made.contents.tables}
    assert rows == {"t": 103, "part_1": 1, "empty": 0, "child": 1}
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    for path in place.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert backup.find(migration, STAGING) == made == backup.find(migration, STAGING, made.id[:12])

    # Of a drill that was killed.
    left = connect(role.url)
    left.autocommit = True
    with left.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE migration_assets_{'0' * 12}")
    left.close()
    done = drill(migration, made)
    assert done.problems == () and done.passed and (done.tables, done.rows) == (4, 105)
    assert backup.read_drill(migration, STAGING, made.id) == done
    assert scratch_databases(role.url) == []

    # It is the restored database that is looked at, whatever becomes of the live one.
    change(role.url, "DELETE FROM {}.child")
    target = pooled(backup.target_of(migration, STAGING), 4)
    assert target.pool
    assert restore_drill.drill(migration, made, [target], Progress()).passed
    target.pool.close()

    # What the manifest says decides: rows, one value, one object, one sequence.
    record = json.loads((place / backup_store.MANIFEST).read_text())
    record["contents"]["tables"][0]["rows"] += 1
    record["contents"]["tables"][3]["digest"] = "0" * 32
    record["contents"]["objects"]["indexes"] += 1
    record["contents"]["sequences"][f"{SCHEMA}.down"] = 7
    (place / backup_store.MANIFEST).write_text(json.dumps(record))
    assert drill(migration, backup.find(migration, STAGING)).problems == (
        f'table "{SCHEMA}.child" has 1 rows, not 2',
        f'table "{SCHEMA}.t" has other values in its 103 rows',
        f'sequence "{SCHEMA}.down" is at 1, it was at 7',
        "3 indexes, there were 4",
    )
    file = max((place / "dump").iterdir(), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[:-1])
    damaged = drill(migration, made)
    assert (
        damaged.problems == (f"file dump/{file.name} is damaged: its checksum is another one",)
        and not damaged.tables
    )
    assert scratch_databases(role.url) == []


def test_an_extension_that_a_role_may_not_make_is_named_and_another_server_will_do(
    migration: Migration, role: Role, database: str
) -> None:
    ask(database, "CREATE EXTENSION vector")
    change(role.url, "CREATE SCHEMA {0}; CREATE TABLE {0}.v AS SELECT '[1,2]'::vector AS v")
    made = back_up(migration)
    assert drill(migration, made).problems[0] == (
        'extension "vector" can not be made (permission denied to create extension "vector")'
    )
    ask(database, sql.SQL("ALTER ROLE {} NOCREATEDB").format(sql.Identifier(role.name)))
    with pytest.raises(InputError, match=rf'role "{role.name}" may make no database at .*CREATEDB'):
        drill(migration, made)
    assert drill(migration, made, role.url, database).passed
    looked_at = {f.name: f for f in preflight_of(migration, role.url)}
    assert looked_at["backup"].verdict is Verdict.GO
    assert looked_at["restore drill"].verdict is Verdict.NO_GO


def test_one_changed_value_changes_the_digest_and_another_order_of_rows_does_not(
    migration: Migration, role: Role
) -> None:
    def digest() -> str:
        return back_up(migration).contents.tables[-1].digest

    fill(role.url)
    first = digest()
    change(role.url, "UPDATE {}.t SET t = t WHERE id < 50")
    assert digest() == first
    change(role.url, "UPDATE {}.t SET f = f + 1e-9 WHERE id = 70")
    assert digest() != first
    change(
        role.url, "UPDATE {0}.t SET f = f - 1e-9 WHERE id = 70; INSERT INTO {0}.t (t) VALUES ('')"
    )
    assert digest() != first
    assert len(backup_store.ids(migration, STAGING)) == 1  # backup.keep


def fake(folder: Path, name: str, version: int, does: str = "") -> None:
    """A program of PostgreSQL that fails in its own way."""
    folder.mkdir(exist_ok=True)
    says = f'[ "$1" = --version ] && echo "{name} (PostgreSQL) {version}.1" && exit 0'
    (folder / name).write_text(f"#!/bin/sh\n{says}\n{does}\n")
    (folder / name).chmod(0o755)


def test_the_program_that_fits_the_server_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(pg_tools, "FOLDERS", (str(tmp_path / "*"),))
    fake(tmp_path, "pg_dump", 14)
    fake(tmp_path / "a", "pg_dump", 17)
    fake(tmp_path / "b", "pg_dump", 16)
    found = [pg_tools.find("pg_dump", version).path.parent.name for version in (14, 15, 17)]
    assert found == [tmp_path.name, "b", "a"]
    assert pg_tools.find("pg_dump", 18).path == embedded.program("pg_dump")
    with pytest.raises(InputError, match=r"pg_dump is of version 17, the server of 18"):
        pg_tools.find("pg_dump", 18, encrypted=True)  # the bundled one knows no TLS
    with pytest.raises(InputError, match=r"is of version 18, the server of 99: install the client"):
        pg_tools.find("pg_dump", 99)
    monkeypatch.setattr(embedded, "PACKAGE", "not_installed")
    with pytest.raises(InputError, match="there is no pg_restore on this machine: install"):
        pg_tools.find("pg_restore", 18)


def test_a_password_is_no_argument_and_no_part_of_a_complaint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text("s3cret word\n")
    target = Target("postgresql://me@db.internal/shop", "shop", tmp_path / "password", role="owner")
    says = f'echo "$PGPASSWORD" > {tmp_path}/got; echo "$@" >> {tmp_path}/got'
    complains = """echo "pg_dump: error: no, $PGPASSWORD"; echo "pg_restore: error: COPY failed: """
    complains += """ERROR:  invalid input syntax for type date: \\"4111 1111\\""; exit 1"""
    fake(tmp_path, "pg_dump", 18, f"{says}; {complains}")
    tool = pg_tools.Tool(tmp_path / "pg_dump", 18)
    with pg_tools.running(tool, ["--jobs=2"], target, "the backup") as finished:
        broken = "COPY failed: ERROR: invalid input syntax for type date: (a value)"
        assert finished() == ["no, ***", broken]
    password, arguments = (tmp_path / "got").read_text().splitlines()
    assert password == "s3cret word" and "s3cret" not in arguments
    assert "host=db.internal" in arguments and "-crole=owner" in arguments


def test_a_backup_that_fails_says_why_and_leaves_nothing(
    migration: Migration, role: Role, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill(role.url)
    place = backup_store.folder(migration, STAGING)
    with (
        backup_store.locked(migration, STAGING),
        pytest.raises(InputError, match="another backup or restore drill of shop .* is under way"),
    ):
        back_up(migration)
    (place / "20200101T000000Z.part").mkdir()  # of a process that was killed
    change(database, "CREATE TABLE {}.others AS SELECT 1 AS secret")
    with pytest.raises(InputError, match=r'table ".*\.others" can not be read: permission denied'):
        back_up(migration)
    change(database, "DROP TABLE {}.others")

    read = contents.read

    def exchanged(*arguments: Any) -> Contents:
        found = read(*arguments)
        change(
            database, "ALTER SCHEMA {0} RENAME TO away; CREATE SCHEMA {0}; CREATE TABLE {0}.t ()"
        )
        return found

    with monkeypatch.context() as patched, pytest.raises(BrokenOffError, match="was exchanged"):
        patched.setattr(contents, "read", exchanged)
        back_up(migration)
    change(database, "DROP SCHEMA {0} CASCADE; ALTER SCHEMA away RENAME TO {0}")

    def swapped(*arguments: Any) -> Contents:
        found = read(*arguments)
        other = connect(role.url)
        lock = sql.SQL("LOCK TABLE {}.t IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(SCHEMA))

        def work(cursor: Cursor) -> None:
            limit_locks(cursor)
            cursor.execute(lock)

        assert patiently(other, SCHEMA, 20, work)[1] == 2
        other.close()
        return found

    with monkeypatch.context() as patched, pytest.raises(BrokenOffError, match="broke off"):
        patched.setattr(contents, "read", swapped)
        back_up(migration)

    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    says = "echo 'pg_dump: error: could not write to file: No space left on device' >&2; exit 1"
    fake(tmp_path / "bin", "pg_dump", 18, says)
    with pytest.raises(BrokenOffError, match="No space left on device; make room, then run again"):
        back_up(migration)
    fake(tmp_path / "bin", "pg_dump", 18, "kill -9 $$")
    with pytest.raises(InputError, match="pg_dump ended with exit code -9"):
        back_up(migration)
    assert [path.name for path in place.iterdir()] == ["lock"]


def test_kept_are_the_newest_of_each_reason_and_the_newest_that_was_restored(
    migration: Migration, role: Role
) -> None:
    change(role.url, "CREATE SCHEMA {0}; CREATE TABLE {0}.t AS SELECT 1 AS n")
    restored = back_up(migration)
    assert drill(migration, restored).passed
    swap = back_up(migration, backup.BEFORE_SWAP)
    later = [back_up(migration, backup.SCHEDULE) for _ in range(2)]
    kept = {restored.id, swap.id, later[1].id}
    assert set(backup_store.ids(migration, STAGING)) == kept
    assert drill(migration, later[1]).passed
    asked = back_up(migration)
    assert set(backup_store.ids(migration, STAGING)) == {swap.id, later[1].id, asked.id}
    with pytest.raises(
        InputError, match=f'"nothing" is no backup of staging of shop; .* {asked.id}'
    ):
        backup.find(migration, STAGING, "nothing")


def test_the_commands_and_the_schedule_do_the_same_by_jobs(
    migration: Migration,
    role: Role,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def said(*arguments: str) -> tuple[int, str]:
        code = run(list(arguments))
        return code, "".join(capsys.readouterr())

    monkeypatch.setenv(homes.VARIABLE, str(migration.home))
    code, text = said("restore-drill", "shop")
    assert code == 2 and "there is no backup of staging of shop: make one with" in text
    with instance(migration.home) as dagster:
        job = assemble([migration]).resolve_job_def("shop_backup")
        tags = {"dagster/schedule_name": "shop_backup"}
        assert job.execute_in_process(instance=dagster, tags=tags).success
    assert backup_store.ids(migration, STAGING) == []  # nothing was live
    change(role.url, "CREATE SCHEMA {0}; CREATE TABLE {0}.t AS SELECT 1 AS n")
    code, text = said("backup", "shop")
    (newest,) = backup_store.ids(migration, STAGING)
    assert code == 0 and f"Backup {newest} of staging" in text and "1 tables, 1 rows" in text
    code, text = said("restore-drill", "shop", "--backup", newest[:9])
    assert code == 0 and f"backup {newest} of staging restores: 1 tables, 1 rows" in text
    (dump,) = (backup.place_of(migration, STAGING, newest) / "dump").glob("*.dat.gz")
    dump.unlink()
    code, text = said("restore-drill", "shop", "--json")
    assert code == 1 and f"file dump/{dump.name} is missing" in text
    with instance(migration.home) as dagster:
        key = Keys("shop").backups(STAGING)
        made = dagster.fetch_materializations(key, limit=9).records
        drills = dagster.fetch_observations(key, limit=9).records
        values = made[0].asset_materialization.metadata
        assert (len(made), len(drills)) == (1, 2) and values["backup"].value == newest
    assert list((migration.folder / "runs").iterdir()) == []
