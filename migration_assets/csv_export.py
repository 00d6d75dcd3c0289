"""The extracts of a run as CSV files with a manifest, for people to look at and edit."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from migration_assets import csv_text
from migration_assets.core.catalog import Catalog
from migration_assets.core.csv_manifest import (
    FILE,
    FORMAT,
    VERSION,
    CsvCheck,
    CsvColumn,
    CsvForeignKey,
    CsvIndex,
    CsvKey,
    CsvManifest,
    CsvTable,
    CsvView,
)
from migration_assets.core.plan import ColumnPlan, ForeignKeyPlan, Plan, TablePlan
from migration_assets.core.profile import Profile
from migration_assets.core.results import Manifest, SourceResult
from migration_assets.errors import InputError
from migration_assets.extract import open_parquet
from migration_assets.load import batch_rows
from migration_assets.run_folder import RunFolder
from migration_assets.sources.csv.contents import write_manifest

NULL = "\\N"
_PLAIN_NAME = re.compile(r'[^./\\:*?"<>|\x00-\x1f][^/\\:*?"<>|\x00-\x1f]{0,180}')
"""Names of tables that can be names of files on any system."""


@dataclass(frozen=True)
class _Extract:
    """The Parquet file of one table, and the folder of the run that wrote it."""

    folder: RunFolder
    manifest: Manifest


def export_csv(
    folder: RunFolder, out: Path, advance: Callable[[str, int], None] = lambda table, rows: None
) -> CsvManifest:
    """Write one CSV file for each table of a run, and ``manifest.json``.

    Args:
        folder: the run; all its tables must have been extracted.
        out: the folder to make. It comes into being when all of it is written.
        advance: called with the table and the rows that were written.

    Raises:
        InputError: the run has not all extracts, one was changed since, or ``out`` is taken.
    """
    plan = _plan(folder)
    extracts = {table.slug: _extract(folder, table) for table in plan.tables}
    with _new_folder(out) as part:
        names = _file_names(plan)
        tables = []
        for table in plan.tables:
            described = _described(table, folder.catalog(), folder.profile(), folder, plan)
            place = part / names[table.slug]
            tables.append(_written(extracts[table.slug], table, described, place, advance))
        source = folder.read_result("source", "all", SourceResult)
        manifest = CsvManifest(
            format=FORMAT,
            version=VERSION,
            exported_at=datetime.now(UTC).isoformat(timespec="seconds"),
            run=folder.path.name,
            source=source.location if source else "",
            snapshot=source.snapshot_id if source else "",
            tables=tuple(tables),
            views=tuple(CsvView(view.name, view.sql) for view in plan.views),
        )
        write_manifest(part, manifest)
    return manifest


def _plan(folder: RunFolder) -> Plan:
    if not folder.has_plan:
        raise InputError(f"{folder.path}: holds no extracts of a run; name a run's folder")
    return folder.kept_plan()


def _extract(folder: RunFolder, table: TablePlan) -> _Extract:
    """The table's Parquet file, proved to be the one that the run wrote or took over."""
    manifest = folder.manifests().get(table.slug)
    if manifest is None or manifest.mismatches:
        raise InputError(
            f'{folder.path}: table "{table.source}" was not extracted whole; run the migration '
            "again and name the folder of that run"
        )
    pin = folder.path / "origin" / table.slug
    own = folder.read_result("loaded", table.slug, Manifest) is not None or not pin.exists()
    place = folder if own else RunFolder(Path(pin.read_text()), folder.storage)
    filesystem, root = place.filesystem()
    digest = hashlib.sha256()
    try:
        with filesystem.open_input_stream(f"{root}/{manifest.path}") as stream:
            while chunk := stream.read(1 << 22):
                digest.update(chunk)
    except FileNotFoundError:
        raise InputError(
            f'{root}/{manifest.path}: the extract of table "{table.source}" is gone; run the '
            "migration again"
        ) from None
    if digest.hexdigest()[: len(manifest.digest)] != manifest.digest:
        raise InputError(
            f'{root}/{manifest.path}: the extract of table "{table.source}" is not what the run '
            "wrote; run the migration again"
        )
    return _Extract(place, manifest)


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place when the block ends well."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already; name a new folder, or an empty one")
    place = out.absolute()
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        part.mkdir(mode=0o700, parents=True)
        yield part
        part.replace(place)
    except OSError as error:
        raise InputError(f"{error.filename or out}: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _file_names(plan: Plan) -> Mapping[str, str]:
    """Slug -> file name: the table's name, or the slug where the name cannot be a file's."""
    taken = {FILE}
    names = {}
    for table in plan.tables:
        stem = table.name if _PLAIN_NAME.fullmatch(table.name) else table.slug
        while f"{stem}.csv".casefold() in taken:
            stem = f"{stem}_{table.slug}"
        names[table.slug] = f"{stem}.csv"
        taken.add(names[table.slug].casefold())
    return names


def _described(
    table: TablePlan, catalog: Catalog, profile: Profile, folder: RunFolder, plan: Plan
) -> CsvTable:
    """The manifest's entry without what only the file can tell."""
    facts = profile.tables.get(table.source)
    return CsvTable(
        name=table.name,
        file="",
        null=NULL,
        columns=tuple(
            CsvColumn(
                column.name,
                column.type.name if column.type.labels else column.type.sql,
                column.nullable,
                column.identity,
                column.default,
                column.generated,
                column.comment,
                column.type.labels,
                column.on_update,
            )
            for column in table.stored_columns
        ),
        primary_key=CsvKey(table.primary_key_name or f"{table.name}_pkey", table.primary_key)
        if table.primary_key
        else None,
        unique_keys=tuple(CsvKey(key.name, key.columns) for key in table.uniques),
        indexes=tuple(
            CsvIndex(index.name, index.terms, index.unique, index.where, index.method)
            for index in table.indexes
        ),
        foreign_keys=tuple(
            CsvForeignKey(
                key.name,
                key.columns,
                key.ref_table,
                key.ref_columns,
                key.on_update,
                key.on_delete,
                key.deferrable,
                key.initially_deferred,
                0 if key.valid else max(1, _orphans(table, key, catalog, profile, folder, plan)),
            )
            for key in table.foreign_keys
        ),
        checks=tuple(CsvCheck(check.name, check.expression) for check in table.checks),
        next_value=facts.next_value if facts and any(c.identity for c in table.columns) else None,
        comment=table.comment,
    )


def _orphans(
    table: TablePlan,
    key: ForeignKeyPlan,
    catalog: Catalog,
    profile: Profile,
    folder: RunFolder,
    plan: Plan,
) -> int:
    """The rows without a parent behind a key that is NOT VALID."""
    for item in folder.dangling():
        if (item.table, item.name) == (table.source, key.name):
            return item.rows
    parent = plan.table(key.ref_table)
    columns = tuple(table.column(name).source for name in key.columns)
    refs = tuple(parent.column(name).source for name in key.ref_columns)
    for position, declared in enumerate(catalog.table(table.source).foreign_keys):
        if (declared.columns, declared.ref_table, declared.ref_columns) == (
            columns,
            parent.source,
            refs,
        ):
            return profile.tables[table.source].orphans.get(position, 0)
    return 0


class _MarkerTaken(Exception):
    """A text of the table equals the marker of NULL."""


def _written(
    extract: _Extract,
    plan: TablePlan,
    described: CsvTable,
    path: Path,
    advance: Callable[[str, int], None],
) -> CsvTable:
    """Write one file with a marker of NULL that no text of it equals."""
    null = NULL
    while True:
        try:
            rows, size, digest = _write(extract, plan, null, path, advance)
        except _MarkerTaken:
            null += "_"
            continue
        return replace(described, file=path.name, null=null, rows=rows, bytes=size, sha256=digest)


def _batches(parquet: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """The file's rows; a reader of all groups at once keeps what it has decoded."""
    for group in range(parquet.num_row_groups):
        yield from parquet.iter_batches(batch_rows(parquet), [group], use_threads=False)


def _text(batch: pa.RecordBatch, plan: TablePlan, column: ColumnPlan) -> pa.Array:
    try:
        return csv_text.text_of(batch.column(column.name), column.type)
    except ValueError as error:
        raise InputError(
            f'table "{plan.source}", column "{column.source}": {error}; leave the column out with '
            "overrides: drop in defs.yaml, or give it another type"
        ) from error


def _write(
    extract: _Extract,
    plan: TablePlan,
    null: str,
    path: Path,
    advance: Callable[[str, int], None],
) -> tuple[int, int, str]:
    """Write one file; returns its rows, bytes and SHA-256."""
    digest = hashlib.sha256()
    rows = size = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with (
        os.fdopen(descriptor, "wb") as file,
        open_parquet(extract.folder, extract.manifest.path) as parquet,
    ):

        def put(data: pa.Buffer | bytes) -> None:
            nonlocal size
            file.write(data)
            digest.update(data)
            size += len(data)

        put(csv_text.header([column.name for column in plan.stored_columns]))
        for batch in _batches(parquet):
            texts = [_text(batch, plan, column) for column in plan.stored_columns]
            if any(pc.any(pc.equal(text, null)).as_py() for text in texts):
                raise _MarkerTaken
            put(csv_text.lines(texts, null))
            rows += batch.num_rows
            advance(plan.name, batch.num_rows)
    if rows != extract.manifest.rows:
        raise InputError(
            f'table "{plan.source}": the Parquet file has {rows} rows, its manifest '
            f"{extract.manifest.rows}; run the migration again"
        )
    return rows, size, digest.hexdigest()
