"""Random MySQL databases: columns of every type, values at their edges, keys and references."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import pymysql

from migration_assets_tests.mysql_server import MySQLDatabase

INTEGERS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
TEXTS = (
    *("", " ", "a  ", "NULL", "ÄÖß", "é", "日本", "x\0y", "\t", "line\nbreak", "back\\slash"),
    *("\\N", "'quote'", '"double"', "1", "1.50", "true", "2024-02-29", "a,b", "{}", "%s", "\x1a"),
)
WIDE = ("😀\U0010ffff", "\ufeffbom", "long " * 60)
UUIDS = ("550e8400-e29b-41d4-a716-446655440000", "00000000-0000-0000-0000-000000000001")
BLOBS = (b"", b"\0", b"\xff" * 16, bytes(range(256)), b"'\\\n\x1a")
DATES = ("2024-02-29", "1000-01-01", "9999-12-31", "0000-00-00", "2024-00-01", "2024-01-00")
CLOCKS = ("00:00:00", "23:59:59", "12:34:56")
SPANS = ("-00:00:01", "838:59:59", "-838:59:59", "24:00:00")
FRACTIONS = ("", ".5", ".000001", ".999999")
DOCUMENTS = ("{}", '{"a": 1, "a": 2}', '{"b": [1.10, null]}', '"\\u0000"', "1e5", '"é"')
LABELS = ("a", "B", "c d", "it's", "ü")
CHARSETS = ("latin1", "utf8mb4", "utf8mb4", "utf8mb3", "ucs2", "cp1251", "cp1250", "gbk")

Maker = Callable[[], Any]


@dataclass
class Made:
    """A table that was made: its key and the values of it that occur."""

    name: str
    key: str | None = None
    keys: list[int] = field(default_factory=list)


def make(database: MySQLDatabase, seed: int, tables: int) -> None:
    """Fill a database with ``tables`` random tables, the same for the same seed."""
    draw = random.Random(seed)
    with closing(database.connect(autocommit=True)) as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO', time_zone = '+01:00'")
        made: list[Made] = []
        for number in range(tables):
            name = draw.choice(("t{}", "Table {}", "q`{}", "naïve-{}", "select{}")).format(number)
            made.append(_table(cursor, draw, name, made))
        for place, table in enumerate(made):
            if draw.random() < 0.4:
                cursor.execute(
                    f"CREATE VIEW `v{place}` AS SELECT *, 1 + 1 AS two FROM {_quoted(table.name)}"
                )


def _table(cursor: Any, draw: random.Random, name: str, before: list[Made]) -> Made:
    table = Made(name)
    columns, makers, extra = [], [], []
    for place in range(draw.randint(1, 8)):
        kind, maker = _column(draw)
        nullable = draw.random() < 0.7
        columns.append(f"{_quoted(f'c{place}')} {kind}{' NULL' if nullable else ' NOT NULL'}")
        makers.append(_sometimes_null(draw, maker) if nullable else maker)
    names = [f"c{place}" for place in range(len(columns))]
    form = draw.choice(("none", "auto", "auto", "plain"))
    if form != "none":
        table.key = "id"
        auto = " AUTO_INCREMENT" if form == "auto" else ""
        columns.insert(0, f"id {draw.choice(('int unsigned', 'bigint', 'int'))} NOT NULL{auto}")
        extra.append("PRIMARY KEY (id)")
    parents = [other for other in before if other.keys]
    if parents and draw.random() < 0.5:
        parent = draw.choice(parents)
        cursor.execute(f"SHOW COLUMNS FROM {_quoted(parent.name)} LIKE 'id'")
        columns.append(f"ref {cursor.fetchone()[1]}")
        names.append("ref")
        makers.append(_sometimes_null(draw, lambda: draw.choice(parent.keys)))
        extra.append(
            f"FOREIGN KEY (ref) REFERENCES {_quoted(parent.name)} (id)"
            f"{draw.choice(('', ' ON DELETE CASCADE', ' ON DELETE SET NULL ON UPDATE CASCADE'))}"
        )
    elif draw.random() < 0.3:
        columns.append("made int AS (3 * 7) STORED")
    charset = draw.choice(("utf8mb4", "latin1"))
    cursor.execute(
        f"CREATE TABLE {_quoted(name)} ({', '.join(columns + extra)}) CHARACTER SET {charset}"
    )
    for row in range(draw.choice((0, 1, 7, 40))):
        values = [maker() for maker in makers]
        if table.key:
            values.insert(0, row * 3 + 1)
        _insert(cursor, table, [*(["id"] if table.key else []), *names], values)
    if draw.random() < 0.5:
        first = draw.choice([n for n in names if n != "ref"] or names)
        with suppress(pymysql.MySQLError):  # not every type can be indexed without a length
            cursor.execute(f"CREATE INDEX `an index` ON {_quoted(name)} ({_quoted(first)})")
    return table


def _insert(cursor: Any, table: Made, names: Sequence[str], values: list[Any]) -> None:
    listed = ", ".join(map(_quoted, names))
    holes = ", ".join(["%s"] * len(values))
    with suppress(pymysql.DataError, pymysql.OperationalError, pymysql.IntegrityError):
        cursor.execute(f"INSERT INTO {_quoted(table.name)} ({listed}) VALUES ({holes})", values)
        if table.key:
            table.keys.append(values[0])


def _column(draw: random.Random) -> tuple[str, Maker]:
    """A column's type, and what makes values of it."""
    return draw.choice(_KINDS)(draw)


def _sometimes_null(draw: random.Random, maker: Maker) -> Maker:
    return lambda: None if draw.random() < 0.2 else maker()


def _integer(draw: random.Random) -> tuple[str, Maker]:
    name, bits = draw.choice(list(INTEGERS.items()))
    unsigned = draw.random() < 0.4
    low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    kind = f"{name}{' unsigned' if unsigned else ''}"
    return kind, lambda: draw.choice((low, high, 0, 1, draw.randint(low, high)))


def _decimal(draw: random.Random) -> tuple[str, Maker]:
    scale = draw.randint(0, 12)
    whole = draw.randint(1, 20)
    limit = 10 ** (whole + scale) - 1

    def make() -> str:
        number = draw.choice((0, 1, -1, limit, -limit, draw.randint(-limit, limit)))
        digits = f"{abs(number):0{scale + 1}}"
        point = len(digits) - scale
        return f"{'-' if number < 0 else ''}{digits[:point]}.{digits[point:] or 0}"

    return f"decimal({whole + scale},{scale})", make


def _float(draw: random.Random) -> tuple[str, Maker]:
    kind = draw.choice(("float", "double"))
    values = (0.0, 0.1, -2.25, 1e-7, 123456.789, 3.4028234e38, 1.5e-38, 16777217.0, 1 / 3)
    return kind, lambda: draw.choice(values)


def _text(draw: random.Random) -> tuple[str, Maker]:
    charset = draw.choice(CHARSETS)
    kind = draw.choice(("varchar(300)", "char(20)", "text", "longtext"))
    texts = TEXTS + (WIDE if charset == "utf8mb4" else ())
    folds = " COLLATE utf8mb4_bin" if charset == "utf8mb4" and draw.random() < 0.3 else ""
    return f"{kind} CHARACTER SET {charset}{folds}", lambda: draw.choice(texts)


def _bytes(draw: random.Random) -> tuple[str, Maker]:
    kind = draw.choice(("binary(4)", "varbinary(300)", "blob", "longblob"))
    return kind, lambda: draw.choice(BLOBS)


def _moment(draw: random.Random) -> tuple[str, Maker]:
    digits = draw.choice((0, 3, 6))
    kind = draw.choice(("date", f"datetime({digits})", f"timestamp({digits})"))
    dirty = draw.random() < 0.4

    def make() -> str:
        date = draw.choice(DATES if dirty else DATES[:3])
        if kind.startswith("timestamp") and not date.startswith("0000"):
            date = f"20{draw.randint(10, 37)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}"
        if kind == "date":
            return date
        return f"{date} {draw.choice(CLOCKS)}{draw.choice(FRACTIONS[: digits + 1])}"

    return kind, make


def _clock(draw: random.Random) -> tuple[str, Maker]:
    digits = draw.choice((0, 6))
    spans = CLOCKS + (SPANS if draw.random() < 0.5 else ())
    return f"time({digits})", lambda: draw.choice(spans) + draw.choice(FRACTIONS[: digits + 1])


def _bits(draw: random.Random) -> tuple[str, Maker]:
    size = draw.choice((1, 2, 8, 13, 64))
    return f"bit({size})", lambda: draw.randint(0, 2**size - 1)


def _enum(draw: random.Random) -> tuple[str, Maker]:
    labels = draw.sample(LABELS, draw.randint(1, len(LABELS)))
    listed = ", ".join("'" + label.replace("'", "''") + "'" for label in labels)
    return f"enum({listed})", lambda: draw.choice((*labels, *labels, "no label"))


def _set(draw: random.Random) -> tuple[str, Maker]:
    labels = draw.sample(LABELS, draw.randint(1, len(LABELS)))
    listed = ", ".join("'" + label.replace("'", "''") + "'" for label in labels)
    return f"set({listed})", lambda: ",".join(draw.sample(labels, draw.randint(0, len(labels))))


def _json(draw: random.Random) -> tuple[str, Maker]:
    return "json", lambda: draw.choice(DOCUMENTS)


def _flag(draw: random.Random) -> tuple[str, Maker]:
    most = draw.choice((1, 1, 3))
    return "tinyint(1)", lambda: draw.randint(0, most)


def _year(draw: random.Random) -> tuple[str, Maker]:
    return "year", lambda: draw.choice((0, 1901, 2155, 2024))


def _uuid(draw: random.Random) -> tuple[str, Maker]:
    return "char(36)", lambda: draw.choice(UUIDS)


_KINDS = (
    *(_integer, _integer, _decimal, _float, _text, _text, _text, _bytes, _moment, _moment),
    *(_clock, _bits, _enum, _set, _json, _flag, _year, _uuid),
)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
