"""Keys and indexes of a SQLite table: unique keys, foreign keys, secondary indexes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace

from migration_assets.core.catalog import (
    ForeignKey,
    Index,
    IndexTerm,
    SkippedObject,
    Table,
    UniqueKey,
)
from migration_assets.sources.sqlite.statement import ParsedTable, parse_index, parse_table

IndexRow = tuple[str, int, str, int]
"""A row of PRAGMA index_list: name, unique, origin (``c``, ``u`` or ``pk``), partial."""


def unique_keys(
    connection: sqlite3.Connection,
    parsed: ParsedTable,
    indexes: list[IndexRow],
) -> tuple[UniqueKey, ...]:
    """The UNIQUE constraints, with the names that the statement gives them."""
    names = {key.columns: key.name for key in reversed(parsed.unique_keys)}
    keys = []
    for index, _, origin, _ in indexes:
        if origin != "u":
            continue
        columns = tuple(
            name
            for (name,) in connection.execute(
                "SELECT name FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno", (index,)
            )
        )
        keys.append(UniqueKey(columns, names.get(tuple(c.lower() for c in columns))))
    return tuple(keys)


def indexes_of(
    connection: sqlite3.Connection,
    table: str,
    statements: Mapping[str, str | None],
    indexes: list[IndexRow],
    auto: str | None,
    skipped: list[SkippedObject],
) -> tuple[Index, ...]:
    """The indexes made by CREATE INDEX; one that cannot be read goes to ``skipped``.

    Args:
        connection: to the file.
        table: whose indexes they are.
        statements: name of an index -> its CREATE statement.
        indexes: all of the table's, constraints included.
        auto: the rowid alias.
        skipped: takes what cannot come.
    """
    found = []
    for name, unique, origin, partial in indexes:
        if origin != "c":
            continue
        sql = statements.get(name)
        parsed = parse_index(sql or "")
        rows = connection.execute(
            'SELECT seqno, cid, name, "desc", coll FROM pragma_index_xinfo(?) WHERE key'
            " ORDER BY seqno",
            (name,),
        ).fetchall()
        expressions = parsed.terms if parsed and len(parsed.terms) == len(rows) else None
        if (partial and not (parsed and parsed.where)) or (
            expressions is None and any(cid == -2 for _, cid, *_ in rows)
        ):
            reason = "its definition could not be read"
            skipped.append(SkippedObject("index", name, reason, table, sql))
            continue
        terms = []
        for place, cid, column, descending, collation in rows:
            expression = expressions[place] if expressions and cid == -2 else None
            terms.append(
                IndexTerm(
                    column=None if expression else column or auto,
                    expression=expression,
                    descending=bool(descending),
                    collation=None if collation.upper() == "BINARY" else collation,
                )
            )
        where = parsed.where if parsed and partial else None
        found.append(Index(name, tuple(terms), bool(unique), where, sql))
    return tuple(found)


def with_foreign_keys(
    connection: sqlite3.Connection,
    table: Table,
    tables: dict[str, Table],
    skipped: list[SkippedObject],
) -> Table:
    """Resolve the foreign keys of ``table``; what points nowhere goes to ``skipped``."""
    groups: dict[int, list[tuple[str, str | None, str, str, str]]] = {}
    for number, parent, column, ref, on_update, on_delete in connection.execute(
        'SELECT id, "table", "from", "to", on_update, on_delete FROM pragma_foreign_key_list(?)'
        " ORDER BY id DESC, seq",
        (table.name,),
    ):
        groups.setdefault(number, []).append((column, ref, parent, on_update, on_delete))
    parsed = parse_table(table.sql or "").foreign_keys
    same = len(parsed) == len(groups)
    by_name = {name.lower(): other for name, other in tables.items()}
    keys = []
    for place, rows in enumerate(groups.values()):
        _, _, parent, on_update, on_delete = rows[0]
        columns = tuple(_true_name(table, column) for column, *_ in rows)
        other = by_name.get(parent.lower())
        text = parsed[place] if same else None
        if text and text.columns != tuple(column.lower() for column in columns):
            text = None
        names = [ref for _, ref, *_ in rows]
        label = (text.name if text else None) or f"({', '.join(columns)}) references {parent}"
        if other is None:
            reason = f'there is no table "{parent}" to refer to'
            skipped.append(SkippedObject("foreign key", label, reason, table.name))
            continue
        refs = (
            other.primary_key
            if any(name is None for name in names)
            else tuple(_true_name(other, str(name)) for name in names)
        )
        known = {column.name for column in other.columns}
        missing = [ref for ref in refs if ref not in known]
        if missing or len(refs) != len(columns):
            reason = (
                f'"{other.name}" has no column "{missing[0]}"'
                if missing
                else f'"{other.name}" has a key of {len(refs)} columns, not of {len(columns)}'
            )
            skipped.append(SkippedObject("foreign key", label, reason, table.name))
            continue
        keys.append(
            ForeignKey(
                columns=columns,
                ref_table=other.name,
                ref_columns=refs,
                on_update=on_update,
                on_delete=on_delete,
                deferrable=text.deferrable if text else False,
                initially_deferred=text.initially_deferred if text else False,
                name=text.name if text else None,
            )
        )
    return replace(table, foreign_keys=tuple(keys))


def _true_name(table: Table, column: str) -> str:
    """The column's name as ``table`` spells it; ``column`` itself if it has none such."""
    for own in table.columns:
        if own.name.lower() == column.lower():
            return own.name
    return column
