"""Column defaults: the source's SQL text into a PostgreSQL expression of the column's type."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from math import isfinite
from uuid import UUID

from migration_assets.core import default_mysql
from migration_assets.core.default_expressions import translate_expression
from migration_assets.core.plan import DefaultTest
from migration_assets.core.translate import UntranslatableError
from migration_assets.core.types import PgType

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\Z", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+\Z", re.ASCII)
_DAY = r"\d{4}-\d\d-\d\d"
_CLOCK = r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?"
_TIME_FORMS = {
    "date": re.compile(_DAY, re.ASCII),
    "time": re.compile(_CLOCK, re.ASCII),
    "timestamp": re.compile(f"{_DAY}([ T]{_CLOCK})?", re.ASCII),
    "timestamptz": re.compile(rf"{_DAY}([ T]{_CLOCK}(Z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII),
}
"""Forms that mean the same here and there; Python, SQLite and PostgreSQL each read more."""
_STRING = re.compile(r"'(?:[^']|'')*'\Z|\"(?:[^\"]|\"\")*\"\Z", re.DOTALL)
_BLOB = re.compile(r"[xX]'([0-9a-fA-F]*)'\Z")
_READ: dict[str, Callable[[str], object]] = {
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timestamp": datetime.fromisoformat,
    "timestamptz": datetime.fromisoformat,
}
_NOW = {
    "current_timestamp": "timezone('UTC', now())",
    "current_date": "timezone('UTC', now())::date",
    "current_time": "timezone('UTC', now())::time",
}
_NOW_FORMAT = {
    "current_timestamp": "YYYY-MM-DD HH24:MI:SS",
    "current_date": "YYYY-MM-DD",
    "current_time": "HH24:MI:SS",
}
_NOW_TYPES = {
    "current_timestamp": {"timestamp", "timestamptz"},
    "current_date": {"date"},
    "current_time": {"time"},
}
_INTEGERS = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}


def translate_default(
    sql: str, kind: PgType, dialect: str | None
) -> tuple[str | None, DefaultTest | None]:
    """Translate a default.

    Args:
        sql: the default's text as declared, such as ``0``, ``'x'``, ``CURRENT_TIMESTAMP``.
        kind: the type of the column it belongs to.
        dialect: of an expression.

    Returns:
        The PostgreSQL expression, None for a default of NULL; and how it is to be tested, None
        for a literal that can only mean the same.

    Raises:
        UntranslatableError: the default does not translate, or is no value of the type.
    """
    text = _bare(sql)
    if dialect == "mysql":
        return _mysql(text, kind)
    folded = text.lower()
    if folded in _NOW:
        return _now(folded, kind), DefaultTest.TIME
    try:
        default = _literal_default(text, kind)
    except _ExpressionError:
        return translate_expression(text, kind, dialect or "")
    return default, DefaultTest.VALUE if _is_doubtful(text, kind, dialect) else None


def _mysql(text: str, kind: PgType) -> tuple[str | None, DefaultTest | None]:
    if (moment := default_mysql.now(text, kind)) is not None:
        return moment, DefaultTest.TIME
    if (octets := default_mysql.octets(text)) is not None:
        if kind.name == "bytea":
            return f"'\\x{octets.hex()}'::bytea", None
        raise UntranslatableError(f"bytes are no default of {kind.plain}")
    value = default_mysql.bare(text)
    if value is None and _NUMBER.match(text):
        value = text
    if value is not None:
        special = default_mysql.special_literal(value, kind)
        return special or _literal(value, kind), None
    if text.lower() in {"null", "true", "false"}:
        return _literal_default(text, kind), None
    return default_mysql.expression_default(text, kind)


class _ExpressionError(Exception):
    """The default is no literal."""


def _is_doubtful(text: str, kind: PgType, dialect: str | None) -> bool:
    """Whether a literal has to be tried: a document, or a number where texts are.

    SQLite stores a number by the column's affinity: ``1.10`` in a TEXT column becomes ``1.1``,
    and ``'007'`` becomes 7 where numbers are preferred.
    """
    if kind.name in {"json", "jsonb"}:
        return text.lower() != "null"
    texts = kind.name in {"text", "varchar", "bytea"}
    return texts and dialect == "sqlite" and bool(_NUMBER.match(text.strip("'\" \t\n\r\f\v")))


def _bare(sql: str) -> str:
    """The text without outer parentheses."""
    text = sql.strip()
    while text.startswith("(") and text.endswith(")") and _balanced(text[1:-1]):
        text = text[1:-1].strip()
    return text


def _literal_default(text: str, kind: PgType) -> str | None:
    folded = text.lower()
    if folded == "null":
        return None
    if folded in {"true", "false"}:
        return (
            folded if kind.name == "boolean" else _literal("1" if folded == "true" else "0", kind)
        )
    if match := _BLOB.match(text):
        if kind.name == "bytea":
            return f"'\\x{match[1].lower()}'::bytea"
        raise UntranslatableError(f"a blob is no default of {kind.sql}")
    if _STRING.match(text):
        quote = text[0]
        return _literal(text[1:-1].replace(quote * 2, quote), kind)
    if _NUMBER.match(text):
        return _literal(text, kind)
    if re.fullmatch(r"[A-Za-z_]\w*", text):
        # A bare word is a string to SQLite.
        return _literal(text, kind)
    raise _ExpressionError


def _now(word: str, kind: PgType) -> str:
    if kind.name == "timestamptz" and word == "current_timestamp":
        return "now()"
    if kind.name in _NOW_TYPES[word]:
        return _NOW[word]
    if kind.name in {"text", "varchar"}:
        return f"to_char(timezone('UTC', now()), '{_NOW_FORMAT[word]}')"
    if kind.name in {"date", "timestamp", "timestamptz"} and word != "current_time":
        return translate_expression(word, kind, "sqlite")[0]
    raise UntranslatableError(f"{word.upper()} is no default of {kind.sql}")


def _literal(value: str, kind: PgType) -> str:
    """Write ``value`` as a literal of ``kind`` if it is one."""
    if "\0" in value:
        raise UntranslatableError("holds a NUL character")
    if not _fits(value, kind):
        raise UntranslatableError(f"{value!r} is no value of {kind.sql}")
    if kind.name == "boolean":
        return "true" if value == "1" else "false"
    quoted = "'" + value.replace("'", "''") + "'"
    if kind.name == "bytea":
        return f"'\\x{value.encode().hex()}'::bytea"
    if kind.name in {"text", "varchar"}:
        return quoted
    if _NUMBER.match(value) and kind.name in {*_INTEGERS, "numeric", "double precision", "real"}:
        return value
    return f"{quoted}::{kind.sql}"


def _fits(value: str, kind: PgType) -> bool:
    name = kind.name
    try:
        if name in _INTEGERS:
            if not _INTEGER.match(value.strip(" ")):
                return False
            number = int(value)
            return -_INTEGERS[name] <= number < _INTEGERS[name]
        if name == "numeric":
            return _NUMBER.match(value) is not None and _fits_numeric(Decimal(value), kind)
        if name in {"double precision", "real"}:
            return _NUMBER.match(value) is not None and isfinite(float(value))
        if name == "boolean":
            return value in {"0", "1"}
        if name == "varchar":
            return len(value) <= kind.args[0]
        if name == "uuid":
            return str(UUID(value)) == value
        if name in {"json", "jsonb"}:
            json.loads(value)
            return True
        if name in _TIME_FORMS:
            _READ[name](value)  # a day or time that does not exist raises
            return _TIME_FORMS[name].fullmatch(value) is not None
    except (ValueError, InvalidOperation):
        return False
    return True


def _fits_numeric(number: Decimal, kind: PgType) -> bool:
    """Whether a ``numeric(p,s)`` holds the number without rounding it."""
    if not kind.args:
        return True
    precision, scale = kind.args[0], kind.args[1] if len(kind.args) > 1 else 0
    whole, last = number.adjusted() + 1, int(number.normalize().as_tuple().exponent)
    return not number or (whole <= precision - scale and -last <= scale)


def _balanced(text: str) -> bool:
    """Whether the outer parentheses around ``text`` belong together."""
    depth = 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0
