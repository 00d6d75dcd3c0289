"""What the values of a source really are: facts of a full scan, neutral of the engine.

Values travel as *lanes*: every column is read as one array per storage class that occurs in it
(``int``: int64, ``real``: float64, ``text``: the raw bytes as stored, ``blob``: bytes), of which at
most one is non-null in each row. All lanes null is a NULL.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import TypeAdapter


class Lane(StrEnum):
    """A storage class, in the order in which lanes of one column stand in a raw batch."""

    INT = "int"
    REAL = "real"
    TEXT = "text"
    BLOB = "blob"


@dataclass(frozen=True)
class ColumnProfile:
    """Facts of one column; a fact that was not asked for, or has no values, is None.

    Attributes:
        nulls: rows in which the column is NULL.
        lanes: lane -> count of values; lanes without values are absent.
        int_min, int_max: range of the int lane.
        real_min, real_max: range of the finite values of the real lane.
        real_nonfinite: infinities (and NaN) in the real lane.
        real_fractional: finite reals that are not whole numbers.
        number_digits: most integer digits of any int or finite real, in shortest decimal form.
        number_scale: most fraction digits of any finite real in shortest decimal form (0 for ints).
        text_chars, text_bytes: greatest length of the text lane in code points / bytes.
        text_nul: texts with a NUL character. text_invalid: texts that are not valid UTF-8.
        text_forms: form -> count over the *text* lane, of the forms probed for the column
            (``date``, ``datetime``, ``datetime_tz``, ``time``, ``uuid``, ``json``, ``jsonb``,
            ``decimal``, ``interval``, ``enum``); a text counts in each form that it fits.
            ``json``: parses; ``jsonb``: parses and loses nothing there.
        blob_bytes: greatest length of the blob lane. blob_uuid: blobs of exactly 16 bytes.
        text_digits, text_scale: as number_digits/number_scale, over texts of the form ``decimal``.
        text_beyond: texts that begin like a date and are none that PostgreSQL holds exactly: year
            0000 or beyond 9999, no such day or hour, a seventh fraction digit; counted where dates
            are probed for.
        text_zero: texts that are a date but for a year, month or day of zero; counted where dates
            are probed for.
        case_folds: values that another value equals but for the case of ASCII letters; counted
            where the source itself does not tell them apart.
        example: example of a value that did not fit the declared kind, for the plan's reason.
    """

    nulls: int = 0
    lanes: dict[Lane, int] = field(default_factory=dict)
    int_min: int | None = None
    int_max: int | None = None
    real_min: float | None = None
    real_max: float | None = None
    real_nonfinite: int = 0
    real_fractional: int = 0
    number_digits: int = 0
    number_scale: int = 0
    text_chars: int = 0
    text_bytes: int = 0
    text_nul: int = 0
    text_invalid: int = 0
    text_forms: dict[str, int] = field(default_factory=dict)
    blob_bytes: int = 0
    blob_uuid: int = 0
    text_digits: int = 0
    text_scale: int = 0
    text_beyond: int = 0
    text_zero: int = 0
    case_folds: int = 0
    example: str | None = None

    def count(self, lane: Lane) -> int:
        """Values in ``lane``."""
        return self.lanes.get(lane, 0)

    @property
    def values(self) -> int:
        """Values that are not NULL."""
        return sum(self.lanes.values())


@dataclass(frozen=True)
class TableProfile:
    """Facts of one table.

    Attributes:
        rows: rows read.
        columns: column name -> facts.
        next_value: the number that the source would hand out next in ``Table.auto_column``.
        orphans: foreign key (by its position in ``Table.foreign_keys``) -> rows without a parent.
    """

    rows: int
    columns: dict[str, ColumnProfile]
    next_value: int | None = None
    orphans: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """Facts of all tables of one snapshot."""

    tables: dict[str, TableProfile]

    def to_json(self) -> str:
        """Serialize for the cached state and the run folder."""
        return _PROFILE.dump_json(self, indent=1).decode()

    @staticmethod
    def from_json(text: str | bytes) -> Profile:
        """Read what :meth:`to_json` wrote."""
        return _PROFILE.validate_json(text)


_PROFILE: TypeAdapter[Profile] = TypeAdapter(Profile)
