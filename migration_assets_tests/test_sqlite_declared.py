"""Declared SQLite types in neutral words, and SQLite's own affinity."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.core.catalog import DeclaredType, Kind
from migration_assets.core.profile import Lane
from migration_assets.sources.sqlite.declared import Affinity, affinity, declared_type, lanes

INTEGERS = {
    64: "INTEGER, int, BIGINT, INT8, int(11), BIGINT(20), UNSIGNED BIG INT, INT UNSIGNED, "
    "SMALLINT UNSIGNED, tinyint(3) unsigned, INTEGER(5) UNSIGNED ZEROFILL, UNSIGNED, BIGSERIAL",
    32: "INT4, MEDIUMINT, mediumint(8)",
    16: "SMALLINT, INT2, TINYINT, TINYINT(1), smallint(6)",
}
OTHERS = {
    DeclaredType(Kind.FLOAT): "REAL|float|DOUBLE|DOUBLE PRECISION|FLOAT(7)|FLOAT(10, 2)|float8",
    DeclaredType(Kind.DECIMAL): "NUMERIC|DECIMAL|NUMBER|MONEY|DECIMAL(0)|NUMERIC(2,5)|UNKNOWN|FOO",
    DeclaredType(Kind.DECIMAL, precision=10, scale=2): "DECIMAL(10,2)|numeric( 10 , 2 )",
    DeclaredType(Kind.DECIMAL, precision=12, scale=0): "NUMBER(12)|DECIMAL(12)|DEC(12,0)",
    DeclaredType(Kind.TEXT): "TEXT|clob|VARCHAR|varchar(max)|VARCHAR(0)|TEXT(255)|STRING|MYTEXT",
    DeclaredType(Kind.TEXT, length=40): "VARCHAR(40)|NVARCHAR(40)|CHARACTER(40)|nchar( 40 )|"
    "VARYING CHARACTER(40)|NATIVE CHARACTER(40)|VARCHAR2(40 CHAR)|CHARACTER VARYING(40)",
    DeclaredType(Kind.TEXT, length=36): "CHAR(36)|VARCHAR(36)",
    DeclaredType(Kind.BOOLEAN): "BOOLEAN|bool",
    DeclaredType(Kind.DATE): "DATE|date",
    DeclaredType(Kind.DATETIME): "DATETIME|timestamp|DATETIME(6)|TIMESTAMP(3)|"
    "TIMESTAMP WITHOUT TIME ZONE",
    DeclaredType(Kind.DATETIME, zoned=True): "TIMESTAMPTZ|TIMESTAMP WITH TIME ZONE|"
    "timestamp(6) with time zone",
    DeclaredType(Kind.TIME): "TIME|time(6)",
    DeclaredType(Kind.UUID): "UUID|guid|UNIQUEIDENTIFIER",
    DeclaredType(Kind.JSON): "JSON|jsonb",
    DeclaredType(Kind.BINARY): "BLOB|BYTEA|VARBINARY(MAX)|LONGBLOB|SPATIAL BLOB",
    DeclaredType(Kind.BINARY, length=16): "BINARY(16)|varbinary(16)",
    DeclaredType(Kind.ANY): "|  ",
    DeclaredType(Kind.INTEGER, bits=64): "POINT|FLOATING POINT|INTERVAL",
}
CASES = [
    (text.strip(), DeclaredType(Kind.INTEGER, bits=bits))
    for bits, texts in INTEGERS.items()
    for text in texts.split(",")
] + [(text, type_) for type_, texts in OTHERS.items() for text in texts.split("|")]


@pytest.mark.parametrize(("text", "type_"), CASES)
def test_a_declared_type_is_read(text: str, type_: DeclaredType) -> None:
    assert declared_type(text) == type_


def test_any_is_typeless_only_in_a_strict_table() -> None:
    assert declared_type("ANY", strict=True) == DeclaredType(Kind.ANY)
    assert declared_type("ANY") == DeclaredType(Kind.DECIMAL)


WORDS = ["INT", "CHAR", "CLOB", "TEXT", "BLOB", "REAL", "FLOA", "DOUB", "DATE", "x", "ANY"]


@given(st.lists(st.sampled_from(WORDS), max_size=4))
def test_the_affinity_is_the_one_that_sqlite_itself_uses(words: list[str]) -> None:
    text = " ".join(words)
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE TABLE t (a {text})")
    declared = connection.execute("SELECT type FROM pragma_table_info('t')").fetchone()[0]
    connection.execute("INSERT INTO t VALUES ('1.0'), ('x'), (2), (0.5)")
    stored = [row[0] for row in connection.execute("SELECT typeof(a) FROM t ORDER BY rowid")]
    connection.close()
    expected = {
        Affinity.INTEGER: ["integer", "text", "integer", "real"],
        Affinity.NUMERIC: ["integer", "text", "integer", "real"],
        Affinity.REAL: ["real", "text", "real", "real"],
        Affinity.TEXT: ["text", "text", "text", "text"],
        Affinity.BLOB: ["text", "text", "integer", "real"],
    }
    assert expected[affinity(declared)] == stored, (text, declared)


@given(st.text(max_size=30))
def test_no_declared_type_is_refused(text: str) -> None:
    type_ = declared_type(text)
    assert lanes(type_, affinity(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("INTEGER", (Lane.INT,)),
        ("REAL", (Lane.REAL,)),
        ("DECIMAL(10,2)", (Lane.INT, Lane.REAL)),
        ("DATETIME", (Lane.TEXT,)),
        ("DATE", (Lane.TEXT,)),
        ("BOOLEAN", (Lane.INT,)),
        ("VARCHAR(5)", (Lane.TEXT,)),
        ("JSON", (Lane.TEXT,)),
        ("UUID", (Lane.TEXT,)),
        ("BLOB", (Lane.BLOB,)),
        ("", (Lane.INT, Lane.REAL, Lane.TEXT, Lane.BLOB)),
    ],
)
def test_the_lanes_to_expect_follow_from_the_declaration(
    text: str, expected: tuple[Lane, ...]
) -> None:
    assert lanes(declared_type(text), affinity(text)) == expected
