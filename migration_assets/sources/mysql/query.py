"""Rows of any query as Python values, for what is compared with PostgreSQL row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any

import pymysql
from pymysql.constants import FIELD_TYPE

from migration_assets.core.catalog import Kind
from migration_assets.sources.mysql.connect import Connection
from migration_assets.sources.mysql.declared import declared_type

_BINARY_CHARSET = 63
_DECODERS: dict[int, Callable[[bytes], Any]] = {
    **dict.fromkeys(
        (FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.INT24, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG,
         FIELD_TYPE.YEAR),
        int,
    ),
    **dict.fromkeys((FIELD_TYPE.FLOAT, FIELD_TYPE.DOUBLE), float),
    **dict.fromkeys((FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL), lambda v: Decimal(v.decode())),
    FIELD_TYPE.JSON: bytes.decode,
}  # fmt: skip
_OCTETS = frozenset({
    FIELD_TYPE.BLOB, FIELD_TYPE.TINY_BLOB, FIELD_TYPE.MEDIUM_BLOB, FIELD_TYPE.LONG_BLOB,
    FIELD_TYPE.STRING, FIELD_TYPE.VAR_STRING, FIELD_TYPE.VARCHAR, FIELD_TYPE.GEOMETRY,
})  # fmt: skip


def rows(connection: Connection, statement: str, seconds: float) -> Iterator[tuple[Any, ...]]:
    """Run a query and yield its rows as they come: numbers, bytes, and all else as texts.

    Args:
        connection: idle; the rest is thrown away if the caller ends early.
        statement: a query.
        seconds: the server ends it when it takes longer.

    Raises:
        pymysql.err.MySQLError: the server refuses or ends it.
    """
    with _limited(connection, seconds):
        connection.query(statement, unbuffered=True)
        result = connection._result
        assert result is not None
        decoders = [_decoder(field) for field in result.fields]
        try:
            while (row := result._read_rowdata_packet_unbuffered()) is not None:
                yield tuple(
                    [
                        None if value is None else decode(value)
                        for decode, value in zip(decoders, row, strict=True)
                    ]
                )
        finally:
            with suppress(pymysql.err.MySQLError):
                result._finish_unbuffered_query()


def default_query(source_type: str, default: str) -> str:
    """A query for the value that a new row holds in a column of this type with this default."""
    kind = declared_type(source_type)
    match kind.kind:
        case Kind.INTEGER | Kind.YEAR:
            as_type = "UNSIGNED" if kind.unsigned else "SIGNED"
        case Kind.DECIMAL:
            as_type = f"DECIMAL({kind.precision},{kind.scale})"
        case Kind.FLOAT | Kind.BIT:
            return f"SELECT ({default}) + 0e0" if kind.kind is Kind.FLOAT else f"SELECT {default}+0"
        case Kind.DATE:
            as_type = "DATE"
        case Kind.DATETIME:
            as_type = f"DATETIME({kind.scale})"
        case Kind.TIME:
            as_type = f"TIME({kind.scale})"
        case Kind.BINARY | Kind.GEOMETRY:
            as_type = "BINARY"
        case _:
            as_type = "CHAR"
    return f"SELECT CAST(({default}) AS {as_type})"


def _decoder(field: Any) -> Callable[[bytes], Any]:
    if field.type_code == FIELD_TYPE.BIT:
        return lambda value: int.from_bytes(value, "big")
    if field.type_code in _OCTETS and field.charsetnr == _BINARY_CHARSET:
        return bytes
    return _DECODERS.get(field.type_code, _text)


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")


@contextmanager
def _limited(connection: Connection, seconds: float) -> Iterator[None]:
    """Let statements take so long only, and texts come in UTF-8."""
    limits = (
        ("max_statement_time", seconds),  # MariaDB's
        ("max_execution_time", int(seconds * 1000)),  # MySQL's
    )
    connection.query("SET SESSION character_set_results = utf8mb4")
    for name, value in limits:
        with suppress(pymysql.err.OperationalError):
            connection.query(f"SET SESSION {name} = {value}")
    try:
        yield
    finally:
        with suppress(pymysql.err.MySQLError):
            connection.query("SET SESSION character_set_results = NULL")
            for name, _ in limits:
                with suppress(pymysql.err.OperationalError):
                    connection.query(f"SET SESSION {name} = 0")
