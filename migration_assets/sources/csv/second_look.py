"""Where a file is wrong: file, line and column, found by Python's own reader when Arrow gave up."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyarrow as pa

from migration_assets.core.catalog import Column
from migration_assets.core.sensitive import MASK
from migration_assets.errors import InputError
from migration_assets.sources.csv.files import CsvFile, undecodable, wrong_encoding
from migration_assets.sources.csv.forms import first_misfit

_ROWS = 8192
_CHUNK = 4 << 20
_SHOWN = 40


def explain(
    file: CsvFile, names: Sequence[str], columns: Mapping[str, Column], message: str
) -> InputError:
    """The error that names the first line and column that is wrong.

    Args:
        file: that could not be read.
        names: of its first line.
        columns: what its columns must hold.
        message: Arrow's own words, for what is not found.
    """
    if (found := unclosed(file)) is not None:
        return found
    held: list[tuple[int, list[str]]] = []
    try:
        for line, row in numbered(file):
            bad = next((i for i, field in enumerate(row) if undecodable(field)), None)
            if bad is not None:
                column = f'column "{names[bad]}"' if bad < len(names) else f"column {bad + 1}"
                return InputError(f"{file.name}, line {line}, {column}: {wrong_encoding(file)}")
            if len(row) != len(names):
                return _values(file, names, columns, held) or _ragged(file, names, line, row)
            held.append((line, row))
            if len(held) == _ROWS:
                if (wrong := _values(file, names, columns, held)) is not None:
                    return wrong
                held = []
    except (UnicodeError, csv.Error) as error:
        return InputError(f"{file.name}: {wrong_encoding(file)} ({error})")
    wrong = _values(file, names, columns, held)
    said = "a value can not be read" if file.hidden else " ".join(message.split())
    return wrong or InputError(f"{file.name}: {said}")


def unclosed(file: CsvFile) -> InputError | None:
    """The error for a quote that is opened and never closed, None if there is none."""
    line = 1
    try:
        for _ in numbered(file, strict=True):
            pass
    except UnicodeError:
        return None
    except _QuoteError as error:
        line = error.line
    else:
        return None
    with file.path.open("rb") as octets:
        if sum(chunk.count(b'"') for chunk in iter(lambda: octets.read(_CHUNK), b"")) % 2 == 0:
            return None
    return InputError(
        f'{file.name}, line {line}: a quote (") is opened in the row that begins here and not '
        'closed; close it, or write "" for a quote inside of quotes'
    )


def line_of(file: CsvFile, row: int) -> int:
    """The line in which a row (0 is the first after the header) begins."""
    return next(line for number, (line, _) in enumerate(numbered(file)) if number == row)


class _QuoteError(Exception):
    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


def numbered(file: CsvFile, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The rows after the header, each with the line in which it begins; empty lines are none."""
    with file.open() as text, _any_length():
        reader = csv.reader(text, delimiter=file.dialect.delimiter, strict=strict)
        line = 1
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise _QuoteError(line) from error
            if row is None:
                return
            if row and line > 1:
                yield line, row
            line = reader.line_num + 1


@contextmanager
def _any_length() -> Iterator[None]:
    """Fields of any length; Python's limit of them is one for the whole process."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _ragged(file: CsvFile, names: Sequence[str], line: int, row: list[str]) -> InputError:
    if len(row) < len(names):
        where = f'column "{names[len(row)]}" and what follows it are missing'
    else:
        where = f'what follows column "{names[-1]}" has no name in the first line'
    return InputError(
        f"{file.name}, line {line}: has {len(row)} fields, the first line {len(names)}: {where}"
    )


def _values(
    file: CsvFile,
    names: Sequence[str],
    columns: Mapping[str, Column],
    held: Sequence[tuple[int, list[str]]],
) -> InputError | None:
    """The first value that is none of its column's type."""
    first: tuple[int, Column, str] | None = None
    for place, name in enumerate(names):
        column = columns.get(name)
        if column is None or not held:
            continue
        fields = [row[place] for _, row in held]
        null = file.dialect.null
        texts = pa.array([None if f == null else f for f in fields], pa.string())
        row_number = first_misfit(column, texts)
        if row_number is not None and (first is None or row_number < first[0]):
            first = (row_number, column, fields[row_number])
    if first is None:
        return None
    return misfit_error(file, held[first[0]][0], first[1], first[2])


def misfit_error(file: CsvFile, line: int, column: Column, text: str) -> InputError:
    """The error for a text that is no value of its column's type."""
    shown = repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
    return InputError(
        f'{file.name}, line {line}, column "{column.name}": '
        f"{MASK if column.name in file.hidden else shown} is no "
        f"{column.target.plain if column.target else column.source_type}"
    )
