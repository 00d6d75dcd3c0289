"""The catalog of a SQLite file, from PRAGMAs and from statements as people write them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.core.catalog import (
    Catalog,
    Check,
    ForeignKey,
    IndexTerm,
    Kind,
    SkippedObject,
    Table,
    UniqueKey,
)
from migration_assets.sources.sqlite import SQLiteSource
from migration_assets.sources.sqlite.statement import parse_index, parse_table, table_options
from migration_assets_tests.sqlite_databases import make


def catalog_of(tmp_path: Path, script: str) -> Catalog:
    source = SQLiteSource(make(tmp_path / "a.db", script))
    reader = source.take_snapshot(tmp_path / "snapshot.db")
    catalog = reader.catalog()
    reader.close()
    assert Catalog.from_json(catalog.to_json()) == catalog
    assert [t.name for t in source.reflect().tables] == [t.name for t in catalog.tables]
    return catalog


def table_of(tmp_path: Path, script: str) -> Table:
    return catalog_of(tmp_path, script).tables[0]


def skipped(catalog: Catalog, kind: str) -> list[SkippedObject]:
    return [item for item in catalog.skipped if item.kind == kind]


def test_columns_have_type_nullability_default_and_collation(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        "CREATE TABLE t (a INTEGER NOT NULL DEFAULT -5, b VARCHAR(9) DEFAULT 'x, y' COLLATE NOCASE,"
        " c, d TEXT COLLATE BINARY DEFAULT (datetime('now')), e DECIMAL(5,2) DEFAULT 1.5)",
    )
    assert [c.name for c in table.columns] == ["a", "b", "c", "d", "e"]
    assert [c.source_type for c in table.columns] == [
        "INTEGER", "VARCHAR(9)", "", "TEXT", "DECIMAL(5,2)",
    ]  # fmt: skip
    assert [c.not_null for c in table.columns] == [True, False, False, False, False]
    assert [c.default for c in table.columns] == ["-5", "'x, y'", None, "datetime('now')", "1.5"]
    assert [c.collation for c in table.columns] == [None, "NOCASE", None, None, None]


@pytest.mark.parametrize(
    ("script", "auto"),
    [
        ("CREATE TABLE t (id INTEGER PRIMARY KEY)", "id"),
        ("CREATE TABLE t (id integer primary key autoincrement)", "id"),
        ("CREATE TABLE t (id INTEGER, PRIMARY KEY (id DESC))", "id"),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY DESC)", None),
        ("CREATE TABLE t (id INT PRIMARY KEY)", None),
        ("CREATE TABLE t (id BIGINT PRIMARY KEY)", None),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY) WITHOUT ROWID", None),
        ("CREATE TABLE t (id INTEGER PRIMARY KEY) STRICT", "id"),
        ("CREATE TABLE t (id INTEGER, b INTEGER, PRIMARY KEY (id, b))", None),
        ("CREATE TABLE t (id INTEGER)", None),
    ],
)
def test_only_the_rowid_alias_takes_the_next_number_by_itself(
    tmp_path: Path, script: str, auto: str | None
) -> None:
    table = table_of(tmp_path, script)
    assert table.auto_column == auto
    if auto:
        assert table.column(auto).not_null


def test_a_primary_key_keeps_its_order_and_only_some_imply_not_null(tmp_path: Path) -> None:
    catalog = catalog_of(
        tmp_path,
        "CREATE TABLE a (x TEXT, y INT, z INT, PRIMARY KEY (z, x));"
        "CREATE TABLE b (x TEXT, y INT, PRIMARY KEY (y, x)) WITHOUT ROWID;"
        "CREATE TABLE c (x TEXT PRIMARY KEY, y ANY) STRICT;",
    )
    a, b, c = catalog.tables
    assert (a.primary_key, [col.not_null for col in a.columns]) == (("z", "x"), [False] * 3)
    assert (b.primary_key, [col.not_null for col in b.columns]) == (("y", "x"), [True, True])
    assert (c.primary_key, [col.not_null for col in c.columns]) == (("x",), [True, False])
    assert c.column("y").type.kind is Kind.ANY


def test_constraints_keep_their_names_and_expressions(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        "CREATE TABLE t (a INT CONSTRAINT positive CHECK (a > 0), b INT UNIQUE CHECK(b IN (1, 2)),"
        " c TEXT CHECK (c <> ')' AND c <> ','), CONSTRAINT pair UNIQUE (a, B),"
        " CONSTRAINT [both ways] CHECK (a < b /* really */) CHECK (a + b < 9))",
    )
    assert table.checks == (
        Check("a > 0", "positive"),
        Check("b IN (1, 2)"),
        Check("c <> ')' AND c <> ','"),
        Check("a < b /* really */", "both ways"),
        Check("a + b < 9"),
    )
    assert set(table.unique_keys) == {UniqueKey(("b",)), UniqueKey(("a", "b"), "pair")}
    assert table.indexes == ()


def test_foreign_keys_are_resolved_and_those_that_point_nowhere_reported(tmp_path: Path) -> None:
    catalog = catalog_of(
        tmp_path,
        "CREATE TABLE Parent (Id INTEGER PRIMARY KEY, a INT, b INT, UNIQUE (a, b));"
        "CREATE TABLE pair (x INT, y INT, PRIMARY KEY (y, x));"
        "CREATE TABLE child (id INT PRIMARY KEY,"
        " p INT CONSTRAINT to_parent REFERENCES parent ON DELETE CASCADE ON UPDATE SET NULL,"
        " q INT REFERENCES PARENT(ID) DEFERRABLE INITIALLY DEFERRED,"
        " r INT REFERENCES gone(id), s INT REFERENCES parent(nope), t INT REFERENCES pair,"
        " FOREIGN KEY (p, q) REFERENCES parent (A, b) NOT DEFERRABLE,"
        " FOREIGN KEY (p, q) REFERENCES pair);",
    )
    child = catalog.table("child")
    assert child.foreign_keys == (
        ForeignKey(("p",), "Parent", ("Id",), "SET NULL", "CASCADE", name="to_parent"),
        ForeignKey(("q",), "Parent", ("Id",), deferrable=True, initially_deferred=True),
        ForeignKey(("p", "q"), "Parent", ("a", "b")),
        ForeignKey(("p", "q"), "pair", ("y", "x")),
    )
    reasons = [item.reason for item in skipped(catalog, "foreign key")]
    assert len(reasons) == 3
    assert 'no table "gone"' in reasons[0]
    assert '"Parent" has no column "nope"' in reasons[1]
    assert "2 columns" in reasons[2]
    assert {item.table for item in skipped(catalog, "foreign key")} == {"child"}


def test_indexes_have_terms_order_collation_and_predicate(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INT, c TEXT UNIQUE);"
        "CREATE INDEX one ON t (a COLLATE NOCASE DESC, b);"
        "CREATE UNIQUE INDEX two ON t (lower(a), b + 1 DESC, id)"
        " WHERE b IS NOT NULL AND a <> ' WHERE ';"
        "CREATE INDEX three ON t (coalesce(a, ',') COLLATE NOCASE ASC);",
    )
    named = {index.name: index for index in table.indexes}
    one, two, three = named["one"], named["two"], named["three"]
    assert one.terms == (
        IndexTerm("a", descending=True, collation="NOCASE"),
        IndexTerm("b"),
    )
    assert two.terms == (
        IndexTerm(None, "lower(a)"),
        IndexTerm(None, "b + 1", descending=True),
        IndexTerm("id"),
    )
    assert (two.unique, two.where) == (True, "b IS NOT NULL AND a <> ' WHERE '")
    assert three.terms == (IndexTerm(None, "coalesce(a, ',')", collation="NOCASE"),)
    assert (one.where, one.unique) == (None, False)


def test_generated_columns_keep_their_expression(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        "CREATE TABLE t (a INT, b INT GENERATED ALWAYS AS (a * (2 + 1)) STORED,"
        " c TEXT AS (a || ',') VIRTUAL)",
    )
    _, b, c = table.columns
    assert (b.generated, b.stored, b.source_type) == ("a * (2 + 1)", True, "INT")
    assert (c.generated, c.stored, c.source_type) == ("a || ','", False, "TEXT")


def test_a_json_valid_check_makes_a_text_column_json(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        "CREATE TABLE t (a TEXT CHECK (json_valid(a)), b TEXT, [c d],"
        ' CHECK (b IS NULL OR JSON_VALID ( "c d" )))',
    )
    assert [column.type.kind for column in table.columns] == [Kind.JSON, Kind.TEXT, Kind.JSON]


def test_wildly_written_statements_are_read(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        """
        create table -- the ( main ) table
        'my table' ( /* first */ [a b] integer , `c``d` "odd type" (3 , 2) not null on conflict fail
            default 'it''s, (fine)' -- , comment
            , "e""f" text collate "nocase" check("e""f" <> '--' ) , 'g'
            , constraint "pk" primary key ([a b] , `c``d`) on conflict replace
            unique ("e""f") constraint fine check(1), foreign key ([a b])
            references 'my table' ('g')
            on delete no action match full deferrable initially immediate
        ) -- end
        """,
    )
    assert table.name == "my table"
    assert [column.name for column in table.columns] == ["a b", "c`d", 'e"f', "g"]
    assert table.columns[1].default == "'it''s, (fine)'"
    assert table.columns[2].collation == "nocase"
    assert table.primary_key == ("a b", "c`d")
    assert table.unique_keys == (UniqueKey(('e"f',)),)
    assert table.checks == (Check('"e""f" <> \'--\''), Check("1", "fine"))
    assert table.foreign_keys == (ForeignKey(("a b",), "my table", ("g",), deferrable=True),)


def test_what_cannot_come_is_listed_by_name_and_internal_tables_are_not(tmp_path: Path) -> None:
    catalog = catalog_of(
        tmp_path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT);"
        "INSERT INTO t (a) VALUES (1);"
        "CREATE INDEX ta ON t (a); ANALYZE;"
        "CREATE VIRTUAL TABLE search USING fts5(body);"
        "CREATE VIRTUAL TABLE box USING rtree(i, x, y);"
        "CREATE TRIGGER after_t AFTER INSERT ON t BEGIN SELECT 1; END;"
        "CREATE VIEW good AS SELECT a FROM t; CREATE VIEW bad AS SELECT nope FROM t;"
        "CREATE TABLE search_notes (x);",
    )
    assert [table.name for table in catalog.tables] == ["t", "search_notes"]
    assert [view.name for view in catalog.views] == ["good"]
    assert {item.name for item in skipped(catalog, "virtual table")} == {"search", "box"}
    assert {item.name for item in skipped(catalog, "shadow table")} == {
        "search_data", "search_idx", "search_content", "search_docsize", "search_config",
        "box_node", "box_parent", "box_rowid",
    }  # fmt: skip
    (trigger,) = skipped(catalog, "trigger")
    assert (trigger.name, trigger.table) == ("after_t", "t")
    (view,) = skipped(catalog, "view")
    assert view.name == "bad" and "nope" in view.reason and view.sql is not None


def test_a_virtual_table_of_a_missing_module_and_a_broken_schema_entry_stop_nothing(
    tmp_path: Path,
) -> None:
    path = make(tmp_path / "a.db", "CREATE TABLE t (a); CREATE TABLE words_vocab (x);")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA writable_schema=ON")
    for kind, name, text in (
        ("table", "words", "CREATE VIRTUAL TABLE words USING spellfix1"),
        ("view", "newer", "CREATE VIEW newer AS SELEC a FROM t"),
        ("table", "odd", "CREATE TABLE odd (a INT ???)"),
    ):
        connection.execute(
            "INSERT INTO sqlite_schema VALUES (?, ?, ?, 0, ?)", (kind, name, name, text)
        )
    connection.commit()
    connection.close()
    reader = SQLiteSource(path).take_snapshot(tmp_path / "snapshot.db")
    catalog = reader.catalog()
    reader.close()
    assert [table.name for table in catalog.tables] == ["t"]
    assert {(item.kind, item.name) for item in catalog.skipped} == {
        ("virtual table", "words"),
        ("shadow table", "words_vocab"),
        ("view", "newer"),
        ("unreadable table", "odd"),
    }


def test_sizes_are_counted(tmp_path: Path) -> None:
    source = SQLiteSource(
        make(
            tmp_path / "a.db",
            "CREATE TABLE t (a); CREATE TABLE w (a PRIMARY KEY, b) WITHOUT ROWID;"
            "CREATE INDEX wb ON w (b);",
            {"t": [("x" * 1000,)] * 100, "w": [(n, n) for n in range(10)]},
        )
    )
    reader = source.take_snapshot(tmp_path / "copy.db")
    t, w = reader.catalog().tables
    reader.close()
    assert (t.rows, w.rows) == (100, 10)
    assert t.bytes is not None and t.bytes >= 100_000
    assert source.reflect().tables[0].rows is None


def test_options_behind_the_columns_are_read_from_the_text() -> None:
    assert table_options("CREATE TABLE t (a ')' -- )\n) without /* x */ rowid, STRICT") == {
        "WITHOUT ROWID",
        "STRICT",
    }
    assert table_options("CREATE TABLE t (a)") == set()
    assert table_options("nonsense") == set()


PIECES = ["(", ")", ",", "'", '"', "[", "]", "--", "/*", "\n", "CHECK", "a", "CREATE", "TABLE",
          "ON", "REFERENCES", "DEFAULT", "CONSTRAINT", "1", "UNIQUE", "FOREIGN", "KEY"]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=25))
def test_no_statement_makes_the_parser_fail(pieces: list[str]) -> None:
    sql = " ".join(pieces)
    parse_table(sql)
    parse_index(sql)
    table_options(sql)
    parse_table("CREATE TABLE t (a " + sql)
