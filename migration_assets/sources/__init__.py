"""Source adapters: :func:`open_source` picks one by URL."""

from __future__ import annotations

from migration_assets.errors import InputError
from migration_assets.sources.base import Source


def open_source(url: str) -> Source:
    """Return the adapter for ``url`` without opening the source.

    Raises:
        InputError: the scheme is not one of those supported.
    """
    scheme = url.partition(":")[0].lower()
    if scheme == "sqlite":
        from migration_assets.sources.sqlite import SQLiteSource

        return SQLiteSource.from_url(url)
    if scheme == "csv":
        from migration_assets.sources.csv import CsvSource

        return CsvSource.from_url(url)
    raise InputError(
        f"source {scheme}: is not supported; give sqlite:///path/to/file.db or csv:///path/to/folder"
    )


def absolute_url(url: str) -> str:
    """The same source from any working folder: the path of a file is made absolute.

    Raises:
        InputError: the scheme is not one of those supported.
    """
    scheme = url.partition(":")[0].lower()
    if scheme == "sqlite":
        from migration_assets.sources.sqlite import SQLiteSource

        return f"sqlite:///{SQLiteSource.from_url(url).path}"
    if scheme == "csv":
        from migration_assets.sources.csv import CsvSource

        return CsvSource.from_url(url).absolute
    open_source(url)
    return url
