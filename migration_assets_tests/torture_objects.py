"""The torture database's second half: keys, constraints, objects, names and shapes of tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from migration_assets_tests.torture import INT64, TS, TYPES, UTF8, UTF16, VALUES, Case

LONGEST = "n" * 63


def _column(values: Iterable[Any]) -> list[tuple[Any]]:
    return [(value,) for value in values]


FOREIGN_KEYS = (
    "CREATE TABLE {0}_parent (id INTEGER PRIMARY KEY);"
    "CREATE TABLE {0}_child (a INTEGER REFERENCES {0}_parent, b INTEGER REFERENCES {0}_parent,"
    " c INTEGER PRIMARY KEY REFERENCES {0}_parent);"
    "CREATE INDEX {0}_served ON {0}_child (b, c);"
)
"""Of three foreign keys one has no index that begins with it."""

KEYS = (
    Case(
        "Both sides of a foreign key get one type",
        "CREATE TABLE f_parent (n SMALLINT PRIMARY KEY, code VARCHAR(4) UNIQUE, t INTEGER UNIQUE);"
        "CREATE TABLE f_child (n INTEGER REFERENCES f_parent (n),"
        " code VARCHAR(9) REFERENCES f_parent (code), t TEXT REFERENCES f_parent (t),"
        " auto TEXT REFERENCES k_owner (id));"
        "CREATE TABLE k_owner (id INTEGER PRIMARY KEY);",
        {
            "f_parent": [(1, "a", 7), (2, "b", 8)],
            "f_child": [(1, "a", "7", "1"), (None, None, None, "x")],
            "k_owner": [(1,)],
        },
        types={
            "f_parent": {"n": "bigint", "code": "character varying(9)", "t": "text"},
            "f_child": {"n": "bigint", "code": "character varying(9)", "t": "text", "auto": "text"},
            "k_owner": {"id": "bigint"},
        },
        reported=[("foreign key", "(auto) -> k_owner")],
        made=[("f", "f_child", "(n) REFERENCES f_parent(n)")],
    ),
    Case(
        "`NOT NULL` is kept unless NULLs are there",
        "CREATE TABLE n_lost (id INTEGER PRIMARY KEY, a TEXT, b TEXT NOT NULL);"
        "CREATE TABLE n_key (code TEXT PRIMARY KEY, a TEXT);"
        "CREATE TABLE n_pair (a INTEGER, b TEXT, PRIMARY KEY (a, b));",
        {
            "n_lost": [(1, None, "x"), (2, "y", "z")],
            "n_key": [("k", "1"), (None, "2"), (None, "3")],
            "n_pair": [(1, None), (1, "x")],
        },
        after="PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql ="
        " replace(sql, 'a TEXT, b TEXT NOT NULL', 'a TEXT NOT NULL, b TEXT NOT NULL')"
        " WHERE name = 'n_lost'; PRAGMA writable_schema = RESET;",
        required={"n_lost": {"id", "b"}, "n_key": set(), "n_pair": set()},
        made=[("u", "n_key", "(code)"), ("u", "n_pair", "(a, b)")],
        reported=[("primary key", "code"), ("primary key", "a, b")],
    ),
    Case(
        "A foreign key with dangling rows is made `NOT VALID`",
        "CREATE TABLE d_parent (id INTEGER PRIMARY KEY);"
        "CREATE TABLE d_child (p INTEGER REFERENCES d_parent ON DELETE CASCADE);"
        "CREATE TABLE d_self (id INTEGER PRIMARY KEY, up INTEGER REFERENCES d_self,"
        " next INTEGER REFERENCES d_self DEFERRABLE INITIALLY DEFERRED);"
        "CREATE TABLE d_one (id INTEGER PRIMARY KEY, two INTEGER REFERENCES d_two);"
        "CREATE TABLE d_two (id INTEGER PRIMARY KEY, one INTEGER REFERENCES d_one);"
        "CREATE TABLE d_pair (a INTEGER, b TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID;"
        "CREATE TABLE d_pairs (x TEXT, y INTEGER,"
        " FOREIGN KEY (x, y) REFERENCES d_pair (b, a) ON UPDATE SET NULL ON DELETE SET DEFAULT);"
        "CREATE TABLE d_nowhere (a INTEGER REFERENCES gone (id));",
        {
            "d_parent": _column([1, 2]),
            "d_child": _column([1, 3, None]),
            "d_self": [(1, None, 2), (2, 1, 1)],
            "d_one": [(1, 1)],
            "d_two": [(1, 1)],
            "d_pair": [(2, "a"), (1, "b")],
            "d_pairs": [("b", 1), ("z", None)],
            "d_nowhere": _column([1]),
        },
        made=[
            ("f", "d_child", "(p) REFERENCES d_parent(id) ON DELETE CASCADE NOT VALID"),
            ("f", "d_self", "(up) REFERENCES d_self(id)"),
            ("f", "d_self", "(next) REFERENCES d_self(id) DEFERRABLE INITIALLY DEFERRED"),
            ("f", "d_one", "(two) REFERENCES d_two(id)"),
            ("f", "d_two", "(one) REFERENCES d_one(id)"),
            (
                "f",
                "d_pairs",
                "(x, y) REFERENCES d_pair(b, a) ON UPDATE SET NULL ON DELETE SET DEFAULT",
            ),
            ("p", "d_pair", "(b, a)"),
        ],
        reported=[("foreign key", "(a) references gone")],
    ),
    Case(
        "A foreign key that no key or index of its table begins with",
        FOREIGN_KEYS.format("i"),
        made=[("i", "i_child", "(a)"), ("i", "i_child", "(b, c)")],
        absent=[("i", "i_child", "(b)")],
        only=UTF8,
    ),
    Case(
        "A foreign key that no key or index of its table begins with",
        FOREIGN_KEYS.format("j"),
        made=[("i", "j_child", "(b, c)")],
        absent=[("i", "j_child", "(a)")],
        only=UTF16,
    ),
    Case(
        "`COLLATE NOCASE` in a key or index",
        "CREATE TABLE c_key (name TEXT COLLATE NOCASE PRIMARY KEY);"
        "CREATE TABLE c_unique (name TEXT UNIQUE, loose TEXT COLLATE NOCASE UNIQUE);"
        "CREATE TABLE c_index (name TEXT);"
        "CREATE INDEX c_index_name ON c_index (name COLLATE NOCASE DESC);"
        "CREATE TABLE c_trim (name TEXT COLLATE RTRIM PRIMARY KEY, n INTEGER);"
        "CREATE INDEX c_trim_n ON c_trim (n, name);",
        {
            "c_key": _column(["Ä", "ä", "b"]),
            "c_unique": [("a", "X"), ("A", "y"), (None, None)],
            "c_index": _column(["a", "A"]),
            "c_trim": [("a ", 1), (" a", 2)],
        },
        required={"c_unique": set()},
        made=[
            ("u", "c_unique", "(name)"),
            ("i", "c_key", '(lower((name COLLATE "C")))'),
            ("i", "c_unique", '(lower((loose COLLATE "C")))'),
            ("i", "c_index", '(lower((name COLLATE "C")) DESC NULLS LAST)'),
            ("i", "c_trim", "(rtrim(name, ' '::text))"),
            ("i", "c_trim", "(n, rtrim(name, ' '::text))"),
        ],
    ),
)

OBJECTS = (
    Case(
        "Every object of the source is counted",
        "CREATE TABLE t_texts (id INTEGER PRIMARY KEY, n INTEGER DEFAULT 7,"
        " made INTEGER AS (n * 2) STORED, CONSTRAINT t_check CHECK (n > 0));"
        "CREATE INDEX t_term ON t_texts (lower(id), n);"
        "CREATE INDEX t_part ON t_texts (n) WHERE n > 5;"
        "CREATE VIEW t_view AS SELECT id FROM t_texts WHERE n > 1;"
        "CREATE VIEW t_other AS SELECT id, max(n) AS most FROM t_texts GROUP BY id;",
        after="INSERT INTO t_texts (id, n) VALUES (1, 3), (2, 9);",
        spoiled=[
            (
                "ALTER TABLE t_texts ALTER n SET DEFAULT 8",
                "ALTER TABLE t_texts ALTER n SET DEFAULT 7",
                "default or generation expression is 8, planned",
            ),
            (
                "ALTER TABLE t_texts ALTER made SET EXPRESSION AS (n * 3)",
                "ALTER TABLE t_texts ALTER made SET EXPRESSION AS (n * 2)",
                "default or generation expression is (n * 3), planned (n * ",
            ),
            (
                "ALTER TABLE t_texts DROP CONSTRAINT t_check, ADD CONSTRAINT t_check CHECK (n > 1)",
                "ALTER TABLE t_texts DROP CONSTRAINT t_check, ADD CONSTRAINT t_check CHECK (n > 0)",
                "check is CHECK ((n > 1)), planned CHECK ((n > 0))",
            ),
            (
                "DROP INDEX t_part; CREATE INDEX t_part ON t_texts (n) WHERE n > 6",
                "DROP INDEX t_part; CREATE INDEX t_part ON t_texts (n) WHERE n > 5",
                "index is USING btree (n) WHERE (n > 6), planned USING btree (n) WHERE (n > 5)",
            ),
            (
                "CREATE OR REPLACE VIEW t_other AS SELECT id, min(n) AS most FROM t_texts"
                " GROUP BY id",
                "CREATE OR REPLACE VIEW t_other AS SELECT id, max(n) AS most FROM t_texts"
                " GROUP BY id",
                "view is SELECT id, min(n) AS most FROM t_texts GROUP BY id;, planned SELECT ",
            ),
            (
                "ALTER VIEW t_view RENAME TO t_lost",
                "ALTER VIEW t_lost RENAME TO t_view",
                "view is missing",
            ),
        ],
    ),
    Case(
        "Virtual tables, their shadow tables and triggers do not come along",
        "CREATE VIRTUAL TABLE v_fts USING fts5(body);"
        "CREATE VIRTUAL TABLE v_tree USING rtree(id, x0, x1);"
        "CREATE TABLE v_log (id INTEGER PRIMARY KEY, t TEXT);"
        "CREATE TRIGGER v_note AFTER DELETE ON v_log BEGIN SELECT 1; END;",
        {"v_log": [(1, "a")]},
        after="INSERT INTO v_fts VALUES ('hello'); INSERT INTO v_tree VALUES (1, 0, 1);",
        reported=[
            ("virtual table", "v_fts"),
            ("virtual table", "v_tree"),
            ("shadow table", "v_fts_data"),
            ("shadow table", "v_tree_node"),
            ("trigger", "v_note"),
        ],
    ),
    Case(
        "Checks, defaults, partial and expression indexes and views are translated",
        "CREATE TABLE o_base (id INTEGER PRIMARY KEY, n INTEGER DEFAULT 7 CHECK (n > 0),"
        " t TEXT DEFAULT 'it''s' CONSTRAINT short CHECK (length(t) < 10),"
        " at DATETIME DEFAULT CURRENT_TIMESTAMP, odd TEXT CHECK (odd GLOB '[a-z]*'),"
        " r TEXT DEFAULT (sqlite_version()));"
        "CREATE INDEX o_partial ON o_base (n) WHERE t IS NOT NULL;"
        "CREATE INDEX o_expression ON o_base (lower(t), n DESC);"
        "CREATE INDEX o_untold ON o_base (printf('%s', t));"
        "CREATE VIEW o_first AS SELECT id, upper(t) AS loud FROM o_base WHERE n > 1;"
        "CREATE VIEW o_second AS SELECT count(*) AS n FROM o_first;"
        "CREATE VIEW o_none AS SELECT 1 AS one FROM o_base;"
        "CREATE VIEW o_broken AS SELECT missing FROM o_base;",
        {
            "o_base": [
                (1, 1, "Abc", "2024-01-01 00:00:00", "x", None),
                (2, 5, None, None, "y", "ff"),
            ]
        },
        types={"o_base": {"at": TS}},
        made=[
            ("i", "o_base", "(n) WHERE (NOT (t IS NULL))"),
            ("i", "o_base", "(lower(t), n DESC NULLS LAST)"),
            ("v", "o_first", ""),
            ("v", "o_second", ""),
            ("v", "o_none", ""),
        ],
        reported=[("view", "o_broken"), ("index", "o_untold"), ("default", "r")],
    ),
    Case(
        "Defaults may be expressions",
        "CREATE TABLE o_defaults (id INTEGER PRIMARY KEY, made TEXT DEFAULT (lower('ABC') || 'd'),"
        " n INTEGER DEFAULT (1 + 2), at TEXT DEFAULT CURRENT_TIMESTAMP);",
        after="INSERT INTO o_defaults DEFAULT VALUES;",
        values={"o_defaults": {"made": ["abcd"], "n": ["3"]}},
    ),
    Case(
        "Generated columns, stored or virtual",
        "CREATE TABLE g_made (id INTEGER PRIMARY KEY, a INTEGER, t TEXT,"
        " twice INTEGER GENERATED ALWAYS AS (a * 2) STORED,"
        " more INTEGER AS (twice + 1) VIRTUAL, loud TEXT AS (upper(t)) STORED,"
        " odd TEXT AS (t GLOB 'x*') STORED);",
        after="INSERT INTO g_made (id, a, t) VALUES (1, 21, 'x'), (2, NULL, 'ß'), (3, -1, NULL);",
        values={
            "g_made": {
                "twice": ["42", None, "-2"],
                "more": ["43", None, "-1"],
                "loud": ["X", "ß", None],
            }
        },
        generated={
            "g_made": {
                "twice": "(a * 2)",
                "more": "((a * 2) + 1)",
                "loud": "upper(t)",
                "odd": None,
            }
        },
    ),
)

NAMES = (
    Case(
        "Names stay as they are and are always quoted",
        'CREATE TABLE "select" ("from" INTEGER PRIMARY KEY, "Group By" TEXT, "a""b" TEXT,'
        ' "100%" TEXT, "naïve" TEXT, "名前" TEXT, "%s" TEXT, ":x" TEXT);'
        'CREATE TABLE " spaced " (" " TEXT); CREATE TABLE "q""uote\'s" ("\\" TEXT);'
        f'CREATE TABLE "{LONGEST}" ("{LONGEST}" TEXT);'
        f'CREATE TABLE "{"é" * 40}" (a TEXT);'
        'CREATE INDEX "order" ON "select" ("Group By");'
        'CREATE TABLE "CamelCase" (ctid TEXT, "Id" INTEGER, xmin TEXT, oid TEXT);'
        'CREATE VIEW "vïew" AS SELECT "100%" AS "a.b" FROM "select";',
        {
            "select": [(1, "g", "q", "p", "n", "名", "s", "c")],
            " spaced ": _column(["x"]),
            "q\"uote's": _column(["y"]),
            LONGEST: _column(["z"]),
            "é" * 40: _column(["e"]),
            "CamelCase": [("c", 1, "x", "o")],
        },
        types={"select": {"from": "bigint", "Group By": "text", 'a"b': "text", "名前": "text"}},
        values={"q\"uote's": {"\\": ["y"]}, LONGEST: {LONGEST: ["z"]}},
        made=[("i", "select", '("Group By")'), ("v", "vïew", "")],
    ),
    Case(
        "Names stay as they are and are always quoted",
        "CREATE TABLE w_empty (a TEXT, b INTEGER, c REAL, d BLOB, e DATE, f JSON, g,"
        " h DECIMAL(5,2), i BOOLEAN, j UUID, k TIMESTAMP, l TIME, m VARCHAR(3));"
        "CREATE TABLE w_nulls (a TEXT, b INTEGER, c);"
        "CREATE TABLE w_strict (a INT, b REAL, c TEXT, d BLOB, e ANY) STRICT;"
        "CREATE TABLE w_twins (t TEXT PRIMARY KEY);"
        "CREATE TABLE w_same (a INTEGER, b TEXT);",
        {
            "w_nulls": [(None, None, None)] * 3,
            "w_strict": [(1, 1.0, "x", b"y", "1"), (None, -0.0, "", b"", 1)],
            "w_twins": _column(["Straße", "straße", "STRASSE", "İ", "i"]),
            "w_same": [(1, "same")] * 5 + [(None, None)] * 2,
        },
        types={
            "w_empty": {
                "a": "text",
                "b": "bigint",
                "c": "double precision",
                "d": "bytea",
                "e": "date",
                "f": "jsonb",
                "g": "text",
                "h": "numeric(5,2)",
                "i": "boolean",
                "j": "uuid",
                "k": TS,
                "l": "time without time zone",
                "m": "character varying(3)",
            },
            "w_strict": {"a": "bigint", "b": "double precision", "e": "text"},
        },
        values={"w_strict": {"b": ["1", "0"], "e": ["1", "1"]}},
    ),
)

WIDE = Case(
    "Names stay as they are and are always quoted",
    "CREATE TABLE w_wide (" + ", ".join(f"c{i} INTEGER" for i in range(1000)) + ");",
    {"w_wide": [list(range(1000)), [None] * 999 + [INT64]]},
    types={"w_wide": {"c0": "bigint", "c999": "bigint"}},
    only=UTF8,  # once is enough: it takes as long as twenty others
)

CASES = (*TYPES, *VALUES, *KEYS, *OBJECTS, *NAMES, WIDE)
