"""Defaults of MySQL's dialect, and what ON UPDATE sets: literals, time, chance and expressions.

As ``information_schema`` writes them (MySQL manual, "Data Type Default Values"). What is no literal
is tried on both sides after the load (:mod:`verify.defaults`).
"""

from __future__ import annotations

import json
import re

from sqlglot import exp

from migration_assets.core.plan import DefaultTest
from migration_assets.core.translate import (
    UntranslatableError,
    parse_expression,
    plain_mysql,
    render,
)
from migration_assets.core.types import PgType

_NOW = re.compile(
    r"(current_timestamp|now|localtime|localtimestamp)\s*(?:\(\s*(\d?)\s*\))?", re.IGNORECASE
)
_STRING = re.compile(r"(?:_[a-z]\w*\s*)?'((?:[^'\\]|''|\\.)*)'", re.DOTALL | re.IGNORECASE)
_ESCAPED = re.compile(r"\\(.)|''", re.DOTALL)
_SPECIAL = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}
_BITS = re.compile(r"(?:b'([01]*)'|0b([01]+))", re.IGNORECASE)
_HEX = re.compile(r"(?:x'([0-9a-f]*)'|0x([0-9a-f]+))", re.IGNORECASE)
_TRUNCATED = {0: "second", 3: "milliseconds"}
"""Fraction digits -> what PostgreSQL cuts to, where it would round into the future."""
_CLOCKS = {
    "timestamptz": "now()",
    "timestamp": "localtimestamp",
    "date": "current_date",
    "time": "localtime",
}
_TIMES = (exp.CurrentTimestamp, exp.CurrentDate, exp.CurrentTime, exp.UtcTimestamp, exp.UtcDate)


def now(text: str, kind: PgType) -> str | None:
    """The moment by the session's clock as a value of ``kind``; None if ``text`` is not about it.

    Raises:
        UntranslatableError: the type can not hold it.
    """
    match = _NOW.fullmatch(text)
    if match is None:
        return None
    if kind.name in {"text", "varchar"}:
        return "to_char(localtimestamp, 'YYYY-MM-DD HH24:MI:SS')"
    clock = _CLOCKS.get(kind.name)
    if clock is None:
        raise UntranslatableError(f"{text.upper()} is no default of {kind.plain}")
    part = _TRUNCATED.get(int(match[2] or 0))
    if part is None or kind.name in {"date", "time"}:
        return clock
    return f"date_trunc('{part}', {clock})"


def bare(text: str) -> str | None:
    """The value of a literal as plain text: of a string without its quotes, of bits as a number.

    None if it is no literal.
    """
    if match := _STRING.fullmatch(text):
        return _ESCAPED.sub(_unescaped, match[1])
    if match := _BITS.fullmatch(text):
        return str(int(match[1] or match[2] or "0", 2))
    return None


def octets(text: str) -> bytes | None:
    """The bytes of a hexadecimal literal, None if it is none."""
    match = _HEX.fullmatch(text)
    if match is None:
        return None
    digits = match[1] if match[1] is not None else match[2]
    return bytes.fromhex(digits.rjust(len(digits) + len(digits) % 2, "0"))


def special_literal(value: str, kind: PgType) -> str | None:
    """A literal of a type that only strict sources need; None for all other types.

    Raises:
        UntranslatableError: it is no value of the type.
    """
    if kind.labels:
        if value not in kind.labels:
            raise UntranslatableError(f"{value!r} is no label of the enum")
        return _quoted(value)
    if kind.name == "text[]":
        members = ",".join(
            json.dumps(part, ensure_ascii=False) for part in value.split(",") if part
        )
        return f"{_quoted('{' + members + '}')}::text[]"
    if kind.name == "bit":
        if not value.isdecimal() or int(value) >= 2 ** kind.args[0]:
            raise UntranslatableError(f"{value!r} is no value of {kind.sql}")
        return f"B'{int(value):0{kind.args[0]}b}'"
    if kind.name == "interval":
        if re.fullmatch(r"-?\d{1,3}:\d\d(:\d\d(\.\d+)?)?", value) is None:
            raise UntranslatableError(f"{value!r} is no value of {kind.sql}")
        return f"{_quoted(value)}::interval"
    return None


def expression_default(text: str, kind: PgType) -> tuple[str, DefaultTest]:
    """Translate a default that is an expression.

    Raises:
        UntranslatableError: with the reason.
    """
    tree = parse_expression(text, "mysql")
    if any(True for _ in tree.find_all(exp.Query)):
        raise UntranslatableError("asks for rows")
    test = DefaultTest.VALUE
    holder = exp.Paren(this=tree)
    plain_mysql(holder)
    for node in list(holder.find_all(exp.Column)):
        raise UntranslatableError(f"names the column {node.name}")
    if any(True for _ in holder.find_all(*_TIMES, exp.UnixToTime, exp.CurrentDatetime)):
        test = DefaultTest.TIME
    for call in list(holder.find_all(exp.Uuid, exp.Rand, exp.Anonymous)):
        test = _chance(call)
    made = holder.this
    truth = isinstance(made.unnest(), exp.Predicate | exp.Connector | exp.Not | exp.Boolean)
    written = render(made)
    name = kind.sql
    if kind.name in {"text", "varchar"}:
        return f"({written})::text", test
    if truth and kind.name != "boolean":
        return f"({written})::int::{name}", test
    return f"({written})::{name}", test


def _chance(call: exp.Expr) -> DefaultTest:
    """Write a function of chance or of the moment in PostgreSQL's words."""
    name = call.name.lower() if isinstance(call, exp.Anonymous) else type(call).__name__.lower()
    words = {
        "uuid": ("gen_random_uuid()::text", DefaultTest.CHANCE),
        "rand": ("random()", DefaultTest.CHANCE),
        "unix_timestamp": ("floor(extract(epoch FROM now()))::bigint", DefaultTest.TIME),
        "json_object": ("'{}'::jsonb", DefaultTest.VALUE),
        "json_array": ("'[]'::jsonb", DefaultTest.VALUE),
    }
    if name not in words or call.expressions:
        raise UntranslatableError(f"function {name} has no known counterpart")
    text, test = words[name]
    call.replace(exp.Var(this=text))
    return test


def _unescaped(match: re.Match[str]) -> str:
    return "'" if match[1] is None else _SPECIAL.get(match[1], match[1])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
