"""PostgreSQL types a plan may choose, and how each travels: Parquet form, encoder, read-back.

The measured table behind this module is in ``docs/types.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa


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
    """A PostgreSQL type: ``name`` as in SQL, ``args`` its modifiers (length, precision, scale)."""

    name: str
    args: tuple[int, ...] = ()

    @property
    def sql(self) -> str:
        """The type as written in DDL, such as ``numeric(12,2)`` or ``timestamp``."""
        return f"{self.name}({','.join(map(str, self.args))})" if self.args else self.name

    @property
    def catalog_name(self) -> str:
        """The type as ``format_type`` prints it, such as ``character varying(40)``."""
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
        return _ARROW[self.name]

    @property
    def encoding(self) -> Encoding:
        """How it is encoded for binary COPY."""
        if self.name == "jsonb":
            return Encoding.JSONB
        if self.name == "numeric" and self.arrow == pa.string():
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
}
