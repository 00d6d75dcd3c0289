"""Defaults that are expressions of SQLite's dialect: time, chance, arithmetic and strings.

What depends on the moment or on chance has no value to compare, so such parts are written out by
hand here, for the few functions that mean it (SQLite manual, "Date And Time Functions"); the rest
is translated by sqlglot. All of it is tried after the load (:mod:`verify.defaults`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlglot import exp

from migration_assets.core.plan import DefaultTest
from migration_assets.core.translate import UntranslatableError, parse_expression, render
from migration_assets.core.types import PgType

_FORMATS = {
    "%d": "DD", "%f": "SS.MS", "%F": "YYYY-MM-DD", "%H": "HH24", "%I": "HH12", "%j": "DDD",
    "%m": "MM", "%M": "MI", "%p": "AM", "%R": "HH24:MI", "%S": "SS", "%T": "HH24:MI:SS",
    "%u": "ID", "%Y": "YYYY",
}  # fmt: skip
"""Parts of a strftime format -> of a to_char format."""
_STEP = re.compile(r"([+-]?\d+(?:\.\d+)?)\s+(second|minute|hour|day)s?", re.IGNORECASE)
_START = re.compile(r"start of (day|month|year)", re.IGNORECASE)
_ISO = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?)?")
_NOW = "timezone('UTC', now())"
_FUNCTIONS = {"date", "time", "datetime", "strftime", "unixepoch", "julianday"}
_TEXTS = {"text", "varchar"}
_LARGEST_BLOB = 32
"""Bytes that one digest gives."""


class _Expression:
    """One default on its way; ``test`` is what its parts ask for."""

    def __init__(self) -> None:
        self.test = DefaultTest.VALUE

    def node(self, node: exp.Expr) -> exp.Expr:
        """PostgreSQL's own words for a node that sqlglot does not know the meaning of."""
        if (call := _call(node)) is not None and call[0] in _FUNCTIONS:
            return self._moment(*call)
        if isinstance(node, exp.LowerHex):
            octets = self._octets(node.this)
            return _raw(f"encode({octets}, 'hex')")
        if isinstance(node, exp.Hex):
            octets = self._octets(node.this)
            return _raw(f"upper(encode({octets}, 'hex'))")
        if isinstance(node, exp.Rand):
            self.test = DefaultTest.CHANCE
            digits = "substr(md5(gen_random_uuid()::text), 1, 16)"
            return _raw(f"('x' || {digits})::bit(64)::bigint")
        if isinstance(node, exp.HexString):
            return _raw(f"'\\x{_hexadecimal(node)}'::bytea")
        if isinstance(node, exp.Column):
            if node.this.quoted:
                # SQLite reads a quoted name that is no column as a string.
                return exp.Literal.string(node.name)
            raise UntranslatableError(f"names the column {node.name}")
        if isinstance(node, exp.DataType) and node.this == exp.DataType.Type.INT:
            # SQLite's integers have 64 bits.
            return exp.DataType.build("bigint")
        if isinstance(node, exp.Anonymous):
            return self._anonymous(node)
        if isinstance(node, exp.Substring):
            for place in (node.args.get("start"), node.args.get("length")):
                if place is not None and not isinstance(place, exp.Literal | exp.Neg):
                    # Written out, so that it is not taken for one of SQLite's own.
                    place.replace(exp.Cast(this=place.copy(), to=exp.Var(this="int")))
            return node
        return node

    def _anonymous(self, node: exp.Anonymous) -> exp.Expr:
        name = node.name.lower()
        if name in {"randomblob", "zeroblob"}:
            return _raw(self._octets(node))
        if name == "json" and len(node.expressions) == 1:
            return exp.Paren(this=node.expressions[0])
        raise UntranslatableError(f"function {name} has no known counterpart")

    def _octets(self, node: exp.Expr) -> str:
        """SQL of the bytes that ``hex`` is asked for."""
        if isinstance(node, exp.Literal) and node.is_string:
            return f"convert_to({_quoted(node.this)}, 'UTF8')"
        count = (
            node.expressions[0] if isinstance(node, exp.Anonymous) and node.expressions else None
        )
        if not isinstance(count, exp.Literal) or count.is_string or not count.this.isdecimal():
            raise UntranslatableError("is about bytes that are not known before")
        if node.name.lower() == "zeroblob":
            return f"decode(repeat('00', {int(count.this)}), 'hex')"
        if node.name.lower() != "randomblob":
            raise UntranslatableError(f"function {node.name} has no known counterpart")
        self.test = DefaultTest.CHANCE
        whole, rest = divmod(max(int(count.this), 1), _LARGEST_BLOB)
        if whole > _LARGEST_BLOB:
            raise UntranslatableError(f"{count.this} bytes of chance are too many")
        sizes = [_LARGEST_BLOB] * whole + ([rest] if rest else [])
        chance = "sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))"
        return " || ".join(f"substring({chance} from 1 for {size})" for size in sizes)

    def _moment(self, name: str, args: Sequence[exp.Expr]) -> exp.Expr:
        words = [_word(arg) for arg in args]
        shape = ""
        if name == "strftime":
            if not words:
                raise UntranslatableError("strftime without a format")
            shape, words = words[0], words[1:]
        base = self._base(words[0] if words else "now")
        fraction = ""
        for number, word in enumerate(words[1:]):
            folded = word.strip().lower()
            if step := _STEP.fullmatch(folded):
                base = f"{base} + interval '{step[1]} {step[2]}'"
            elif start := _START.fullmatch(folded):
                base = f"date_trunc('{start[1]}', {base})"
            elif folded == "localtime" and number == 0 and base == _NOW:
                base = "localtimestamp"
            elif folded in {"subsec", "subsecond"} and name in {"time", "datetime"}:
                fraction = ".MS"
            else:
                raise UntranslatableError(f"the modifier {word!r} has no known counterpart")
        epoch = f"extract(epoch from {base})"
        if name == "unixepoch" or shape == "%s":
            return _raw(f"floor({epoch})::bigint")
        if name == "julianday":
            return _raw(f"({epoch}::double precision / 86400 + 2440587.5)")
        pattern = {
            "date": "YYYY-MM-DD",
            "time": f"HH24:MI:SS{fraction}",
            "datetime": f"YYYY-MM-DD HH24:MI:SS{fraction}",
        }.get(name) or _pattern(shape)
        return _raw(f"to_char({base}, {_quoted(pattern)})")

    def _base(self, word: str) -> str:
        if word.lower() == "now":
            if self.test is DefaultTest.VALUE:
                self.test = DefaultTest.TIME
            return _NOW
        if _ISO.fullmatch(word):
            return f"timestamp {_quoted(word)}"
        raise UntranslatableError(f"{word!r} is no time that is known before")


def translate_expression(sql: str, kind: PgType, dialect: str) -> tuple[str, DefaultTest]:
    """Translate a default that is an expression.

    Args:
        sql: its text, outer parentheses optional.
        kind: the type of the column it belongs to.
        dialect: of the text; only ``sqlite`` is known.

    Returns:
        the PostgreSQL expression, and how it is to be compared with the source's.

    Raises:
        UntranslatableError: with the reason.
    """
    if dialect != "sqlite":
        raise UntranslatableError("is an expression")
    work = _Expression()
    tree = parse_expression(sql, dialect)
    if any(True for _ in tree.find_all(exp.Query)):
        raise UntranslatableError("asks for rows")
    truth = isinstance(tree.unnest(), exp.Predicate | exp.Connector | exp.Not | exp.Boolean)
    text = render(tree.transform(work.node))
    return _cast(text, kind, truth), work.test


def _cast(text: str, kind: PgType, truth: bool) -> str:
    """The value as one of the column's type, lengths still to be checked by the column."""
    name = kind.name
    if name in _TEXTS:
        return f"({text})::text"
    if name == "timestamptz":
        return f"timezone('UTC', ({text})::timestamp)"
    if truth and name != "boolean":
        return f"({text})::int::{name}"
    return f"({text})::{name}"


def _call(node: exp.Expr) -> tuple[str, list[exp.Expr]] | None:
    """Name and arguments of a time function, however sqlglot reads it."""
    if isinstance(node, exp.Anonymous):
        return node.name.lower(), node.expressions
    if isinstance(node, exp.CurrentTimestamp):
        return "datetime", []
    if isinstance(node, exp.CurrentDate):
        return "date", []
    if isinstance(node, exp.CurrentTime):
        return "time", []
    if isinstance(node, exp.TimeToStr):
        moment = [node.this.find(exp.Literal)] if node.this is not None else []
        if None in moment:
            raise UntranslatableError("is about a time that is not known before")
        return "strftime", [node.args["format"], *[m for m in moment if m is not None]]
    if isinstance(node, exp.Date):
        zone = node.args.get("zone")
        parts = [node.this, *([zone] if zone is not None else []), *node.expressions]
        return "date", [part for part in parts if part is not None]
    return None


def _word(node: exp.Expr) -> str:
    """A literal argument; the present moment by its keyword is ``now``."""
    if isinstance(node, exp.Cast):
        node = node.this
    if isinstance(node, exp.Literal) and node.is_string:
        return str(node.this)
    if isinstance(node, exp.CurrentTimestamp):
        return "now"
    if isinstance(node, exp.Column) and node.this.quoted:
        return str(node.name)
    if isinstance(node, exp.Var) and node.name == f"to_char({_NOW}, 'YYYY-MM-DD HH24:MI:SS')":
        return "now"
    raise UntranslatableError("is about a time that is not known before")


def _pattern(shape: str) -> str:
    """A strftime format as a to_char format."""
    parts = []
    for part in re.findall(r"%.|[^%]+|%", shape, re.DOTALL):
        if part == "%%":
            part = "%"
        elif part.startswith("%"):
            if part not in _FORMATS:
                raise UntranslatableError(f"the format {part} has no known counterpart")
            parts.append(_FORMATS[part])
            continue
        plain = re.fullmatch(r"[-:. /]+", part)
        escaped = part.replace("\\", "\\\\").replace('"', '\\"')
        parts.append(part if plain else f'"{escaped}"')
    return "".join(parts)


def _hexadecimal(node: exp.HexString) -> str:
    digits = str(node.this)
    if not node.args.get("is_integer") and re.fullmatch(r"([0-9a-fA-F]{2})*", digits):
        return digits.lower()
    raise UntranslatableError("holds a number in hexadecimal")


def _raw(text: str) -> exp.Expr:
    """A node that is written as it stands."""
    return exp.Var(this=text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
