"""The command line's contract: exit codes, one line for bad input, and nothing written then."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest

from migration_assets import home as homes
from migration_assets.cli import cli, run
from migration_assets_tests import small_shop
from migration_assets_tests.conftest import Role, Server

ROOT = Path(__file__).parent.parent


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "home"
    monkeypatch.setenv(homes.VARIABLE, str(path))
    return path


@pytest.fixture
def shop(tmp_path: Path) -> str:
    return small_shop.make_source(tmp_path / "shop.db")


def schemas(url: str) -> set[str]:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT nspname FROM pg_namespace")
        return {name for (name,) in cursor.fetchall()}


def refused(capsys: pytest.CaptureFixture[str], home: Path, *arguments: str) -> str:
    """Run a command that must be refused; returns its one line."""
    assert run(list(arguments)) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("error: ")
    assert not list(home.glob("*/defs.yaml"))
    return lines[0]


def test_migrate_proves_and_verify_proves_again_until_something_is_changed(
    shop: str,
    pg_url: str,
    schema: str,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    arguments = ["--target", pg_url, "--schema", schema]
    assert run(["migrate", shop, *arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "PROVEN" in printed
    assert "order items: 4 rows, 4 identical" in printed
    evidence = json.loads((out / "evidence.json").read_text())
    assert {t["name"]: t["rows_identical"] for t in evidence["tables"]} == small_shop.TABLES
    assert (out / "report.html").stat().st_mode & 0o777 == 0o600
    assert (out / "ledger.parquet").exists()

    assert run(["verify", shop, *arguments, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["run"]["verdict"] == "proven"
    assert again["target"]["server_version"] == evidence["target"]["server_version"] is not None
    with psycopg2.connect(pg_url) as connection, connection.cursor() as cursor:
        cursor.execute(f"UPDATE {schema}.users SET name = 'Eve' WHERE id = 7")
        cursor.execute(f"DROP INDEX {schema}.items_user")
        # What is translated may be missing where another tool loaded; this run had made it.
        cursor.execute(f"DROP VIEW {schema}.buyers")
    assert run(["verify", shop, *arguments, "--json"]) == 1
    reasons = json.loads(capsys.readouterr().out)["run"]["reasons"]
    assert any(
        '"users", content: rows 1 changed, in columns "name", keys [7]' in r for r in reasons
    )
    assert any("items_user" in reason for reason in reasons)
    assert any('"buyers"' in reason and "is missing" in reason for reason in reasons)


def test_a_run_repeated_is_one_more_run_of_the_same_migration(
    shop: str, pg_url: str, schema: str, home: Path
) -> None:
    for _ in range(2):
        assert run(["migrate", shop, "--target", pg_url, "--schema", schema]) == 0
    assert homes.migration_names(home) == ["shop"]
    assert len(list((home / "shop" / "runs").iterdir())) == 2
    assert f"{schema}__previous" in schemas(pg_url)


def make_missing(folder: Path) -> Path:
    return folder / "missing.db"


def make_text(folder: Path) -> Path:
    path = folder / "text.db"
    path.write_text("this is not a database, but it is longer than a header of one" * 20)
    return path


def make_truncated(folder: Path) -> Path:
    path = folder / "truncated.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 500,) for _ in range(200)])
    connection.close()
    path.write_bytes(path.read_bytes()[:40_000])
    return path


def make_folder(folder: Path) -> Path:
    path = folder / "folder.db"
    path.mkdir()
    return path


def make_meeting_names(folder: Path) -> Path:
    path = folder / "names.db"
    connection = sqlite3.connect(path)
    connection.execute(f'CREATE TABLE t ("{"n" * 63}a" INT, "{"n" * 63}b" INT)')
    connection.close()
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_missing, "no such file"),
        (make_text, "not a SQLite database"),
        (make_truncated, "truncated"),
        (make_folder, "folder"),
        (make_meeting_names, "63 bytes"),
    ],
)
def test_an_unusable_source_is_one_line_and_nothing_is_written(
    make: Callable[[Path], Path],
    words: str,
    database: str,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = schemas(database)
    line = refused(capsys, home, "migrate", f"sqlite:///{make(tmp_path)}", "--target", database)
    assert words in line
    assert schemas(database) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_an_unreadable_file_is_refused(
    shop: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shop.db").chmod(0)
    assert "permission" in refused(capsys, home, "migrate", shop)


def test_an_unknown_kind_of_source_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "oracle" in refused(capsys, home, "migrate", "oracle://db/app")


def test_a_server_that_is_down_is_known_at_once(
    shop: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, home, "migrate", shop, "--target", "postgresql://me@127.0.0.1:1/app")
    assert "127.0.0.1:1" in line


def test_wrong_password_and_unknown_database_are_told_without_the_password(
    shop: str, home: Path, pg_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = pg_server.tcp("postgres", "hunter2")
    line = refused(capsys, home, "migrate", shop, "--target", wrong)
    assert "password" in line
    assert "hunter2" not in line
    with psycopg2.connect(pg_server.url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE ROLE loader LOGIN PASSWORD 's3cret'")
    line = refused(
        capsys, home, "migrate", shop, "--target", pg_server.tcp("loader", "s3cret", "nowhere")
    )
    assert "nowhere" in line
    assert "s3cret" not in line


def test_a_role_that_may_not_create_schemas_is_refused(
    shop: str, home: Path, make_role: Callable[..., Role], capsys: pytest.CaptureFixture[str]
) -> None:
    role = make_role(create=False)
    line = refused(capsys, home, "migrate", shop, "--target", role.url)
    assert "CREATE" in line
    assert role.name in line


def test_a_role_with_create_on_the_database_is_enough(
    shop: str, home: Path, make_role: Callable[..., Role]
) -> None:
    assert run(["migrate", shop, "--target", make_role().url]) == 0


def test_a_schema_with_tables_of_others_is_never_touched(
    shop: str, home: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg2.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA theirs CREATE TABLE precious (a int)")
    arguments = ("migrate", shop, "--target", database, "--schema", "theirs")
    line = refused(capsys, home, *arguments)
    assert "theirs" in line
    assert "--schema" in line


@pytest.mark.parametrize(
    ("lines", "words"),
    [("  tabels: {}\n", "tabels"), ("  targets: {staging: {url: embedded, shema: x}}\n", "shema")],
)
def test_an_unknown_key_in_defs_yaml_is_refused_by_name(
    lines: str,
    words: str,
    shop: str,
    pg_url: str,
    schema: str,
    home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["init", shop, "--target", pg_url, "--schema", schema]) == 0
    path = home / "shop" / "defs.yaml"
    text = path.read_text()
    if "targets" in lines:
        text = re.sub(r"\n  targets:\n(    .*\n|\n(?=    ))*", "\n", text)
    path.write_text(text.rstrip() + "\n" + lines)
    capsys.readouterr()
    assert run(["migrate", shop, "--target", pg_url, "--schema", schema]) == 2
    line = capsys.readouterr().err.strip()
    assert words in line
    assert "defs.yaml" in line
    assert schema not in schemas(pg_url)


def test_a_table_that_cannot_be_read_leaves_the_run_unproven_until_it_is_left_out(
    shop: str,
    pg_url: str,
    schema: str,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE broken (a, b)")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = 'CREATE TABLE (' WHERE name = 'broken'")
    connection.close()
    arguments = ["migrate", shop, "--target", pg_url, "--schema", schema]
    assert run(arguments) == 1
    assert 'table "broken" can not be read' in capsys.readouterr().out
    assert schema not in schemas(pg_url)
    path = home / "shop" / "defs.yaml"
    path.write_text(path.read_text() + "  tables: {exclude: [broken]}\n")
    assert run(arguments) == 0


def test_plan_prints_types_reasons_and_what_stays_behind_without_a_target(
    shop: str, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TRIGGER told AFTER INSERT ON users BEGIN SELECT 1; END")
    connection.close()
    assert run(["plan", shop]) == 0
    printed = capsys.readouterr().out
    assert "numeric(10,2)" in printed
    assert "trigger told" in printed
    assert run(["plan", shop, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [table["name"] for table in plan["tables"]] == list(small_shop.TABLES)
    assert not home.exists()


def test_init_writes_a_commented_file_once(
    shop: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = "postgresql://me:s3cret@db.example/app"
    assert run(["init", shop, "--target", target]) == 0
    text = (home / "shop" / "defs.yaml").read_text()
    assert "# The database to move" in text
    assert "#   order items" in text
    assert "s3cret" not in text
    assert homes.load(home, "shop").config.source == shop
    assert run(["init", shop, "--target", target]) == 2
    assert "is there already" in capsys.readouterr().err


def test_database_url_is_the_target_where_none_is_given_and_this_is_said(
    shop: str,
    home: Path,
    make_role: Callable[..., Role],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://me:s3cret@db.example/app")
    assert run(["init", shop]) == 0
    said = capsys.readouterr().err
    assert "db.example/app, by DATABASE_URL; --target embedded" in said and "s3cret" not in said
    target = homes.load(home, "shop").config.targets["staging"]
    assert target.url == "postgresql://me@db.example/app"
    assert "s3cret" not in (home / "shop" / "defs.yaml").read_text()
    assert (home / "shop" / "secrets" / "staging.password").read_text() == "s3cret"

    def other() -> str:
        """The target of the newest other migration."""
        [name] = [n for n in homes.migration_names(home) if n != "shop"]
        url = homes.load(home, name).config.targets["staging"].url
        shutil.rmtree(home / name)
        return url

    assert run(["init", shop, "--target", "embedded"]) == 0
    assert other() == "embedded" and "DATABASE_URL" not in capsys.readouterr().err
    monkeypatch.setenv("DATABASE_URL", "mysql://me@db.example/app")  # the application's own
    assert run(["init", shop]) == 0
    assert other() == "embedded"
    monkeypatch.setenv("DATABASE_URL", make_role(create=False).url)
    for command in (["migrate", shop], ["verify", shop, "--schema", "nowhere"]):
        assert run(command) == 2
        said = capsys.readouterr().err
        assert "by DATABASE_URL" in said and ("CREATE" in said or "nowhere" in said)
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:s3@cret@db.example/app")
    assert run(["migrate", shop]) == 2
    assert "s3" not in capsys.readouterr().err


def test_verify_of_a_schema_that_is_not_there_is_bad_input(
    shop: str, pg_url: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, home, "verify", shop, "--target", pg_url, "--schema", "nowhere_to_be")
    assert "nowhere_to_be" in line


def test_every_command_and_option_in_the_docs_exists() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(path.read_text() for path in documents)
    for name, rest in re.findall(r"migration-assets ([a-z-]+)([^`\n]*)", text):
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None, name
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options, (name, rest)
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_a_table_whose_largest_number_is_used_arrives_and_has_no_next_one_either(
    pg_url: str, schema: str, home: Path, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "last.db") as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
        connection.execute("INSERT INTO t VALUES (1, 'x'), (9223372036854775807, 'y')")
    connection.close()
    source = f"sqlite:///{tmp_path / 'last.db'}"
    assert run(["migrate", source, "--target", pg_url, "--schema", schema]) == 0
    with (
        psycopg2.connect(pg_url) as target,
        target.cursor() as cursor,
        pytest.raises(psycopg2.errors.SequenceGeneratorLimitExceeded),
    ):
        cursor.execute(f"INSERT INTO {schema}.t (a) VALUES ('z')")
