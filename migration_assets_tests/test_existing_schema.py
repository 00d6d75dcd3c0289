"""``schema_mode: existing``: rows into tables that the application's own migrations made."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import psycopg2
import pytest

from migration_assets import home as homes
from migration_assets.cli import run
from migration_assets.command_output import Mask
from migration_assets.core.bookkeeping import framework_of
from migration_assets_tests.conftest import Role, Server
from migration_assets_tests.existing_apps import DJANGO, DJANGO_SCHEMA, PRISMA, PRISMA_SCHEMA
from migration_assets_tests.fixture_databases import FOLDER
from migration_assets_tests.test_truth_maps import _row_faults
from migration_assets_tests.truth_maps import load_truth, truth_map

PRISMA_DEFS = """  schema_mode: existing
  overrides: {User: {columns: {legacyFlag: {drop: true}}}}
"""

FAULTY_DEFS = """  schema_mode: existing
  tables: {exclude: [Lost, shown]}
  overrides: {users: {columns: {nick: {drop: true}, ip: {drop: true},
    age: {drop: true}}}}
"""
SLEEP = "  schema_command: sleep 30\n  schema_command_timeout: 1\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv(homes.VARIABLE, str(path))
    return path


def define(source: str, url: str, schema: str, config: str, home: Path) -> None:
    assert run(["init", source, "--target", url, "--schema", schema]) == 0
    [definition] = home.glob("*/defs.yaml")
    definition.write_text(definition.read_text().rstrip() + "\n" + config)


@pytest.mark.skipif(
    not (FOLDER / "postgres_truth").is_dir(), reason=f"no public databases in {FOLDER}"
)
def test_hydra_goes_into_its_own_postgresql_schema_with_the_rows_its_authors_have(
    database: str, tmp_path: Path, home: Path
) -> None:
    source = f"sqlite:///{FOLDER / 'sqlite/ory_hydra/hydra.sqlite'}"
    load_truth("hydra", database, tmp_path)
    define(source, database, "public", "  schema_mode: existing\n  replace: true\n", home)
    assert run(["plan", source, "--name", "hydra"]) == 0
    assert run(["migrate", source, "--target", database, "--schema", "public"]) == 0
    with closing(psycopg2.connect(database)) as connection:
        with connection.cursor() as cursor:
            cursor.execute("ALTER SCHEMA public RENAME TO ours")
            cursor.execute("ALTER SCHEMA public__previous RENAME TO public")
            # What was there is kept as rows alone, and their keys tell them apart.
            cursor.execute(
                "SELECT format('ALTER TABLE public.%I ADD %s', c.relname,"
                " pg_get_constraintdef(k.oid)) FROM pg_constraint k JOIN pg_class c"
                " ON c.oid = k.conrelid WHERE k.contype = 'p'"
                " AND k.connamespace = 'ours'::regnamespace"
            )
            for (statement,) in cursor.fetchall():
                cursor.execute(statement)
        faults = []
        for table, truth in truth_map("hydra").items():
            faults += _row_faults(connection, table, truth)
    assert faults == []


def make_source(script: str, folder: Path) -> str:
    path = folder / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return f"sqlite:///{path}"


def execute(url: str, schema: str, script: str) -> list[tuple[Any, ...]]:
    """Run SQL where names mean what is in ``schema``; the rows of the last statement."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT set_config('search_path', quote_ident(%s), false)", (schema,))
        cursor.execute(script)
        return cursor.fetchall() if cursor.description else []


def make_schema(url: str, schema: str, script: str) -> None:
    execute(url, schema, f'CREATE SCHEMA "{schema}"; {script}')


def everything(url: str, schema: str) -> list[list[tuple[Any, ...]]]:
    """Objects and rows of a schema, and whatever else of its name there is."""
    tables = execute(
        url, schema, f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}' ORDER BY 1"
    )
    oids = execute(
        url,
        schema,
        "SELECT c.oid, c.relname, n.nspname, c.relkind FROM pg_class c JOIN pg_namespace n"
        f" ON n.oid = c.relnamespace WHERE starts_with(n.nspname, '{schema}') ORDER BY 1",
    )
    rows = [execute(url, schema, f'SELECT * FROM "{name}" ORDER BY 1') for (name,) in tables]
    return [oids, *rows]


def migrate(source: str, url: str, schema: str) -> int:
    return run(["migrate", source, "--target", url, "--schema", schema])


def test_tables_of_django_are_filled_and_stay_what_they_are(
    pg_url: str,
    schema: str,
    tmp_path: Path,
    home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = make_source(DJANGO, tmp_path)
    make_schema(pg_url, schema, DJANGO_SCHEMA)
    before = everything(pg_url, schema)
    define(source, pg_url, schema, "  schema_mode: existing\n", home)
    assert migrate(source, pg_url, schema) == 2
    said = capsys.readouterr()
    assert '"auth_user"."last_login"' in said.err + said.out
    assert "source_timezone: UTC" in said.err + said.out
    assert everything(pg_url, schema) == before

    [definition] = home.glob("*/defs.yaml")
    definition.write_text(definition.read_text() + "  source_timezone: UTC\n")
    assert migrate(source, pg_url, schema) == 0
    assert execute(pg_url, schema, "SELECT * FROM auth_user ORDER BY id") == [
        (1, "pbkdf2$x", utc(2024, 5, 1, 10, 0, 0, 123456), True, "anna", utc(2024, 1, 1, 8)),
        (7, "pbkdf2$y", None, False, "bert", utc(2024, 1, 2, 9, 30, 0, 500_000)),
    ]
    assert execute(pg_url, schema, "SELECT id, total, data, user_id FROM shop_order") == [
        (3, Decimal("12.50"), {"a": [1, 2.5]}, 7),
        (4, Decimal("199.99"), {}, 1),
    ]
    assert execute(pg_url, schema, "SELECT count(*) FROM django_migrations") == [(2,)]
    after = everything(pg_url, schema)
    assert after[0] == before[0], "the tables are the same ones, and nothing is beside them"
    added = "INSERT INTO auth_user (password, is_active, username, date_joined) VALUES"
    assert execute(pg_url, schema, f"{added} ('', true, 'carl', now()) RETURNING id") == [(42,)]

    assert migrate(source, pg_url, schema) == 2
    assert "replace: true" in capsys.readouterr().err
    definition.write_text(definition.read_text() + "  replace: true\n")
    assert migrate(source, pg_url, schema) == 0
    assert everything(pg_url, schema)[1:] == after[1:]
    kept = execute(pg_url, f"{schema}__previous", "SELECT id FROM auth_user ORDER BY 1")
    assert kept == [(1,), (7,), (42,)]
    assert run(["verify", source, "--target", pg_url, "--schema", schema, "--name", "app"]) == 0

    execute(pg_url, schema, "UPDATE shop_order SET total = 1 WHERE id = 3")
    assert run(["rollback", "app", "--emergency"]) == 0
    assert 'table "shop_order": 0 inserted, 1 updated, 0 deleted' in capsys.readouterr().out
    assert execute(pg_url, schema, "SELECT id FROM auth_user ORDER BY 1") == kept
    assert execute(pg_url, schema, f"{added} ('', true, 'dora', now()) RETURNING id") == [(43,)]
    assert execute(pg_url, schema, "SELECT count(*) FROM django_migrations") == [(2,)]
    assert execute(pg_url, f"{schema}__rolled_back", "SELECT total FROM shop_order WHERE id = 3")
    assert execute(pg_url, schema, "SELECT count(*) FROM pg_constraint WHERE conrelid ="
                   " 'shop_order'::regclass AND contype = 'f'") == [(1,)]  # fmt: skip


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


def test_tables_of_prisma_are_found_by_names_alike_and_no_trigger_fires(
    make_role: Callable[..., Role],
    tmp_path: Path,
    home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The role owns its tables, and is nothing more.
    url, schema = make_role().url, "app"
    source = make_source(PRISMA, tmp_path)
    make_schema(url, schema, PRISMA_SCHEMA)
    before = everything(url, schema)
    shown = ["plan", source, "--target", url, "--schema", schema]
    assert run(shown) == 2
    assert "overrides.User.columns: {legacyFlag: {rename: <its column>}}" in capsys.readouterr().err

    define(source, url, schema, PRISMA_DEFS, home)
    capsys.readouterr()
    assert run(["plan", source, "--name", "app"]) == 0
    mapping = " ".join(capsys.readouterr().out.split())
    for said in (
        "blog_post (in the source BlogPost)",
        "author_id authorId INTEGER integer not null",
        "same name but for case and underscores",
        '"Role" not null',
        "by epoch_ms, on the clock of UTC",
        "column searchName of User is computed as lower(email)",
        "column tenantId of User is its default 1",
        'table "_prisma_migrations" of the schema, bookkeeping of Prisma; stays as it is',
        'table "sessions" of the schema, the source has no such table; stays as it is',
        "table _prisma_migrations: bookkeeping of Prisma",
    ):
        assert said in mapping
    assert everything(url, schema) == before

    assert migrate(source, url, schema) == 0
    assert execute(url, schema, 'SELECT * FROM "User" ORDER BY id') == [
        (1, "anna@example.org", "ADMIN", datetime(2024, 1, 1, 0, 0, 0, 123_000),
         9007199254740993, "anna@example.org", 1),
        (5, "bert@example.org", "USER", datetime(2024, 6, 1, 10), None, "bert@example.org", 1),
    ]  # fmt: skip
    assert execute(url, schema, "SELECT title, author_id FROM blog_post") == [(" t ", 5)]
    assert execute(url, schema, "SELECT * FROM audit") == []
    assert execute(url, schema, "SELECT migration_name FROM _prisma_migrations") == [
        ("1_init_postgres",)
    ]
    assert everything(url, schema)[0] == before[0]
    added = """INSERT INTO "User" (email) VALUES ('c') RETURNING id"""
    assert execute(url, schema, added) == [(6,)]
    with pytest.raises(psycopg2.IntegrityError):
        execute(url, schema, 'DELETE FROM "User" WHERE id = 5')
    execute(url, schema, "UPDATE blog_post SET published = false")
    assert execute(url, schema, "SELECT title FROM blog_post") == [("stamped",)]

    # Only the application knows of this reference, so that it breaks when the rows move in.
    execute(url, schema, "INSERT INTO sessions VALUES ('s', 6)")
    [definition] = home.glob("*/defs.yaml")
    definition.write_text(definition.read_text() + "  replace: true\n")
    before = everything(url, schema)
    capsys.readouterr()
    assert migrate(source, url, schema) == 1
    assert "which is as it was: insert or update on table" in capsys.readouterr().out
    assert everything(url, schema)[1:] == before[1:]


@pytest.mark.parametrize(
    ("table", "columns", "framework"),
    [
        ("_prisma_migrations", "id checksum finished_at migration_name logs", "Prisma"),
        ("migrations", "id timestamp name", "TypeORM"),
        ("migrations", "id species distance", None),
        ("django_migrations", "id app name applied", "Django"),
        ("schema_migrations", "version", "Rails"),
        ("flyway_schema_history", "installed_rank version script checksum", "Flyway"),
        ("DATABASECHANGELOG", "ID AUTHOR FILENAME DATEEXECUTED ORDEREXECUTED", "Liquibase"),
        ("alembic_version", "version_num", "Alembic"),
        ("knex_migrations_lock", "index is_locked", "Knex"),
        ("schema_migration", "version version_self", "pop (Kratos, Hydra)"),
        ("strapi_database_schema", "id schema time hash", "Strapi"),
        ("strapi_core_store_settings", "id key value", None),
    ],
)
def test_bookkeeping_is_known_by_name_and_columns(
    table: str, columns: str, framework: str | None
) -> None:
    assert framework_of(table, columns.split()) == framework


FAULTY = """
CREATE TABLE users (id INTEGER PRIMARY KEY, nick TEXT, "Mail" TEXT, ip TEXT, born BLOB, age TEXT);
CREATE TABLE "Lost" (id INTEGER);
CREATE TABLE shown (id INTEGER);
CREATE TABLE schema_migrations (version TEXT);
INSERT INTO users VALUES (1, 'n', 'm', '10.0.0.1', x'00', 'x');
"""

FAULTY_SCHEMA = """
CREATE TABLE "Users" (id integer PRIMARY KEY, mail text, "MAIL" text, ip inet, born date,
    age integer, tenant text NOT NULL);
CREATE VIEW shown AS SELECT 1 AS id;
"""


def test_each_thing_without_a_home_is_named_with_what_to_write(
    database: str,
    make_role: Callable[..., Role],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = make_source(FAULTY, tmp_path)
    make_schema(database, "app", FAULTY_SCHEMA)
    before = everything(database, "app")
    assert run(["plan", source, "--target", database, "--schema", "app"]) == 2
    said = capsys.readouterr().err.splitlines()
    home = "overrides.users.columns"
    assert said == [
        f'error: column "users"."nick" has no column in "app"."Users"; write {home}: '
        "{nick: {rename: <its column>}} or {nick: {drop: true}}",
        'error: column "users"."Mail" could go to "mail" and "MAIL" of "app"."Users"; '
        f"write {home}: {{Mail: {{rename: <its column>}}}} or {{Mail: {{drop: true}}}}",
        'error: column "users"."ip" would go to "app"."Users"."ip" of type inet, which can not be '
        f"loaded and compared here; write {home}: {{ip: {{rename: <its column>}}}} or "
        "{ip: {drop: true}}",
        'error: "app"."Users"."tenant" is NOT NULL without a default, and no column of "users" '
        f"goes there; write {home}: {{<column>: {{rename: tenant}}}}, or give it a default in "
        "PostgreSQL",
        'error: table "Lost" has no table in schema "app"; write overrides: {Lost: {rename: <its '
        "table>}} or tables: {exclude: [Lost]}",
        'error: table "shown" would go to "shown", which is a view of schema "app"; write '
        "overrides: {shown: {rename: <its table>}} or tables: {exclude: [shown]}",
    ]

    execute(database, "app", 'ALTER TABLE "Users" DROP "MAIL", DROP ip, DROP tenant')
    define(source, database, "app", FAULTY_DEFS, tmp_path / "home")
    capsys.readouterr()
    assert run(["plan", source, "--name", "app"]) == 2
    assert 'column "users"."born" holds only blob values' in capsys.readouterr().err
    execute(database, "app", 'ALTER TABLE "Users" ALTER born TYPE bytea USING NULL')
    role = make_role()
    execute(database, "app", f'GRANT ALL ON SCHEMA app TO "{role.name}"')
    execute(database, "app", f'GRANT ALL ON "Users" TO "{role.name}"')
    for url, statement, reason in (
        (role.url, "SELECT 1", "belongs to another role"),
        (database, """INSERT INTO "Users" (id) VALUES (7)""", "has rows already"),
        (database, 'CREATE RULE quiet AS ON DELETE TO "Users" DO INSTEAD NOTHING', "the rule"),
    ):
        execute(database, "app", statement)
        assert run(["plan", source, "--name", "app", "--target", url, "--schema", "app"]) == 2
        assert reason in capsys.readouterr().err
    assert execute(database, "app", 'SELECT id FROM "Users"') == [(7,)]
    assert run(["plan", source, "--name", "app", "--schema", "gone", "--target", database]) == 2
    assert 'there is no schema "gone"' in capsys.readouterr().err
    assert len(everything(database, "app")[0]) == len(before[0])


def test_rows_that_the_schema_does_not_take_leave_the_target_as_it_was(
    pg_url: str,
    schema: str,
    tmp_path: Path,
    home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = make_source(
        PRISMA
        + """INSERT INTO "BlogPost" VALUES
            ('00000000-0000-4000-8000-000000000000', 99, 'orphan', 0, 0),
            ('not a uuid', 1, 'unfit', 0, 1);""",
        tmp_path,
    )
    make_schema(pg_url, schema, PRISMA_SCHEMA)
    before = everything(pg_url, schema)
    define(source, pg_url, schema, PRISMA_DEFS, home)
    capsys.readouterr()
    assert migrate(source, pg_url, schema) == 1
    said = capsys.readouterr().out
    assert 'foreign key "blog_post_author_fkey"' in said
    assert "Key (author_id)=(99) is not present" in said
    assert everything(pg_url, schema)[1:] == before[1:]
    served = f"SELECT relname FROM pg_class WHERE relnamespace = '{schema}'::regnamespace"
    assert execute(pg_url, schema, f"{served} ORDER BY oid") == [
        (name,) for _, name, place, _ in before[0] if place == schema
    ]


MAKE = """
import os, sys, psycopg2
print("connecting to", os.environ["DATABASE_URL"])
connection = psycopg2.connect(os.environ["DATABASE_URL"])
with connection, connection.cursor() as cursor:
    cursor.execute(open("schema.sql").read())
print("made in", os.environ["DATABASE_SCHEMA"])
"""


def test_no_form_of_a_password_is_written_while_a_command_prints(tmp_path: Path) -> None:
    """Read through a named pipe: what a run that is killed would leave."""
    password, log = "s'e cret%/\\\"\u00df", tmp_path / "log"
    os.mkfifo(log)
    reading, writing = os.pipe()
    copying = threading.Thread(target=Mask(password).copy, args=(os.fdopen(reading), log))
    copying.start()
    with os.fdopen(writing, "w") as printed, log.open() as kept:
        for form in (
            password,
            f"{password} and {password}",
            f"postgresql://app:{quote(password, safe='')}@db",
            quote_plus(password).replace("%C3%9F", "%c3%9f").replace("%2F", "%2f"),
            quote(password).lower(),
            json.dumps({"password": password}),
            json.dumps([password], ensure_ascii=False).replace("/", "\\/"),
            repr({"password": password}),
            shlex.quote(password),
            "'" + password.replace("'", "'\\''") + "'",
            "s\\'e\\ cret%/\\\\\\\"\\\u00df",
            "s\\'e\\ cret%/\\\\\\\"\u00df",
        ):
            print("<", form, ">", file=printed, flush=True)
            line = kept.readline()
            assert "***" in line and "cret" not in line and line.endswith(">\n"), (form, line)
        printed.write("x" * 65_530 + password + "half of a line")
        printed.close()
        assert kept.read() == "x" * 65_530 + "***half of a line"
    copying.join()


def test_schema_command_builds_the_target_from_nothing(
    pg_server: Server, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(pg_server.url, "public", "CREATE ROLE app LOGIN PASSWORD 'se cret%'")
    execute(pg_server.url, "public", "GRANT CREATE ON DATABASE postgres TO app")
    url = pg_server.tcp("app", quote("se cret%"))
    source = make_source(PRISMA, tmp_path)
    command = f"  schema_command: {sys.executable} make.py\n"
    define(source, url, "app", PRISMA_DEFS + command, home)
    [definition] = home.glob("*/defs.yaml")
    (definition.parent / "make.py").write_text(MAKE)
    script = definition.parent / "schema.sql"

    script.write_text("CREATE TABLE t (c int); SELECT nonsense")
    capsys.readouterr()
    assert migrate(source, url, "app") == 2
    said = capsys.readouterr()
    assert "schema_command ended with exit code 1" in said.out + said.err
    script.write_text("SELECT 1")
    assert run(["plan", source, "--name", "app"]) == 2
    assert "made no table" in capsys.readouterr().err
    before = definition.read_text()
    definition.write_text(before.replace(command, SLEEP))
    assert run(["plan", source, "--name", "app"]) == 2
    assert "took longer than 1 s and was ended" in capsys.readouterr().err
    definition.write_text(before)
    ours = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'app')"
    assert execute(pg_server.url, "public", ours) == []

    script.write_text(PRISMA_SCHEMA)
    definition.write_text(before + "  policies: {orphans: fail}\n")
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection, connection:
        connection.execute("UPDATE BlogPost SET authorId = 9")
    assert migrate(source, url, "app") == 1
    assert "the policy orphans is fail" in capsys.readouterr().out
    assert execute(pg_server.url, "public", ours) == []
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection, connection:
        connection.execute("UPDATE BlogPost SET authorId = 5")
    definition.write_text(before)
    assert run(["plan", source, "--name", "app"]) == 0
    assert execute(pg_server.url, "public", ours) == []
    for kept in ([("app",)], [("app",), ("app__previous",)]):
        assert migrate(source, url, "app") == 0
        assert execute(pg_server.url, "public", f"{ours} ORDER BY 1") == kept
        execute(url, "app", "UPDATE _prisma_migrations SET checksum = 'z' WHERE checksum = 'y'")
    # The way back takes the bookkeeping of the command along, and what else it made.
    execute(url, "app", "INSERT INTO _prisma_migrations VALUES ('n', 'n', now(), '2_new')")
    assert run(["rollback", "app", "--emergency"]) == 0
    question = "SELECT checksum FROM _prisma_migrations ORDER BY 1"
    assert execute(url, "app", question) == [("z",)]
    assert execute(url, "app__rolled_back", question) == [("n",), ("z",)]
    assert migrate(source, url, "app") == 0
    assert execute(url, "app", 'SELECT id, role FROM "User" ORDER BY 1') == [
        (1, "ADMIN"),
        (5, "USER"),
    ]
    assert execute(url, "app", "SELECT migration_name FROM _prisma_migrations") == [
        ("1_init_postgres",)
    ]
    assert execute(url, "app", "SELECT count(*) FROM audit") == [(0,)]
    execute(url, "app", "UPDATE blog_post SET published = false")
    assert execute(url, "app", "SELECT title FROM blog_post") == [("stamped",)]
    newest = max(home.glob("app/runs/*/evidence.json"), key=lambda path: path.stat().st_mtime)
    evidence = json.loads(newest.read_text())
    assert evidence["schema_command"]["exit_code"] == 0
    for text in (newest.read_text(), (newest.parent / "schema_command.log").read_text()):
        assert "made in app__in_" in text
        assert "se%20cret" not in text and "se cret" not in text
