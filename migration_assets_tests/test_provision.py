"""Roles with least rights: made by a command, and a whole migration works with them."""

from __future__ import annotations

import re
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest
import yaml

from migration_assets import home as homes
from migration_assets.cli import run
from migration_assets.errors import InputError
from migration_assets.home import Migration
from migration_assets.postgres import scratch
from migration_assets.postgres.connect import Target, connect
from migration_assets_tests import live_shop, small_shop
from migration_assets_tests.conftest import Role, Server
from migration_assets_tests.postgres_tables import ask


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert run(["provision", "shop", *arguments]) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


def take_over(migration: Migration, environment: str, text: str) -> None:
    """Put what is printed for defs.yaml into it: that is all it needs."""
    settings = yaml.safe_load("\n".join(re.findall(r"^--   (.*)$", text, re.MULTILINE)))
    document = yaml.safe_load(migration.defs_yaml.read_text())
    attributes = document["attributes"]
    attributes["targets"][environment] |= settings.pop("targets")[environment]
    attributes["cutover"] |= settings.pop("cutover", {})
    attributes |= settings
    migration.defs_yaml.write_text(yaml.safe_dump(document))


def test_roles_that_provision_makes_do_it_all_and_none_is_a_superuser(
    pg_server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv(homes.VARIABLE, str(home))
    source = small_shop.make_source(tmp_path / "shop.db")
    place = f"postgresql://127.0.0.1:{pg_server.port}/shop_db"
    gate = "  gate: {rehearsals: 1}\n"
    migration = live_shop.make_live(home, source, place, "shop", gate)
    # The administrator of a hosted server: no superuser either.
    ask(
        pg_server.url,
        "CREATE ROLE boss LOGIN CREATEROLE CREATEDB PASSWORD 'b'; CREATE ROLE weak LOGIN PASSWORD"
        " 'w'",
    )
    admin = pg_server.tcp("boss", "b")

    script = printed(capsys)
    assert '\\connect "shop_db"\nBEGIN;' in script and '\\password "shop_app"' in script
    assert "PASSWORD '" not in script and not list((migration.folder / "secrets").iterdir())
    assert printed(capsys, "--admin", admin) == script
    refusal = printed(capsys, "--admin", pg_server.tcp("weak", "w"), "--apply", code=2)
    assert "permission denied to create database; nothing was changed" in refusal
    assert printed(capsys, "--admin", admin) == script

    made = printed(capsys, "--admin", admin, "--apply")
    files = {p.name: p for p in (migration.folder / "secrets").iterdir()}
    # Staging is on the same server, where the same roles log in.
    assert sorted(files) == [
        "production.password",
        "production_app.password",
        "staging.password",
        "staging_app.password",
    ]
    secrets = {name: path.read_text().strip() for name, path in files.items()}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files.values())
    assert not any(secret in made for secret in secrets.values())
    take_over(migration, "production", made)
    assert "Nothing lacks" in printed(capsys, "--admin", admin, "--apply")
    assert {p.name: p.read_text().strip() for p in files.values()} == secrets
    [verifier] = ask(pg_server.url, "SELECT rolpassword FROM pg_authid WHERE rolname = 'shop_app'")
    assert verifier.startswith("SCRAM-SHA-256$")
    take_over(migration, "staging", printed(capsys, "--environment", "staging", "--admin", admin))

    migration = homes.load(home, "shop")
    assert run(["preflight", "shop"]) == 0, capsys.readouterr()
    live_shop.rehearse(migration)
    live_shop.approve(migration)
    outcome, evidence = live_shop.cut_over(migration)
    assert outcome.success, evidence.run.reasons
    [swapped] = [check.detail for check in evidence.checks.target if check.name == "swap"]
    assert swapped.endswith("app_role lost none of its rights and has 17")
    app_url = pg_server.tcp("shop_app", secrets["production_app.password"], "shop_db")
    loader_url = pg_server.tcp("shop_loader", secrets["production.password"], "shop_db")
    assert ask(app_url, "INSERT INTO users (name) VALUES ('Eve') RETURNING id") == [8]
    assert ask(app_url, "SELECT count(*) FROM buyers") == [3]
    for url, statement in (
        (app_url, "DROP TABLE users"),
        (app_url, "CREATE TABLE more (n int)"),
        (app_url, "CREATE TABLE public.more (n int)"),
        (app_url, "SELECT * FROM migration_assets.runs"),
        (loader_url, "SELECT * FROM shop.users"),
        (loader_url, "CREATE SCHEMA mine"),
    ):
        with pytest.raises(psycopg2.Error, match="permission denied|must be owner"):
            ask(url, statement)
    owners = "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname !~ '^pg_|^info'"
    database = pg_server.url.replace("/postgres?", "/shop_db?")
    assert ask(database, owners) == ["shop_owner"]
    assert ask(database, "SELECT DISTINCT who FROM migration_assets.runs") == ["shop_loader"]
    # The application's own migrations, run as the owner, make tables that it can use.
    ask(loader_url, "SET ROLE shop_owner; CREATE TABLE shop.later (n int)")
    assert ask(app_url, "INSERT INTO later VALUES (1) RETURNING n") == [1]
    ask(loader_url, "SET ROLE shop_owner; DROP TABLE shop.later")

    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("INSERT INTO users VALUES (20, 'Late', NULL)")
    live_shop.rehearse(migration)
    live_shop.approve(migration)
    outcome, evidence = live_shop.cut_over(migration)
    assert outcome.success, evidence.run.reasons
    assert ask(app_url, "INSERT INTO users (name) VALUES ('After') RETURNING id") == [21]
    assert run(["rollback", "shop"]) == 0, capsys.readouterr()
    assert 'table "users": 1 inserted' in capsys.readouterr().out
    assert ask(app_url, "SELECT name FROM users WHERE id > 7") == ["Eve"]
    assert ask(app_url, "INSERT INTO users (name) VALUES ('Again') RETURNING id") == [22]
    assert "Nothing lacks" in printed(capsys, "--admin", admin)

    changed = printed(capsys, "--admin", admin, "--apply", "--new-passwords")
    assert changed.count("-- Password written") == 4
    with pytest.raises(InputError, match="wrong password"):
        ask(app_url, "SELECT 1")
    new = files["production_app.password"].read_text().strip()
    assert ask(pg_server.tcp("shop_app", new, "shop_db"), "SELECT 1") == [1]
    # Rights that are more than least are told.
    ask(pg_server.url, "ALTER ROLE shop_app SUPERUSER; ALTER ROLE shop_owner LOGIN")
    warned = printed(capsys, "--admin", admin)
    assert 'warning: role "shop_owner" can log in' in warned
    assert 'warning: role "shop_app" may become "shop_owner"' in warned


def test_roles_that_can_not_be_made_leave_nothing_and_say_why(
    pg_server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv(homes.VARIABLE, str(home))
    source = small_shop.make_source(tmp_path / "shop.db")
    migration = small_shop.make_migration(home, source)
    assert "is the embedded PostgreSQL" in printed(capsys, code=2)
    place = f"postgresql://127.0.0.1:{pg_server.port}"
    text = migration.defs_yaml.read_text()
    migration.defs_yaml.write_text(text.replace("url: embedded", f"url: {place}"))
    assert "names no database" in printed(capsys, code=2)
    migration.defs_yaml.write_text(text.replace("url: embedded", f"url: {place}/shop_db"))
    assert "defs.yaml has no targets: production" in printed(
        capsys, "--environment", "production", code=2
    )
    assert "--apply needs --admin" in printed(capsys, "--apply", code=2)
    assert "must be three roles" in printed(capsys, "--app", "x", "--owner", "x", code=2)

    # A database that is another's: GRANT by who may not is a mere warning of PostgreSQL.
    ask(pg_server.url, "CREATE ROLE boss LOGIN CREATEROLE PASSWORD 'b'")
    for statement in ("CREATE DATABASE shop_db", "CREATE DATABASE latin ENCODING 'LATIN1'"
                      " TEMPLATE template0 LOCALE 'C'"):  # fmt: skip
        connection = psycopg2.connect(pg_server.url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()
    roles = "SELECT rolname::text FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1"
    before = ask(pg_server.url, roles)
    admin = pg_server.tcp("boss", "b")
    said = printed(capsys, "--admin", admin, "--apply", code=2)
    assert said.startswith("error: ") and said.count("\n") == 1
    assert "nothing was changed" in said
    assert ask(pg_server.url, roles) == before
    assert [p.name for p in (migration.folder / "secrets").iterdir()] == []
    migration.defs_yaml.write_text(text.replace("url: embedded", f"url: {place}/latin"))
    assert "encoded in LATIN1" in printed(capsys, "--admin", pg_server.url, code=2)


def test_a_database_of_ones_own_goes_with_the_sessions_that_are_left_in_it(
    database: str, make_role: Callable[..., Role]
) -> None:
    loader, owner = make_role(create=False), make_role(create=False)
    ask(
        database,
        f"ALTER ROLE {owner.name} CREATEDB; ALTER ROLE {loader.name} NOINHERIT;"
        f"GRANT {owner.name} TO {loader.name}",
    )
    target = Target(loader.url, "shop", role=owner.name)
    with scratch.empty_database(target) as made:
        left = connect(made)
        name = left.info.dbname
        assert ask(database, f"SELECT 1 FROM pg_database WHERE datname = '{name}'") == [1]
    assert ask(database, f"SELECT 1 FROM pg_database WHERE datname = '{name}'") == []
    left.close()


def test_a_new_database_takes_the_tables_in_its_schema_public(
    pg_server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv(homes.VARIABLE, str(home))
    source = small_shop.make_source(tmp_path / "shop.db")
    place = f"postgresql://127.0.0.1:{pg_server.port}/fresh"
    small_shop.make_migration(home, source, place, "public")
    ask(pg_server.url, "CREATE ROLE boss LOGIN CREATEROLE CREATEDB PASSWORD 'b'")
    admin = pg_server.tcp("boss", "b")
    said = printed(capsys, "--admin", admin, "--apply")
    assert 'GRANT USAGE, CREATE ON SCHEMA "public" TO "shop_owner"' in said
    assert "Nothing lacks" in printed(capsys, "--admin", admin, "--apply")
    # The administrator was a member only for as long as it took.
    fresh = pg_server.tcp("boss", "b", "fresh")
    assert ask(fresh, "SELECT pg_has_role('boss', 'shop_owner', 'USAGE')") == [False]
    assert ask(fresh, "SELECT defaclobjtype::text FROM pg_default_acl ORDER BY 1") == ["S", "r"]
