"""The swap: all or nothing, under readers and writers, with the rights of the old tables."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest

from migration_assets import constraints, load
from migration_assets.core.plan import IndexPlan, Plan, ViewPlan
from migration_assets.errors import BrokenOffError, InputError, NotProvenError
from migration_assets.postgres import admission
from migration_assets.postgres.connect import Target, connect
from migration_assets.postgres.swap import drop_incoming, swap
from migration_assets.progress import Progress
from migration_assets.run_folder import RunFolder
from migration_assets_tests.conftest import Role
from migration_assets_tests.postgres_tables import ask, column, load_all, profile_of, table

A = table(
    "a",
    column("id", "bigint", nullable=False, identity=True),
    column("v", "text"),
    primary_key=("id",),
    indexes=(IndexPlan("a_v", ('"v"',)),),
)
B = table("b", column("id", "bigint", nullable=False), column("v", "text"), primary_key=("id",))
PLAN = Plan((A, B), (ViewPlan("both", 'SELECT a."v" AS av, b."v" AS bv FROM "a" a, "b" b', ""),))


def run(
    url: str, schema: str, folder: Path, name: str, swapped: bool = True, migration: str = "shop"
) -> None:
    """A whole run that writes ``name`` into both tables."""
    target, incoming = Target(url, schema), f"{schema}__in_{name}"
    admission.check_target(target, migration)
    load.prepare(target, incoming, name, migration)
    load_all(url, schema, folder, {A: [[1], [name]], B: [[1], [name]]}, name)
    done = constraints.apply(
        target, incoming, PLAN, profile_of({"a": 2, "b": None}), RunFolder(folder), Progress()
    )
    assert [r for r in done if r.error] == []
    if swapped:
        swap(target, incoming, migration, name, planned=["a", "b"], rows=2, plan_digest="d")


def live(url: str, schema: str) -> list[str]:
    return ask(url, f'SELECT av || bv FROM "{schema}".both')


def schemas(url: str) -> list[str]:
    return ask(
        url, "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_|^information' ORDER BY 1"
    )


def test_first_second_and_third_run_go_live_and_the_one_before_is_kept(
    database: str, make_role: Callable[..., Role], tmp_path: Path
) -> None:
    url = make_role().url  # CREATE on the database is all that it takes
    for name, before in (("r1", None), ("r2", "r1"), ("r3", "r2")):
        run(url, "shop", tmp_path, name)
        assert live(url, "shop") == [name + name]
        if before:
            assert live(url, "shop__previous") == [before + before]
    assert schemas(database) == ["migration_assets", "public", "shop", "shop__previous"]
    assert ask(url, "SELECT run_id, outcome, tables, rows, plan_digest, finished_at > started_at"
               " FROM migration_assets.runs ORDER BY 1") == [
        (name, "live", 2, 2, "d", True) for name in ("r1", "r2", "r3")
    ]  # fmt: skip


def test_in_public_tables_are_moved_and_what_is_others_stays(
    database: str, make_role: Callable[..., Role], tmp_path: Path
) -> None:
    role = make_role()
    ask(database, f"ALTER SCHEMA public OWNER TO {role.name}")
    ask(database, "CREATE FUNCTION public.kept() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    ask(database, f"GRANT USAGE ON SCHEMA public TO {make_role().name}")
    before = ask(database, "SELECT nspacl::text FROM pg_namespace WHERE nspname = 'public'")
    for name in ("r1", "r2", "r3"):
        run(role.url, "public", tmp_path, name)
        assert live(role.url, "public") == [name + name]
        assert ask(role.url, "INSERT INTO a (v) VALUES ('x') RETURNING id, kept()") == [(2, 1)]
    assert live(role.url, "public__previous") == ["r2r2", "xr2"]
    assert ask(database, "SELECT nspacl::text FROM pg_namespace WHERE nspname = 'public'") == before
    assert schemas(database) == ["migration_assets", "public", "public__previous"]


def test_preflight_refuses_what_is_not_ours_and_writes_nothing(
    database: str, make_role: Callable[..., Role], tmp_path: Path
) -> None:
    url = make_role().url
    ask(database, "CREATE SCHEMA app; CREATE TABLE app.users (id int); CREATE SCHEMA empty")
    ask(database, f"ALTER SCHEMA app OWNER TO {make_role().name}")
    before = schemas(database)
    for user, schema, said in (
        (make_role(create=False).url, "shop", "has no CREATE right"),
        (url, "app", "may not create in it"),
        (database, "app", 'holds table "users", which this migration did not make'),
        (database, "pg_shop", "reserved"),
        (url, "empty", "may not create in it"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            admission.check_target(Target(user, schema), "shop")
        assert "\n" not in str(caught.value)
    for schema in ("empty", "new"):
        admission.check_target(Target(database, schema), "shop")
    assert schemas(database) == before


def test_another_migrations_schema_and_added_tables_are_refused(
    database: str, tmp_path: Path
) -> None:
    run(database, "shop", tmp_path, "r1")
    target = Target(database, "shop")
    with pytest.raises(InputError, match='"shop" belongs to migration shop; .*--schema NAME'):
        admission.check_target(target, "other")
    with pytest.raises(InputError, match="is the previous schema|is the incoming schema"):
        load.prepare(target, "shop__in_x", "x", "shop")
        admission.check_target(Target(database, "shop__in_x"), "shop")
    ask(database, "CREATE TABLE shop.added (id int)")
    with pytest.raises(InputError, match='holds table "added"'):
        admission.check_target(target, "shop")
    ask(database, "DROP TABLE shop.added; CREATE VIEW public.report AS SELECT * FROM shop.a")
    with pytest.raises(InputError, match=r"view (public\.)?report depends on tables"):
        admission.check_target(target, "shop")
    ask(database, "DROP VIEW public.report")
    admission.check_target(target, "shop")


def test_another_roles_log_is_told_with_the_grant_that_helps(
    database: str, make_role: Callable[..., Role], tmp_path: Path
) -> None:
    first, second = make_role(), make_role()
    run(first.url, "shop", tmp_path, "r1")
    with pytest.raises(InputError, match="GRANT USAGE") as caught:
        admission.check_target(Target(second.url, "other"), "other")
    for statement in str(caught.value).split(": ", 1)[1].split("; "):
        ask(first.url, statement)
    run(second.url, "other", tmp_path, "o1", migration="shop")


def test_a_partial_run_is_not_swapped(database: str, tmp_path: Path) -> None:
    run(database, "shop", tmp_path, "r1")
    run(database, "shop", tmp_path, "r2", swapped=False)
    ask(database, "DROP TABLE shop__in_r2.b CASCADE")
    target = Target(database, "shop")
    with pytest.raises(NotProvenError, match='lacks 1 planned tables: "b"'):
        swap(target, "shop__in_r2", "shop", "r2", planned=["a", "b"])
    with pytest.raises(NotProvenError, match="holds 1 tables, the plan 2"):
        swap(target, "shop__in_r2", "shop", "r2", tables=2)
    assert live(database, "shop") == ["r1r1"]
    drop_incoming(target, "shop__in_r2", "shop", "r2")
    assert "shop__in_r2" not in schemas(database)
    assert ask(database, "SELECT outcome FROM migration_assets.runs WHERE run_id = 'r2'") == [
        "failed"
    ]


def test_a_swap_done_twice_changes_nothing(database: str, tmp_path: Path) -> None:
    run(database, "shop", tmp_path, "r1")
    run(database, "shop", tmp_path, "r2")
    result = swap(Target(database, "shop"), "shop__in_r2", "shop", "r2", planned=["a", "b"])
    assert (result.schema, result.previous) == ("shop", "shop__previous")
    assert live(database, "shop") == ["r2r2"] and live(database, "shop__previous") == ["r1r1"]


def test_a_lock_that_stays_breaks_off_and_one_that_goes_does_not(
    database: str, tmp_path: Path
) -> None:
    run(database, "shop", tmp_path, "r1")
    run(database, "shop", tmp_path, "r2", swapped=False)
    holder = connect(database)
    with holder.cursor() as cursor:
        cursor.execute("INSERT INTO shop.a (v) VALUES ('open')")
    target = Target(database, "shop")
    with pytest.raises(
        BrokenOffError, match=r"got no locks within.*process \d+ of migration_assets for \d s"
    ):
        swap(target, "shop__in_r2", "shop", "r2", patience=0.5)
    assert live(database, "shop") == ["r1r1"] and "shop__in_r2" in schemas(database)
    release = threading.Timer(0.8, holder.commit)
    release.start()
    result = swap(target, "shop__in_r2", "shop", "r2")
    release.join()
    holder.close()
    assert result.attempts > 1 and live(database, "shop") == ["r2r2"]
    assert ask(database, "SELECT v FROM shop__previous.a ORDER BY 1") == ["open", "r1"]


def test_rights_go_over_to_the_new_tables(
    database: str, make_role: Callable[..., Role], tmp_path: Path
) -> None:
    owner, reader = make_role(), make_role(create=False)
    run(owner.url, "shop", tmp_path, "r1")
    ask(
        owner.url,
        f"GRANT USAGE ON SCHEMA shop TO {reader.name} WITH GRANT OPTION; GRANT SELECT ON "
        "shop.both TO PUBLIC;"
        f"GRANT SELECT, UPDATE ON shop.a TO {reader.name}; GRANT SELECT (v) ON shop.b TO "
        f"{reader.name};"
        f"GRANT USAGE ON SEQUENCE shop.a_id_seq TO {reader.name};"
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO {reader.name}",
    )
    question = (
        "SELECT c.relname::text, coalesce(c.relacl::text, ''), (SELECT string_agg(attacl::text, '')"
        " FROM pg_attribute WHERE attrelid = c.oid), n.nspacl::text,"
        " (SELECT string_agg(defaclacl::text, '') FROM pg_default_acl WHERE defaclnamespace = "
        "n.oid)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'shop' AND c.relkind IN ('r', 'v', 'S') ORDER BY 1"
    )
    before = ask(database, question)
    run(owner.url, "shop", tmp_path, "r2")
    assert ask(database, question) == before
    assert ask(reader.url, "UPDATE shop.a SET v = 'x' RETURNING v") == ["x"]
    assert ask(reader.url, "SELECT v FROM shop.b") == ["r2"]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        ask(reader.url, "SELECT id FROM shop.b")


@pytest.mark.parametrize("schema", ["shop", "public"])
def test_readers_and_writers_see_one_state_or_the_other(
    database: str, tmp_path: Path, schema: str
) -> None:
    run(database, schema, tmp_path, "r1")
    run(database, schema, tmp_path, "r2", swapped=False)
    stop, failed, seen, written = threading.Event(), Counter[str](), Counter[str](), Counter[str]()

    def read() -> None:
        connection = connect(database)
        connection.autocommit = True
        with connection.cursor() as cursor:
            while not stop.is_set():
                try:
                    cursor.execute(f'SELECT av || bv FROM "{schema}".both LIMIT 1')
                    seen[cursor.fetchone()[0]] += 1
                except psycopg2.Error as error:
                    failed[str(error)] += 1
        connection.close()

    def write() -> None:
        connection = connect(database)
        with connection.cursor() as cursor:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    cursor.execute(
                        f'INSERT INTO "{schema}".b (id, v) VALUES (%s, %s)', (number + 9, "w")
                    )
                    connection.commit()
                    written["b"] += 1
                except psycopg2.Error as error:
                    connection.rollback()
                    failed[str(error)] += 1
        connection.close()

    threads = [threading.Thread(target=work) for work in (read, read, write)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    swap(Target(database, schema), f"{schema}__in_r2", "shop", "r2", planned=["a", "b"])
    time.sleep(0.2)
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == {} and set(seen) == {"r1r1", "r2r2"}
    kept = ask(
        database,
        f'SELECT (SELECT count(*) FROM "{schema}".b) + (SELECT count(*) FROM '
        f'"{schema}__previous".b) - 2',
    )
    assert kept == [written["b"]]
