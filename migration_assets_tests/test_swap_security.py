"""The swap and what guards or publishes the live tables: policies, publications, additions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest

from migration_assets.errors import InputError, NotProvenError
from migration_assets.postgres import admission
from migration_assets.postgres import swap as swaps
from migration_assets.postgres.connect import Target
from migration_assets_tests.conftest import Role
from migration_assets_tests.postgres_tables import ask
from migration_assets_tests.test_swap import live, run

POLICIES = (
    "SELECT tablename::text, policyname::text, permissive, roles::text, cmd, qual, with_check"
    " FROM pg_policies WHERE schemaname = %s ORDER BY 1, 2"
)
FLAGS = (
    "SELECT relname::text, relrowsecurity, relforcerowsecurity, reloptions FROM pg_class"
    " WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'v') ORDER BY 1"
)
PUBLISHED = (
    "SELECT p.pubname::text, r.prrelid::regclass::text, r.prattrs::text,"
    " pg_get_expr(r.prqual, r.prrelid)"
    " FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid ORDER BY 1, 2"
)


@pytest.fixture
def owner(database: str, make_role: Callable[..., Role]) -> Role:
    """A loader that is no superuser and owns the schema it may load into."""
    role = make_role()
    ask(database, f"ALTER SCHEMA public OWNER TO {role.name}")
    return role


@pytest.mark.parametrize("schema", ["shop", "public"])
def test_row_security_goes_over_to_the_new_tables(
    database: str, owner: Role, make_role: Callable[..., Role], tmp_path: Path, schema: str
) -> None:
    reader = make_role(create=False)
    run(owner.url, schema, tmp_path, "r1")
    ask(
        owner.url,
        f"GRANT USAGE ON SCHEMA {schema} TO {reader.name};"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader.name};"
        f"GRANT INSERT ON {schema}.b TO {reader.name};"
        f"ALTER TABLE {schema}.a ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        f"ALTER TABLE {schema}.b ENABLE ROW LEVEL SECURITY;"
        f'CREATE POLICY "see %s {{}}" ON {schema}.a FOR SELECT TO {reader.name}, {owner.name}'
        f" USING (v LIKE '%s{{}}' OR EXISTS (SELECT 1 FROM {schema}.b WHERE b.id < a.id));"
        f"CREATE POLICY few ON {schema}.b USING (id > 5) WITH CHECK (id > 7);"
        f"CREATE POLICY fewer ON {schema}.b AS RESTRICTIVE FOR INSERT WITH CHECK (id < 10);"
        f"ALTER VIEW {schema}.both SET (security_invoker = true)",
    )
    policies, flags = ask(database, POLICIES, schema), ask(database, FLAGS, schema)
    assert len(policies) == 3 and flags[0] == ("a", True, True, None)
    for name in ("r2", "r3"):
        run(owner.url, schema, tmp_path, name)
        assert ask(database, POLICIES, schema) == policies
        assert ask(database, FLAGS, schema) == flags
        ask(database, f"INSERT INTO {schema}.b VALUES (6, 'six')")
        assert ask(reader.url, f"SELECT v FROM {schema}.b") == ["six"]
        assert ask(reader.url, f"SELECT v FROM {schema}.a") == []
        assert ask(reader.url, f"SELECT av FROM {schema}.both") == []
        ask(reader.url, f"INSERT INTO {schema}.b VALUES (8, 'eight')")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            ask(reader.url, f"INSERT INTO {schema}.b VALUES (11, 'eleven')")


def test_a_policy_goes_over_when_the_tables_are_another_roles(
    database: str, make_role: Callable[..., Role], tmp_path: Path
) -> None:
    loader, group = make_role(), make_role()
    ask(database, f"GRANT {group.name} TO {loader.name}")
    run(loader.url, "shop", tmp_path, "r1")
    ask(
        database,
        f"ALTER TABLE shop.a OWNER TO {group.name}; ALTER TABLE shop.a ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY mine ON shop.a USING (id = 1)",
    )
    policies = ask(database, POLICIES, "shop")
    run(loader.url, "shop", tmp_path, "r2")
    assert ask(database, POLICIES, "shop") == policies
    assert ask(database, "SELECT tableowner::text FROM pg_tables WHERE tablename = 'a'"
               " AND schemaname = 'shop'") == [group.name]  # fmt: skip


def test_a_policy_that_can_not_go_over_refuses_the_swap(database: str, tmp_path: Path) -> None:
    run(database, "shop", tmp_path, "r1")
    run(database, "shop", tmp_path, "r2", swapped=False)
    target = Target(database, "shop")
    ask(
        database,
        "ALTER TABLE shop__in_r2.b RENAME v TO w;"
        "CREATE POLICY mine ON shop.b USING (v = current_user)",
    )
    with pytest.raises(NotProvenError, match='policy "mine" on table "shop"."b" .*"?v"? does') as e:
        swaps.swap(target, "shop__in_r2", "shop", "r2")
    assert "\n" not in str(e.value) and live(database, "shop") == ["r1r1"]
    ask(
        database,
        "DROP POLICY mine ON shop.b; DROP TABLE shop__in_r2.b CASCADE;"
        "CREATE POLICY ours ON shop.a USING (id IN (SELECT id FROM shop.b))",
    )
    with pytest.raises(NotProvenError, match='policy "ours" on table "shop"."a" .*"b", which is'):
        swaps.swap(target, "shop__in_r2", "shop", "r2")
    assert live(database, "shop") == ["r1r1"]


def test_a_policy_made_while_the_swap_waits_is_not_lost(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(database, "shop", tmp_path, "r1")
    run(database, "shop", tmp_path, "r2", swapped=False)
    lock, late = swaps.lock_tables, ["CREATE POLICY late ON shop.a USING (id = 1)"]

    def lock_later(*args: object) -> None:
        if late:
            ask(database, late.pop())
        lock(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(swaps, "lock_tables", lock_later)
    assert swaps.swap(Target(database, "shop"), "shop__in_r2", "shop", "r2").attempts == 2
    assert [row[1] for row in ask(database, POLICIES, "shop")] == ["late"]


@pytest.mark.parametrize("schema", ["shop", "public"])
def test_publications_go_over_to_the_new_tables(
    database: str, owner: Role, tmp_path: Path, schema: str
) -> None:
    run(owner.url, schema, tmp_path, "r1")
    ask(
        owner.url,
        f"CREATE PUBLICATION whole FOR TABLE {schema}.a, {schema}.b;"
        f"CREATE PUBLICATION part FOR TABLE {schema}.a (id) WHERE (id > 5);"
        f"ALTER TABLE {schema}.b REPLICA IDENTITY FULL",
    )
    before = ask(database, PUBLISHED)
    assert len(before) == 3
    for name in ("r2", "r3"):
        run(owner.url, schema, tmp_path, name)
        assert ask(database, PUBLISHED) == before
    assert ask(database, f"SELECT relreplident FROM pg_class WHERE oid = '{schema}.b'::regclass"
               ) == ["f"]  # fmt: skip


def test_a_published_schema_goes_over_if_a_superuser_swaps(
    database: str, make_role: Callable[..., Role], tmp_path: Path
) -> None:
    loader = make_role()
    run(loader.url, "shop", tmp_path, "r1")
    ask(database, "CREATE PUBLICATION all_of_it FOR TABLES IN SCHEMA shop")
    run(loader.url, "shop", tmp_path, "r2", swapped=False)
    with pytest.raises(NotProvenError, match='"shop" in publication "all_of_it" .*superuser'):
        swaps.swap(Target(loader.url, "shop"), "shop__in_r2", "shop", "r2")
    swaps.swap(Target(database, "shop"), "shop__in_r2", "shop", "r2")
    assert ask(database, "SELECT DISTINCT schemaname::text FROM pg_publication_tables") == ["shop"]


def test_anothers_publication_is_told_with_the_statement_that_helps(
    database: str, make_role: Callable[..., Role], tmp_path: Path
) -> None:
    loader = make_role()
    target = Target(loader.url, "shop")
    run(loader.url, "shop", tmp_path, "r1")
    run(loader.url, "shop", tmp_path, "r2", swapped=False)
    ask(database, "CREATE PUBLICATION theirs FOR TABLE shop.b")
    with pytest.raises(NotProvenError, match='in publication "theirs" .*OWNER TO'):
        swaps.swap(target, "shop__in_r2", "shop", "r2")
    assert live(database, "shop") == ["r1r1"]
    with pytest.raises(InputError, match='"shop"."b" is in publication "theirs"') as caught:
        admission.check_target(target, "shop")
    ask(database, str(caught.value).split(": ", 1)[1])
    admission.check_target(target, "shop")
    swaps.swap(target, "shop__in_r2", "shop", "r2")
    assert [row[:2] for row in ask(database, PUBLISHED)] == [("theirs", "shop.b")]


def test_what_others_added_to_our_schema_is_named_before_a_run(
    database: str, tmp_path: Path
) -> None:
    ask(database, "CREATE FUNCTION public.noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'")
    run(database, "shop", tmp_path, "r1")
    target = Target(database, "shop")
    for made, named, dropped in (
        ("FUNCTION shop.f(n int) RETURNS int LANGUAGE sql AS 'SELECT 1'", r'function "f"\(n int',
         "FUNCTION shop.f"),
        ("PROCEDURE shop.p() LANGUAGE sql AS 'SELECT 1'", 'procedure "p"', "PROCEDURE shop.p"),
        ("TYPE shop.mood AS ENUM ('glad')", 'type "mood"', "TYPE shop.mood"),
        ("TYPE shop.pair AS (x int, y int)", 'type "pair"', "TYPE shop.pair"),
        ("DOMAIN shop.few AS int CHECK (value < 9)", 'domain "few"', "DOMAIN shop.few"),
        ("TRIGGER t BEFORE UPDATE ON shop.a FOR EACH ROW EXECUTE FUNCTION public.noop()",
         'trigger "t" on table "a"', "TRIGGER t ON shop.a"),
        ("RULE r AS ON DELETE TO shop.b DO INSTEAD NOTHING", 'rule "r" on table "b"',
         "RULE r ON shop.b"),
        ("TABLE other (id int); ALTER TABLE other ENABLE ROW LEVEL SECURITY; CREATE POLICY far"
         " ON other USING (id IN (SELECT id FROM shop.a))", r"policy far on table (public\.)?other",
         "TABLE other"),
    ):  # fmt: skip
        ask(database, f"CREATE {made}")
        with pytest.raises(InputError, match=named) as caught:
            admission.check_target(target, "shop")
        assert "\n" not in str(caught.value)
        ask(database, f"DROP {dropped}")
    ask(database, "CREATE INDEX ON shop.b (v)")
    admission.check_target(target, "shop")


def test_in_public_only_triggers_on_our_tables_are_refused(database: str, tmp_path: Path) -> None:
    run(database, "public", tmp_path, "r1")
    ask(database, "CREATE TYPE mood AS ENUM ('glad');"
        "CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'")  # fmt: skip
    admission.check_target(Target(database, "public"), "shop")
    ask(database, "CREATE TRIGGER t BEFORE UPDATE ON a FOR EACH ROW EXECUTE FUNCTION noop()")
    with pytest.raises(InputError, match='trigger "t" on table "a", which the new tables'):
        admission.check_target(Target(database, "public"), "shop")
