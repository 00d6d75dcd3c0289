"""What a source declares: tables, columns, keys, constraints, views, and what cannot come.

Every record is frozen and neutral: an adapter in ``sources`` translates its own engine's words
into these, so that no other layer needs to know which engine it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import TypeAdapter

from migration_assets.core.types import PgType


class Kind(StrEnum):
    """What a declared type asks for, whatever the values turn out to be.

    How values of a kind travel in lanes, where the engine has but one way for them:

    * INTEGER, YEAR: int. An unsigned one of 64 bits beyond that lane: text, decimal digits.
    * DECIMAL: text, the exact decimal. FLOAT: real; of 32 bits the exact value of the four bytes.
    * TEXT, ENUM, JSON, DATE, DATETIME, TIME: text, the engine's own form in UTF-8. An instant
      (``zoned``) that the engine writes without an offset is written in UTC. Bytes that are not
      valid in the column's charset stay as they are, so that they are no valid UTF-8.
    * SET: text, its members parted by commas.
    * BIT: of one bit int (0, 1), else blob, big-endian.
    * BINARY: blob. GEOMETRY: blob, the SRID in four bytes little-endian, then WKB.
    """

    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    BOOLEAN = "boolean"
    TEXT = "text"
    BINARY = "binary"
    DATE = "date"
    DATETIME = "datetime"
    TIME = "time"
    UUID = "uuid"
    JSON = "json"
    ENUM = "enum"
    SET = "set"
    BIT = "bit"
    YEAR = "year"
    GEOMETRY = "geometry"
    ANY = "any"


@dataclass(frozen=True)
class DeclaredType:
    """A source type in neutral words.

    Attributes:
        kind: the family of values that the declaration asks for.
        bits: width of an integer (8, 16, 24, 32, 64), of a float (32, 64) or of a bit string, None
            where not given.
        length: maximum length in characters (text) or bytes (binary), None for none.
        precision: total digits of a decimal, None for unconstrained.
        scale: fraction digits of a decimal; of seconds of a time or datetime, None for any.
        zoned: True when a datetime is declared to carry an offset, or to be an instant.
        unsigned: an integer or decimal that is declared not to be negative.
        strict: the engine keeps nothing else in the column than what is declared.
        boolean: an integer that is the engine's own way to declare a boolean, tinyint(1).
        values: the members of an enum or set, in order.
        srid: the declared reference system of a geometry, None for any.
    """

    kind: Kind
    bits: int | None = None
    length: int | None = None
    precision: int | None = None
    scale: int | None = None
    zoned: bool = False
    unsigned: bool = False
    strict: bool = False
    boolean: bool = False
    values: tuple[str, ...] = ()
    srid: int | None = None


@dataclass(frozen=True)
class Column:
    """One column as declared.

    Attributes:
        name: exactly as in the source.
        source_type: the source's own type text, for people.
        type: the same in neutral words.
        not_null: declared NOT NULL (or implied by a key of the engine).
        default: the default's SQL text in the source's dialect (a string quoted, an expression
            in parentheses where it is no literal or keyword), None for none.
        on_update: what the engine sets the column to when its row changes, as SQL text such as
            ``CURRENT_TIMESTAMP(3)``, None for nothing.
        generated: the generation expression in the source's dialect, None for an ordinary column.
        stored: a generated column is stored (else virtual).
        collation: a collation other than the engine's default one.
        ignores_case: the column's collation takes letters of either case for equal.
        invisible: left out of ``SELECT *`` by the engine.
        comment: the source's comment.
        target: the PostgreSQL type that the source itself names, None where it is to be chosen.
    """

    name: str
    source_type: str
    type: DeclaredType
    not_null: bool = False
    default: str | None = None
    generated: str | None = None
    stored: bool = False
    collation: str | None = None
    comment: str | None = None
    on_update: str | None = None
    ignores_case: bool = False
    invisible: bool = False
    target: PgType | None = None


@dataclass(frozen=True)
class IndexTerm:
    """One part of an index: a column by name, or an expression in the source's dialect.

    ``prefix``: only so many first characters (or bytes) of the column are in the index.
    """

    column: str | None
    expression: str | None = None
    descending: bool = False
    collation: str | None = None
    prefix: int | None = None


@dataclass(frozen=True)
class Index:
    """A secondary index; ``where`` is the predicate of a partial one (source dialect).

    ``method``: ``btree`` (or what takes its place), ``fulltext`` or ``spatial``; of
    PostgreSQL's own dialect its access method.
    """

    name: str
    terms: tuple[IndexTerm, ...]
    unique: bool = False
    where: str | None = None
    sql: str | None = None
    method: str = "btree"


@dataclass(frozen=True)
class UniqueKey:
    """A UNIQUE constraint declared in the table; ``name`` is None where the source has none."""

    columns: tuple[str, ...]
    name: str | None = None


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key; empty ``ref_columns`` never occur, the adapter resolves them."""

    columns: tuple[str, ...]
    ref_table: str
    ref_columns: tuple[str, ...]
    on_update: str = "NO ACTION"
    on_delete: str = "NO ACTION"
    deferrable: bool = False
    initially_deferred: bool = False
    name: str | None = None


@dataclass(frozen=True)
class Check:
    """A CHECK constraint; ``expression`` is in the source's dialect, without outer parentheses."""

    expression: str
    name: str | None = None


@dataclass(frozen=True)
class Table:
    """One table as declared.

    Attributes:
        primary_key: its columns in key order, empty when there is none.
        auto_column: the column that takes the next number by itself (rowid alias,
            AUTO_INCREMENT), None when there is none.
        row_order: True if the engine reads the table back in one fixed order within a snapshot.
        rows: the engine's estimate or count, None if unknown.
        bytes: the engine's estimate of the size on disk, None if unknown.
        sql: the source's own CREATE statement, where it has one.
        primary_key_name: the constraint's name, where the source names it.
    """

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    auto_column: str | None = None
    unique_keys: tuple[UniqueKey, ...] = ()
    indexes: tuple[Index, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    checks: tuple[Check, ...] = ()
    row_order: bool = True
    rows: int | None = None
    bytes: int | None = None
    comment: str | None = None
    sql: str | None = None
    primary_key_name: str | None = None

    def column(self, name: str) -> Column:
        """Return the column called ``name``; raises KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


@dataclass(frozen=True)
class View:
    """A view with its whole CREATE statement in the source's dialect.

    Of PostgreSQL's own dialect it is the query alone.
    """

    name: str
    sql: str


POSTGRES = "postgres"
"""The dialect of a source that declares PostgreSQL's own SQL: nothing of it is translated."""

UNREADABLE = "unreadable table"
"""Kind of a table whose rows cannot be read: a run without them is not proven."""


@dataclass(frozen=True)
class SkippedObject:
    """Something that does not come along, by name and with the reason.

    ``kind`` is one of: trigger, virtual table, shadow table, unreadable table, view, index,
    check, default, generated column, foreign key, unique key, routine, event, partitioning,
    sequence.
    """

    kind: str
    name: str
    reason: str
    table: str | None = None
    sql: str | None = None


@dataclass(frozen=True)
class Catalog:
    """Everything one source declares.

    ``dialect`` is the sqlglot name of the source's SQL (``sqlite``, ``mysql``), None for none.
    """

    dialect: str | None
    tables: tuple[Table, ...]
    views: tuple[View, ...] = ()
    skipped: tuple[SkippedObject, ...] = field(default=())

    def table(self, name: str) -> Table:
        """Return the table called ``name``; raises KeyError."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)

    def to_json(self) -> str:
        """Serialize for the cached state and the run folder."""
        return _CATALOG.dump_json(self, indent=1).decode()

    @staticmethod
    def from_json(text: str | bytes) -> Catalog:
        """Read what :meth:`to_json` wrote."""
        return _CATALOG.validate_json(text)


_CATALOG: TypeAdapter[Catalog] = TypeAdapter(Catalog)
