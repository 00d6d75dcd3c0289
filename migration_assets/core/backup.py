"""What a backup holds, and what came of restoring it."""

from __future__ import annotations

from dataclasses import dataclass

from migration_assets.core.standing import TableState


@dataclass(frozen=True)
class FileSum:
    """One file of a backup: its path below the backup's folder, bytes and SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class TableSum:
    """One table: its rows, and 32 hex digits over all values of them, whatever their order."""

    schema: str
    table: str
    rows: int
    digest: str

    @property
    def place(self) -> str:
        """Schema and table for people."""
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class Contents:
    """What is in some schemas of a database.

    Attributes:
        tables: every table that has rows of its own; partitions, not what they are parts of.
        sequences: ``schema.name`` -> how far it is: its last value, negative for one that counts
            down; None for one that was never used.
        objects: kind -> how many, such as ``indexes``.
    """

    tables: tuple[TableSum, ...]
    sequences: dict[str, int | None]
    objects: dict[str, int]

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)


@dataclass(frozen=True)
class Backup:
    """One backup of a target (``manifest.json`` in its folder).

    Attributes:
        id: the name of its folder: when it was made.
        environment: the target environment.
        migration: the migration.
        reason: why it was made: ``asked``, ``schedule`` or ``before swap``.
        made_at: moment of its snapshot, ISO 8601 in UTC.
        location: server and database, without credentials.
        schemas: what it holds; the first is the live one.
        extensions: extension -> its schema, as they were in the database.
        server: major version of the server.
        tool: major version of ``pg_dump``.
        live_run: the run that is live in the schema, None if it is not known.
        contents: what must be there after a restore.
        files: all files of it, but this record.
        seconds: wall time.
    """

    id: str
    environment: str
    migration: str
    reason: str
    made_at: str
    location: str
    schemas: tuple[str, ...]
    extensions: dict[str, str]
    server: int
    tool: int
    live_run: str | None
    contents: Contents
    files: tuple[FileSum, ...]
    seconds: float

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True)
class Drill:
    """A backup restored into a database of its own, and held against what it must hold.

    Attributes:
        backup: id of the backup.
        environment: the target environment it is of.
        at: when, ISO 8601 in UTC.
        location: the server it was restored on.
        problems: all that was wrong, one line each; none is proof.
        tables, rows: that were compared.
        checksum_seconds, restore_seconds, compare_seconds: wall times.
        seconds: wall time of all of it.
    """

    backup: str
    environment: str
    at: str
    location: str
    problems: tuple[str, ...]
    tables: int
    rows: int
    checksum_seconds: float
    restore_seconds: float
    compare_seconds: float
    seconds: float

    @property
    def passed(self) -> bool:
        """True if everything came back as it was."""
        return not self.problems


@dataclass(frozen=True)
class SourceBackup:
    """One backup of a source (``manifest.json`` in its folder).

    Attributes:
        id: the name of its folder: when it was made.
        migration: the migration.
        made_at: ISO 8601 in UTC.
        location: the source without credentials.
        method: ``copy`` of its files, ``dump``, or ``none`` where there can be neither.
        program: that dumped it.
        content: the id that a snapshot of the same content has, None where there is none.
        tables: what the source held, by source name; empty if it was not restored.
        restored: a source was made of it again, and held what the source holds.
        notes: what is less than it could be.
        files: all files of it, but this record.
        seconds: wall time.
    """

    id: str
    migration: str
    made_at: str
    location: str
    method: str
    program: str | None
    content: str | None
    tables: dict[str, TableState]
    restored: bool
    notes: tuple[str, ...]
    files: tuple[FileSum, ...]
    seconds: float

    @property
    def line(self) -> str:
        """All of it in one line."""
        if self.method == "none":
            what = "no backup of the source but the Parquet files of the run"
        else:
            size = sum(file.bytes for file in self.files)
            tried = "restored and compared" if self.restored else "not restored"
            what = (
                f"backup {self.id} of the source: {self.program or self.method}, "
                f"{size / 1e6:,.1f} MB, {tried}, {self.seconds:.1f} s"
            )
        return "; ".join([what, *self.notes])
