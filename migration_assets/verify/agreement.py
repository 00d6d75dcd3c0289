"""Whether translated SQL means the same: run on both sides over the same data, results compared.

Views and the conditions of partial indexes and checks were written for another engine. Whatever
PostgreSQL accepts may still select other rows there, so each is run in the snapshot and in the
loaded schema; what disagrees is withdrawn and reported, never kept silently.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import psycopg2
from psycopg2 import extras, sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.naming import quote
from migration_assets.core.plan import Plan, TablePlan, ViewPlan
from migration_assets.core.sensitive import names, without_values
from migration_assets.postgres.connect import Target, session
from migration_assets.sources.base import QueryError, SnapshotReader
from migration_assets.verify import defaults
from migration_assets.verify.canonical import canonical

MAX_SECONDS = 30
"""Time a view or condition may take on either side; what takes longer is not kept."""
FETCHED_ROWS = 2_000


@dataclass(frozen=True)
class Disagreement:
    """Something translated that does not mean the same.

    ``kind`` is ``view``, ``index``, ``check`` or ``default`` (then ``name`` is the target column);
    ``table`` is the target table, None for a view.
    """

    kind: str
    name: str
    table: str | None
    reason: str


def disagreements(
    reader: SnapshotReader,
    target: Target,
    schema: str,
    plan: Plan,
    quarantined: Mapping[str, int] | None = None,
) -> list[Disagreement]:
    """Compare every translated object that is in ``schema`` with the snapshot.

    The snapshot holds rows that are in quarantine, the schema does not: a condition may hold for
    so many rows less, and views over such a table are not compared.

    Args:
        reader: the snapshot.
        target: where the loaded schema is.
        schema: the loaded schema.
        plan: what was planned; objects that are not there are passed over.
        quarantined: slugs of tables of which rows were set aside, and how many.
    """
    aside = quarantined or {}
    apart = views_of(plan, {t.name for t in plan.tables if aside.get(t.slug)})
    found: list[Disagreement] = []
    with session(target, "comparison of views") as connection:
        # Documents as texts, as the source has them: a decoded string would be taken for one.
        extras.register_default_json(connection, loads=str)
        extras.register_default_jsonb(connection, loads=str)
        with connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
            cursor.execute("SET statement_timeout = %s", (f"{MAX_SECONDS}s",))
            present = views_in(cursor, schema)
        for view in plan.views:
            if view.name in present - apart and (reason := _view(reader, connection, view)):
                found.append(Disagreement("view", view.name, None, reason))
        for table in plan.tables:
            found += _conditions(reader, connection, table, aside.get(table.slug, 0))
        found += [
            Disagreement("default", column.name, table.name, reason)
            for table, column, reason in defaults.disagreements(reader, connection, plan.tables)
        ]
    if any(names(table) for table in plan.tables):
        return [replace(item, reason=without_values(item.reason)) for item in found]
    return found


def views_of(plan: Plan, names: set[str]) -> set[str]:
    """The views that read one of the target tables ``names``, by themselves or through others."""
    reached = set(names)
    while True:
        more = {
            view.name
            for view in plan.views
            if any(quote(name) in view.sql for name in reached) and view.name not in reached
        }
        if not more:
            return reached - names
        reached |= more


def views_in(cursor: Cursor, schema: str) -> set[str]:
    """Names of the views that are in ``schema``."""
    cursor.execute("SELECT viewname FROM pg_views WHERE schemaname = %s", (schema,))
    return {name for (name,) in cursor.fetchall()}


def _view(reader: SnapshotReader, connection: Connection, view: ViewPlan) -> str | None:
    """Why a view does not agree, None if it does."""
    try:
        with connection, connection.cursor(name="view") as cursor:
            cursor.itersize = FETCHED_ROWS
            cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(view.name)))
            first = cursor.fetchmany(1)
            types = [column.type_code for column in cursor.description or ()]
            found = _folded(chain(first, cursor), types)
    except (psycopg2.Error, _TooLongError) as error:
        return f"cannot be compared, in PostgreSQL: {str(error).splitlines()[0]}"
    try:
        rows = reader.rows(f"SELECT * FROM {reader.quote(view.source)}", MAX_SECONDS)
        expected = _folded(rows, types)
    except (QueryError, _TooLongError) as error:
        return f"cannot be compared, in the source: {error}"
    if expected.columns not in {None, len(types)}:
        return f"has {expected.columns} columns in the source, {len(types)} in PostgreSQL"
    if expected.rows != found.rows:
        return f"gives {expected.rows} rows in the source, {found.rows} in PostgreSQL"
    return None if expected.digest == found.digest else "gives other rows than in the source"


@dataclass(frozen=True)
class _Folded:
    """All rows of a view, in no order: how many, of how many columns, and a sum of digests."""

    rows: int
    columns: int | None
    digest: int


class _TooLongError(Exception):
    """A view has more rows than can be looked at in the time there is."""


def _folded(rows: Iterable[tuple[Any, ...]], types: Sequence[int]) -> _Folded:
    deadline = time.monotonic() + MAX_SECONDS
    count, columns, digest = 0, None, 0
    for row in rows:
        columns = len(row)
        if columns != len(types):
            return _Folded(0, columns, 0)
        text = repr([canonical(value, oid) for value, oid in zip(row, types, strict=True)])
        octets = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
        digest = (digest + int.from_bytes(octets, "big")) % 2**128
        count += 1
        if count % FETCHED_ROWS == 0 and time.monotonic() > deadline:
            raise _TooLongError(f"more than {count} rows in {MAX_SECONDS} s")
    return _Folded(count, columns, digest)


def _conditions(
    reader: SnapshotReader, connection: Connection, table: TablePlan, aside: int
) -> Iterable[Disagreement]:
    """Compare how many rows each translated condition of a table holds for.

    ``aside`` rows of the source are not in PostgreSQL.
    """
    conditions = [("index", i.name, i.where, i.source_where) for i in table.indexes if i.where] + [
        ("check", c.name, c.expression, c.source_expression) for c in table.checks
    ]
    for kind, name, translated, original in conditions:
        if original is None or translated is None:
            continue
        try:
            counted = f"SELECT count(*) FROM {reader.quote(table.source)} WHERE {original}"
            expected = next(reader.rows(counted, MAX_SECONDS))[0]
        except QueryError as error:
            yield Disagreement(kind, name, table.name, f"cannot be run in the source: {error}")
            continue
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(
                    sql.SQL("SELECT count(*) FROM {} WHERE {}").format(
                        sql.Identifier(table.name), sql.SQL(translated)
                    )
                )
                row = cursor.fetchone()
        except psycopg2.Error as error:
            reason = f"cannot be run in PostgreSQL: {str(error).splitlines()[0]}"
            yield Disagreement(kind, name, table.name, reason)
            continue
        if row and not expected - aside <= row[0] <= expected:
            yield Disagreement(
                kind,
                name,
                table.name,
                f"holds for {expected} rows in the source, {row[0]} in PostgreSQL",
            )
