"""``csv:///folder`` URLs."""

from __future__ import annotations

import codecs
import os
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode

from migration_assets.errors import InputError
from migration_assets.sources.csv.files import Dialect

PREFIX = "csv:///"
_FORM = "write csv:///path/to/folder"


@dataclass(frozen=True)
class Location:
    """Where the files are, and how they are written if no manifest says so.

    Attributes:
        url: as given.
        path: the folder, absolute.
        options: those given, as in the URL.
        dialect: what they make.
    """

    url: str
    path: Path
    options: tuple[tuple[str, str], ...]
    dialect: Dialect

    @property
    def absolute(self) -> str:
        """The same from any working folder."""
        query = f"?{urlencode(self.options)}" if self.options else ""
        return f"{PREFIX}{self.path}{query}"


def read_url(url: str) -> Location:
    """Read ``csv:///relative/folder`` or ``csv:////absolute/folder``, with options after a ``?``.

    Raises:
        InputError: another scheme, no path, or an option that is unknown or has no such value.
    """
    if not url.startswith(PREFIX) or url == PREFIX:
        raise InputError(f"{url}: a folder of CSV files is named like this: {_FORM}")
    text = url.removeprefix(PREFIX)
    if os.path.lexists(text):
        return Location(url, Path(os.path.abspath(text)), (), Dialect())
    bare, _, query = text.partition("?")
    options = tuple(parse_qsl(query, keep_blank_values=True))
    dialect = Dialect()
    for name, value in options:
        dialect = _with_option(url, dialect, name, value)
    path = bare if os.path.lexists(bare) else unquote(bare)
    return Location(url, Path(os.path.abspath(path.replace("\0", ""))), options, dialect)


def _with_option(url: str, dialect: Dialect, name: str, value: str) -> Dialect:
    match name:
        case "delimiter":
            character = {"tab": "\t", "semicolon": ";"}.get(value, value)
            if len(character) != 1 or not character.isascii() or character in '"\r\n':
                raise InputError(f"{url}: delimiter must be one character, such as ; or tab")
            return replace(dialect, delimiter=character)
        case "encoding":
            try:
                encoding = codecs.lookup(value).name
            except LookupError:
                raise InputError(f"{url}: no encoding is called {value!r}") from None
            return replace(dialect, encoding=encoding)
        case "null":
            return replace(dialect, null=value, quoted_null=value != "")
    raise InputError(f"{url}: unknown option {name!r}; known are delimiter, encoding, null")
