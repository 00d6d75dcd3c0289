"""Whether a translated default means the same: both sides are asked for new values.

The source's engine makes them in a table of its own in memory, PostgreSQL in a query, so nothing
is written to either database. A default that knows neither time nor chance must give the same
value; one that does must give values of the same form, and for the same moment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from migration_assets.core.plan import ColumnPlan, DefaultTest, TablePlan
from migration_assets.sources.base import QueryError, SnapshotReader
from migration_assets.verify.canonical import (
    BOOLEAN,
    BYTEA,
    NUMBERS,
    TEXTS,
    TIMES,
    canonical,
)

DRAWS = 8
"""Values asked for where chance has a part: enough to see letters beside digits."""
SAME_MOMENT = timedelta(hours=27)
"""Two values of now are this near at most, in whatever time zones."""
SAME_EPOCH = 1e-4
"""As a part of a number of seconds, milliseconds or days since some beginning."""
_DIGITS = 2
"""Numbers of chance have about as many digits on both sides."""


def disagreements(
    reader: SnapshotReader, connection: Connection, tables: Iterable[TablePlan]
) -> Iterable[tuple[TablePlan, ColumnPlan, str]]:
    """Yield the columns whose translated default does not give what the source's gives, and why.

    Args:
        reader: gives the source's values.
        connection: to PostgreSQL, idle.
        tables: whose defaults are tried.
    """
    known: dict[tuple[object, ...], str | None] = {}
    for table in tables:
        for column in table.columns:
            if column.default is None or column.default_test is None:
                continue
            same = (column.source_type, column.source_default, column.default, column.type.sql)
            if same not in known:
                known[same] = problem(reader, connection, column)
            if (reason := known[same]) is not None:
                yield table, column, reason


def problem(reader: SnapshotReader, connection: Connection, column: ColumnPlan) -> str | None:
    """Why the default of ``column`` does not agree, None if it does."""
    draws = 1 if column.default_test is DefaultTest.VALUE else DRAWS
    try:
        expected = reader.default_values(column.source_type, column.source_default or "", draws)
    except QueryError as error:
        return f"cannot be run in the source: {error}"
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("SELECT ({})::{} FROM generate_series(1, {})").format(
                    sql.SQL(column.default or ""), sql.SQL(column.type.sql), sql.Literal(draws)
                )
            )
            found = [value for (value,) in cursor.fetchall()]
            oid = cursor.description[0].type_code if cursor.description else 0
    except psycopg2.Error as error:
        return f"cannot be run in PostgreSQL: {str(error).splitlines()[0]}"
    if _agree(expected, found, oid, column.default_test):
        return None
    return f"gives {_shown(found[0])} in PostgreSQL, {_shown(expected[0])} in the source"


def _agree(
    expected: Sequence[Any], found: Sequence[Any], oid: int, test: DefaultTest | None
) -> bool:
    if test is DefaultTest.VALUE:
        return canonical(expected[0], oid) == canonical(found[0], oid)
    if any(value is None for value in (*expected, *found)):
        return False
    if oid in NUMBERS:
        return _numbers_agree(expected, found, test)
    if oid in TIMES:
        return _times_agree(expected, found) is True
    if oid == BOOLEAN:
        return {str(value) for value in expected} <= {"0", "1"}
    if oid == BYTEA:
        sizes = [len(bytes(value)) for value in found]
        return {len(v) if isinstance(v, bytes) else -1 for v in expected} == set(sizes)
    if oid in TEXTS and not all(isinstance(value, str) for value in expected):
        return False
    ours, theirs = ([str(value) for value in values] for values in (expected, found))
    if not (
        {skeleton(v) for v in ours} == {skeleton(v) for v in theirs} and _cases_agree(ours, theirs)
    ):
        return False
    return test is not DefaultTest.TIME or _times_agree(expected, found) is not False


def _numbers_agree(expected: Sequence[Any], found: Sequence[Any], test: DefaultTest | None) -> bool:
    if not all(isinstance(value, int | float) for value in expected):
        return False
    ours, theirs = (max(abs(float(v)) for v in values) for values in (expected, found))
    if test is DefaultTest.TIME:
        return abs(ours - theirs) <= SAME_EPOCH * max(ours, theirs, 1.0)
    negative = [any(float(v) < 0 for v in values) for values in (expected, found)]
    near = abs(len(str(int(ours))) - len(str(int(theirs)))) <= _DIGITS
    return near and negative[0] == negative[1]


def _times_agree(expected: Sequence[Any], found: Sequence[Any]) -> bool | None:
    """Whether both are about the same moment; None if they are no moments."""
    ours, theirs = _moment(expected[0]), _moment(found[0])
    if ours is None and theirs is None:
        return None
    if ours is None or theirs is None:
        return False
    return abs(ours - theirs) <= SAME_MOMENT


def _moment(value: object) -> datetime | None:
    """A date or datetime; a time of day stands for one of today."""
    text = str(value)
    if re.fullmatch(r"\d\d:\d\d(:\d\d(\.\d+)?)?", text):
        text = f"{datetime.now(UTC).date()} {text}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def skeleton(text: str) -> str:
    """A text without its accidents: hexadecimal digits are all alike."""
    return re.sub("[0-9a-f]", "x", text.lower())


def _cases_agree(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether letters are of the same case on both sides."""

    def cases(texts: Sequence[str]) -> tuple[bool, bool]:
        return (
            any(c.islower() for text in texts for c in text),
            any(c.isupper() for text in texts for c in text),
        )

    return cases(ours) == cases(theirs)


def _shown(value: object) -> str:
    text = repr(bytes(value) if isinstance(value, memoryview) else value)
    return text if len(text) <= 60 else text[:57] + "..."
