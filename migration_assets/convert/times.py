"""Dates, times and epochs: the same instant to the microsecond, from texts of one strict form."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.convert import forms
from migration_assets.convert.column import (
    Change,
    Convert,
    Converted,
    Lanes,
    UnfitError,
    converted_lanes,
    only,
    where,
    with_validity,
)
from migration_assets.convert.zones import Zone
from migration_assets.core.profile import Lane
from migration_assets.core.types import PgType


def to_date(lanes: Lanes, kind: PgType) -> Converted:
    """Texts ``YYYY-MM-DD``; raises UnfitError for all else."""
    return converted_lanes(lanes, kind, {Lane.TEXT: _parsed(forms.parse_date, "an ISO date")})


def to_time(lanes: Lanes, kind: PgType) -> Converted:
    """Texts ``HH:MM[:SS[.f]]``; raises UnfitError for all else."""
    return converted_lanes(lanes, kind, {Lane.TEXT: _parsed(forms.parse_time, "an ISO time")})


def to_timestamp(lanes: Lanes, kind: PgType) -> Converted:
    """Texts of ISO datetimes without offset; raises UnfitError for all else."""
    convert = _parsed(forms.parse_datetime, "an ISO datetime without offset")
    return converted_lanes(lanes, kind, {Lane.TEXT: convert})


def to_timestamptz(lanes: Lanes, kind: PgType) -> Converted:
    """Texts of ISO datetimes with offset; raises UnfitError for all else."""
    convert = _parsed(forms.parse_datetime_tz, "an ISO datetime with offset")
    return converted_lanes(lanes, kind, {Lane.TEXT: convert})


def to_utc(lanes: Lanes, kind: PgType) -> Converted:
    """Texts of ISO datetimes without offset that are in UTC; raises UnfitError for all else."""
    convert = _parsed(forms.parse_datetime, "an ISO datetime without offset")
    return converted_lanes(lanes, kind, {Lane.TEXT: convert})


def to_interval(lanes: Lanes, kind: PgType) -> Converted:
    """Texts ``[-]HHH:MM:SS[.f]``; raises UnfitError for all else."""
    convert = _parsed(forms.parse_interval, "a time span of hours, minutes and seconds")
    return converted_lanes(lanes, kind, {Lane.TEXT: convert})


def in_zone(zone: Zone, later: bool) -> Convert:
    """Make the conversion of ISO datetimes without offset that are meant in ``zone``.

    Times that occur twice and times that do not exist there are changes of the rules
    ``ambiguous_time`` and ``nonexistent_time``.

    Args:
        zone: what the times mean.
        later: of a time that occurs twice the later instant is meant, not the earlier.
    """
    parse = _parsed(forms.parse_datetime, "an ISO datetime without offset")

    def convert(lanes: Lanes, kind: PgType) -> Converted:
        texts = only(lanes)
        naive = parse(lanes, PgType("timestamp")).array
        values = naive.drop_null().view(pa.int64()).to_numpy()
        found = zone.instants(values)
        instants = found.later if later else found.earlier
        rows = np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False))
        whole = np.zeros(len(texts), np.int64)
        whole[rows] = instants
        _require_precision(whole, kind)
        changes = tuple(
            Change(
                rule,
                rows[mask],
                texts.take(pa.array(rows[mask])).cast(pa.string()).to_pylist(),
                instant_texts(pa.array(instants[mask]).view(kind.arrow)),
            )
            for rule, mask in (
                ("ambiguous_time", found.ambiguous),
                ("nonexistent_time", found.nonexistent),
            )
            if mask.any()
        )
        return Converted(with_validity(whole, texts, kind.arrow), changes)

    return lambda lanes, kind: converted_lanes(lanes, kind, {Lane.TEXT: convert})


def instant_texts(instants: pa.Array) -> list[str | None]:
    """Instants as PostgreSQL writes them in UTC: ``2024-10-27 00:30:00+00``, ``... .5+00``."""
    local = instants.view(pa.timestamp("us")) if instants.type.tz else instants
    texts = local.cast(pa.string())
    texts = pc.replace_substring_regex(texts, r"\.?0+$", "") if len(texts) else texts
    written: list[str | None] = pc.binary_join_element_wise(texts, "+00", "").to_pylist()
    return written


def from_epoch(micros: int) -> Convert:
    """Make the conversion of integers that count units of ``micros`` microseconds since 1970."""

    def convert(lanes: Lanes, kind: PgType) -> Converted:
        values = only(lanes)
        limit = forms.LAST_MICROSECOND // micros
        outside = pc.or_(pc.greater(values, limit), pc.less(values, -limit))
        if pc.any(outside).as_py():
            raise UnfitError(where(outside), "is an instant beyond the year 9999")
        instants = pc.multiply(values, micros)
        if kind.args:
            _require_precision(pc.fill_null(instants, 0).to_numpy(), kind)
        return Converted(instants.view(kind.arrow))

    return lambda lanes, kind: converted_lanes(lanes, kind, {Lane.INT: convert})


def _require_precision(micros: npt.NDArray[np.int64], kind: PgType) -> None:
    """Raise UnfitError for values that timestamp(n), timestamptz(n) or time(n) would round."""
    if not kind.args or kind.args[0] >= forms.MICROSECOND_DIGITS:
        return
    finer = micros % 10 ** (forms.MICROSECOND_DIGITS - kind.args[0]) != 0
    if finer.any():
        raise UnfitError(np.flatnonzero(finer), f"has more than {kind.args[0]} fraction digits")


def _parsed(parse: Callable[[pa.Array], forms.Parsed], form: str) -> Convert:
    def convert(lanes: Lanes, kind: PgType) -> Converted:
        texts = only(lanes)
        parsed = parse(texts)
        good = int(np.count_nonzero(parsed.ok))
        changes: tuple[Change, ...] = ()
        if good != len(texts) - texts.null_count:
            bad = pc.and_(texts.is_valid(), pc.invert(pa.array(parsed.ok)))
            zero = pc.and_(bad, forms.is_zero_date(texts))
            if zero.true_count < bad.true_count:
                raise UnfitError(where(pc.and_(bad, pc.invert(zero))), f"is not {form}")
            rows = where(zero)
            before = texts.take(pa.array(rows)).cast(pa.string()).to_pylist()
            changes = (Change("zero_date", rows, before, [None] * len(rows)),)
            texts = pc.if_else(zero, pa.scalar(None, texts.type), texts)
        values = parsed.values
        _require_precision(values, kind)
        if kind.arrow.bit_width == 32:
            values = values.astype(np.int32)
        return Converted(with_validity(values, texts, kind.arrow), changes)

    return convert
