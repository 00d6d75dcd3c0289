"""What only the text of a CREATE statement tells: names, CHECKs, expressions, collations.

SQLite keeps every statement as it was written, with any of its four ways of quoting a name and
with comments, so the text is cut into tokens here and read by SQLite's own grammar ("CREATE
TABLE", "CREATE INDEX"). Whatever does not fit the grammar ends the reading early: what was
found until then counts, and the PRAGMAs tell the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$))
    |(?P<blob>[xX]'[^']*')
    |(?P<string>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])
    |(?P<number>0[xX][0-9a-fA-F]+|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<word>[^\W\d][\w$]*)
    |(?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)

_COLUMN_WORDS = {
    "CONSTRAINT", "PRIMARY", "NOT", "NULL", "UNIQUE", "CHECK", "DEFAULT", "COLLATE",
    "REFERENCES", "GENERATED", "AS", "ON", "DEFERRABLE",
}  # fmt: skip
_TABLE_WORDS = {"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"}


@dataclass(frozen=True)
class Token:
    """A piece of a statement: its class, its text, and where it stands."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def word(self) -> str:
        """The upper-case keyword or sign, empty for names in quotes and literals."""
        return self.text.upper() if self.kind in ("word", "sign") else ""

    @property
    def name(self) -> str:
        """The token as a name, without its quotes."""
        if self.kind not in ("quoted", "string"):
            return self.text
        mark = self.text[0]
        inner = self.text[1:-1]
        return inner if mark == "[" else inner.replace(mark * 2, mark)


@dataclass
class ParsedColumn:
    """What the text says of one column beyond the PRAGMAs."""

    generated: str | None = None
    collation: str | None = None


@dataclass(frozen=True)
class ParsedKey:
    """A UNIQUE constraint: its columns in lower case and its name."""

    columns: tuple[str, ...]
    name: str | None


@dataclass(frozen=True)
class ParsedForeignKey:
    """A foreign key, columns in lower case, in the order of the text."""

    columns: tuple[str, ...]
    name: str | None
    deferrable: bool
    initially_deferred: bool


@dataclass(frozen=True)
class ParsedCheck:
    """A CHECK: the text between its parentheses and its name."""

    expression: str
    name: str | None


@dataclass
class ParsedTable:
    """A CREATE TABLE; ``columns`` by lower-case name."""

    columns: dict[str, ParsedColumn] = field(default_factory=dict)
    checks: list[ParsedCheck] = field(default_factory=list)
    unique_keys: list[ParsedKey] = field(default_factory=list)
    foreign_keys: list[ParsedForeignKey] = field(default_factory=list)


@dataclass(frozen=True)
class ParsedIndex:
    """A CREATE INDEX: the text of each term without COLLATE and order, and the predicate."""

    terms: tuple[str, ...]
    where: str | None


class _EndError(Exception):
    """The text does not go on as the grammar wants."""


def tokens(sql: str) -> Iterator[Token]:
    """Cut ``sql`` into tokens, white space and comments left out."""
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup or "sign"
        if kind != "space":
            yield Token(kind, match.group(), match.start(), match.end())


def parse_table(sql: str) -> ParsedTable:
    """Read a CREATE TABLE as far as it can be read; never fails."""
    reader = _TableReader(sql)
    with suppress(_EndError):
        reader.run()
    return reader.table


def table_options(sql: str) -> set[str]:
    """What stands behind the closing parenthesis: ``WITHOUT ROWID``, ``STRICT``."""
    cursor = _Cursor(sql)
    try:
        while not cursor.at("("):
            cursor.next()
        cursor.parenthesised()
    except _EndError:
        return set()
    found = set()
    while cursor.here is not None:
        if cursor.take("WITHOUT", "ROWID"):
            found.add("WITHOUT ROWID")
        elif cursor.take("STRICT"):
            found.add("STRICT")
        else:
            cursor.next()
    return found


def parse_index(sql: str) -> ParsedIndex | None:
    """Read a CREATE INDEX; None if it does not fit the grammar."""
    cursor = _Cursor(sql)
    try:
        while not cursor.at("ON"):
            cursor.next()
        cursor.next()
        cursor.next()
        inside = cursor.parenthesised()
    except _EndError:
        return None
    where = None
    if cursor.at("WHERE") and inside:
        where = sql[cursor.next().end :].strip().rstrip(";").strip()
    return ParsedIndex(tuple(_bare_term(part) for part in _split(inside)), where)


class _Cursor:
    """A place in the tokens of one statement."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self._tokens = list(tokens(sql))
        self._at = 0

    @property
    def here(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def at(self, *words: str) -> bool:
        return self.here is not None and self.here.word in words

    def next(self) -> Token:
        token = self.here
        if token is None:
            raise _EndError
        self._at += 1
        return token

    def take(self, *words: str) -> bool:
        """Step over ``words`` if they stand here in this order."""
        ahead = self._tokens[self._at : self._at + len(words)]
        if [token.word for token in ahead] != list(words):
            return False
        self._at += len(words)
        return True

    def parenthesised(self) -> str:
        """Step over a parenthesis and return the text in it."""
        if not self.at("("):
            raise _EndError
        start = self.next().end
        depth = 1
        while True:
            token = self.next()
            depth += {"(": 1, ")": -1}.get(token.word, 0)
            if depth == 0:
                return self.sql[start : token.start].strip()


class _TableReader:
    """Reads one CREATE TABLE into ``table``."""

    def __init__(self, sql: str) -> None:
        self.table = ParsedTable()
        self._cursor = _Cursor(sql)

    def run(self) -> None:
        cursor = self._cursor
        while not cursor.at("("):
            cursor.next()
        cursor.next()
        columns = True
        while not cursor.at(")"):
            if cursor.at(","):
                cursor.next()
            elif columns and not cursor.at(*_TABLE_WORDS):
                self._column()
            else:
                # SQLite lets table constraints follow each other without a comma.
                columns = False
                self._table_constraint()

    def _column(self) -> None:
        cursor = self._cursor
        name = cursor.next().name.lower()
        column = self.table.columns.setdefault(name, ParsedColumn())
        while not cursor.at(",", ")", *_COLUMN_WORDS):
            if cursor.at("("):
                cursor.parenthesised()
            else:
                cursor.next()
        label: str | None = None
        while not cursor.at(",", ")"):
            if cursor.take("CONSTRAINT"):
                label = cursor.next().name
                continue
            if cursor.take("CHECK"):
                self._check(label)
            elif cursor.take("UNIQUE"):
                self.table.unique_keys.append(ParsedKey((name,), label))
            elif cursor.take("COLLATE"):
                column.collation = cursor.next().name
            elif cursor.take("GENERATED", "ALWAYS", "AS") or cursor.take("AS"):
                column.generated = cursor.parenthesised()
            elif cursor.take("REFERENCES"):
                self._foreign_key((name,), label)
            elif cursor.take("DEFAULT"):
                self._default()
            else:
                cursor.next()
            label = None

    def _table_constraint(self) -> None:
        cursor = self._cursor
        label = cursor.next().name if cursor.take("CONSTRAINT") else None
        if cursor.take("CHECK"):
            self._check(label)
        elif cursor.take("UNIQUE"):
            names = _names(cursor.parenthesised())
            self.table.unique_keys.append(ParsedKey(names, label))
        elif cursor.take("FOREIGN", "KEY"):
            names = _names(cursor.parenthesised())
            if not cursor.take("REFERENCES"):
                raise _EndError
            self._foreign_key(names, label)
        elif cursor.take("PRIMARY", "KEY"):
            cursor.parenthesised()
        else:
            cursor.next()

    def _check(self, label: str | None) -> None:
        self.table.checks.append(ParsedCheck(self._cursor.parenthesised(), label))

    def _default(self) -> None:
        cursor = self._cursor
        if cursor.at("("):
            cursor.parenthesised()
            return
        if cursor.at("+", "-"):
            cursor.next()
        cursor.next()

    def _foreign_key(self, columns: tuple[str, ...], label: str | None) -> None:
        cursor = self._cursor
        cursor.next()
        if cursor.at("("):
            cursor.parenthesised()
        deferrable = deferred = False
        while True:
            if cursor.take("ON"):
                cursor.next()
                if not (cursor.take("SET", "NULL") or cursor.take("SET", "DEFAULT")):
                    cursor.take("NO", "ACTION") or cursor.next()
            elif cursor.take("MATCH"):
                cursor.next()
            elif cursor.take("NOT", "DEFERRABLE"):
                deferrable = False
                cursor.take("INITIALLY", "DEFERRED") or cursor.take("INITIALLY", "IMMEDIATE")
            elif cursor.take("DEFERRABLE"):
                deferrable = True
                deferred = cursor.take("INITIALLY", "DEFERRED")
                cursor.take("INITIALLY", "IMMEDIATE")
            else:
                break
        self.table.foreign_keys.append(ParsedForeignKey(columns, label, deferrable, deferred))


def _split(text: str) -> list[list[Token]]:
    """Cut at the commas that are in no parenthesis."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens(text):
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if token.word == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(Token(token.kind, token.text, token.start, token.end))
    return parts


def _names(text: str) -> tuple[str, ...]:
    return tuple(part[0].name.lower() for part in _split(text) if part)


def _bare_term(part: list[Token]) -> str:
    """The text of an index term without its own COLLATE and order."""
    if part and part[-1].word in ("ASC", "DESC"):
        part = part[:-1]
    if len(part) > 2 and part[-2].word == "COLLATE":
        part = part[:-2]
    return " ".join(_spaced(part))


def _spaced(part: list[Token]) -> Iterator[str]:
    """The tokens' texts, glued where nothing stood between them."""
    text = ""
    for before, token in zip([None, *part], part, strict=False):
        if before is not None and before.end != token.start:
            yield text
            text = ""
        text += token.text
    if text:
        yield text
