"""The look before a run: whatever speaks against it is found before anything is written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest

from migration_assets import home as homes
from migration_assets import pause, run_lock
from migration_assets.cli import run
from migration_assets.core.preflight import (
    Finding,
    Sizes,
    Verdict,
    needed_here,
    needed_on_target,
)
from migration_assets.errors import InputError
from migration_assets.home import Migration
from migration_assets.postgres import marker, run_log, tls
from migration_assets.postgres.connect import Target, parameters, session
from migration_assets.preflight import capacity, database, look, source, staged
from migration_assets.preflight.staged import Staged
from migration_assets_tests import small_shop
from migration_assets_tests.conftest import Role

NOBODY = "postgresql://me@localhost:1/nothing"
"""No server is there."""

MakeRole = Callable[..., Role]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Migration]:
    """A function that makes the migration ``shop`` with this production target."""
    monkeypatch.setenv("MIGRATION_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("migration_assets.preflight.source.QUIET_SECONDS", 0.01)
    source = small_shop.make_source(tmp_path / "shop.db")

    def make(url: str, lines: str = "", **target: Any) -> Migration:
        migration = small_shop.make_migration(homes.home_path(), source, NOBODY)
        keys = {"url": url, "schema": "shop", **target}
        text = migration.defs_yaml.read_text()
        production = f"    production: {json.dumps(keys)}\n\n  # Which tables"
        migration.defs_yaml.write_text(text.replace("\n  # Which tables", production, 1))
        return small_shop.configure(migration, lines)

    return make


def verdicts(findings: list[Finding]) -> dict[str, Verdict]:
    """The worst verdict of each name."""
    order = list(Verdict)
    found: dict[str, Verdict] = {}
    for finding in findings:
        worst = found.get(finding.name, Verdict.GO)
        found[finding.name] = max(worst, finding.verdict, key=order.index)
    return found


def reason(findings: list[Finding], name: str) -> str:
    """What is said against a run under a name."""
    return " | ".join(f.reason for f in findings if f.name == name and f.verdict != Verdict.GO)


def test_a_run_that_may_begin_is_go_and_nothing_is_written(
    shop: Callable[..., Migration],
    database: str,
    make_role: MakeRole,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    role = make_role()
    monkeypatch.setenv("DATABASE_URL", role.url)
    migration = shop("{{ env.DATABASE_URL }}", pool=8)
    before = sorted(path.name for path in migration.folder.iterdir())
    assert run(["preflight", "shop"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "shop, production: GO, 3 warnings"
    sensitive, said, drill = [line for line in lines if line.startswith("warning: ")]
    assert sensitive.startswith("warning: sensitive: users.born may be")
    assert "CREATEDB" in drill
    small_shop.configure(migration, "  sensitive: {users: [born]}\n")
    assert said.startswith("warning: disk: a load needs about ") and "can not be known" in said
    with psycopg2.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(f"GRANT pg_read_all_settings TO {role.name}")
        cursor.execute(f"ALTER ROLE {role.name} CREATEDB")
    assert run(["preflight", "shop", "--environment", "production", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["go"] and record["environment"] == "production"
    assert {f["verdict"] for f in record["findings"]} == {"go"}
    assert run(["preflight", "nothing"]) == 2
    assert sorted(path.name for path in migration.folder.iterdir()) == before
    with psycopg2.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname !~ '^(pg_|information_)'")
        assert cursor.fetchone() == (1,)  # public


def test_a_source_that_is_written_to_must_be_stopped_before_a_cutover(
    shop: Callable[..., Migration], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migration = shop("postgresql://me@localhost:1/d")
    written = "UPDATE users SET name = name || '.'"

    def application(_seconds: float) -> None:
        with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
            connection.execute(written)

    def quiet(environment: str, found: Migration = migration) -> Finding:
        findings: list[Finding] = []
        assert source.look(found, environment, findings) is not None
        return next(finding for finding in findings if finding.name == "quiet")

    monkeypatch.setattr(source, "time", SimpleNamespace(sleep=application))
    assert quiet("staging").verdict is Verdict.GO
    stopped = quiet("production")
    assert stopped.verdict is Verdict.NO_GO and "cutover.hooks.stop_app" in stopped.reason
    hooks = "  cutover: {hooks: {stop_app: 'true', freeze: 'true'}}"
    stopped = quiet("production", small_shop.configure(migration, hooks))
    assert stopped.verdict is Verdict.GO and "stop_app and freeze must end" in stopped.reason
    written = "SELECT 1"
    assert "nobody wrote" in quiet("production").reason


def test_everything_that_speaks_against_a_run_is_named_at_once(
    shop: Callable[..., Migration], database: str, make_role: MakeRole, tmp_path: Path
) -> None:
    role, app = make_role(create=False), make_role()
    migration = shop(role.url, f"  app_role: {app.name}")
    (tmp_path / "shop.db").write_bytes(b"no database")
    pause.begin(migration.folder, "lunch")
    busy = psycopg2.connect(database)
    with busy.cursor() as cursor:
        run_log.ensure_log(busy)
        cursor.execute(f"ALTER ROLE {role.name} CONNECTION LIMIT 3")
        cursor.execute(f"ALTER ROLE {role.name} SET default_transaction_read_only = on")
        cursor.execute(f"REVOKE CONNECT ON DATABASE {busy.info.dbname} FROM public")
        cursor.execute(f"GRANT CONNECT ON DATABASE {busy.info.dbname} TO {role.name}")
        for name, migrated, state in (
            ("shop", "another", marker.Role.LIVE),
            ("shop__in_aaaaaaaa", "shop", marker.Role.INCOMING),
            ("shop__in_bbbbbbbb", "shop", marker.Role.INCOMING),
        ):
            cursor.execute(f"CREATE SCHEMA {name}")
            cursor.execute(f"CREATE TABLE {name}.users (id int)")
            marker.write_mark(cursor, name, marker.Mark(migrated, name[-8:], state))
        cursor.execute(f"GRANT USAGE ON SCHEMA migration_assets TO {role.name}")
        cursor.execute(f"GRANT SELECT ON migration_assets.runs TO {role.name}")
        busy.commit()
        marker.hold(cursor, "shop__in_bbbbbbbb")
        busy.commit()
        found = look(migration, "production")
        said = verdicts(found)
        assert {name for name, verdict in said.items() if verdict is Verdict.NO_GO} == {
            "runs", "source", "rights", "log", "schema", "writes", "connections",
            "leftovers", "app role", "restore drill",
        }  # fmt: skip
        assert "paused" in reason(found, "runs") and "lunch" in reason(found, "runs")
        assert "GRANT CREATE ON DATABASE" in reason(found, "rights")
        assert "belongs to migration another" in reason(found, "schema")
        assert "3 connections are left of the role" in reason(found, "connections")
        assert 'at work in schema "shop__in_bbbbbbbb"' in reason(found, "leftovers")
        assert 'drops schema "shop__in_aaaaaaaa"' in reason(found, "leftovers")
        assert "GRANT CONNECT ON DATABASE" in reason(found, "app role")
        own = look(migration, "production", run_id="bbbbbbbb-0000")
        assert "runs" not in verdicts(own)
        assert verdicts(own)["leftovers"] is Verdict.WARNING
    busy.close()
    assert run(["preflight", "shop"]) == 1
    with run_lock.held(replace(migration, folder=tmp_path), "r1"):
        found = look(replace(migration, folder=tmp_path), "production")
        assert "run r1 of shop is under way" in reason(found, "runs")


def test_what_a_rehearsal_had_must_be_in_production_as_well(
    shop: Callable[..., Migration], database: str
) -> None:
    migration = shop(database, pool=100)
    target = Target(database, "shop")
    rehearsed = Staged(130001, "de_DE.UTF-8", 10**18, ("vector", "no_such_extension"))
    busy = psycopg2.connect(database)
    with busy.cursor() as cursor, session(target, "a test") as connection:
        cursor.execute("CREATE EXTENSION vector; CREATE SCHEMA shop; CREATE TABLE shop.a (id int)")
        cursor.execute("ALTER TABLE shop.a ADD COLUMN v vector(3)")
        cursor.execute("CREATE INDEX ON shop.a USING hnsw (v vector_l2_ops)")
        cursor.execute(staged.EXTENSIONS, ("shop",))
        assert cursor.fetchall() == [("vector",)]
        busy.commit()
        cursor.execute("LOCK TABLE shop.a")
        monkey = pytest.MonkeyPatch()
        monkey.setattr(capacity, "LONG_SECONDS", -1)
        found = list(database_look(connection, migration, target, rehearsed, Sizes(1000, 10**6)))
        monkey.undo()
    busy.close()
    said = verdicts(found)
    assert {name for name, verdict in said.items() if verdict is not Verdict.GO} == {
        "version", "encoding", "extensions", "connections", "locks", "transactions", "disk",
        "schema",
    }  # fmt: skip
    assert said["version"] is said["encoding"] is said["connections"] is Verdict.WARNING
    assert "no_such_extension, which is not in this database; install" in reason(
        found, "extensions"
    )
    assert "vector" not in reason(found, "extensions").replace("no_such", "")
    assert said["disk"] is said["locks"] is Verdict.NO_GO
    assert "SELECT pg_terminate_backend(" in reason(found, "transactions")


def database_look(
    connection: Any, migration: Migration, target: Target, rehearsed: Staged, sizes: Sizes
) -> Iterator[Finding]:
    return database.look(connection, migration, "production", target, rehearsed, sizes, None)


def test_sizes_and_clocks_are_judged_with_room_to_spare() -> None:
    assert needed_on_target(1000, 10, 10**9) == 2250 and needed_on_target(None, 10, 1) == 26
    assert needed_on_target(None, None, 1) is None and needed_here(None, None) is None
    assert (needed_here(100, 1), needed_here(None, 100)) == (150, 300)
    assert capacity.apart(100, 99, 101).verdict is Verdict.GO
    ahead, behind = capacity.apart(130, 99, 100), capacity.apart(0, 99, 100)
    assert ahead.verdict is Verdict.WARNING and "30 s ahead of" in ahead.reason
    assert behind.verdict is Verdict.NO_GO and "99 s behind" in behind.reason


def test_production_is_reached_over_a_network_with_verified_tls_only(
    shop: Callable[..., Migration], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGSSLMODE", "PGHOST", "PGHOSTADDR", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    for url, refused in {
        "postgresql://u@db.invalid/d": True,
        "postgresql://u@db.invalid/d?sslmode=require": True,
        "postgresql://u@localhost,db.invalid/d": True,
        "postgresql://u@localhost/d?hostaddr=192.0.2.1": True,
        "postgresql://u@/d?service=x": True,
        "postgresql://u@db.invalid/d?sslmode=verify-full": False,
        "postgresql://u@db.invalid/d?sslmode=verify-ca": False,
        "postgresql://u@localhost/d": False,
        "postgresql://u@127.3.2.1/d": False,
        "postgresql://u@[::1]/d": False,
        "postgresql:///d?host=/var/run/postgresql": False,
        "postgresql:///d": False,
    }.items():
        parameters(Target(url, "s"))
        if refused:
            with pytest.raises(InputError, match="refuses .* without verified TLS .*sslmode=verif"):
                parameters(Target(url, "s", verified=True))
        else:
            found = parameters(Target(url, "s", verified=True))
            assert found.get("gssencmode") == (None if tls.is_local(found) else "disable")
    monkeypatch.setenv("PGHOST", "db.invalid")
    with pytest.raises(InputError, match="without verified TLS"):
        parameters(Target("postgresql:///d", "s", verified=True))
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    parameters(Target("postgresql:///d", "s", verified=True))
    monkeypatch.delenv("PGHOST")
    monkeypatch.delenv("PGSSLMODE")

    migration = shop("postgresql://u@192.0.2.1/d")
    found = look(migration, "production")
    assert "refuses 192.0.2.1/d without verified TLS" in reason(found, "target")
    with pytest.raises(InputError, match="has no targets: production"):
        config = migration.config.model_copy(
            update={"targets": {"staging": migration.config.targets["staging"]}}
        )
        look(replace(migration, config=config), "production")
    allowed = shop_target(migration, allow_unverified_tls=True)
    found = look(allowed, "production")
    assert verdicts(found)["tls"] is Verdict.WARNING
    assert "which defs.yaml allows" in reason(found, "tls")


def shop_target(migration: Migration, **keys: Any) -> Migration:
    """The migration with a production target that nobody answers, and these keys."""
    url = "postgresql://u@no.invalid/d"
    production = migration.config.targets["production"].model_copy(update={"url": url, **keys})
    targets = {**migration.config.targets, "production": production}
    return replace(migration, config=migration.config.model_copy(update={"targets": targets}))
