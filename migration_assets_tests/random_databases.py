"""Random SQLite databases: schemas of every declared type, values of every storage class."""

from __future__ import annotations

import json
import random
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
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


def make(path: Path, seed: int, tables: int) -> None:
    """Write a database of ``tables`` random tables, the same for the same seed."""
    draw = random.Random(seed)
    with closing(sqlite3.connect(path)) as connection:
        parents: list[str] = []
        for number in range(tables):
            name = draw.choice(("t{}", "Table {}", 'q"{}', "naïve-{}", "select{}", "p%s{}"))
            _make_table(connection, draw, name.format(number), parents)
        connection.commit()


def _make_table(
    connection: sqlite3.Connection, draw: random.Random, name: str, parents: list[str]
) -> None:
    kinds = [draw.choice(TYPES) for _ in range(draw.randint(1, 7))]
    names = [f"{draw.choice(('c', 'Col ', 'ü', 'order'))}{i}" for i in range(len(kinds))]
    key = draw.choice(("none", "rowid", "rowid", "text", "pair"))
    definitions = [f"{_quote(n)} {kind}" for n, kind in zip(names, kinds, strict=True)]
    makers = [_maker(draw, kind) for kind in kinds]
    without = ""
    if key == "rowid":
        definitions.insert(0, "id INTEGER PRIMARY KEY" + draw.choice(("", " AUTOINCREMENT")))
    elif key == "text":
        definitions.insert(0, "id TEXT PRIMARY KEY")
    elif key == "pair":
        definitions[:0] = ["a INTEGER NOT NULL", "b TEXT NOT NULL"]
        definitions.append("PRIMARY KEY (b, a)")
        without = draw.choice(("", " WITHOUT ROWID"))
    if parents and draw.random() < 0.5:
        parent = draw.choice(parents)
        at = len(definitions) - (key == "pair")
        definitions.insert(at, f"parent INTEGER REFERENCES {_quote(parent)} (id)")
        makers.append(lambda: draw.choice((None, 1, 2, 3, 3, 999)))
    connection.execute(f"CREATE TABLE {_quote(name)} ({', '.join(definitions)}){without}")
    if key == "rowid":
        parents.append(name)
    if draw.random() < 0.5:
        connection.execute(
            f"CREATE INDEX {_quote('i ' + name)} ON {_quote(name)} ({_quote(names[0])})"
        )
    for row in range(draw.choice((0, 1, 5, 40))):
        values: list[Value] = [maker() for maker in makers]
        if key == "rowid":
            values.insert(0, row + 1)
        elif key == "text":
            values.insert(0, None if draw.random() < 0.03 else f"k{row}")
        elif key == "pair":
            values[:0] = [row % 7, f"{row // 7:03d}"]
        _insert(connection, name, values)


def _insert(connection: sqlite3.Connection, name: str, values: list[Value]) -> None:
    marks = ["CAST(? AS TEXT)" if v in BAD_TEXTS and isinstance(v, bytes) else "?" for v in values]
    connection.execute(f"INSERT INTO {_quote(name)} VALUES ({', '.join(marks)})", values)


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
