"""Values of PostgreSQL as literals of the source's dialect: the way back of the conversions.

What goes in is PostgreSQL's own text of a value (``::text``, in UTC, an array of members parted by
commas); what comes out is SQL that puts the value into the column that it once came from. Texts of
dates and times take the form that the column's values have in the source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import count
from uuid import UUID
from zoneinfo import ZoneInfo

from migration_assets.core.ewkb import without_srid
from migration_assets.core.plan import ColumnPlan, Conversion, TablePlan

SQLITE = "sqlite"
MYSQL = "mysql"
DIALECTS = frozenset({SQLITE, MYSQL})

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INSTANT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?(\+00)?", re.ASCII
)
_FORM = re.compile(
    r"\d{4}-\d\d-\d\d(?P<between>[ T])\d\d:\d\d(?P<seconds>:\d\d(?:\.(?P<digits>\d+))?)?"
    r"(?P<offset>Z|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)
_SPAN = re.compile(r"(?:(-?\d+) days? ?)?(?:(-?)(\d+):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?", re.ASCII)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.ASCII)
_TRUTH = {"true": "1", "false": "0", "1": "1", "0": "0"}
_NO_NUMBER = frozenset({"NaN", "Infinity", "-Infinity"})


class NoLiteralError(ValueError):
    """The source can not hold the value in its column; says why."""


@dataclass(frozen=True)
class TimeForm:
    """How a column's texts write a moment.

    Attributes:
        between: what stands between date and time.
        seconds: whether they have seconds where those are zero.
        digits: fraction digits that they have at least.
        offset: how they write the offset of UTC.
    """

    between: str = " "
    seconds: bool = True
    digits: int = 0
    offset: str = "+00:00"

    @classmethod
    def of(cls, text: str) -> TimeForm:
        """The form of one of them.

        >>> TimeForm.of("2024-05-01T10:00:00.000Z")
        TimeForm(between='T', seconds=True, digits=3, offset='Z')
        """
        found = _FORM.fullmatch(text)
        if found is None:
            return cls()
        offset = found["offset"] or "+00:00"
        offset = offset if offset == "Z" else "+" + re.sub(r"\d", "0", offset[1:])
        return cls(
            found["between"], found["seconds"] is not None, len(found["digits"] or ""), offset
        )

    def written(self, moment: datetime, offset: bool) -> str:
        """A moment, given in the clock that is meant, in this form."""
        fraction = f"{moment.microsecond:06}".rstrip("0").ljust(self.digits, "0")
        text = moment.strftime(f"%Y-%m-%d{self.between}%H:%M").rjust(16, "0")
        if self.seconds or moment.second or moment.microsecond:
            text += f":{moment.second:02}" + (f".{fraction}" if fraction else "")
        return text + (self.offset if offset else "")


def identifier(name: str, dialect: str) -> str:
    """A name in the source's dialect."""
    mark = "`" if dialect == MYSQL else '"'
    return mark + name.replace(mark, mark * 2) + mark


def literals(
    table: TablePlan, dialect: str, forms: Mapping[str, TimeForm]
) -> dict[str, Callable[[str | None], str]]:
    """By target name of each column: what makes a literal of PostgreSQL's text of a value.

    Each raises NoLiteralError for a value that the source's column can not hold. Columns that the
    source computes by itself are left out.

    Args:
        table: the plan by which the rows came.
        dialect: one of DIALECTS.
        forms: by source name of a column, how its texts write a moment.
    """
    return {
        column.name: _column(table, column, dialect, forms.get(column.source, TimeForm()))
        for column in table.columns
        if column.generated is None and column.source_generated is None
    }


def _column(
    table: TablePlan, column: ColumnPlan, dialect: str, form: TimeForm
) -> Callable[[str | None], str]:
    maps = _maps_back(table, column)
    as_text = dialect == SQLITE and _keeps_texts(column.source_type)

    def literal(text: str | None) -> str:
        if maps is None:
            raise NoLiteralError("a transform that does not lead back made its values")
        for mapped in maps:
            if text not in mapped:
                raise NoLiteralError("no value of the source leads to it by its transform")
            text = mapped[text]
        if text is None:
            return "NULL"
        made = _WAYS[column.conversion](text, column, dialect, form)
        number = as_text and column.conversion in _NUMBERS
        return _quoted(made, dialect) if number and not made.startswith("'") else made

    return literal


def _maps_back(
    table: TablePlan, column: ColumnPlan
) -> list[Mapping[str | None, str | None]] | None:
    """Value maps from the target's texts to the source's, the last transform first.

    None if a transform has no such way back.
    """
    maps: list[Mapping[str | None, str | None]] = []
    for transform in reversed(table.transforms):
        if transform.column is None:
            return None
        if transform.column != column.source:
            continue
        values = transform.inverse.values if transform.inverse else None
        if values is None:
            return None
        back: dict[str | None, str | None] = {key: _word(value) for key, value in values}
        maps.append(_Kept(back) if transform.otherwise == "keep" else {None: None, **back})
    return maps


class _Kept(dict[str | None, str | None]):
    """A value map that leaves what it does not name as it is."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str | None) -> str | None:
        return key


def _word(value: object) -> str | None:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def _keeps_texts(source_type: str) -> bool:
    """Whether a column of SQLite has the affinity TEXT (SQLite, "Datatypes", 3.1)."""
    declared = source_type.upper()
    return "INT" not in declared and any(word in declared for word in ("CHAR", "CLOB", "TEXT"))


def _quoted(text: str, dialect: str) -> str:
    if "\0" in text:
        raise NoLiteralError("it holds a NUL character")
    text = text.replace("'", "''")
    if dialect == MYSQL:
        # Its client makes a line feed of carriage return and line feed, and so does SQLite's.
        text = text.replace("\\", "\\\\").replace("\r", "\\r").replace("\x1a", "\\Z")
    elif "\r" in text:
        mark = next(mark for n in count() if (mark := f"<{n}>") not in text)
        text = text.replace("\r", mark)
        return f"replace('{text}', '{mark}', char(13))"
    return f"'{text}'"


def _hex(text: str) -> str:
    digits = text.removeprefix("\\x")
    if not re.fullmatch(r"[0-9a-f]*", digits):
        raise NoLiteralError("it is no string of bytes")
    return f"X'{digits}'"


def _text(text: str, column: ColumnPlan, dialect: str, form: TimeForm) -> str:
    return _quoted(text, dialect)


def _integer(text: str, column: ColumnPlan, dialect: str, form: TimeForm) -> str:
    if not re.fullmatch(r"-?\d+", text, re.ASCII):
        raise NoLiteralError("it is no integer")
    return text


def _boolean(text: str, column: ColumnPlan, dialect: str, form: TimeForm) -> str:
    if text not in _TRUTH:
        raise NoLiteralError("it is neither true nor false")
    return _TRUTH[text]


def _double(text: str, column: ColumnPlan, dialect: str, form: TimeForm) -> str:
    if text in _NO_NUMBER:
        if dialect == MYSQL or text == "NaN":
            raise NoLiteralError(f"the source has no {text}")
        return text.replace("Infinity", "9e999")
    if not _NUMBER.fullmatch(text):
        raise NoLiteralError("it is no number")
    return text if dialect == MYSQL or not text.lstrip("-").isdecimal() else f"{text}.0"


def _decimal(text: str, column: ColumnPlan, dialect: str, form: TimeForm) -> str:
    if text in _NO_NUMBER:
        return _double(text, column, dialect, form)
    if not _NUMBER.fullmatch(text):
        raise NoLiteralError("it is no number")
    if dialect == SQLITE and Decimal(repr(float(text))) != Decimal(text):
        raise NoLiteralError("it has more digits than a double of the source")
    return text


def _bytes(text: str, column: ColumnPlan, dialect: str, form: TimeForm) -> str:
    return _hex(text)


def _bits(text: str, column: ColumnPlan, dialect: str, form: TimeForm) -> str:
    if not re.fullmatch("[01]+", text):
        raise NoLiteralError("it is no string of bits")
    if dialect == MYSQL:
        return f"b'{text}'"
    size = -(-len(text) // 8)
    return f"X'{int(text, 2).to_bytes(size, 'big').hex()}'"


def _uuid_bytes(text: str, column: ColumnPlan, dialect: str, form: TimeForm) -> str:
    return _hex(UUID(text).hex)


def _geometry(text: str, column: ColumnPlan, dialect: str, form: TimeForm) -> str:
    return _hex(without_srid(bytes.fromhex(text.removeprefix("\\x"))).hex())


def _span(text: str, column: ColumnPlan, dialect: str, form: TimeForm) -> str:
    """``-1 days +02:00:00.5`` and the like as ``[-]HH:MM:SS[.f]``."""
    found = _SPAN.fullmatch(text.replace("+", ""))
    if not text or found is None:
        raise NoLiteralError("it is no span of hours, minutes and seconds")
    days, sign, hours, minutes, seconds, fraction = found.groups()
    micros = (int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)) * 1_000_000
    micros += int((fraction or "0").ljust(6, "0"))
    total = int(days or 0) * 86_400_000_000 + (-micros if sign else micros)
    whole, rest = divmod(abs(total), 1_000_000)
    shown = f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
    shown += f".{rest:06}".rstrip("0") if rest else ""
    return _quoted(("-" if total < 0 else "") + shown, dialect)


def _moment(text: str) -> datetime:
    """PostgreSQL's text of a timestamp, or of an instant in UTC."""
    found = _INSTANT.fullmatch(text)
    if found is None:
        raise NoLiteralError("its time is none of the years 0001 to 9999")
    year, month, day, hour, minute, second, fraction, _ = found.groups()
    micro = int((fraction or "0").ljust(6, "0"))
    return datetime(
        int(year), int(month), int(day), int(hour), int(minute), int(second or 0), micro, UTC
    )


def _date(text: str, column: ColumnPlan, dialect: str, form: TimeForm) -> str:
    if len(text) != 10:
        raise NoLiteralError("its day is none of the years 0001 to 9999")
    return _quoted(text, dialect)


def _timestamp(text: str, column: ColumnPlan, dialect: str, form: TimeForm) -> str:
    return _quoted(form.written(_moment(text), offset=False), dialect)


def _timestamptz(text: str, column: ColumnPlan, dialect: str, form: TimeForm) -> str:
    return _quoted(form.written(_moment(text), offset=dialect != MYSQL), dialect)


def _zoned(text: str, column: ColumnPlan, dialect: str, form: TimeForm) -> str:
    zone = _zone(column.source_timezone or "UTC")
    instant = _moment(text)
    local = instant.astimezone(zone)
    if local.replace(fold=0).astimezone(UTC) != instant:
        raise NoLiteralError(
            f"the clock of {zone.key} shows its time twice, and the first is meant"
        )
    return _quoted(form.written(local, offset=False), dialect)


def _epoch(micros: int) -> Callable[[str, ColumnPlan, str, TimeForm], str]:
    def literal(text: str, column: ColumnPlan, dialect: str, form: TimeForm) -> str:
        number, rest = divmod((_moment(text) - _EPOCH) // _MICROSECOND, micros)
        if rest:
            raise NoLiteralError("its fraction is finer than the source's numbers")
        return str(number)

    return literal


_zone = lru_cache(ZoneInfo)

_NUMBERS = frozenset({Conversion.INTEGER, Conversion.DECIMAL, Conversion.DOUBLE})

_WAYS: Mapping[Conversion, Callable[[str, ColumnPlan, str, TimeForm], str]] = {
    Conversion.INTEGER: _integer,
    Conversion.BOOLEAN: _boolean,
    Conversion.DOUBLE: _double,
    Conversion.DECIMAL: _decimal,
    Conversion.TEXT: _text,
    Conversion.BYTES: _bytes,
    Conversion.DATE: _date,
    Conversion.TIME: _text,
    Conversion.TIMESTAMP: _timestamp,
    Conversion.TIMESTAMPTZ: _timestamptz,
    Conversion.ZONED: _zoned,
    Conversion.EPOCH_S: _epoch(1_000_000),
    Conversion.EPOCH_MS: _epoch(1_000),
    Conversion.EPOCH_US: _epoch(1),
    Conversion.UUID_TEXT: _text,
    Conversion.UUID_BYTES: _uuid_bytes,
    Conversion.JSON: _text,
    Conversion.UTC: _timestamp,
    Conversion.INTERVAL: _span,
    Conversion.BITS: _bits,
    Conversion.ENUM: _text,
    Conversion.SET: _text,
    Conversion.GEOMETRY: _geometry,
}
