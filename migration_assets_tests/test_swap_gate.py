"""What is not proven never goes live, in whatever order and number of attempts it was made."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator

import dagster as dg
import psycopg2
import pytest
from psycopg2 import sql

from migration_assets import cli, ledger, retention, run_lock
from migration_assets import home as homes
from migration_assets.core.evidence import Evidence, Verdict
from migration_assets.core.results import StepFailure
from migration_assets.errors import InputError
from migration_assets.home import Migration
from migration_assets.launch import launch
from migration_assets.run_folder import RunFolder
from migration_assets_tests.attempts import run
from migration_assets_tests.small_shop import SLUGS, configure, make_migration, make_source

FAILING = (
    "  expectations:\n    users:\n"
    "      - {type: expect_table_row_count_to_be_between, kwargs: {min_value: 100}}\n"
)


@pytest.fixture
def migration(tmp_path, pg_url, schema) -> Migration:
    source = make_source(tmp_path / "shop.db")
    return make_migration(tmp_path / "home", source, pg_url, schema)


def tables(stage: str) -> dg.AssetSelection:
    """All tables of a stage, without their checks."""
    slugs = SLUGS.values()
    parts = [f"{s}_" if (stage, s) == ("staging", "report") else s for s in slugs]
    return dg.AssetSelection.assets(*(["shop", stage, p] for p in parts)).without_checks()


def table_checks() -> dg.AssetSelection:
    """``content`` and ``values`` of all tables."""
    assets = [dg.AssetKey(["shop", "staging", p]) for p in ("users", "order_items", "report_")]
    return dg.AssetSelection.checks_for_assets(*assets)


def steps(*names: str) -> dg.AssetSelection:
    """Steps of the target, with their checks."""
    return dg.AssetSelection.assets(*(["shop", "staging", name] for name in names))


FINISH = steps("constraints", "swap")
EVERYTHING = tables("extract") | tables("staging") | table_checks() | FINISH


def ask(url: str, statement: str, *names: str) -> list[tuple]:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
        return cursor.fetchall() if cursor.description else []


def users(url: str, schema: str) -> list[str]:
    return [name for (name,) in ask(url, "SELECT name FROM {}.users ORDER BY id", schema)]


def is_live(url: str, schema: str) -> bool:
    found = ask(url, "SELECT nspname FROM pg_namespace")
    return (schema,) in found


def failures(folder: RunFolder) -> str:
    return " ".join(f.message for f in folder.read_results("failures", StepFailure).values())


def incoming(migration: Migration, folder: RunFolder) -> str:
    return f"{migration.config.schema_of('staging')}__in_{folder.path.name[:8]}"


def test_everything_goes_live_in_one_run_and_in_attempts_at_the_same_run(migration, pg_url, schema):
    done, folder = run(migration, tables("extract") | tables("staging"))
    assert done
    assert run(migration, table_checks(), folder.path.name)[0]
    assert run(migration, FINISH, folder.path.name)[0], failures(folder)
    assert users(pg_url, schema) == ["Ada", "Bob", "Zoë"]


def test_after_a_failed_check_constraints_and_swap_alone_do_not_go_live(migration, pg_url, schema):
    outcome = launch(configure(migration, FAILING), "shop_rehearsal")
    assert not outcome.success
    done, folder = run(migration, FINISH, outcome.run_id)
    assert not done
    assert "expect_table_row_count_to_be_between" in failures(folder)
    assert not is_live(pg_url, schema)


def test_without_the_checks_of_the_tables_nothing_goes_live(migration, pg_url, schema):
    done, folder = run(migration, tables("extract") | tables("staging") | FINISH)
    assert not done
    assert "not compared cell by cell" in failures(folder)
    assert not is_live(pg_url, schema)


def test_without_the_checks_of_the_structure_nothing_goes_live(migration, pg_url, schema):
    loaded = tables("extract") | tables("staging") | table_checks()
    done, folder = run(migration, loaded | FINISH.without_checks())
    assert not done
    assert "references: did not happen" in failures(folder)
    assert not is_live(pg_url, schema)


def test_without_constraints_a_second_attempt_does_not_go_live(migration, pg_url, schema):
    done, folder = run(migration, EVERYTHING)
    assert done, failures(folder)
    again = tables("staging") | table_checks() | steps("swap")
    done, folder = run(migration, again, folder.path.name)
    assert not done
    assert "constraints: did not happen" in failures(folder)
    # What the first attempt put live is still there, with its keys.
    assert ask(pg_url, "INSERT INTO {}.users VALUES (9, 'x', NULL) RETURNING id", schema) == [(9,)]
    keys = "SELECT count(*) FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace"
    assert ask(pg_url, f"{keys} WHERE k.contype = 'f' AND n.nspname = '{schema}'") == [(1,)]


def test_load_that_is_spoiled_in_a_second_attempt_is_found_and_does_not_go_live(
    migration, pg_url, schema
):
    done, folder = run(migration, EVERYTHING)
    assert done, failures(folder)
    root = folder.path.name
    assert run(migration, tables("staging"), root)[0]
    ask(pg_url, "UPDATE {}.users SET name = 'Bib' WHERE id = 2", incoming(migration, folder))
    run(migration, FINISH, root)
    assert "not compared cell by cell" in failures(folder)
    # The checks look at what was loaded last, not at what went live before.
    run(migration, table_checks(), root)
    run(migration, FINISH, root)
    assert '"users", content' in failures(folder)
    assert users(pg_url, schema) == ["Ada", "Bob", "Zoë"]


def test_constraints_alone_after_the_swap_say_that_the_schema_is_gone(migration, pg_url, schema):
    done, folder = run(migration, EVERYTHING)
    assert done, failures(folder)
    done, _ = run(migration, steps("constraints"), folder.path.name)
    assert not done
    assert "materialize the tables again" in failures(folder)
    assert users(pg_url, schema) == ["Ada", "Bob", "Zoë"]


def test_table_loaded_again_after_its_schema_is_gone_does_not_go_live_without_the_others(
    migration, pg_url, schema
):
    ask(
        pg_url,
        "CREATE SCHEMA {0}; CREATE TABLE {0}.report (day text PRIMARY KEY, total float8);"
        " CREATE TABLE {0}.users (id bigint PRIMARY KEY, name text NOT NULL, born date);"
        ' CREATE TABLE {0}."order items" (id bigint PRIMARY KEY, "user" bigint NOT NULL,'
        ' "Preis" numeric(10, 2), note text)',
        schema,
    )
    existing = configure(migration, "  schema_mode: existing\n  replace: true\n")
    done, folder = run(existing, EVERYTHING)
    assert done, failures(folder)
    # The copies that were loaded are gone; new ones of the other tables would be empty.
    one = dg.AssetKey(["shop", "staging", "report_"])
    again = dg.AssetSelection.assets(one) | dg.AssetSelection.checks_for_assets(one) | FINISH
    done, _ = run(existing, again, folder.path.name)
    assert not done
    assert "2 of 3 tables were not loaded by this run" in failures(folder)
    assert users(pg_url, schema) == ["Ada", "Bob", "Zoë"]


def test_rows_without_a_parent_end_each_attempt_where_the_policy_says_so(
    migration, pg_url, schema, tmp_path
):
    with sqlite3.connect(tmp_path / "shop.db") as source:
        source.execute("DELETE FROM users WHERE id = 7")
    source.close()
    strict = configure(migration, "  policies: {orphans: fail}\n")
    done, folder = run(strict, EVERYTHING)
    assert not done
    done, _ = run(strict, EVERYTHING, folder.path.name)
    assert not done
    assert 'column "user": 1 rows have no parent' in failures(folder)
    assert not is_live(pg_url, schema)


def test_extracts_of_two_snapshots_are_not_mixed(migration, pg_url, schema, tmp_path):
    assert run(migration, tables("extract"))[0]
    with sqlite3.connect(tmp_path / "shop.db") as source:
        source.execute("INSERT INTO users VALUES (8, 'Eve', NULL)")
    source.close()
    one = dg.AssetSelection.assets(["shop", "extract", "users"])
    done, folder = run(migration, one | tables("staging") | table_checks() | FINISH)
    assert not done
    assert "is of another snapshot" in failures(folder)
    assert "materialize all extracts in one run" in failures(folder)
    assert not is_live(pg_url, schema)


def test_load_from_an_earlier_extract_goes_live_with_the_whole_ledger(
    migration, pg_url, schema, tmp_path
):
    with sqlite3.connect(tmp_path / "shop.db") as source:
        source.execute("INSERT INTO users VALUES (8, 'Eve' || char(0), NULL)")
    source.close()
    done, extracted = run(migration, tables("extract"))
    assert done, failures(extracted)
    rest = tables("staging") | table_checks() | steps("constraints", "swap", "report")
    done, folder = run(migration, rest)
    assert done, failures(folder)
    found = Evidence.from_json(folder.evidence.read_bytes())
    assert found.run.verdict is Verdict.PROVEN
    assert found.ledger.entries == ledger.count(folder, "ledger") == 1
    assert (found.target.server_version or "").split(".")[0].isdecimal()
    assert users(pg_url, schema) == ["Ada", "Bob", "Zoë", "Eve"]


def test_ledger_that_lost_an_entry_does_not_go_live(migration, pg_url, schema, tmp_path):
    with sqlite3.connect(tmp_path / "shop.db") as source:
        source.execute("INSERT INTO users VALUES (8, 'Eve' || char(0), NULL)")
    source.close()
    done, folder = run(migration, tables("extract") | tables("staging") | table_checks())
    assert done, failures(folder)
    folder.ledger_part("users").unlink()
    done, _ = run(migration, FINISH, folder.path.name)
    assert not done
    assert "1 ledger entries counted by the extracts, 0 in the file" in failures(folder)
    assert not is_live(pg_url, schema)


def test_checks_look_at_the_live_schema_only_if_it_is_of_the_run_that_loaded(
    migration, pg_url, schema
):
    done, first = run(migration, EVERYTHING)
    assert done, failures(first)
    # On their own, the checks look at what the latest load is now: the live schema.
    done, alone = run(migration, table_checks())
    assert done, failures(alone)
    ask(pg_url, "DROP SCHEMA {} CASCADE", schema)
    done, alone = run(migration, table_checks())
    assert not done
    assert f"what run {first.path.name} loaded is not at" in failures(alone)


def test_pruning_keeps_what_is_under_way_and_what_a_kept_run_was_loaded_from(tmp_path):
    migration = homes.create(tmp_path, "shop", make_source(tmp_path / "shop.db"))
    for name in ("current", "origin", "done"):
        folder = migration.run_folder(name).create()
        folder.write_text("evidence.json", "{}")
        os.utime(folder.path, (1e9, 1e9))
    migration.run_folder("under_way").create()
    migration.run_folder("current").write_text("origin/users", str(folder.path.parent / "origin"))
    migration = configure(migration, "  keep_runs: 1\n")
    assert retention.prune(migration, "current", print) == ["done"]


def test_what_is_live_is_not_replaced_by_an_earlier_snapshot(migration, pg_url, schema, tmp_path):
    done, early = run(migration, tables("extract") | tables("staging") | table_checks())
    assert done, failures(early)
    with sqlite3.connect(tmp_path / "shop.db") as source:
        source.execute("INSERT INTO users VALUES (8, 'Eve', NULL)")
    source.close()
    assert launch(migration, "shop_rehearsal").success
    done, _ = run(migration, FINISH, early.path.name)
    assert not done
    assert "holds a later snapshot" in failures(early)
    assert users(pg_url, schema) == ["Ada", "Bob", "Zoë", "Eve"]


HOLDER = """
import sys
from pathlib import Path
from migration_assets import home, run_lock
with run_lock.held(home.load(Path(sys.argv[1]), "shop"), "first"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_run(migration) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the migration for the run ``first`` until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(migration.home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_second_run_at_the_same_time_is_refused_with_exit_2(migration, other_run, pg_url, schema):
    with pytest.raises(InputError, match=r"under way \(first, process \d+\)") as refused:
        launch(migration, "shop_rehearsal")
    assert refused.value.exit_code == 2
    assert 'another run of migration "shop"' in str(refused.value)
    assert retention.run_folders(migration) == []
    # A run from the UI takes the same lock.
    done, _ = run(migration, tables("extract"))
    assert not done
    assert retention.run_folders(migration) == []
    other_run.kill()
    other_run.wait()
    assert run(migration, tables("extract"))[0]


def test_command_line_says_that_another_run_is_under_way(
    migration, other_run, pg_url, schema, monkeypatch, capsys
):
    monkeypatch.setenv(homes.VARIABLE, str(migration.home))
    source = migration.config.source
    assert cli.run(["migrate", source, "--target", pg_url, "--schema", schema]) == 2
    assert 'another run of migration "shop" is under way' in capsys.readouterr().err
    assert not is_live(pg_url, schema)


def test_processes_of_one_run_share_its_lock(migration, other_run):
    with run_lock.held(migration, "first"), run_lock.held(migration, "first"):
        other_run.kill()
        other_run.wait()
        with pytest.raises(InputError), run_lock.held(migration, "second"):
            pass
    with run_lock.held(migration, "second"):
        pass
