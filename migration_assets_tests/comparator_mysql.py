"""The judge's MySQL side: rows by plain PyMySQL, and every object there or reported.

Values are taken over the text protocol as they are; the server itself turns texts into UTF-8.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
from pymysql import converters
from pymysql.connections import Connection

from migration_assets_tests.comparator import Verdict, judge
from migration_assets_tests.comparator_values import SourceValue, Text
from migration_assets_tests.mysql_server import MySQLDatabase

_INTEGERS = {"tinyint", "smallint", "mediumint", "int", "bigint", "year"}
_BYTES = {
    "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "geometry", "point",
    "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
    "geometrycollection", "geomcollection",
}  # fmt: skip
_CODECS = {
    "utf8mb4": "utf-8", "utf8mb3": "utf-8", "utf8": "utf-8", "ucs2": "utf-16-be",
    "utf16": "utf-16-be", "utf32": "utf-32-be",
}  # fmt: skip
"""MySQL's charset -> Python's codec, where they have two names."""


def compare(source: MySQLDatabase, url: str, schema: str, out: Path) -> Verdict:
    """Compare every planned table of the run in ``out`` with the database ``source``."""
    # Without decoders every value comes as its text.
    with closing(source.connect(conv=dict(converters.encoders))) as mysql:
        _ask(mysql, "SET time_zone = '+00:00'")
        return judge(lambda table: _rows(mysql, table), url, schema, out)


def _rows(mysql: Connection[Any], table: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    types = {
        name: (data, full, charset)
        for name, data, full, charset in _ask(
            mysql,
            "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME"
            " FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s",
            table["source"],
        )
    }
    names = [column["source"] for column in table["columns"]]
    terms = ", ".join(_term(name, *types[name]) for name in names)
    order = [
        name
        for (name,) in _ask(
            mysql,
            "SELECT COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE WHERE CONSTRAINT_NAME ="
            " 'PRIMARY' AND TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s"
            " ORDER BY ORDINAL_POSITION",
            table["source"],
        )
    ]
    by = f" ORDER BY {', '.join(map(_quoted, order))}" if order else ""
    for number, row in enumerate(
        _ask(mysql, f"SELECT {terms} FROM {_quoted(table['source'])}{by}"), start=1
    ):
        yield number, [_value(v, *types[n]) for n, v in zip(names, row, strict=True)]


def _term(name: str, data: str, full: str, charset: str | None) -> str:
    quoted = _quoted(name)
    if data == "bit":
        return f"BIN({quoted} + 0)"
    if data == "float":
        return f"CAST({quoted} AS DOUBLE)"
    if data == "decimal":
        # ZEROFILL is for display only.
        return f"CAST({quoted} AS CHAR)" if "zerofill" not in full else f"{quoted} + 0"
    return f"HEX({quoted})" if data in _BYTES or charset else quoted


def _value(value: str | None, data: str, full: str, charset: str | None) -> SourceValue:
    """A value as the judge knows it, by the column's type."""
    if value is None:
        return None
    if data in _INTEGERS:
        return int(value)
    if data in {"float", "double"}:
        return float(value)
    if data in _BYTES:
        return bytes.fromhex(value)
    if charset:
        return _text(bytes.fromhex(value), charset)
    if data == "bit":
        width = int(full.partition("(")[2].rstrip(")") or 1)
        return int(value) if width == 1 else Text(value.rjust(width, "0").encode())
    if data == "timestamp" and not value.startswith("0000"):
        return Text(f"{value}+00:00".encode())
    return Text(value.encode())


def _text(octets: bytes, charset: str) -> Text:
    """A text in UTF-8; its own bytes where they are none in its charset."""
    if charset == "latin1":
        # Windows' code page, and the code points themselves where that has none.
        decoded = "".join(
            bytes((octet,)).decode("cp1252", errors="ignore") or chr(octet) for octet in octets
        )
        return Text(decoded.encode())
    try:
        return Text(octets.decode(_CODECS.get(charset, charset)).encode())
    except UnicodeDecodeError:
        return Text(octets)


def missing_objects(source: MySQLDatabase, url: str, schema: str, out: Path) -> list[str]:
    """List what the source has and neither PostgreSQL nor the report does; empty is proof."""
    plan = json.loads((out / "plan.json").read_text())
    evidence = json.loads((out / "evidence.json").read_text())
    reported = {(s["kind"], s["table"], s["name"]) for s in evidence["skipped"]}
    reported |= {(s["kind"], s["table"], None) for s in evidence["skipped"]}
    tables = {table["source"]: table for table in plan["tables"]}
    faults = []
    with closing(source.connect()) as mysql, closing(psycopg2.connect(url)) as pg:
        there = _Schema(pg, schema)
        for name, kind in _ask(
            mysql,
            "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES"
            " WHERE TABLE_SCHEMA = DATABASE()",
        ):
            if kind == "VIEW":
                if name not in there.views and ("view", None, name) not in reported:
                    faults.append(f"view {name}")
            elif name not in tables:
                faults.append(f"table {name}")
        for table, columns, parent in _foreign_keys(mysql):
            if (tables[table]["name"], columns, parent) in there.foreign_keys:
                continue
            if ("foreign key", table, None) not in reported:
                faults.append(f"foreign key {columns} of {table}")
        for table, name, unique, columns in _keys(mysql):
            target = tables[table]["name"]
            if unique and (target, columns) in there.uniques:
                continue
            word = "primary key" if name == "PRIMARY" else "unique key" if unique else "index"
            if (target, columns) in there.indexes | there.uniques:
                continue
            # One over parts of values has no plain columns in PostgreSQL.
            if any(t == target and i.startswith(name) for t, i in there.names):
                continue
            if not any((kind, table, None) in reported for kind in (word, "index")):
                faults.append(f"{word} {name} of {table}")
        for table, next_ in _next_numbers(mysql):
            found = there.next_value(tables[table]["name"])
            if found != next_:
                faults.append(f"next number of {table} is {found}, in the source {next_}")
    return faults


class _Schema:
    """What there is in PostgreSQL, by its own catalog."""

    def __init__(self, pg: Any, schema: str) -> None:
        self._cursor = pg.cursor()
        self._schema = schema
        self.views = {n for (n,) in self._ask("SELECT viewname FROM pg_views WHERE schemaname=%s")}
        self.names = set(
            self._ask("SELECT tablename::text, indexname::text FROM pg_indexes WHERE schemaname=%s")
        )
        self.indexes = {
            (table, tuple(columns))
            for table, columns in self._ask(
                "SELECT c.relname::text, array_agg(a.attname::text ORDER BY k.place)"
                " FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
                " CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k(n, place)"
                " LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n"
                " WHERE c.relnamespace = quote_ident(%s)::regnamespace AND i.indisvalid"
                " GROUP BY i.indexrelid, c.relname"
            )
        }
        keys = (
            "SELECT r.relname::text, ARRAY(SELECT a.attname::text FROM unnest(c.{}) WITH ORDINALITY"
            " k(n, place) JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.n"
            " ORDER BY place), p.relname::text FROM pg_constraint c JOIN pg_class r"
            " ON r.oid = c.conrelid LEFT JOIN pg_class p ON p.oid = c.confrelid"
            " WHERE r.relnamespace = quote_ident(%s)::regnamespace AND c.contype = ANY('{{{}}}')"
        )
        self.uniques = {(t, tuple(c)) for t, c, _ in self._ask(keys.format("conkey", "p,u"))}
        self.foreign_keys = {(t, tuple(c), p) for t, c, p in self._ask(keys.format("conkey", "f"))}

    def next_value(self, table: str) -> int | None:
        """What the table's identity column would take next, by its sequence."""
        rows = self._ask(
            "SELECT pg_get_serial_sequence(quote_ident(n.nspname) || '.' || quote_ident(c.relname),"
            " a.attname) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s AND a.attidentity <> ''",
            table,
        )
        if not rows:
            return None
        self._cursor.execute(f"SELECT last_value + is_called::int FROM {rows[0][0]}")
        return int(self._cursor.fetchone()[0])

    def _ask(self, statement: str, *args: str) -> list[Any]:
        self._cursor.execute(statement, (self._schema, *args))
        return list(self._cursor.fetchall())


def _foreign_keys(mysql: Connection[Any]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    for table, columns, parent in _ask(
        mysql,
        "SELECT TABLE_NAME, GROUP_CONCAT(COLUMN_NAME ORDER BY ORDINAL_POSITION SEPARATOR '\\n'),"
        " MIN(REFERENCED_TABLE_NAME) FROM information_schema.KEY_COLUMN_USAGE"
        " WHERE TABLE_SCHEMA = DATABASE() AND REFERENCED_TABLE_NAME IS NOT NULL"
        " GROUP BY TABLE_NAME, CONSTRAINT_NAME",
    ):
        yield table, tuple(columns.split("\n")), parent


def _keys(mysql: Connection[Any]) -> Iterator[tuple[str, str, bool, tuple[str, ...]]]:
    for table, name, not_unique, columns in _ask(
        mysql,
        "SELECT TABLE_NAME, INDEX_NAME, MIN(NON_UNIQUE),"
        " GROUP_CONCAT(COLUMN_NAME ORDER BY SEQ_IN_INDEX SEPARATOR '\\n')"
        " FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE()"
        " GROUP BY TABLE_NAME, INDEX_NAME",
    ):
        yield table, name, not not_unique, tuple((columns or "").split("\n"))


def _next_numbers(mysql: Connection[Any]) -> list[Any]:
    return _ask(
        mysql,
        "SELECT TABLE_NAME, AUTO_INCREMENT FROM information_schema.TABLES"
        " WHERE TABLE_SCHEMA = DATABASE() AND AUTO_INCREMENT IS NOT NULL",
    )


def _ask(mysql: Connection[Any], statement: str, *args: str) -> list[Any]:
    with mysql.cursor() as cursor:
        cursor.execute(statement, args or None)
        return list(cursor.fetchall())


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
