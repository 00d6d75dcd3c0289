"""PostgreSQL types a plan may choose, and how each travels: Parquet form, encoder, read-back.

The measured table behind this module is in ``docs/types.md``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from migration_assets.core.naming import quote


class Encoding(StrEnum):
    """How a Parquet column becomes COPY bytes."""

    PGPQ = "pgpq"
    JSONB = "jsonb"
    WIRE = "wire"


class Comparison(StrEnum):
    """How a loaded column is compared with its Parquet column.

    ``ARROW``: read back exactly and compared as Arrow. ``DECIMAL``: read back as a string with
    exact scale, cast to the Parquet decimal. ``SERVER``: the Parquet text is sent to PostgreSQL,
    cast there, and compared there.
    """

    ARROW = "arrow"
    DECIMAL = "decimal"
    SERVER = "server"


@dataclass(frozen=True)
class PgType:
    """A PostgreSQL type: ``name`` as in SQL, ``args`` its modifiers (length, precision, scale).

    With ``labels`` it is an enum type of that name, which the plan's own schema holds.
    """

    name: str
    args: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """``enum`` for any enum type, else the name."""
        return "enum" if self.labels else self.name

    @property
    def plain(self) -> str:
        """The type for people: as in DDL, but an enum is called so."""
        return "enum" if self.labels else self.sql

    @property
    def sql(self) -> str:
        """The type as written in DDL, such as ``numeric(12,2)`` or ``timestamp``.

        An enum's name stands without its schema.
        """
        if self.labels:
            return quote(self.name)
        return f"{self.name}({','.join(map(str, self.args))})" if self.args else self.name

    @property
    def catalog_name(self) -> str:
        """The type as ``format_type`` prints it, such as ``character varying(40)``.

        An enum's name is quoted and stands without its schema.
        """
        if self.labels:
            return quote(self.name)
        args = f"({','.join(map(str, self.args))})" if self.args else ""
        if self.name == "timestamp":
            return f"timestamp{args} without time zone"
        if self.name == "timestamptz":
            return f"timestamp{args} with time zone"
        if self.name == "time":
            return f"time{args} without time zone"
        return {"varchar": "character varying"}.get(self.name, self.name) + args

    @property
    def arrow(self) -> pa.DataType:
        """The physical form of the type in Parquet."""
        if self.name == "numeric":
            if len(self.args) == 2 and self.args[0] <= 38:
                return pa.decimal128(*self.args)
            return pa.string()
        return _ARROW[self.family]

    @property
    def compared(self) -> pa.DataType:
        """The form in which its values are compared after the load.

        The physical one, but lists as text parted by commas and intervals in microseconds.
        """
        return _COMPARED.get(self.name) or self.arrow

    @property
    def encoding(self) -> Encoding:
        """How it is encoded for binary COPY."""
        if self.name == "jsonb":
            return Encoding.JSONB
        if self.name == "bit" or (self.name == "numeric" and self.arrow == pa.string()):
            return Encoding.WIRE
        return Encoding.PGPQ

    @property
    def comparison(self) -> Comparison:
        """How it is compared after the load."""
        if self.name == "jsonb":
            return Comparison.SERVER
        if self.name == "numeric":
            return Comparison.DECIMAL if self.arrow != pa.string() else Comparison.SERVER
        return Comparison.ARROW


_ARROW: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "double precision": pa.float64(),
    "real": pa.float32(),
    "text": pa.string(),
    "varchar": pa.string(),
    "bytea": pa.binary(),
    "uuid": pa.binary(16),
    "json": pa.string(),
    "jsonb": pa.string(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "interval": pa.duration("us"),
    "bit": pa.string(),  # of the digits 0 and 1
    "enum": pa.string(),
    "text[]": pa.list_(pa.string()),
    "character": pa.string(),
}
_COMPARED: dict[str, pa.DataType] = {"interval": pa.int64(), "text[]": pa.string()}

MAX_PRECISION = 1000
"""Greatest declarable precision of numeric (PostgreSQL manual, "Numeric Types")."""
MAX_VARCHAR = 10_485_760
"""Greatest length of varchar(n) (PostgreSQL manual, "Character Types")."""

_FRACTIONS = {"time", "timestamp", "timestamptz"}
MAX_FRACTION = 6
"""Fraction digits of seconds (PostgreSQL manual, "Date/Time Types")."""
MAX_LABEL = 63
"""Bytes of an enum's label (PostgreSQL manual, "Enumerated Types")."""
_NOT_WRITTEN = {"enum", "text[]", "character"}
"""Types that nobody can ask for in words."""

_SPELLINGS = {
    "bool": "boolean",
    "int2": "smallint",
    "int": "integer",
    "int4": "integer",
    "int8": "bigint",
    "float8": "double precision",
    "float": "double precision",
    "float4": "real",
    "decimal": "numeric",
    "character varying": "varchar",
    "time without time zone": "time",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
}
_WRITTEN = re.compile(r"([a-z0-9 ]+?) *(?:\( *(\d{1,9}) *(?:, *(\d{1,9}) *)?\))?((?: [a-z]+)*)")


def parse_type(text: str) -> PgType:
    """Read a PostgreSQL type as people write it.

    >>> parse_type("DECIMAL(12, 2)")
    PgType(name='numeric', args=(12, 2))

    Raises:
        ValueError: it is none that can be loaded and verified here; says which can.
    """
    words = " ".join(text.lower().split())
    match = _WRITTEN.fullmatch(words)
    name = f"{match[1]}{match[4]}" if match else ""
    name = _SPELLINGS.get(name, name)
    if match is None or (name != "numeric" and name not in _ARROW.keys() - _NOT_WRITTEN):
        known = ", ".join(sorted([*_ARROW.keys() - _NOT_WRITTEN, "numeric(p,s)", "varchar(n)"]))
        hint = "; a char(n) would lose trailing spaces" if words.startswith("char") else ""
        raise ValueError(f'"{text}" is no type that can be loaded here{hint}; choose from {known}')
    args = tuple(int(arg) for arg in match.groups()[1:3] if arg is not None)
    if name == "numeric":
        return PgType(name, _numeric_args(text, args))
    if args and name in _FRACTIONS and len(args) == 1 and args[0] <= MAX_FRACTION:
        return PgType(name, args)
    if name == "bit":
        if len(args) > 1 or (args and not args[0]):
            raise ValueError(f'"{text}": the length of bit is one number from 1')
        return PgType(name, args or (1,))
    if args and name != "varchar":
        raise ValueError(f'"{text}": {name} takes no number in brackets here; write {name}')
    if name == "varchar" and (len(args) > 1 or (args and not 1 <= args[0] <= MAX_VARCHAR)):
        raise ValueError(f'"{text}": the length of varchar is one number from 1 to {MAX_VARCHAR}')
    return PgType(name, args)


def _numeric_args(text: str, args: tuple[int, ...]) -> tuple[int, ...]:
    if not args:
        return ()
    precision, scale = args[0], args[1] if len(args) > 1 else 0
    if not 1 <= precision <= MAX_PRECISION or scale > precision:
        raise ValueError(
            f'"{text}": the precision of numeric is from 1 to {MAX_PRECISION}, and its scale not '
            "more than that"
        )
    return precision, scale
