"""An independent judge: a source against PostgreSQL, value by value, the ledger applied.

It uses plain ``sqlite3`` (:mod:`comparator_mysql` plain PyMySQL) and plain ``psycopg2`` and none of
the package's code; of a run it reads ``plan.json`` (which source name became which),
``ledger.parquet`` and ``quarantine.parquet``.
A value must be equal as ``docs`` define it (:mod:`comparator_values`), or be in the ledger with
the right key, *before* and *after*. A ledger entry for a value that is equal, or for a row or
column that does not exist, is a fault as well.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow.parquet as pq
from psycopg2 import sql

from migration_assets_tests.comparator_values import (
    SourceValue,
    Text,
    is_after,
    is_equal,
    renderings,
)

MAX_FAULTS = 20

SourceRows = Callable[[dict[str, Any]], Iterator[tuple[int, Any]]]


@dataclass(frozen=True)
class Entry:
    """One ledger entry."""

    before: str | None
    after: str | None
    rule: str


@dataclass
class Ledger:
    """The declared changes of one table: key -> column -> entry; ``used`` are those met."""

    entries: dict[tuple[str, ...], dict[str, Entry]]
    used: set[tuple[tuple[str, ...], str]] = field(default_factory=set)


@dataclass
class Verdict:
    """What the judge found: rows compared per source table, ledger entries met, and faults."""

    rows: dict[str, int] = field(default_factory=dict)
    ledger: int = 0
    faults: list[str] = field(default_factory=list)


def open_source(path: Path, folder: Path) -> sqlite3.Connection:
    """Open a private copy of ``path`` (its WAL included) in ``folder``."""
    copy = folder / "judge.db"
    shutil.copyfile(path, copy)
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size:
        shutil.copyfile(wal, copy.with_name(copy.name + "-wal"))
    connection = sqlite3.connect(copy)
    connection.text_factory = Text
    return connection


def compare(source: Path, url: str, schema: str, out: Path, folder: Path) -> Verdict:
    """Compare every planned table of the run in ``out`` with the database file ``source``.

    Args:
        source: the SQLite file.
        url: a libpq URL of the target.
        schema: the target schema.
        out: the run's folder, with plan.json, ledger.parquet and quarantine.parquet.
        folder: an empty folder for the judge's own copy.
    """
    with closing(open_source(source, folder)) as lite:
        return judge(lambda table: _sqlite_rows(lite, table), url, schema, out)


def judge(rows: SourceRows, url: str, schema: str, out: Path) -> Verdict:
    """Compare every planned table of the run in ``out`` with the source's rows.

    Args:
        rows: a planned table -> its rows in the source, numbered from 1, in the order in which
            they are read.
        url: a libpq URL of the target.
        schema: the target schema.
        out: the run's folder.
    """
    plan = json.loads((out / "plan.json").read_text())
    ledgers = _ledgers(out / "ledger.parquet")
    quarantined = _quarantine(out / "quarantine.parquet")
    verdict = Verdict()
    with closing(psycopg2.connect(url)) as pg:
        with pg.cursor() as cursor:
            cursor.execute("SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'")
            cursor.execute("SET bytea_output = 'hex'; SET extra_float_digits = 1")
        for table in plan["tables"]:
            name = table["source"]
            ledger = Ledger(ledgers.pop(name, {}))
            one = _TableJudge(table, ledger, quarantined.pop(name, set()), verdict)
            one.compare(list(rows(table)), pg, schema)
    for name in [*ledgers, *quarantined]:
        verdict.faults.append(f"ledger or quarantine names a table that is not planned: {name}")
    return verdict


def _ledgers(path: Path) -> dict[str, dict[tuple[str, ...], dict[str, Entry]]]:
    tables: dict[str, dict[tuple[str, ...], dict[str, Entry]]] = defaultdict(dict)
    for row in pq.read_table(path).to_pylist():
        key = tuple(_plain(part) for part in json.loads(row["key"]))
        entry = Entry(row["before"], row["after"], row["rule"])
        tables[row["table"]].setdefault(key, {})[row["column"]] = entry
    return dict(tables)


def _quarantine(path: Path) -> dict[str, set[tuple[str, ...]]]:
    tables: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for row in pq.read_table(path).to_pylist():
        tables[row["table"]].add(tuple(_plain(part) for part in json.loads(row["key"])))
    return dict(tables)


def _plain(part: Any) -> str:
    return part if isinstance(part, str) else json.dumps(part)


class _TableJudge:
    """Compares one table.

    Rows are paired by their position first (a table that was copied in one stream lies in the
    order in which it was read); if that does not make every pair equal, by the plan's key, which
    is then what a difference is named by.
    """

    def __init__(
        self,
        table: dict[str, Any],
        ledger: Ledger,
        quarantined: set[tuple[str, ...]],
        verdict: Verdict,
    ) -> None:
        self._table = table
        self._ledger = ledger
        self._quarantined = quarantined
        self._verdict = verdict
        self._columns = table["columns"]
        positions = {column["name"]: i for i, column in enumerate(self._columns)}
        self._key = [positions[name] for name in table["key"]]
        self._types: list[str] = []

    def compare(self, source: list[tuple[int, Any]], pg: Any, schema: str) -> None:
        """Compare all rows and write what is found into the verdict."""
        self._types = self._pg_types(pg, schema)
        if not self._types:
            return
        found = list(self._found_rows(pg, schema))
        self._verdict.rows[self._table["source"]] = len(found)
        kept = [r for r in source if not self._is_quarantined(*r)]
        if len(kept) != len(found):
            self._fault(f"{len(kept)} rows expected, {len(found)} found")
        faults = self._positional(kept, found)
        if self._key and (faults or len(kept) != len(found)):
            faults = self._by_key(kept, found)
        for fault in faults[:MAX_FAULTS]:
            self._fault(fault)
        if len(faults) > MAX_FAULTS:
            self._fault(f"and {len(faults) - MAX_FAULTS} more")
        self._unused()

    def _positional(self, kept: list[Any], found: list[Any]) -> list[str]:
        return [
            fault
            for (number, row), other in zip(kept, found, strict=False)
            for fault in self._row_faults(number, row, other)
        ]

    def _by_key(self, kept: list[Any], found: list[Any]) -> list[str]:
        """Pair by the text PostgreSQL shows of the key, falling back to the ledger's *after*."""
        self._ledger.used.clear()
        by_key: dict[tuple[Any, ...], list[Sequence[str | None]]] = defaultdict(list)
        for row in found:
            by_key[tuple(row[i] for i in self._key)].append(row)
        faults: list[str] = []
        for number, row in kept:
            for key in self._pg_keys(number, row):
                if by_key.get(key):
                    faults += self._row_faults(number, row, by_key[key].pop())
                    break
            else:
                faults.append(f"row {self._name(number, row)} is missing")
        faults += [f"row {k} is extra" for k, rows in by_key.items() for _ in rows]
        return faults

    def _pg_keys(self, number: int, row: Sequence[SourceValue]) -> Iterator[tuple[Any, ...]]:
        entries = self._entries(number, row)
        choices: list[list[str | None]] = []
        for i in self._key:
            entry = entries.get(self._columns[i]["source"])
            texts = [entry.after] if entry else sorted(renderings(row[i]), key=str)
            choices.append([*texts, *(f"\\x{t}" for t in texts if isinstance(row[i], bytes) and t)])
        keys: list[tuple[Any, ...]] = [()]
        for texts in choices:
            keys = [(*key, text) for key in keys for text in texts]
        yield from keys

    def _row_faults(
        self, number: int, row: Sequence[SourceValue], other: Sequence[str | None]
    ) -> Iterator[str]:
        entries = self._entries(number, row)
        for column, value, text, pg_type in zip(
            self._columns, row, other, self._types, strict=True
        ):
            equal = is_equal(value, text, pg_type, column["conversion"])
            entry = entries.get(column["source"])
            where = f"{column['source']} of row {self._name(number, row)}"
            if entry is None:
                if not equal:
                    yield f"{where}: {value!r} became {text!r} ({pg_type}) and is not in the ledger"
                continue
            self._ledger.used.add((self._ledger_key(number, row), column["source"]))
            if equal:
                yield f"{where}: in the ledger ({entry.rule}), but {value!r} is unchanged"
            elif entry.before not in renderings(value):
                yield f"{where}: the ledger says {entry.before!r} was there before, not {value!r}"
            elif not is_after(entry.after, text, pg_type):
                yield f"{where}: the ledger says {entry.after!r} came, PostgreSQL holds {text!r}"

    def _entries(self, number: int, row: Sequence[SourceValue]) -> dict[str, Entry]:
        if not self._ledger.entries:
            return {}
        return self._ledger.entries.get(self._ledger_key(number, row), {})

    def _ledger_key(self, number: int, row: Sequence[SourceValue]) -> tuple[str, ...]:
        """The key under which the ledger knows the row; each part in the form that occurs there."""
        return self._known_key(number, row, self._ledger.entries)

    def _is_quarantined(self, number: int, row: Sequence[SourceValue]) -> bool:
        quarantined = self._quarantined
        return bool(quarantined) and self._known_key(number, row, quarantined) in quarantined

    def _known_key(
        self, number: int, row: Sequence[SourceValue], known: Container[tuple[str, ...]]
    ) -> tuple[str, ...]:
        if not self._key:
            return (str(number),)
        keys: list[tuple[str, ...]] = [()]
        for i in self._key:
            texts = sorted("null" if t is None else t for t in renderings(row[i]))
            keys = [(*key, text) for key in keys for text in texts]
        return next((key for key in keys if key in known), keys[0])

    def _unused(self) -> None:
        for key, columns in self._ledger.entries.items():
            for column in columns:
                if (key, column) in self._ledger.used:
                    self._verdict.ledger += 1
                else:
                    self._fault(f"the ledger names {column} of row {key}, which does not exist")

    def _found_rows(self, pg: Any, schema: str) -> Iterator[Sequence[str | None]]:
        texts = [
            sql.SQL("to_json({})::text" if t == "_text" else "{}::text").format(
                sql.Identifier(c["name"])
            )
            for c, t in zip(self._columns, self._types, strict=True)
        ]
        with pg.cursor() as cursor:
            cursor.execute(
                sql.SQL("SELECT {} FROM {} ORDER BY ctid").format(
                    sql.SQL(", ").join(texts), sql.Identifier(schema, self._table["name"])
                )
            )
            yield from cursor

    def _pg_types(self, pg: Any, schema: str) -> list[str]:
        """Type names in the plan's column order, from the server's own catalog."""
        with pg.cursor() as cursor:
            cursor.execute(
                "SELECT a.attname, CASE t.typtype WHEN 'e' THEN 'enum' ELSE t.typname END"
                " FROM pg_attribute a"
                " JOIN pg_class c ON c.oid = a.attrelid"
                " JOIN pg_namespace n ON n.oid = c.relnamespace"
                " JOIN pg_type t ON t.oid = a.atttypid"
                " WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped",
                (schema, self._table["name"]),
            )
            types = dict(cursor.fetchall())
        missing = [c["name"] for c in self._columns if c["name"] not in types]
        if missing:
            self._fault(f"columns missing in PostgreSQL: {missing}")
            return []
        return [types[column["name"]] for column in self._columns]

    def _name(self, number: int, row: Sequence[SourceValue]) -> str:
        return str([row[i] for i in self._key]) if self._key else f"number {number}"

    def _fault(self, text: str) -> None:
        self._verdict.faults.append(f"{self._table['source']}: {text}")


def _sqlite_rows(lite: sqlite3.Connection, table: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    names = ", ".join(_quoted(column["source"]) for column in table["columns"])
    statement = f"SELECT {names} FROM {_quoted(table['source'])} NOT INDEXED"
    yield from enumerate(lite.execute(statement), start=1)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
