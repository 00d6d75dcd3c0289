"""The judge's second half: every object of the source is in PostgreSQL, or reported by name.

Reads ``sqlite_master`` and PRAGMAs on one side, ``pg_catalog`` on the other, ``plan.json`` for
the names and ``evidence.json`` for what is reported; none of the package's code.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from operator import contains
from pathlib import Path
from typing import Any

import psycopg2

from migration_assets_tests.comparator import open_source

FOLDING = {"NOCASE", "RTRIM"}


def missing_objects(source: Path, url: str, schema: str, out: Path, folder: Path) -> list[str]:
    """List what the source has and neither PostgreSQL nor the report does; empty is proof."""
    plan = json.loads((out / "plan.json").read_text())
    evidence = json.loads((out / "evidence.json").read_text())
    with closing(open_source(source, folder)) as lite, closing(psycopg2.connect(url)) as pg:
        lite.text_factory = lambda octets: octets.decode("utf-8", errors="replace")
        return _Objects(lite, pg, schema, plan, evidence).missing()


class _Objects:
    def __init__(
        self,
        lite: sqlite3.Connection,
        pg: Any,
        schema: str,
        plan: dict[str, Any],
        evidence: dict[str, Any],
    ) -> None:
        self._lite = lite
        self._pg = pg
        self._schema = schema
        self._plans = {table["source"].casefold(): table for table in plan["tables"]}
        self._skipped = [
            (item["kind"], item["name"].casefold(), (item["table"] or "").casefold())
            for item in evidence["skipped"]
        ]

    def missing(self) -> list[str]:
        faults: list[str] = []
        master = self._lite.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%'"
            " ESCAPE '\\'"
        ).fetchall()
        views = self._names("SELECT viewname FROM pg_views WHERE schemaname = %s")
        for kind, name, table, _sql in master:
            if kind == "table" and name.casefold() not in self._plans:
                faults += self._unless_reported("table", name, None)
            elif kind == "view" and name.casefold() not in views:
                faults += self._unless_reported("view", name, None)
            elif kind == "trigger":
                faults += self._unless_reported("trigger", name, None)
            elif kind == "index" and table.casefold() in self._plans:
                faults += self._index(name, table)
        for plan in self._plans.values():
            faults += self._columns(plan)
            faults += self._primary_key(plan)
            faults += self._uniques(plan)
            faults += self._foreign_keys(plan)
        return faults

    def _unless_reported(self, kind: str, name: str, table: str | None) -> list[str]:
        for skipped_kind, skipped_name, skipped_table in self._skipped:
            right_kind = kind in skipped_kind or (kind == "unique key" and "index" in skipped_kind)
            if right_kind and skipped_name == name.casefold():
                return []
            if right_kind and table and skipped_table == table.casefold() and not name:
                return []
        where = f' of "{table}"' if table else ""
        return [f'{kind} "{name}"{where} is neither in PostgreSQL nor reported']

    def _index(self, name: str, table: str) -> list[str]:
        """A secondary index by its table and, where it has no expression, its columns."""
        plan = self._plans[table.casefold()]
        shape = self._lite.execute(
            'SELECT name, coll FROM pragma_index_xinfo(?) WHERE "key" = 1 ORDER BY seqno', (name,)
        ).fetchall()
        # NOCASE and RTRIM make a text an expression in PostgreSQL; a number has no case.
        wanted = [
            {None} if column is None else {self._target(plan, column)} | nocase
            for column, coll in shape
            for nocase in ({None} if coll in FOLDING else set(),)
        ]
        for index in self._indexes(plan["name"]):
            if len(index) == len(wanted) and all(map(contains, wanted, index)):
                return []
        return self._unless_reported("index", name, table)

    def _columns(self, plan: dict[str, Any]) -> list[str]:
        """Every column is there, and NOT NULL where the source says so and no value denies it."""
        rows = self._lite.execute(
            'SELECT name, "notnull" FROM pragma_table_xinfo(?) WHERE hidden <> 1', (plan["source"],)
        ).fetchall()
        with self._pg.cursor() as cursor:
            cursor.execute(
                "SELECT attname, attnotnull FROM pg_attribute WHERE attrelid = %s::regclass"
                " AND attnum > 0 AND NOT attisdropped",
                (self._regclass(plan["name"]),),
            )
            there = dict(cursor.fetchall())
        faults = []
        for name, not_null in rows:
            target = self._target(plan, name)
            if target not in there:
                faults.append(f'column "{name}" of "{plan["source"]}" is not in PostgreSQL')
            elif not_null and not there[target] and not self._has_null(plan["source"], name):
                faults.append(f'column "{name}" of "{plan["source"]}" lost its NOT NULL')
        return faults

    def _has_null(self, table: str, column: str) -> bool:
        quoted = ['"' + name.replace('"', '""') + '"' for name in (table, column)]
        # A column that is NOT NULL is never NULL to SQLite's planner, an expression may be.
        query = "SELECT 1 FROM {} NOT INDEXED WHERE typeof({}) = 'null' LIMIT 1".format(*quoted)
        return self._lite.execute(query).fetchone() is not None

    def _primary_key(self, plan: dict[str, Any]) -> list[str]:
        rows = self._lite.execute(
            "SELECT name FROM pragma_table_xinfo(?) WHERE pk > 0 ORDER BY pk", (plan["source"],)
        ).fetchall()
        wanted = [self._target(plan, name) for (name,) in rows]
        if not wanted or [wanted] == self._constraints(plan["name"], "p"):
            return []
        return [
            fault
            for fault in self._unless_reported("primary key", "", plan["source"])
            if fault  # reported by its table, since SQLite has no name for it
        ]

    def _uniques(self, plan: dict[str, Any]) -> list[str]:
        faults = []
        unique = self._constraints(plan["name"], "u") + self._constraints(plan["name"], "p")
        unique += self._indexes(plan["name"], unique=True)
        for (name,) in self._lite.execute(
            "SELECT name FROM pragma_index_list(?) WHERE origin = 'u'", (plan["source"],)
        ).fetchall():
            columns = self._lite.execute(
                "SELECT name FROM pragma_index_info(?) ORDER BY seqno", (name,)
            ).fetchall()
            wanted = [self._target(plan, column) for (column,) in columns]
            folded = [None if self._ignores_case(name, i) else c for i, c in enumerate(wanted)]
            if wanted not in unique and folded not in unique:
                faults += self._unless_reported("unique key", "", plan["source"])
        return faults

    def _ignores_case(self, index: str, place: int) -> bool:
        """NOCASE and RTRIM make the term an expression in PostgreSQL."""
        found = self._lite.execute(
            "SELECT coll FROM pragma_index_xinfo(?) WHERE seqno = ?", (index, place)
        ).fetchone()
        return bool(found[0] in FOLDING)

    def _foreign_keys(self, plan: dict[str, Any]) -> list[str]:
        rows = self._lite.execute(
            'SELECT id, "table", "from" FROM pragma_foreign_key_list(?) ORDER BY id, seq',
            (plan["source"],),
        ).fetchall()
        keys: dict[int, tuple[str, list[str]]] = {}
        for number, parent, column in rows:
            keys.setdefault(number, (parent, []))[1].append(self._target(plan, column))
        with self._pg.cursor() as cursor:
            cursor.execute(
                "SELECT p.relname, array_agg(a.attname::text ORDER BY k.n) FROM pg_constraint c"
                " JOIN pg_class p ON p.oid = c.confrelid"
                " CROSS JOIN unnest(c.conkey) WITH ORDINALITY AS k(num, n)"
                " JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num"
                " WHERE c.conrelid = %s::regclass AND c.contype = 'f' GROUP BY c.oid, p.relname",
                (self._regclass(plan["name"]),),
            )
            found = cursor.fetchall()
        faults = []
        for parent, columns in keys.values():
            target = self._plans.get(parent.casefold(), {"name": parent})["name"]
            if (target, columns) not in found:
                faults += self._unless_reported("foreign key", "", plan["source"])
        return faults

    def _constraints(self, table: str, kind: str) -> list[list[str]]:
        with self._pg.cursor() as cursor:
            cursor.execute(
                "SELECT array_agg(a.attname::text ORDER BY k.n) FROM pg_constraint c"
                " CROSS JOIN unnest(c.conkey) WITH ORDINALITY AS k(num, n)"
                " JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num"
                " WHERE c.conrelid = %s::regclass AND c.contype = %s GROUP BY c.oid",
                (self._regclass(table), kind),
            )
            return [columns for (columns,) in cursor.fetchall()]

    def _indexes(self, table: str, unique: bool = False) -> list[list[str | None]]:
        """Key columns of each valid index; None stands for an expression."""
        with self._pg.cursor() as cursor:
            cursor.execute(
                "SELECT array_agg(a.attname::text ORDER BY k.n) FROM pg_index i"
                " CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k(num, n)"
                " LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num"
                " WHERE i.indrelid = %s::regclass AND i.indisvalid AND (i.indisunique OR NOT %s)"
                " GROUP BY i.indexrelid",
                (self._regclass(table), unique),
            )
            return [columns for (columns,) in cursor.fetchall()]

    def _target(self, plan: dict[str, Any], column: str) -> str:
        for planned in plan["columns"]:
            if planned["source"].casefold() == column.casefold():
                return str(planned["name"])
        return column

    def _names(self, query: str) -> set[str]:
        with self._pg.cursor() as cursor:
            cursor.execute(query, (self._schema,))
            return {name.casefold() for (name,) in cursor.fetchall()}

    def _regclass(self, table: str) -> str:
        return ".".join('"' + part.replace('"', '""') + '"' for part in (self._schema, table))
