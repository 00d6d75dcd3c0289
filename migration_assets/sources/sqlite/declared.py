"""Declared SQLite types in neutral words.

SQLite takes any text as a type and derives an affinity from it (SQLite, "Datatypes In SQLite",
section 3.1). Names that people and frameworks use on purpose are in a table, all others follow
the affinity.
"""

from __future__ import annotations

import re
from enum import StrEnum

from migration_assets.core.catalog import DeclaredType, Kind
from migration_assets.core.profile import Lane


class Affinity(StrEnum):
    """What SQLite turns values into when it stores them in a column."""

    INTEGER = "integer"
    REAL = "real"
    NUMERIC = "numeric"
    TEXT = "text"
    BLOB = "blob"


_INTEGER_BITS = {
    "INTEGER": 64,
    "INT": 64,
    "BIGINT": 64,
    "INT8": 64,
    "UNSIGNED BIG INT": 64,
    "BIG INT": 64,
    "LONG": 64,
    "SERIAL": 64,
    "BIGSERIAL": 64,
    "INT4": 32,
    "MEDIUMINT": 32,
    "SMALLINT": 16,
    "INT2": 16,
    "TINYINT": 16,
}
_FLOAT = {"REAL", "FLOAT", "FLOAT4", "FLOAT8", "DOUBLE", "DOUBLE PRECISION", "DOUBLE FLOAT"}
_DECIMAL = {"NUMERIC", "DECIMAL", "DEC", "NUMBER", "MONEY", "SMALLMONEY", "FIXED", "CURRENCY"}
_TEXT = {
    "TEXT",
    "CLOB",
    "NCLOB",
    "STRING",
    "CHAR",
    "CHARACTER",
    "NCHAR",
    "NATIVE CHARACTER",
    "NATIONAL CHARACTER",
    "NATIONAL CHARACTER VARYING",
    "VARCHAR",
    "VARCHAR2",
    "NVARCHAR",
    "NVARCHAR2",
    "VARYING CHARACTER",
    "CHARACTER VARYING",
    "CHAR VARYING",
    "TINYTEXT",
    "MEDIUMTEXT",
    "LONGTEXT",
    "NTEXT",
    "CITEXT",
    "LONGVARCHAR",
    "LONG VARCHAR",
}
_UNLIMITED_TEXT = {"TEXT", "CLOB", "NCLOB", "TINYTEXT", "MEDIUMTEXT", "LONGTEXT", "NTEXT", "STRING"}
_BINARY = {
    "BLOB",
    "BINARY",
    "VARBINARY",
    "BINARY VARYING",
    "BYTEA",
    "IMAGE",
    "TINYBLOB",
    "MEDIUMBLOB",
    "LONGBLOB",
    "LONGVARBINARY",
    "RAW",
}
_DATETIME = {"DATETIME", "DATETIME2", "SMALLDATETIME", "TIMESTAMP", "TIMESTAMP WITHOUT TIME ZONE"}
_DATETIME_ZONED = {"TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE", "DATETIMEOFFSET", "DATETIMETZ"}
_TIME = {"TIME", "TIME WITHOUT TIME ZONE"}
_UUID = {"UUID", "GUID", "UNIQUEIDENTIFIER"}
_JSON = {"JSON", "JSONB"}

_SHAPE = re.compile(r"^([^()]*)\(\s*([^()]*?)\s*\)\s*([^()]*)$")


def affinity(text: str, *, strict: bool = False) -> Affinity:
    """The affinity of a column declared as ``text``, by SQLite's own five rules in their order.

    Args:
        text: the declared type as in the CREATE statement.
        strict: the table is STRICT, where ANY has no affinity.
    """
    upper = text.upper()
    if strict and upper == "ANY":
        return Affinity.BLOB
    if "INT" in upper:
        return Affinity.INTEGER
    if any(word in upper for word in ("CHAR", "CLOB", "TEXT")):
        return Affinity.TEXT
    if not upper.strip() or "BLOB" in upper:
        return Affinity.BLOB
    if any(word in upper for word in ("REAL", "FLOA", "DOUB")):
        return Affinity.REAL
    return Affinity.NUMERIC


def declared_type(text: str, *, strict: bool = False) -> DeclaredType:
    """Read a declared type.

    Args:
        text: the declared type as in the CREATE statement, empty for none.
        strict: the table is STRICT.

    >>> declared_type("DECIMAL(10, 2)") == DeclaredType(Kind.DECIMAL, precision=10, scale=2)
    True
    """
    name, arguments = _parts(text)
    if not name or (strict and name == "ANY"):
        return DeclaredType(Kind.ANY)
    unsigned = bool(re.search(r"\b(UNSIGNED|ZEROFILL)\b", name))
    plain = re.sub(r"\b(UNSIGNED|SIGNED|ZEROFILL)\b", " ", name)
    plain = " ".join(plain.split()) or "INTEGER"
    if plain in _INTEGER_BITS:
        return DeclaredType(Kind.INTEGER, bits=64 if unsigned else _INTEGER_BITS[plain])
    if plain in _FLOAT:
        return DeclaredType(Kind.FLOAT)
    if plain in _DECIMAL:
        return _decimal(arguments)
    if name in _TEXT:
        limited = name not in _UNLIMITED_TEXT and arguments
        return DeclaredType(Kind.TEXT, length=arguments[0] or None if limited else None)
    if name in _BINARY:
        return DeclaredType(Kind.BINARY, length=arguments[0] or None if arguments else None)
    if name in ("BOOLEAN", "BOOL"):
        return DeclaredType(Kind.BOOLEAN)
    if name == "DATE":
        return DeclaredType(Kind.DATE)
    if name in _DATETIME or name in _DATETIME_ZONED:
        return DeclaredType(Kind.DATETIME, zoned=name in _DATETIME_ZONED)
    if name in _TIME:
        return DeclaredType(Kind.TIME)
    if name in _UUID:
        return DeclaredType(Kind.UUID)
    if name in _JSON:
        return DeclaredType(Kind.JSON)
    return _by_affinity(affinity(text, strict=strict))


def lanes(type_: DeclaredType, stored: Affinity) -> tuple[Lane, ...]:
    """The storage classes to expect in a column, from its declaration alone.

    Args:
        type_: the declared type.
        stored: its affinity. It rules out classes for good: SQLite stores no number in a column
            of TEXT affinity, and no integer in one of REAL affinity.
    """
    match type_.kind:
        case Kind.ANY:
            return (Lane.INT, Lane.REAL, Lane.TEXT, Lane.BLOB)
        case Kind.BINARY:
            return (Lane.BLOB,)
        case Kind.DATE | Kind.DATETIME | Kind.TIME | Kind.UUID | Kind.JSON | Kind.TEXT:
            return (Lane.TEXT,)
    match stored:
        case Affinity.INTEGER:
            return (Lane.INT,)
        case Affinity.REAL:
            return (Lane.REAL,)
        case Affinity.TEXT:
            return (Lane.TEXT,)
    return (Lane.INT,) if type_.kind is Kind.BOOLEAN else (Lane.INT, Lane.REAL)


def _parts(text: str) -> tuple[str, tuple[int, ...]]:
    """Split into the upper-case name, single-spaced, and its numbers (``MAX`` counts as 0)."""
    match = _SHAPE.match(text.strip())
    if match is None:
        return " ".join(text.upper().split()), ()
    head, inside, tail = match.groups()
    name = " ".join(f"{head} {tail}".upper().split())
    numbers = [part.strip() for part in inside.split(",")]
    if not all(re.fullmatch(r"[+-]?\d+|MAX", part, re.IGNORECASE) for part in numbers):
        # Oracle's VARCHAR2(20 CHAR) and the like: the number still is the length.
        leading = re.match(r"\d+", inside)
        return name, (int(leading.group()),) if leading else ()
    return name, tuple(0 if part.upper() == "MAX" else int(part) for part in numbers)


def _decimal(arguments: tuple[int, ...]) -> DeclaredType:
    """A decimal; precision and scale outside PostgreSQL's 1..1000 and 0..precision are dropped."""
    if not arguments or not 1 <= arguments[0] <= 1000:
        return DeclaredType(Kind.DECIMAL)
    scale = arguments[1] if len(arguments) > 1 else 0
    if not 0 <= scale <= arguments[0]:
        return DeclaredType(Kind.DECIMAL)
    return DeclaredType(Kind.DECIMAL, precision=arguments[0], scale=scale)


def _by_affinity(stored: Affinity) -> DeclaredType:
    match stored:
        case Affinity.INTEGER:
            return DeclaredType(Kind.INTEGER, bits=64)
        case Affinity.TEXT:
            return DeclaredType(Kind.TEXT)
        case Affinity.REAL:
            return DeclaredType(Kind.FLOAT)
        case Affinity.BLOB:
            return DeclaredType(Kind.BINARY)
    return DeclaredType(Kind.DECIMAL)
