"""A PostgreSQL schema that an application's own migrations made, as its catalog has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from migration_assets.core import results
from migration_assets.core.types import PgType


@dataclass(frozen=True)
class Sequence:
    """The sequence that gives a column its next number.

    Attributes:
        name: in the schema of its table.
        identity: it belongs to an identity column, and not to a default.
        type: of its numbers.
        start, increment, minimum, maximum, cache, cycle: as declared.
    """

    name: str
    identity: bool
    type: str
    start: int
    increment: int
    minimum: int
    maximum: int
    cache: int
    cycle: bool


@dataclass(frozen=True)
class TargetColumn:
    """One column.

    Attributes:
        name: its name.
        type_name: its type as ``format_type`` prints it.
        type: the same as one that can be loaded and compared, None if it is no such type.
        not_null: NULL is not allowed.
        default: SQL of its default, None for none or a generated column.
        generated: SQL of its expression if it is a generated column.
        identity: ``always``, ``by default`` or empty.
        sequence: gives its next number; None if it has none of its own.
    """

    name: str
    type_name: str
    type: PgType | None
    not_null: bool = False
    default: str | None = None
    generated: str | None = None
    identity: str = ""
    sequence: Sequence | None = None

    @property
    def filled(self) -> bool:
        """Whether a row may leave it out."""
        return bool(
            not self.not_null or self.default is not None or self.generated or self.identity
        )


@dataclass(frozen=True)
class TargetConstraint:
    """One constraint; ``kind`` is ``pg_constraint.contype``, ``definition`` its SQL.

    ``ref_table`` is None for one that refers to another schema, or to nothing.
    """

    name: str
    kind: str
    definition: str
    columns: tuple[str, ...] = ()
    ref_table: str | None = None
    ref_columns: tuple[str, ...] = ()
    on_update: str = "NO ACTION"
    on_delete: str = "NO ACTION"
    deferrable: bool = False
    deferred: bool = False
    valid: bool = True


@dataclass(frozen=True)
class TargetIndex:
    """One index that is no constraint's; ``definition`` is its SQL from USING on."""

    name: str
    unique: bool
    definition: str
    terms: tuple[str, ...]
    columns: tuple[str | None, ...]
    where: str | None = None
    method: str = "btree"


@dataclass(frozen=True)
class TargetTable:
    """One relation that rows could be loaded into.

    Attributes:
        name: its name.
        kind: ``pg_class.relkind``.
        columns, constraints, indexes: what belongs to it.
        triggers: names of its own triggers that fire.
        rules: names of its rules.
        owned: this role may alter it.
        guarded: row security holds for its owner as well.
        filled: it has rows, as far as this role may know.
    """

    name: str
    kind: str
    columns: tuple[TargetColumn, ...] = ()
    constraints: tuple[TargetConstraint, ...] = ()
    indexes: tuple[TargetIndex, ...] = ()
    triggers: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    owned: bool = True
    guarded: bool = False
    filled: bool = False

    def column(self, name: str) -> TargetColumn:
        """Return the column called ``name``; raises KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def primary_key(self) -> TargetConstraint | None:
        """Its primary key."""
        return next((c for c in self.constraints if c.kind == "p"), None)


@dataclass(frozen=True)
class Structure:
    """One schema; ``views`` are names."""

    schema: str
    tables: tuple[TargetTable, ...]
    views: tuple[str, ...] = ()

    def table(self, name: str) -> TargetTable:
        """Return the table called ``name``; raises KeyError."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)

    def to_json(self) -> str:
        """Serialize for the cached state and the run folder."""
        return results.to_json(self)

    @staticmethod
    def from_json(text: str | bytes) -> Structure:
        """Read what :meth:`to_json` wrote."""
        return results.from_json(Structure, text)


Line = tuple[str, str, str, str]
"""Kind, table, name and text of one object of a schema."""


def lines(structure: Structure, tables: set[str]) -> Iterator[Line]:
    """Everything about ``tables`` that a load must leave as it is."""
    for table in structure.tables:
        if table.name not in tables:
            continue
        for column in table.columns:
            text = " ".join(
                (
                    column.type_name,
                    "NOT NULL" if column.not_null else "",
                    f"DEFAULT {column.default}" if column.default is not None else "",
                    f"GENERATED {column.generated}" if column.generated is not None else "",
                    f"IDENTITY {column.identity}" if column.identity else "",
                )
            )
            yield "column", table.name, column.name, " ".join(text.split())
        for constraint in table.constraints:
            yield "constraint", table.name, constraint.name, constraint.definition
        for index in table.indexes:
            text = f"{'UNIQUE ' if index.unique else ''}{index.definition}"
            yield "index", table.name, index.name, text
