"""The types of columns that nobody declares: those that all values have, found by reading them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.convert import forms
from migration_assets.core.catalog import Column, DeclaredType, Kind
from migration_assets.sources.csv.files import FALSE, TRUE

_INTEGER = r"^(0|-?[1-9][0-9]{0,18})\z"
_FLOAT = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?\z"
_SURE_DIGITS = 15
"""A decimal of so many digits is the only one of that length that reads as its double."""


def _integers(texts: pa.Array) -> bool:
    if not _all(pc.match_substring_regex(texts, _INTEGER)):
        return False
    try:
        texts.cast(pa.int64())
    except pa.ArrowInvalid:
        return False
    return True


def _floats(texts: pa.Array) -> bool:
    """Numbers whose double gives back the same digits."""
    if not _all(pc.match_substring_regex(texts, _FLOAT)):
        return False
    mantissa = pc.replace_substring_regex(texts, r"[eE].*$|[-.]|^-?0\.?0*", "")
    long = pc.greater(pc.utf8_length(mantissa), _SURE_DIGITS)
    reals = texts.cast(pa.float64())
    if not _all(pc.is_finite(reals)):
        return False
    return _all(pc.or_(pc.invert(long), pc.equal(reals.cast(pa.string()), pc.utf8_lower(texts))))


def _booleans(texts: pa.Array) -> bool:
    words = [word for word in (*TRUE, *FALSE) if word.isalpha()]
    return _all(pc.is_in(texts, pa.array(words)))


def _of(probe: Callable[[pa.Array], pa.Array]) -> Callable[[pa.Array], bool]:
    return lambda texts: _all(probe(texts))


def _all(mask: pa.Array) -> bool:
    return bool(pc.all(mask, min_count=0).as_py())


_PROBES: Mapping[str, tuple[DeclaredType, Callable[[pa.Array], bool]]] = {
    "integers": (DeclaredType(Kind.INTEGER, bits=64), _integers),
    "decimals": (DeclaredType(Kind.DECIMAL), _of(forms.is_decimal)),
    "floating-point numbers": (DeclaredType(Kind.FLOAT), _floats),
    "booleans": (DeclaredType(Kind.BOOLEAN), _booleans),
    "dates": (DeclaredType(Kind.DATE), _of(forms.is_date)),
    "datetimes": (DeclaredType(Kind.DATETIME), _of(forms.is_datetime)),
    "datetimes with offset": (
        DeclaredType(Kind.DATETIME, zoned=True),
        _of(forms.is_datetime_tz),
    ),
    "times": (DeclaredType(Kind.TIME), _of(forms.is_time)),
    "UUIDs": (DeclaredType(Kind.UUID), _of(forms.is_uuid)),
}
"""What all texts of a column may be, the narrowest first, and how to know."""


class ColumnInference:
    """Finds the type of one column, batch by batch."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._left = list(_PROBES)
        self._any = False

    def add(self, texts: pa.Array) -> None:
        """Take in the values of one batch."""
        texts = texts.drop_null()
        if len(texts):
            self._any = True
            self._left = [what for what in self._left if _PROBES[what][1](texts)]

    def finish(self) -> Column:
        """The column, declared as what all its values are."""
        if not self._any or not self._left:
            return Column(self._name, "text", DeclaredType(Kind.TEXT))
        what = self._left[0]
        return Column(self._name, f"text of {what}", _PROBES[what][0])
