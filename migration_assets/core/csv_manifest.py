"""``manifest.json`` of a CSV export: what the files hold, exactly, and what PostgreSQL made of it.

Documented in ``docs/csv.md``. Within a version fields are only added.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

FILE = "manifest.json"
FORMAT = "migration-assets-csv"
VERSION = 1


@dataclass(frozen=True)
class CsvColumn:
    """One column.

    Attributes:
        name: as in the file's header and in PostgreSQL.
        type: the PostgreSQL type as in DDL; it decides the form of the values.
        nullable: False for NOT NULL.
        identity: takes its next number by itself.
        default: PostgreSQL SQL, None for none.
        generated: PostgreSQL SQL of a generated column; its values are in the file all the same.
        comment: the column's comment.
        labels: of an enum type, in order; ``type`` is then its name.
        on_update: PostgreSQL SQL of what a trigger sets it to when its row changes.
    """

    name: str
    type: str
    nullable: bool = True
    identity: bool = False
    default: str | None = None
    generated: str | None = None
    comment: str | None = None
    labels: tuple[str, ...] = ()
    on_update: str | None = None


@dataclass(frozen=True)
class CsvKey:
    """A primary or unique key."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class CsvIndex:
    """An index; ``terms`` and ``where`` are PostgreSQL SQL."""

    name: str
    terms: tuple[str, ...]
    unique: bool = False
    where: str | None = None
    method: str = "btree"


@dataclass(frozen=True)
class CsvForeignKey:
    """A foreign key. With ``orphans``, rows without a parent, it is made NOT VALID."""

    name: str
    columns: tuple[str, ...]
    ref_table: str
    ref_columns: tuple[str, ...]
    on_update: str = "NO ACTION"
    on_delete: str = "NO ACTION"
    deferrable: bool = False
    initially_deferred: bool = False
    orphans: int = 0


@dataclass(frozen=True)
class CsvCheck:
    """A CHECK constraint; ``expression`` is PostgreSQL SQL."""

    name: str
    expression: str


@dataclass(frozen=True)
class CsvTable:
    """One table and its file.

    Attributes:
        name: of the table.
        file: name of the file beside the manifest.
        null: the field that stands for NULL, quoted or not; no text of the file equals it.
        columns: those of the file, in its order.
        rows: of the file, None to take it as it is.
        bytes: of the file, for people.
        sha256: 64 hex digits over the file's bytes, None to take it as it is.
        next_value: what the identity column takes next, unless a greater number is in the file.
    """

    name: str
    file: str
    null: str
    columns: tuple[CsvColumn, ...]
    rows: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    primary_key: CsvKey | None = None
    unique_keys: tuple[CsvKey, ...] = ()
    indexes: tuple[CsvIndex, ...] = ()
    foreign_keys: tuple[CsvForeignKey, ...] = ()
    checks: tuple[CsvCheck, ...] = ()
    next_value: int | None = None
    comment: str | None = None

    def column(self, name: str) -> CsvColumn:
        """Return the column called ``name``; raises KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


@dataclass(frozen=True)
class CsvView:
    """A view; ``sql`` is its query in PostgreSQL SQL, names as in the manifest."""

    name: str
    sql: str


@dataclass(frozen=True)
class CsvManifest:
    """The whole export.

    Attributes:
        format: ``migration-assets-csv``.
        version: of this schema.
        exported_at: ISO 8601 in UTC.
        run: id of the run whose extracts these are.
        source: the run's source without credentials.
        snapshot: id of the snapshot of the source.
    """

    format: str
    version: int
    exported_at: str
    run: str
    source: str
    snapshot: str
    tables: tuple[CsvTable, ...]
    views: tuple[CsvView, ...] = ()

    def table(self, name: str) -> CsvTable:
        """Return the table called ``name``; raises KeyError."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)

    @property
    def loose(self) -> dict[str, frozenset[str]]:
        """Table -> names of its foreign keys of which rows may lack their parents."""
        return {
            table.name: frozenset(key.name for key in table.foreign_keys if key.orphans)
            for table in self.tables
        }

    def to_json(self) -> str:
        """Serialize as :func:`read_manifest` reads it."""
        return _MANIFEST.dump_json(self, indent=1).decode() + "\n"


def read_manifest(text: str | bytes) -> CsvManifest:
    """Read a manifest.

    Raises:
        ValueError: it is none, or of a later version; says what is wrong, and where.
    """
    try:
        manifest = _MANIFEST.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ValueError(f'key "{key}": {first["msg"]}' if key else first["msg"]) from error
    if manifest.format != FORMAT:
        raise ValueError(f'key "format" must be {FORMAT}')
    if manifest.version > VERSION:
        raise ValueError(f"is of version {manifest.version}, versions up to {VERSION} are known")
    return manifest


_MANIFEST: TypeAdapter[CsvManifest] = TypeAdapter(CsvManifest)
