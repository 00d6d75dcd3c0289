"""The way back: all or nothing, under readers and writers, with what the tables have today."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest

from migration_assets import load
from migration_assets.errors import InputError
from migration_assets.postgres.connect import Target, connect
from migration_assets.postgres.swap import swap
from migration_assets.postgres.swap_back import swap_back, undo
from migration_assets_tests.conftest import Role
from migration_assets_tests.postgres_tables import ask
from migration_assets_tests.test_swap import live, run, schemas


@pytest.mark.parametrize("schema", ["shop", "public"])
def test_back_and_back_again_and_forth_and_a_run_after_it(
    database: str, make_role: Callable[..., Role], tmp_path: Path, schema: str
) -> None:
    role, reader = make_role(), make_role(create=False)
    url, target = role.url, Target(role.url, schema)
    if schema == "public":
        ask(database, f"ALTER SCHEMA public OWNER TO {role.name}")
    with pytest.raises(InputError, match="there is nothing to take back"):
        swap_back(target, "shop")
    run(url, schema, tmp_path, "r1")
    with pytest.raises(InputError, match="nothing was live before run r1"):
        swap_back(target, "shop")
    ask(url, f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader.name}")
    run(url, schema, tmp_path, "r2")
    # What is of today: a number, a right more, a right less, a policy.
    ask(url, f"INSERT INTO {schema}.a (v) VALUES ('w')")
    ask(url, f"GRANT INSERT, SELECT ON {schema}.b TO {reader.name};"
             f"REVOKE SELECT ON {schema}.a FROM {reader.name};"
             f"ALTER TABLE {schema}.b ENABLE ROW LEVEL SECURITY;"
             f"CREATE POLICY mine ON {schema}.b USING (v <> 'hidden')")  # fmt: skip
    with pytest.raises(InputError, match="exchanged meanwhile: run r2 is live there, and not r1"):
        swap_back(target, "shop", expected="r1")
    done = swap_back(target, "shop", expected="r2")
    assert (done.run, done.served, done.kept) == ("r2", "r1", f"{schema}__rolled_back")
    assert live(url, schema) == ["r1r1"] and live(url, f"{schema}__rolled_back") == ["r2r2", "wr2"]
    assert ask(url, f"INSERT INTO {schema}.a (v) VALUES ('x') RETURNING id") == [3]
    assert ask(url, "SELECT has_table_privilege(%s, %s || '.' || t, p) FROM"
               " unnest(array['a', 'b']) t, unnest(array['SELECT', 'INSERT']) p",
               reader.name, schema) == [False, False, True, True]  # fmt: skip
    assert ask(url, "SELECT polname::text FROM pg_policy JOIN pg_class c ON c.oid = polrelid"
               " JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %s",
               schema) == ["mine"]  # fmt: skip
    with pytest.raises(InputError, match="was rolled back already"):
        swap_back(target, "shop")
    with pytest.raises(InputError, match="run r1 is live there, and not r2"):
        undo(target, "shop", done=done.model_copy(update={"served": "r2"}))
    forth = undo(target, "shop", done=done)
    assert (forth.run, forth.served, forth.kept) == ("r1", "r2", f"{schema}__previous")
    assert live(url, schema) == ["r2r2", "wr2"] and live(url, f"{schema}__previous")[0] == "r1r1"
    swap_back(target, "shop")
    run(url, schema, tmp_path, "r3")
    assert live(url, schema) == ["r3r3"]
    with pytest.raises(InputError, match="run r3 has gone live since"):
        undo(target, "shop")
    again = swap_back(target, "shop")
    assert (again.run, again.served) == ("r3", "r1")
    assert schemas(url) == sorted(
        {"migration_assets", "public", schema, f"{schema}__rolled_back",
         f"{schema}__rolled_back_r2"})  # fmt: skip
    assert ask(url, "SELECT run_id, outcome FROM migration_assets.runs ORDER BY 1") == [
        ("r1", "live"), ("r2", "rolled back"), ("r3", "rolled back")]  # fmt: skip
    # Nothing else was live: it is put aside, and comes back as it was.
    alone = swap_back(target, "shop", to_previous=False)
    assert (alone.run, alone.served) == ("r1", None)
    with pytest.raises(psycopg2.errors.UndefinedTable):
        live(url, schema)
    undo(target, "shop")
    assert live(url, schema)[0] == "r1r1"


@pytest.mark.parametrize("schema", ["shop", "public"])
def test_readers_and_writers_see_one_state_or_the_other(
    database: str, tmp_path: Path, schema: str
) -> None:
    run(database, schema, tmp_path, "r1")
    run(database, schema, tmp_path, "r2")
    stop, failed, seen, written = threading.Event(), Counter[str](), Counter[str](), Counter[str]()

    def work(statement: str, counter: Counter[str]) -> None:
        connection = connect(database)
        with connection.cursor() as cursor:
            for number in range(10, 1_000_000):
                if stop.is_set():
                    break
                try:
                    cursor.execute(statement.replace("$1", str(number)))
                    counter[cursor.fetchone()[0]] += 1
                    connection.commit()
                except psycopg2.Error as error:
                    connection.rollback()
                    failed[str(error)] += 1
        connection.close()

    statements = [(f'SELECT av || bv FROM "{schema}".both LIMIT 1', seen)] * 2
    statements.append((f"INSERT INTO \"{schema}\".b VALUES ($1, 'w') RETURNING v", written))
    threads = [threading.Thread(target=work, args=each) for each in statements]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    swap_back(Target(database, schema), "shop")
    time.sleep(0.2)
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == {} and set(seen) == {"r1r1", "r2r2"}
    (now,), (then,) = (
        ask(database, f'SELECT count(*) FROM "{name}".b')
        for name in (schema, f"{schema}__rolled_back")
    )
    assert now + then - 2 == written["w"] and now > 1 and then > 1


@pytest.mark.parametrize("schema", ["shop", "public"])
def test_two_hundred_tables_are_back_within_five_seconds(database: str, schema: str) -> None:
    target = Target(database, schema)
    for name in ("r1", "r2"):
        incoming = f"{schema}__in_{name}"
        load.prepare(target, incoming, name, "shop")
        ask(database, f"SET search_path TO {incoming};" + "".join(
            f"CREATE TABLE t{n} (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v text"
            f"{f', p bigint REFERENCES t{n - 1}' if n else ''});" for n in range(200)
        ))  # fmt: skip
        swap(target, incoming, "shop", name, tables=200)
    ask(database, f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO PUBLIC")
    ask(database, f"INSERT INTO {schema}.t0 (v) SELECT '' FROM generate_series(1, 9)")
    assert swap_back(target, "shop").seconds < 5
    assert ask(database, f"INSERT INTO {schema}.t0 (v) VALUES ('') RETURNING id") == [10]
