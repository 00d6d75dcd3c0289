"""The application's role: what it could read and write before a swap, it still can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from migration_assets.core.app_rights import gone, lost
from migration_assets.errors import InputError, NotProvenError
from migration_assets.postgres import app_rights, grants
from migration_assets.postgres import swap as swaps
from migration_assets.postgres.connect import Target, session
from migration_assets.postgres.script import rendered
from migration_assets_tests.conftest import Role
from migration_assets_tests.postgres_tables import ask
from migration_assets_tests.test_swap import live, run


def swapped(url: str, schema: str, folder: Path, name: str, app: str) -> None:
    run(url, schema, folder, name, swapped=False)
    swaps.swap(Target(url, schema), f"{schema}__in_{name}", "shop", name, app_role=app)


def rights(url: str, schema: str, role: str) -> app_rights.AppRights:
    with session(url, "the test") as connection, connection.cursor() as cursor:
        return app_rights.read(cursor, schema, role)


@pytest.mark.parametrize("schema", ["shop", "public"])
def test_the_application_can_write_after_the_first_swap_and_keeps_its_rights(
    database: str, make_role: Callable[..., Role], tmp_path: Path, schema: str
) -> None:
    loader, app = make_role(), make_role(create=False)
    ask(database, f"ALTER SCHEMA public OWNER TO {loader.name}")
    target = Target(loader.url, schema)
    assert app_rights.check_before(target, app.name).no_go == ()
    swapped(loader.url, schema, tmp_path, "r1", app.name)
    insert = f"INSERT INTO {schema}.a (v) VALUES ('mine') RETURNING currval('{schema}.a_id_seq')"
    assert ask(app.url, insert)[0] > 0
    assert ask(app.url, f"SELECT bv FROM {schema}.both") == ["r1", "r1"]
    # What was taken from it stays taken, what is given on a column stays given.
    ask(
        loader.url,
        f"REVOKE ALL ON {schema}.b FROM {app.name}; GRANT SELECT (v) ON {schema}.b TO {app.name};"
        f"GRANT TRUNCATE ON {schema}.a TO PUBLIC",
    )
    before = app_rights.check_before(target, app.name)
    assert before.no_go == () and before.warnings == ()
    swapped(loader.url, schema, tmp_path, "r2", app.name)
    assert rights(database, schema, app.name) == before.rights
    assert "b" not in {r.relation for r in before.rights.rights if r.column is None}
    # A table that is new can be written like the others.
    run(loader.url, schema, tmp_path, "r3", swapped=False)
    ask(loader.url, f"CREATE TABLE {schema}__in_r3.c (n int)")
    swaps.swap(target, f"{schema}__in_r3", "shop", "r3", app_role=app.name)
    assert ask(app.url, f"INSERT INTO {schema}.c VALUES (1) RETURNING n") == [1]
    assert ask(app.url, f"DELETE FROM {schema}.a RETURNING v") == ["r3"]


CARRY_OVER = grants.carry_over


def of_schema_alone(cursor: Any, live: str, incoming: str, **options: bool) -> list[Any]:
    """The rights on the schema, and none on what is in it."""
    found = CARRY_OVER(cursor, live, incoming, **options)
    return [each for each in found if "ON SCHEMA" in rendered(each)]


def test_a_swap_that_would_take_rights_away_is_refused(
    database: str,
    make_role: Callable[..., Role],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loader, app = make_role(), make_role(create=False)
    target = Target(loader.url, "shop")
    swapped(loader.url, "shop", tmp_path, "r1", app.name)
    run(loader.url, "shop", tmp_path, "r2", swapped=False)
    with monkeypatch.context() as patch:
        patch.setattr(grants, "carry_over", lambda *_, **__: [])
        with pytest.raises(NotProvenError, match=f'app_role "{app.name}" would lack USAGE on sch'):
            swaps.swap(target, "shop__in_r2", "shop", "r2", app_role=app.name)
        patch.setattr(grants, "carry_over", of_schema_alone)
        with pytest.raises(NotProvenError, match='DELETE on table "a", INSERT on table "a",') as e:
            swaps.swap(target, "shop__in_r2", "shop", "r2", app_role=app.name)
    assert "\n" not in str(e.value) and "and 6 more; nothing was swapped" in str(e.value)
    assert live(database, "shop") == ["r1r1"]
    with pytest.raises(InputError, match='app_role "nobody" is no role of this server'):
        swaps.swap(target, "shop__in_r2", "shop", "r2", app_role="nobody")
    swaps.swap(target, "shop__in_r2", "shop", "r2", app_role=app.name)

    # A schema that is not ours takes no rights from us.
    name = database.split("?")[0].rpartition("/")[2]
    ask(
        database,
        f"ALTER SCHEMA public OWNER TO {loader.name}; REVOKE ALL ON SCHEMA public FROM PUBLIC;"
        f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC;"
        f"GRANT CONNECT ON DATABASE {name} TO {loader.name}; ALTER ROLE {app.name} NOLOGIN",
    )
    look = app_rights.check_before(Target(loader.url, "public"), app.name)
    assert [line.rpartition(": ")[2] for line in look.no_go] == [
        f"GRANT CONNECT ON DATABASE {name} TO {app.name}",
        f"GRANT USAGE ON SCHEMA public TO {app.name}",
    ]
    assert [line.split(" ", 2)[2] for line in look.warnings] == [
        "can not log in: is it the one that connects?"
    ]
    run(loader.url, "public", tmp_path, "r4", swapped=False)
    with pytest.raises(NotProvenError, match='would lack USAGE on schema "public"'):
        swaps.swap(Target(loader.url, "public"), "public__in_r4", "shop", "r4", app_role=app.name)


def test_what_row_security_and_views_take_away_is_lost(
    database: str, make_role: Callable[..., Role], tmp_path: Path
) -> None:
    loader, app, group = make_role(), make_role(create=False), make_role(create=False)
    ask(database, f"GRANT {group.name} TO {app.name}")
    swapped(loader.url, "shop", tmp_path, "r1", group.name)
    before = rights(database, "shop", app.name)
    assert {r.privilege for r in before.rights if r.relation == "a"} == {
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
    }
    ask(
        database,
        f"ALTER TABLE shop.a ENABLE ROW LEVEL SECURITY;"
        f"CREATE POLICY see ON shop.a FOR SELECT TO {group.name} USING (true);"
        f"CREATE POLICY strict ON shop.a AS RESTRICTIVE FOR DELETE USING (true);"
        f"ALTER TABLE shop.b OWNER TO postgres; REVOKE ALL ON shop.b FROM {loader.name}",
    )
    after = rights(database, "shop", app.name)
    assert lost(before, after) == (
        'DELETE on table "a"',
        'INSERT on table "a"',
        'UPDATE on table "a"',
        'SELECT on view "both"',
    )
    assert not ask(app.url, "UPDATE shop.a SET v = 'x' RETURNING v") and gone(before, after) == ()
    ask(database, "DROP VIEW shop.both; ALTER TABLE shop.a FORCE ROW LEVEL SECURITY")
    assert gone(before, rights(database, "shop", app.name)) == ('view "both"',)
    owner = rights(database, "shop", loader.name).rights
    assert [r.privilege for r in owner if r.relation == "a"] == ["TRUNCATE"]
