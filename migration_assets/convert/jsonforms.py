"""Which texts are JSON, and which of them jsonb would keep whole.

jsonb keeps values, not texts (PostgreSQL manual, "JSON Types"): of duplicate keys only the last
stays, the escape of NUL and lone surrogates are refused, and numbers become numeric, which has no
negative zero and ends at 131,072 digits before and 16,383 digits after the point.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.convert.forms import MAX_FRACTION_DIGITS, MAX_INTEGER_DIGITS

_SPACE = " \t\n\r"
_CHUNK = 1024
_MAX_BRIEF = 1000
_MAX_BYTES = 2**28 - 1
"""Greatest size of one string in jsonb (jsonb.h, JENTRY_OFFLENMASK)."""

# What jsonb may not keep, besides odd numbers: a document without it needs no closer look. Both
# begin with fixed characters, which the engine of re finds fast.
_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_NEGATIVE_ZERO = re.compile(r"-0(?!\.?\d*[1-9])(?:(?<=[\[,:\s]-0)|(?<=^-0))")


class _Number(str):
    """A number as written."""


class _Pairs(list[tuple[str, Any]]):
    """An object with its keys as written, duplicates included."""


def json_forms(array: pa.Array) -> tuple[pa.BooleanArray, pa.BooleanArray]:
    """Recognise JSON texts.

    Args:
        array: binary or string; NULLs are allowed. A value that repeats is looked at once.

    Returns:
        which texts parse as JSON (so that the type json takes them), and which of these jsonb
        gives back with the same keys, values and exact numbers. Both are false for NULL.
    """
    encoded = array.dictionary_encode()
    documents = _Documents()
    verdicts = [
        documents.judge(value)
        for start in range(0, len(encoded.dictionary), _CHUNK)
        for value in encoded.dictionary.slice(start, _CHUNK).to_pylist()
    ]
    parses = pa.array([parsed for parsed, _ in verdicts], pa.bool_())
    lossless = pa.array([kept for _, kept in verdicts], pa.bool_())
    return (
        pc.fill_null(parses.take(encoded.indices), False),
        pc.fill_null(lossless.take(encoded.indices), False),
    )


class _Documents:
    """Parses documents one after another; an object is dropped as soon as its keys were seen."""

    def __init__(self) -> None:
        self._duplicate = False
        self._odd = False
        # scan_once is what the decoder's own methods call for every text.
        plain: Any = json.JSONDecoder(
            object_pairs_hook=self._see, parse_constant=_refuse, parse_float=self._see_float
        )
        exact: Any = json.JSONDecoder(
            object_pairs_hook=_Pairs, parse_constant=_refuse, parse_int=_Number, parse_float=_Number
        )
        self._scan, self._scan_exact = plain.scan_once, exact.scan_once

    def judge(self, value: bytes | str) -> tuple[bool, bool]:
        """Whether a text parses, and whether jsonb keeps all of it."""
        self._duplicate = self._odd = False
        try:
            text = value.decode() if isinstance(value, bytes) else value
            text = text.strip(_SPACE)
            parsed = self._parses(text)
            if not parsed or self._duplicate or len(text) > _MAX_BYTES:
                return parsed, False
            if self._odd or _ESCAPE.search(text) or _NEGATIVE_ZERO.search(text):
                return True, _is_kept(self._scan_exact(text, 0)[0])
        # Too deep a document is none for us: how deep PostgreSQL goes depends on its stack.
        except (ValueError, StopIteration, RecursionError):
            return False, False
        return True, True

    def _parses(self, text: str) -> bool:
        try:
            return bool(self._scan(text, 0)[1] == len(text))
        except json.JSONDecodeError:
            return False
        except ValueError:
            # Python's own limit of the digits of an integer, or what is no JSON at all.
            self._odd = True
            return bool(self._scan_exact(text, 0)[1] == len(text))

    def _see(self, pairs: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in pairs}) != len(pairs):
            self._duplicate = True

    def _see_float(self, number: str) -> None:
        if len(number) > _MAX_BRIEF or "e" in number or "E" in number:
            self._odd = True


def _refuse(token: str) -> NoReturn:
    raise ValueError(f"{token} is not JSON")


def _is_kept(document: object) -> bool:
    """Whether jsonb keeps everything in a parsed document."""
    match document:
        case _Number():
            return _is_numeric(document)
        case str():
            return _is_text(document)
        case _Pairs():
            keys = {key for key, _ in document}
            return len(keys) == len(document) and all(
                _is_text(key) and _is_kept(value) for key, value in document
            )
        case list():
            return all(_is_kept(value) for value in document)
        case _:
            return True


def _is_text(text: str) -> bool:
    """Whether a PostgreSQL text can hold it: no NUL, no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def _is_numeric(number: str) -> bool:
    """Whether numeric holds exactly this number."""
    try:
        value = Decimal(number)
    except InvalidOperation:
        return False
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or (value.is_zero() and value.is_signed()):
        return False
    return -exponent <= MAX_FRACTION_DIGITS and value.adjusted() < MAX_INTEGER_DIGITS
