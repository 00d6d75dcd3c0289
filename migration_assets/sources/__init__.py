"""Source adapters: :func:`open_source` picks one by URL."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from migration_assets.errors import InputError
from migration_assets.sources.base import Source

_MYSQL = re.compile(r"mysql|mariadb")


def open_source(
    url: str,
    kept_password: Path | None = None,
    sensitive: Mapping[str, Collection[str]] | None = None,
) -> Source:
    """Return the adapter for ``url`` without opening the source.

    Args:
        url: where the source is.
        kept_password: a file with the password, used if it exists and the URL names no other.
        sensitive: table -> columns whose values are in no message, ``*`` for all.

    Raises:
        InputError: the scheme is not one of those supported.
    """
    scheme = url.partition(":")[0].lower()
    if scheme == "sqlite":
        from migration_assets.sources.sqlite import SQLiteSource

        return SQLiteSource.from_url(url)
    if scheme == "csv":
        from migration_assets.sources.csv import CsvSource

        return CsvSource.from_url(url, sensitive)
    if _MYSQL.match(scheme):
        from migration_assets.sources.mysql import MySQLSource

        return MySQLSource.from_url(url, kept_password)
    raise InputError(
        f"source {scheme}: is not supported; give sqlite:///path/to/file.db, "
        "mysql://user@host:3306/database or csv:///path/to/folder"
    )


def password_in(url: str) -> str | None:
    """The password that stands in the URL of a source, None for none.

    Raises:
        InputError: it is no URL of a source.
    """
    if not _MYSQL.match(url.lower()):
        return None
    from migration_assets.sources.mysql.address import parse

    return parse(url).password


def absolute_url(url: str) -> str:
    """The same source from any working folder, without a password: paths are made absolute.

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
    return open_source(url).location
