"""Accept files that were edited on purpose: what they are now is written into the manifest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from migration_assets.core.csv_manifest import FILE, CsvManifest
from migration_assets.errors import InputError
from migration_assets.sources.csv import contents
from migration_assets.sources.csv.location import read_url
from migration_assets.sources.csv.validate import validate


def refresh_manifest(folder: Path) -> tuple[CsvManifest, list[str]]:
    """Hold every file against the manifest, and write rows and SHA-256 anew.

    Returns:
        The new manifest, and the names of the files that had changed.

    Raises:
        InputError: there is no manifest, or a value or key is not as it says; names file, line
            and column. The manifest is then as it was.
    """
    found = None
    if (folder / FILE).is_file():
        found = contents.look(read_url(f"csv:///{folder.absolute()}"))
    if found is None or found.manifest is None:
        raise InputError(f"{folder}: has no {FILE}; only an export has one")
    stamps = {table: contents.stamp(file) for table, file in found.files.items()}
    catalog = contents.catalog(found)
    rows = validate(catalog, found.files, found.headers, found.manifest.loose)
    tables = []
    for table in found.manifest.tables:
        tables.append(
            replace(
                table,
                columns=tuple(table.column(name) for name in found.headers[table.name]),
                rows=rows[table.name],
                bytes=stamps[table.name].bytes,
                sha256=stamps[table.name].sha256,
            )
        )
    manifest = replace(found.manifest, tables=tuple(tables))
    contents.write_manifest(folder, manifest)
    old = {table.name: table.sha256 for table in found.manifest.tables}
    return manifest, [table.file for table in tables if table.sha256 != old[table.name]]
