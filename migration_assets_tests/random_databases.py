"""Random SQLite databases: schemas of every declared type, values of every storage class."""

from __future__ import annotations

import json
import random
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

TYPES = (
    *("INTEGER", "INT", "BIGINT", "SMALLINT", "TINYINT", "INT4", "UNSIGNED BIG INT", "BOOLEAN"),
    *("REAL", "DOUBLE", "FLOAT", "NUMERIC", "DECIMAL(6,2)", "DECIMAL(20,0)", "DECIMAL(40,10)"),
    *("TEXT", "VARCHAR(8)", "CHAR(36)", "NVARCHAR(200)", "CLOB", "UUID", "JSON"),
    *("DATE", "DATETIME", "TIMESTAMP", "TIME", "TIMESTAMPTZ", "BLOB", "VARBINARY(16)"),
    *("", "STRING"),
)
INTS = (0, 1, -1, 127, 32768, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 1_700_000_000, 20_240_101)
REALS = (
    *(0.1, -0.0, 0.1 + 0.2, 1.5, -2.25, 1e22, 1e-7, 1e308, 5e-324, 123456.789, 100.0, 2.0**53),
    *(float("inf"), float("-inf"), 99999.994, 1e15, 1e16, 123456789012345.6, 1e300 / 3),
)
TEXTS = (
    *("", " ", "a  ", "NULL", "ÄÖß", "e\u0301", "😀\U0010ffff", "\ufeffbom", "x\0y", "\0", "\t"),
    *("line\nbreak", "back\\slash", "\\N", "'quote'", '"double"', "1", "1.50", "-0", "1e5", "007"),
    *("true", "2024-02-29", "2023-02-29", "0000-01-01", "9999-12-31", "10000-01-01", "24:00:00"),
    *("2024-01-02 03:04:05", "2024-01-02T03:04:05.123456Z", "2024-01-02 03:04:05.1234567"),
    *("2024-01-02 03:04", "2024-01-02 03:04:05+05:45", "2024-01-02 25:00:00", "03:04:05.5"),
    *("550e8400-e29b-41d4-a716-446655440000", "550E8400-E29B-41D4-A716-446655440000"),
    *('{"a": 1, "a": 2}', '{"b": [1.10, null]}', "[", '"\\u0000"', '"\\ud800"', "1e400", "NaN"),
    "long " * 400,
)
BAD_TEXTS = (b"\xff\xfe", b"caf\xe9", b"ok\xc3", b"\xed\xa0\x80", b"a\x00\xff")
BLOBS = (b"", b"\0", b"\xff" * 16, bytes(range(256)))

Value = int | float | str | bytes | None


ACTIONS = ("", "", " ON DELETE CASCADE", " ON DELETE SET NULL ON UPDATE CASCADE")
DEFERS = ("", "", " DEFERRABLE INITIALLY DEFERRED", " DEFERRABLE")
DEFAULTS = (
    *("0", "-1", "1.5", "'it''s'", "''", "NULL", "TRUE", "x'00ff'", "CURRENT_TIMESTAMP"),
    *("(lower('ABC'))", "(1 + 2)", "(datetime('now'))", "('a' || 'b')", '"word"', "1e3"),
)
STRICT_TYPES = ("INTEGER", "INT", "REAL", "TEXT", "BLOB", "ANY")


@dataclass
class Made:
    """A table that was made: what later tables, views and indexes may name.

    Attributes:
        name: the table.
        columns: its ordinary columns.
        key: the columns of its primary key, empty for none.
        keys: values of the primary key that occur.
    """

    name: str
    columns: list[str]
    key: tuple[str, ...] = ()
    keys: list[tuple[Value, ...]] = field(default_factory=list)


def make(path: Path, seed: int, tables: int) -> None:
    """Write a database of ``tables`` random tables, the same for the same seed."""
    draw = random.Random(seed)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA encoding = '{draw.choice(('UTF-8', 'UTF-8', 'UTF-16le'))}'")
        # What an application stored before it added a check, or with checks switched off.
        connection.execute(f"PRAGMA ignore_check_constraints = {draw.choice(('ON', 'OFF'))}")
        made: list[Made] = []
        for number in range(tables):
            name = draw.choice(("t{}", "Table {}", 'q"{}', "naïve-{}", "select{}", "p%s{}"))
            made.append(_make_table(connection, draw, name.format(number), made))
        for table in made:
            _make_indexes(connection, draw, table)
        _make_views(connection, draw, made)
        if draw.random() < 0.2:
            table = draw.choice(made)
            connection.execute(
                f"CREATE TRIGGER {_quote('after ' + table.name)} AFTER DELETE ON "
                f"{_quote(table.name)} BEGIN SELECT 1; END"
            )
        connection.commit()


def _make_table(
    connection: sqlite3.Connection, draw: random.Random, name: str, made: list[Made]
) -> Made:
    strict = draw.random() < 0.1
    kinds = [draw.choice(STRICT_TYPES if strict else TYPES) for _ in range(draw.randint(1, 7))]
    names = [f"{draw.choice(('c', 'Col ', 'ü', 'order'))}{i}" for i in range(len(kinds))]
    makers = [_maker(draw, kind) for kind in kinds]
    definitions = [
        f"{_quote(n)} {kind}{_extras(draw, n)}" for n, kind in zip(names, kinds, strict=True)
    ]
    form = draw.choice(("none", "rowid", "rowid", "text", "nocase", "pair"))
    key, keys, constraints, options = _key(draw, form, definitions)
    table = Made(name, names, key)
    constraints += _foreign_keys(draw, definitions, makers, [*made, table] if keys else made)
    definitions += _generated(draw, names, strict)
    options += ["STRICT"] if strict else []
    connection.execute(
        f"CREATE TABLE {_quote(name)} ({', '.join(definitions + constraints)}) {', '.join(options)}"
    )
    columns = [*key, *names, *(f"ref{i}" for i in range(len(makers) - len(names)))]
    for row in range(draw.choice((0, 1, 5, 40))):
        parts = keys(row)
        if _insert(connection, name, columns, [*parts, *(maker() for maker in makers)]):
            table.keys.append(parts)
    return table


def _extras(draw: random.Random, name: str) -> str:
    """NOT NULL, default, check and collation of an ordinary column."""
    extras = ""
    if draw.random() < 0.15:
        extras += f" DEFAULT {draw.choice(DEFAULTS)}"
    if draw.random() < 0.1:
        extras += " NOT NULL"
    if draw.random() < 0.1:
        quoted = _quote(name)
        form = draw.choice(
            ("{0} <> 13", "length({0}) < 10", "{0} IS NULL OR {0} >= 0", "{0} IN (0, 1, 'a')")
        )
        extras += f" CHECK ({form.format(quoted)})"
    if draw.random() < 0.1:
        extras += draw.choice((" COLLATE NOCASE", " COLLATE RTRIM"))
    return extras


def _key(
    draw: random.Random, form: str, definitions: list[str]
) -> tuple[tuple[str, ...], Callable[[int], tuple[Value, ...]], list[str], list[str]]:
    """Put the primary key first; returns its columns, their values, constraints and options."""
    if form == "rowid":
        definitions.insert(0, "id INTEGER PRIMARY KEY" + draw.choice(("", " AUTOINCREMENT")))
        return ("id",), lambda row: (row + 1,), [], []
    if form == "text":
        definitions.insert(0, "id TEXT PRIMARY KEY")
        nulls = draw.choice((0.0, 0.0, 0.1))
        return ("id",), lambda row: (None if draw.random() < nulls else f"k{row}",), [], []
    if form == "nocase":
        definitions.insert(0, "id TEXT COLLATE NOCASE PRIMARY KEY")
        return ("id",), lambda row: (f"{draw.choice('kK')}{row}",), [], []
    if form == "pair":
        definitions[:0] = ["a INTEGER NOT NULL", "b TEXT NOT NULL"]
        options = draw.choice(([], ["WITHOUT ROWID"]))
        pair = ["PRIMARY KEY (b, a)"]
        return ("a", "b"), lambda row: (row % 7, f"{row // 7:03d}"), pair, [*options]
    return (), lambda row: (), [], []


def _foreign_keys(
    draw: random.Random,
    definitions: list[str],
    makers: list[Callable[[], Value]],
    parents: list[Made],
) -> list[str]:
    """Add the columns of up to two foreign keys and their values, most of which are there."""
    constraints = []
    for _ in range(draw.choice((0, 0, 1, 2))):
        parent = draw.choice([p for p in parents if p.key] or [None])
        if parent is None:
            return constraints
        tail = draw.choice(ACTIONS) + draw.choice(DEFERS)
        first = sum(d.startswith("ref") for d in definitions)
        names = [f"ref{first + i}" for i in range(len(parent.key))]
        lost = draw.choice((0.0, 0.0, 0.1))

        def value(place: int, parent: Made = parent, lost: float = lost) -> Value:
            if draw.random() < lost or not parent.keys:
                return draw.choice((None, 999, "lost"))
            return draw.choice(parent.keys[:3])[place]

        for place, name in enumerate(names):
            definitions.append(f"{name} {draw.choice(('INTEGER', 'TEXT', 'TEXT', 'INT'))}")
            makers.append(partial(value, place))
        columns = f" ({', '.join(parent.key)})" if draw.random() < 0.8 else ""
        if len(parent.key) == 1 or columns:
            constraints.append(
                f"FOREIGN KEY ({', '.join(names)}) REFERENCES {_quote(parent.name)}{columns}{tail}"
            )
    return constraints


def _generated(draw: random.Random, names: list[str], strict: bool) -> list[str]:
    """A generated column over an ordinary one, in a fifth of the tables."""
    if draw.random() < 0.8:
        return []
    form = draw.choice(("{0} || 'x'", "length({0})", "upper({0})", "{0} + 1", "coalesce({0}, 0)"))
    kind = draw.choice((" TEXT", " INTEGER") if strict else ("", " TEXT", " INTEGER"))
    # SQLite's releases print a real with 15 or 17 digits, so only a stored text is a fact.
    prints = kind == " TEXT" or form not in ("{0} + 1", "coalesce({0}, 0)")
    stored = "STORED" if prints else draw.choice(("STORED", "VIRTUAL"))
    expression = form.format(_quote(draw.choice(names)))
    return [f"made{kind} GENERATED ALWAYS AS ({expression}) {stored}"]


def _make_indexes(connection: sqlite3.Connection, draw: random.Random, table: Made) -> None:
    for number in range(draw.choice((0, 0, 1, 2))):
        one, two = (_quote(draw.choice(table.columns)) for _ in range(2))
        terms = draw.choice(
            ("{0}", "{0} DESC", "{0}, {1}", "lower({0})", "length({0})", "{0} COLLATE NOCASE")
        )
        where = draw.choice(("", "", " WHERE {1} IS NOT NULL", " WHERE {1} > 5"))
        unique = draw.choice(("", "", " UNIQUE"))
        with suppress(sqlite3.IntegrityError):  # the values decide whether it can be unique
            connection.execute(
                f"CREATE{unique} INDEX {_quote(f'i{number} {table.name}')} ON "
                f"{_quote(table.name)} ({terms.format(one, two)}){where.format(one, two)}"
            )


def _make_views(connection: sqlite3.Connection, draw: random.Random, made: list[Made]) -> None:
    names: list[str] = []
    for number in range(draw.choice((0, 0, 1, 2))):
        table = draw.choice(made)
        one = _quote(draw.choice(table.columns))
        query = draw.choice(
            (
                "SELECT * FROM {0}",
                "SELECT {1} AS x, count(*) AS n FROM {0} GROUP BY {1}",
                "SELECT {1}, length({1}) AS n FROM {0} WHERE {1} IS NOT NULL",
                "SELECT max({1}) AS most FROM {0}",
                "SELECT a.{1} FROM {0} AS a JOIN {0} AS b ON a.{1} = b.{1}",
            )
        ).format(_quote(table.name), one)
        if names and draw.random() < 0.5:
            query = f"SELECT * FROM {_quote(names[-1])}"
        names.append(f"view {number}")
        connection.execute(f"CREATE VIEW {_quote(names[-1])} AS {query}")


def _insert(
    connection: sqlite3.Connection, name: str, columns: list[str], values: list[Value]
) -> bool:
    """Insert one row unless the table's own constraints refuse it."""
    marks = ["CAST(? AS TEXT)" if v in BAD_TEXTS and isinstance(v, bytes) else "?" for v in values]
    listed = ", ".join(map(_quote, columns))
    try:
        connection.execute(
            f"INSERT INTO {_quote(name)} ({listed}) VALUES ({', '.join(marks)})", values
        )
    except sqlite3.IntegrityError:
        return False
    return True


def _maker(draw: random.Random, kind: str) -> Callable[[], Value]:
    """How a column's values are made: as declared, of one other class, or of any class."""
    nulls = draw.choice((0.0, 0.1, 0.9))
    own = _own(draw, kind)
    classes: tuple[Callable[[], Value], ...] = (
        lambda: draw.choice(INTS),
        lambda: draw.choice(REALS),
        lambda: draw.choice(TEXTS),
        lambda: draw.choice(BLOBS),
        lambda: draw.choice(BAD_TEXTS),
        lambda: draw.choice((draw.randint(-(2**63), 2**63 - 1), draw.uniform(-1e6, 1e6))),
    )
    mood = draw.choice(("own", "own", "own", "spoiled", "other", "any"))
    other = draw.choice(classes)

    def value() -> Value:
        if draw.random() < nulls:
            return None
        if mood == "own" or (mood == "spoiled" and draw.random() < 0.9):
            return own()
        return other() if mood in {"other", "spoiled"} else draw.choice(classes)()

    return value


def _own(draw: random.Random, kind: str) -> Callable[[], Value]:
    """Values as an application would write them into a column of this type."""
    moment = f"20{draw.randint(10, 30)}-0{draw.randint(1, 9)}-1{draw.randint(0, 9)}"
    clock = "0{}:3{}:1{}"
    form = draw.choice(("", ".{:03d}", ".{:06d}", "Z", "+02:00"))

    def time() -> str:
        return clock.format(*(draw.randint(0, 9) for _ in range(3)))

    if kind in {"DATE"}:
        return lambda: f"20{draw.randint(10, 30)}-0{draw.randint(1, 9)}-1{draw.randint(0, 9)}"
    if kind in {"DATETIME", "TIMESTAMP", "TIMESTAMPTZ"}:
        if draw.random() < 0.2:
            return lambda: draw.randint(1_500_000_000, 1_800_000_000)
        return lambda: f"{moment} {time()}{form.format(draw.randint(0, 999))}"
    if kind == "TIME":
        return time
    if kind in {"UUID", "CHAR(36)"}:
        return lambda: str(uuid.UUID(int=draw.getrandbits(128)))
    if kind == "JSON":
        return lambda: json.dumps({"n": draw.choice(REALS[:5]), "t": draw.choice(TEXTS[1:8])})
    if kind in {"BLOB", "VARBINARY(16)"}:
        return lambda: draw.randbytes(draw.randint(0, 20))
    if kind == "BOOLEAN":
        return lambda: draw.randint(0, 1)
    if kind in {"REAL", "DOUBLE", "FLOAT", "NUMERIC"}:
        return lambda: draw.uniform(-1e4, 1e4)
    if kind.startswith("DECIMAL"):
        return lambda: round(draw.uniform(-9999, 9999), 2)
    if "INT" in kind:
        return lambda: draw.randint(-100, 100)
    return lambda: draw.choice(("alpha", "beta ", "Γ", ""))


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
