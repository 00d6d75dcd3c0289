"""What a manifest declares, as a catalog in PostgreSQL's own dialect."""

from __future__ import annotations

import re

from migration_assets.core.catalog import (
    POSTGRES,
    Catalog,
    Check,
    Column,
    DeclaredType,
    ForeignKey,
    Index,
    IndexTerm,
    Kind,
    Table,
    UniqueKey,
    View,
)
from migration_assets.core.csv_manifest import CsvColumn, CsvIndex, CsvManifest, CsvTable
from migration_assets.core.naming import quote
from migration_assets.core.types import PgType, parse_type
from migration_assets.errors import InputError

_KINDS = {
    "smallint": DeclaredType(Kind.INTEGER, bits=16),
    "integer": DeclaredType(Kind.INTEGER, bits=32),
    "bigint": DeclaredType(Kind.INTEGER, bits=64),
    "boolean": DeclaredType(Kind.BOOLEAN),
    "double precision": DeclaredType(Kind.FLOAT),
    "real": DeclaredType(Kind.FLOAT, bits=32),
    "text": DeclaredType(Kind.TEXT),
    "bytea": DeclaredType(Kind.BINARY),
    "uuid": DeclaredType(Kind.UUID),
    "json": DeclaredType(Kind.JSON),
    "jsonb": DeclaredType(Kind.JSON),
    "date": DeclaredType(Kind.DATE),
    "time": DeclaredType(Kind.TIME),
    "interval": DeclaredType(Kind.TIME, strict=True),
    "text[]": DeclaredType(Kind.SET, strict=True),
    "timestamp": DeclaredType(Kind.DATETIME),
    "timestamptz": DeclaredType(Kind.DATETIME, zoned=True),
}
_DESCENDING = " DESC NULLS LAST"
_QUOTED = re.compile(r'"((?:[^"]|"")+)"')


def catalog_of(manifest: CsvManifest, name: str) -> Catalog:
    """The catalog.

    Args:
        manifest: as read.
        name: of its file, for messages.

    Raises:
        InputError: it contradicts itself; names the table.
    """
    tables = tuple(_table(table, manifest, name) for table in manifest.tables)
    for what in ("name", "file"):
        found = [getattr(table, what) for table in manifest.tables]
        twice = next((item for item in found if found.count(item) > 1), None)
        if twice is not None:
            raise InputError(f'{name}: two tables have the {what} "{twice}"')
    views = tuple(View(view.name, view.sql) for view in manifest.views)
    return Catalog(POSTGRES, tables, views)


def _table(table: CsvTable, manifest: CsvManifest, name: str) -> Table:
    where = f'{name}, table "{table.name}"'
    names = {column.name for column in table.columns}
    _check_columns(table, manifest, names, where)
    identities = [column.name for column in table.columns if column.identity]
    if len(identities) > 1:
        raise InputError(f"{where}: two identity columns; PostgreSQL's counting needs one")
    return Table(
        name=table.name,
        columns=tuple(_column(column, where) for column in table.columns),
        primary_key=table.primary_key.columns if table.primary_key else (),
        primary_key_name=table.primary_key.name if table.primary_key else None,
        auto_column=identities[0] if identities else None,
        unique_keys=tuple(UniqueKey(key.columns, key.name) for key in table.unique_keys),
        indexes=tuple(_index(index, table.name, names) for index in table.indexes),
        foreign_keys=tuple(
            ForeignKey(
                key.columns,
                key.ref_table,
                key.ref_columns,
                key.on_update,
                key.on_delete,
                key.deferrable,
                key.initially_deferred,
                key.name,
            )
            for key in table.foreign_keys
        ),
        checks=tuple(Check(check.expression, check.name) for check in table.checks),
        rows=table.rows,
        bytes=table.bytes,
        comment=table.comment,
    )


def _check_columns(table: CsvTable, manifest: CsvManifest, names: set[str], where: str) -> None:
    """Raise InputError for a key over columns that are not there."""
    keys = [(key.name, key.columns) for key in table.unique_keys]
    keys += [(key.name, key.columns) for key in table.foreign_keys]
    if table.primary_key is not None:
        keys.append((table.primary_key.name, table.primary_key.columns))
    for name, columns in keys:
        for column in columns:
            if column not in names:
                raise InputError(f'{where}: "{name}" names a column "{column}" that it has not')
    for reference in table.foreign_keys:
        parent = next((t for t in manifest.tables if t.name == reference.ref_table), None)
        there = {column.name for column in parent.columns} if parent else set()
        if not set(reference.ref_columns) <= there:
            raise InputError(
                f'{where}: "{reference.name}" refers to "{reference.ref_table}" '
                f"({', '.join(reference.ref_columns)}), which the manifest does not have"
            )


def _column(column: CsvColumn, where: str) -> Column:
    try:
        kind = _type(column)
    except ValueError as error:
        raise InputError(f'{where}, column "{column.name}": {error}') from error
    return Column(
        name=column.name,
        source_type=kind.plain,
        type=_declared(kind),
        not_null=not column.nullable,
        default=column.default,
        generated=column.generated,
        stored=column.generated is not None,
        comment=column.comment,
        on_update=column.on_update,
        target=kind,
    )


def _type(column: CsvColumn) -> PgType:
    """The type that the manifest names; raises ValueError."""
    if column.labels:
        return PgType("enum", labels=column.labels)
    # Nobody writes this one by hand.
    return PgType(column.type) if column.type == "text[]" else parse_type(column.type)


def _declared(kind: PgType) -> DeclaredType:
    if kind.name == "numeric":
        precision, scale = (*kind.args, None, None)[:2]
        return DeclaredType(Kind.DECIMAL, precision=precision, scale=scale)
    if kind.labels:
        return DeclaredType(Kind.ENUM, values=kind.labels, strict=True)
    if kind.name == "bit":
        return DeclaredType(Kind.BIT, bits=kind.args[0], strict=True)
    if kind.name == "varchar":
        return DeclaredType(Kind.TEXT, length=kind.args[0] if kind.args else None)
    return _KINDS[kind.name]


def _index(index: CsvIndex, table: str, names: set[str]) -> Index:
    terms = ", ".join(index.terms)
    unique = "UNIQUE " if index.unique else ""
    where = f" WHERE {index.where}" if index.where else ""
    return Index(
        name=index.name,
        terms=tuple(_term(term, names) for term in index.terms),
        unique=index.unique,
        where=index.where,
        sql=f"CREATE {unique}INDEX {quote(index.name)} ON {quote(table)} "
        f"USING {index.method} ({terms}){where}",
        method=index.method,
    )


def _term(term: str, names: set[str]) -> IndexTerm:
    bare = term.removesuffix(_DESCENDING)
    match = _QUOTED.fullmatch(bare)
    column = match[1].replace('""', '"') if match else None
    if column in names:
        return IndexTerm(column, descending=bare != term)
    return IndexTerm(None, bare, descending=bare != term)
