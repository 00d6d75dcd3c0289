"""Facts of a table that the server itself computes: what the extract is proved against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pymysql
from pymysql.constants import ER

from migration_assets.core.catalog import Column, ForeignKey, Kind, Table
from migration_assets.core.profile import Lane
from migration_assets.core.results import ColumnFacts
from migration_assets.sources.base import SourceFacts
from migration_assets.sources.mysql.connect import Row, quote
from migration_assets.sources.mysql.forms import Form

Ask = Callable[[str], list[Row]]
"""Runs a query of the snapshot and gives its rows."""

_TEXTS = frozenset({Kind.TEXT, Kind.ENUM, Kind.SET})
_LOW = 0xFFFFFFFF
_MOST = 2**63 - 1
_MOST_TERMS = 2000
"""Terms of one query; MySQL takes 4096 columns."""


def facts(ask: Ask, table: Table, forms: Mapping[str, Form]) -> SourceFacts:
    """Count and sum ``table``.

    Args:
        ask: runs a query.
        table: whose facts are asked for.
        forms: how each column is read.

    Raises:
        pymysql.err.MySQLError: the table cannot be read.
    """
    terms = ["COUNT(*)"]
    for column in table.columns:
        terms += _terms(column, forms[column.name])
    values = iter(_row(ask, table.name, terms))
    rows = _integer(next(values))
    non_null: dict[str, int] = {}
    found: dict[str, dict[Lane, ColumnFacts]] = {}
    wide: list[str] = []
    for column in table.columns:
        name, shape = column.name, forms[column.name]
        count = non_null[name] = _integer(next(values)) if _has_nulls(column) else rows
        found[name] = facts = {}
        if shape.lane is Lane.INT:
            beyond = _integer(next(values)) if shape.others else 0
            total, low, high = next(values), next(values), next(values)
            digits = _integer(next(values)) if shape.others else 0
            if beyond:
                facts[Lane.TEXT] = ColumnFacts(beyond, bytes=digits)
            if count > beyond:
                facts[Lane.INT], exact = _integers(count - beyond, total, low, high)
                if not exact:
                    wide.append(name)
        elif shape.lane is Lane.REAL:
            extremes = _real(next(values)), _real(next(values))
            if count:
                facts[Lane.REAL] = ColumnFacts(count, minimum=extremes[0], maximum=extremes[1])
        else:
            width = _width(column)
            size = _integer(next(values)) if width is None else count * width
            if shape.untold and _integer(next(values)):
                raise pymysql.err.OperationalError(
                    ER.WARN_ALLOWED_PACKET_OVERFLOWED,
                    f'column "{name}" has a value that is too long to be converted',
                )
            if count:
                facts[shape.lane] = ColumnFacts(count, bytes=size)
    _add_sums(ask, table.name, forms, found, wide)
    return SourceFacts(rows, non_null, found)


def next_value(rows: Sequence[Row], largest: Sequence[Row]) -> int:
    """What AUTO_INCREMENT would give out next.

    Args:
        rows: the server's own counter, as information_schema has it.
        largest: the column's greatest value in the snapshot.
    """
    counter = _integer(rows[0][0]) if rows else 0
    return max(counter, _integer(largest[0][0]) + 1, 1)


def orphans(ask: Ask, table: Table) -> dict[int, int]:
    """Foreign key position -> rows whose parent is missing, compared byte by byte.

    A key with a NULL in it has no parent to miss (MATCH SIMPLE). PostgreSQL tells apart what a
    collation of MySQL does not.
    """
    texts = {column.name for column in table.columns if column.type.kind in _TEXTS}
    found = {}
    for position, key in enumerate(table.foreign_keys):
        count = _integer(ask(_orphans(table.name, key, texts))[0][0])
        if count:
            found[position] = count
    return found


def case_folds(ask: Ask, table: Table, columns: Sequence[str]) -> dict[str, int]:
    """Column -> values that another equals but for the case.

    Args:
        ask: runs a query.
        table: whose columns they are.
        columns: those in question.
    """
    found = {}
    for column in columns:
        name = quote(column)
        count = _integer(
            ask(
                f"SELECT COALESCE(SUM(n), 0) FROM (SELECT COUNT(*) AS n FROM {quote(table.name)}"
                f" WHERE {name} IS NOT NULL GROUP BY {name}"
                f" HAVING MIN(BINARY {name}) <> MAX(BINARY {name})) AS folded"
            )[0][0]
        )
        if count:
            found[column] = count
    return found


def _terms(column: Column, form: Form) -> list[str]:
    """What is asked of one column; how many of its values are NULL only where some may be."""
    name, value = quote(column.name), form.lossless
    counted = [f"COUNT({name})"] if _has_nulls(column) else []
    if form.lane is Lane.REAL:
        return [*counted, f"MIN({value})", f"MAX({value})"]
    if form.lane is Lane.INT:
        within = f"IF({name} <= {_MOST}, {name}, NULL)" if form.others else value
        terms = [f"SUM({within})", f"MIN({within})", f"MAX({within})"]
        if form.others:
            beyond = f"{name} > {_MOST}"
            terms.insert(0, f"SUM({beyond})")
            # Added to, it is written without the zeros of ZEROFILL.
            terms.append(f"SUM(IF({beyond}, LENGTH(CAST({name} + 0 AS CHAR)), 0))")
        return [*counted, *terms]
    if _width(column) is not None:
        return counted
    sizes = [f"LENGTH({expression})" for expression in form.expressions]
    if len(sizes) > 1:  # of which one is NULL
        sizes = [f"COALESCE({size}, 0)" for size in sizes]
    untold = [f"SUM({form.untold})"] if form.untold else []
    return [*counted, f"SUM({' + '.join(sizes)})", *untold]


def _has_nulls(column: Column) -> bool:
    """Whether some values may be NULL; what is computed at each reading may be, declared or not."""
    return not column.not_null or column.generated is not None


def _width(column: Column) -> int | None:
    """Bytes of every value as text, where all have as many."""
    digits = column.type.scale or 0
    match column.type.kind:
        case Kind.DATE:
            return len("YYYY-MM-DD")
        case Kind.DATETIME:
            return len("YYYY-MM-DD HH:MM:SS") + (digits + 1 if digits else 0)
    return None


def _integers(
    count: int, total: bytes | None, low: bytes | None, high: bytes | None
) -> tuple[ColumnFacts, bool]:
    """Facts of integers, and whether their sums follow from the plain one, which is exact.

    Values of 0 .. 2**32-1 have no high part.
    """
    least, most = _integer(low), _integer(high)
    exact = least >= 0 and most <= _LOW
    return (
        ColumnFacts(count, _integer(total), 0 if exact else None, repr(least), repr(most)),
        exact,
    )


def _add_sums(
    ask: Ask,
    table: str,
    forms: Mapping[str, Form],
    found: Mapping[str, dict[Lane, ColumnFacts]],
    columns: Sequence[str],
) -> None:
    """Put in sum_low and sum_high by their definition, for large or negative integers."""
    if not columns:
        return
    terms = []
    for name in columns:
        within = f" AND {quote(name)} <= {_MOST}" if forms[name].others else ""
        terms.append(f"SUM(IF({quote(name)} IS NOT NULL{within}, {quote(name)} & {_LOW}, 0))")
    for name, value in zip(columns, _row(ask, table, terms), strict=True):
        fact = found[name][Lane.INT]
        low = _integer(value)
        high = ((fact.sum_low or 0) - low) >> 32
        found[name][Lane.INT] = ColumnFacts(fact.values, low, high, fact.minimum, fact.maximum)


def _row(ask: Ask, table: str, terms: Sequence[str]) -> list[bytes | None]:
    """The one row of aggregates over the whole table, in as many scans as its width needs."""
    found: list[bytes | None] = []
    for start in range(0, len(terms), _MOST_TERMS):
        part = ", ".join(terms[start : start + _MOST_TERMS])
        found += ask(f"SELECT {part} FROM {quote(table)}")[0]
    return found


def _orphans(table: str, key: ForeignKey, texts: set[str]) -> str:
    def side(alias: str, column: str, text: bool) -> str:
        return f"{'BINARY ' if text else ''}{alias}.{quote(column)}"

    present = " AND ".join(f"c.{quote(column)} IS NOT NULL" for column in key.columns)
    pairs = list(zip(key.columns, key.ref_columns, strict=True))
    # Compared as they are as well, so that the parent's index is used.
    same = " AND ".join(
        f"p.{quote(ref)} = c.{quote(column)}"
        + (f" AND {side('p', ref, True)} = {side('c', column, True)}" if column in texts else "")
        for column, ref in pairs
    )
    return (
        f"SELECT COUNT(*) FROM {quote(table)} AS c WHERE {present} AND NOT EXISTS"
        f" (SELECT 1 FROM {quote(key.ref_table)} AS p WHERE {same})"
    )


def _integer(value: bytes | None) -> int:
    """A number of the server; sums may come with a point and no fraction."""
    return int((value or b"0").partition(b".")[0])


def _real(value: bytes | None) -> str | None:
    # Adding 0.0 makes -0.0 and 0.0 one, since which of them is the least depends on their order.
    return None if value is None else repr(float(value) + 0.0)
