"""MySQL's column types in neutral words (MySQL manual, "Data Types"; MariaDB's are the same)."""

from __future__ import annotations

import re
from dataclasses import replace

from migration_assets.core.catalog import DeclaredType, Kind

_INTEGER_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_TEXT = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
_BINARY = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
_SIZED = frozenset({"char", "varchar", "binary", "varbinary"})
_GEOMETRY = frozenset({
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring",
    "multipolygon", "geometrycollection", "geomcollection",
})  # fmt: skip
_MEMBER = re.compile(r"'((?:[^']|'')*)'")


def declared_type(column_type: str, *, json: bool = False, srid: int | None = None) -> DeclaredType:
    """Read a type as ``information_schema.columns`` has it in ``COLUMN_TYPE``; MySQL keeps to it.

    Args:
        column_type: such as ``int(10) unsigned``.
        json: a text that is kept to JSON by a check, as MariaDB's alias ``json`` is.
        srid: the reference system that a geometry is kept to.

    >>> declared_type("decimal(10,2) unsigned").precision
    10
    """
    return replace(_declared(column_type, json, srid), strict=True)


def _declared(column_type: str, json: bool, srid: int | None) -> DeclaredType:
    name, numbers, rest = _parts(column_type)
    unsigned = "unsigned" in rest or "zerofill" in rest
    first = numbers[0] if numbers else None
    if name in _INTEGER_BITS:
        boolean = name == "tinyint" and first == 1
        return DeclaredType(
            Kind.INTEGER, bits=_INTEGER_BITS[name], unsigned=unsigned, boolean=boolean
        )
    if name == "decimal":
        return DeclaredType(
            Kind.DECIMAL,
            precision=first or 10,
            scale=numbers[1] if len(numbers) > 1 else 0,
            unsigned=unsigned,
        )
    if name in {"float", "double"}:
        return DeclaredType(Kind.FLOAT, bits=32 if name == "float" else 64)
    if name == "bit":
        return DeclaredType(Kind.BIT, bits=first or 1)
    if name in _TEXT:
        if json:
            return DeclaredType(Kind.JSON)
        return DeclaredType(Kind.TEXT, length=first if name in _SIZED else None)
    if name in _BINARY:
        return DeclaredType(Kind.BINARY, length=first if name in _SIZED else None)
    if name in {"enum", "set"}:
        members = tuple(m[1].replace("''", "'") for m in _MEMBER.finditer(column_type))
        return DeclaredType(Kind(name), values=members)
    if name in {"datetime", "timestamp"}:
        return DeclaredType(Kind.DATETIME, scale=first or 0, zoned=name == "timestamp")
    if name == "time":
        return DeclaredType(Kind.TIME, scale=first or 0)
    if name in _GEOMETRY:
        return DeclaredType(Kind.GEOMETRY, srid=srid)
    plain = {"date": Kind.DATE, "year": Kind.YEAR, "json": Kind.JSON, "uuid": Kind.UUID}
    return DeclaredType(plain.get(name, Kind.TEXT))


def _parts(column_type: str) -> tuple[str, list[int], str]:
    """Name, numbers in brackets, and what stands behind them; all in lower case."""
    match = re.match(r"(\w+)\s*(?:\(([\d, ]*)\))?(.*)", column_type.lower(), re.DOTALL)
    if match is None:
        return "", [], ""
    numbers = [int(part) for part in (match[2] or "").split(",") if part.strip()]
    return match[1], numbers, match[3] or ""
