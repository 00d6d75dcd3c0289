"""CSV files: how they are written, what their first line says, and their rows in Arrow batches."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pyarrow as pa
from pyarrow import csv as arrow

from migration_assets.errors import InputError
from migration_assets.sources.base import BATCH_ROWS

BLOCK = 1 << 20
"""Bytes of a file that are parsed at a time."""
MAX_BLOCK = 1 << 30
"""A row may be as large as this."""
TRUE = ("true", "True", "TRUE", "1")
FALSE = ("false", "False", "FALSE", "0")


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    Attributes:
        delimiter: between fields.
        encoding: a name that Python knows; a byte order mark is passed over.
        null: the field that stands for NULL.
        quoted_null: it does so in quotes as well.
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    null: str = ""
    quoted_null: bool = False


@dataclass(frozen=True)
class CsvFile:
    """One file; ``name`` is what messages call it, values of ``hidden`` columns are in none."""

    path: Path
    name: str
    dialect: Dialect
    hidden: frozenset[str] = frozenset()

    def open(self) -> TextIO:
        """Open the text; bytes that are not UTF-8 become lone surrogates."""
        encoding = self.dialect.encoding
        if encoding == "utf-8":
            return self.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
        return self.path.open(encoding=encoding, newline="")


class SyntaxFault(Exception):
    """Arrow could not parse the file; says why in its own words."""


def header(file: CsvFile) -> tuple[str, ...]:
    """The names in the first line.

    Raises:
        InputError: there is none, it is not in the file's encoding, or a name is missing or twice.
    """
    names: list[str] = []
    try:
        with file.open() as text:
            names = next(csv.reader(text, delimiter=file.dialect.delimiter), [])
    except (UnicodeError, csv.Error) as error:
        raise InputError(f"{file.name}, line 1: {wrong_encoding(file)} ({error})") from error
    except OSError as error:
        raise InputError(f"{file.name}: cannot be read ({error.strerror})") from error
    if not names:
        raise InputError(f"{file.name}: is empty; its first line must name the columns")
    for place, name in enumerate(names, start=1):
        if undecodable(name):
            raise InputError(f"{file.name}, line 1, column {place}: {wrong_encoding(file)}")
        if not name:
            raise InputError(
                f"{file.name}, line 1, column {place}: has no name; the first line must name "
                "every column"
            )
        if name in names[: place - 1]:
            raise InputError(
                f'{file.name}, line 1, column {place}: the name "{name}" is there twice (column '
                f"{names.index(name) + 1}); give the columns different names"
            )
    return tuple(names)


def undecodable(text: str) -> bool:
    """Whether ``text`` holds a byte that could not be decoded."""
    return any("\udc80" <= character <= "\udcff" for character in text)


def wrong_encoding(file: CsvFile) -> str:
    """What to say, and do, about bytes that are not of the file's encoding."""
    return (
        f"is not {file.dialect.encoding.upper()}; save the file as UTF-8, or name its encoding "
        "with csv:///folder?encoding=latin-1"
    )


def batches(
    file: CsvFile, names: Sequence[str], types: Mapping[str, pa.DataType]
) -> Iterator[pa.RecordBatch]:
    """Parse a file in batches of at most BATCH_ROWS rows, in constant memory.

    Args:
        file: the file.
        names: those of its first line, in order.
        types: the columns to read, in the order wanted, and as what.

    Raises:
        SyntaxFault: it cannot be parsed, or a value is none of its type.
    """
    block, done = BLOCK, 0
    while True:
        seen = 0
        try:
            for batch in _reader(file, names, types, block):
                # A larger block begins at the first row again.
                fresh = batch.slice(min(batch.num_rows, max(0, done - seen)))
                seen += batch.num_rows
                for start in range(0, fresh.num_rows, BATCH_ROWS):
                    part = fresh.slice(start, BATCH_ROWS)
                    if part.num_rows < batch.num_rows:
                        # Taken, so that every buffer starts at a row.
                        part = part.take(pa.array(range(part.num_rows), pa.int64()))
                    done += part.num_rows
                    yield part
            return
        except pa.ArrowInvalid as error:
            if "straddl" not in str(error):
                raise SyntaxFault(str(error)) from error
            if block > file.path.stat().st_size:
                # What is left is one line without an end: a header, or an open quote.
                return
            if block >= MAX_BLOCK:
                raise InputError(
                    f"{file.name}: has a row of more than {MAX_BLOCK >> 20} MB"
                ) from error
            block *= 8
        except (UnicodeError, LookupError) as error:
            raise InputError(f"{file.name}: {wrong_encoding(file)} ({error})") from error


def _reader(
    file: CsvFile, names: Sequence[str], types: Mapping[str, pa.DataType], block: int
) -> Iterator[pa.RecordBatch]:
    dialect = file.dialect
    with arrow.open_csv(
        str(file.path),
        read_options=arrow.ReadOptions(
            use_threads=False,
            block_size=block,
            column_names=list(names),
            skip_rows_after_names=1,
            encoding=dialect.encoding,
        ),
        parse_options=arrow.ParseOptions(
            delimiter=dialect.delimiter, newlines_in_values=True, ignore_empty_lines=True
        ),
        convert_options=arrow.ConvertOptions(
            column_types=dict(types),
            include_columns=list(types),
            null_values=[dialect.null],
            true_values=list(TRUE),
            false_values=list(FALSE),
            strings_can_be_null=True,
            quoted_strings_can_be_null=dialect.quoted_null,
        ),
    ) as reader:
        yield from reader
