"""Types and conversions that the user wants, and whether all values are known to fit a type."""

from __future__ import annotations

from collections.abc import Mapping

from migration_assets.core.catalog import Column
from migration_assets.core.choose import EPOCHS, EXACT_IN_DOUBLE, Choice
from migration_assets.core.config import ColumnOverride
from migration_assets.core.plan import Conversion
from migration_assets.core.profile import ColumnProfile, Lane
from migration_assets.core.types import PgType, parse_type
from migration_assets.errors import InputError

INTEGERS: Mapping[str, int] = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}
"""Integer types and the magnitude that their values stay below."""

WAYS: Mapping[str, tuple[Conversion, ...]] = {
    **dict.fromkeys(INTEGERS, (Conversion.INTEGER,)),
    "boolean": (Conversion.BOOLEAN,),
    "double precision": (Conversion.DOUBLE,),
    "real": (Conversion.DOUBLE,),
    "numeric": (Conversion.DECIMAL,),
    "text": (Conversion.TEXT,),
    "varchar": (Conversion.TEXT,),
    "bytea": (Conversion.BYTES, Conversion.GEOMETRY),
    "uuid": (Conversion.UUID_TEXT, Conversion.UUID_BYTES),
    "json": (Conversion.JSON,),
    "jsonb": (Conversion.JSON,),
    "date": (Conversion.DATE,),
    "time": (Conversion.TIME,),
    "interval": (Conversion.INTERVAL,),
    "bit": (Conversion.BITS,),
    "enum": (Conversion.ENUM,),
    "text[]": (Conversion.SET,),
    "timestamp": (
        Conversion.TIMESTAMP,
        Conversion.TIMESTAMPTZ,
        Conversion.UTC,
        Conversion.EPOCH_S,
        Conversion.EPOCH_MS,
        Conversion.EPOCH_US,
    ),
    "timestamptz": (
        Conversion.TIMESTAMPTZ,
        Conversion.UTC,
        Conversion.EPOCH_S,
        Conversion.EPOCH_MS,
        Conversion.EPOCH_US,
    ),
}
"""Type -> the conversions that lead to it, the usual one first.

Instants become the clock of UTC in a ``timestamp``.
"""

_DECLARED = frozenset({Conversion.ENUM, Conversion.SET, Conversion.BITS, Conversion.GEOMETRY})
"""Conversions that need what only the declaration says."""

_LEADS_TO: Mapping[Conversion, str] = {
    Conversion.INTEGER: "bigint",
    Conversion.TEXT: "text",
    Conversion.DOUBLE: "double precision",
    Conversion.JSON: "jsonb",
    **{
        way: name
        for name, ways in WAYS.items()
        for way in ways
        if name not in {*INTEGERS, "text", "varchar", "double precision", "real", "json", "jsonb"}
    },
}
"""Conversion -> the type that is meant where none is named."""

_INT_TEXT_REAL = frozenset({Lane.INT, Lane.REAL, Lane.TEXT})
TAKES: Mapping[Conversion, frozenset[Lane]] = {
    **dict.fromkeys(Conversion, frozenset({Lane.TEXT})),
    Conversion.INTEGER: frozenset({Lane.INT, Lane.REAL}),
    Conversion.DOUBLE: frozenset({Lane.INT, Lane.REAL}),
    Conversion.BOOLEAN: frozenset({Lane.INT}),
    Conversion.DECIMAL: _INT_TEXT_REAL,
    Conversion.TEXT: _INT_TEXT_REAL,
    Conversion.JSON: _INT_TEXT_REAL,
    Conversion.BYTES: frozenset(Lane),
    Conversion.EPOCH_S: frozenset({Lane.INT}),
    Conversion.EPOCH_MS: frozenset({Lane.INT}),
    Conversion.EPOCH_US: frozenset({Lane.INT}),
    Conversion.UUID_BYTES: frozenset({Lane.BLOB}),
    Conversion.BITS: frozenset({Lane.BLOB}),
    Conversion.GEOMETRY: frozenset({Lane.BLOB}),
}
"""Conversion -> the storage classes that it has a way for."""


def overridden(
    table: str,
    column: Column,
    profile: ColumnProfile,
    override: ColumnOverride,
    usual: Choice,
    unfit: str,
    identity: bool = False,
) -> Choice:
    """The choice that the user made.

    Args:
        table: the column's table in the source.
        column: as declared.
        profile: facts of all its values; without values nothing is known to be impossible.
        override: names a type, a conversion, or both.
        usual: the choice without it.
        unfit: the policy for values that do not fit.
        identity: the column takes its next number by itself.

    Raises:
        InputError: the conversion does not lead to the type, or no value there is can have it.
    """
    place = f'defs.yaml, key "overrides.{table}.columns.{column.name}"'
    kind = _kind(override, usual)
    ways = WAYS[kind.family]
    if override.conversion is Conversion.ZONED:
        raise InputError(
            f"{place}: naive times get a zone by source_timezone; write it in place of "
            "conversion: zoned"
        )
    if override.conversion in _DECLARED and override.conversion is not usual.conversion:
        raise InputError(
            f'{place}: the conversion "{override.conversion}" follows from the declaration only; '
            "leave it out"
        )
    conversion = override.conversion or natural(kind, usual.conversion, profile)
    if conversion not in ways:
        raise InputError(
            f'{place}: the conversion "{conversion}" does not lead to {kind.sql}; take '
            f"{' or '.join(ways)}, or leave it out"
        )
    if identity and kind.name not in INTEGERS:
        raise InputError(
            f"{place}: the column takes its next number by itself, which {kind.sql} can not; "
            f"choose {', '.join(INTEGERS)}"
        )
    takes = TAKES[conversion]
    if profile.lanes and not takes & profile.lanes.keys():
        held = " and ".join(f"{lane} values" for lane in profile.lanes)
        raise InputError(
            f"{place}: the column holds only {held}, of which {conversion} makes no {kind.sql}; "
            "choose another type or conversion, or the type of a transform that leads there"
        )
    reason = "overrides: of defs.yaml"
    if usual.type != kind:
        reason += f" (else {usual.type.sql})"
    if profile.lanes and not holds(kind, profile):
        reason += f"; not every value is known to fit: policy unfit, {unfit}"
    return Choice(kind, conversion, reason)


def named(kind: PgType, profile: ColumnProfile, usual: Choice) -> Choice:
    """The choice that the source itself made: the type it names.

    Args:
        kind: that type.
        profile: facts of all the column's values.
        usual: the choice without it.
    """
    conversion = natural(kind, usual.conversion, profile)
    return Choice(kind, conversion, "the type that the source itself names")


def _kind(override: ColumnOverride, usual: Choice) -> PgType:
    if override.type is not None:
        return parse_type(override.type)
    if override.conversion is None or override.conversion in WAYS[usual.type.family]:
        return usual.type
    return PgType(_LEADS_TO[override.conversion])


def natural(kind: PgType, usual: Conversion, profile: ColumnProfile) -> Conversion:
    """The conversion into ``kind`` that suits the values, the column's usual one if it leads there.

    Args:
        kind: the target type.
        usual: the conversion that was chosen by the values.
        profile: facts of all values.
    """
    ways = WAYS[kind.family]
    if usual in ways and (not profile.lanes or TAKES[usual] & profile.lanes.keys()):
        return usual
    if kind.name == "uuid" and profile.count(Lane.BLOB) and not profile.count(Lane.TEXT):
        return Conversion.UUID_BYTES
    if kind.name in _FORMS and profile.count(Lane.INT) and not profile.count(Lane.TEXT):
        size = max(abs(profile.int_min or 0), abs(profile.int_max or 0))
        return next((way for _, most, way, _ in EPOCHS if size < most), EPOCHS[-1][2])
    return ways[0]


def holds(kind: PgType, profile: ColumnProfile) -> bool:
    """Whether every value is known to fit ``kind`` exactly; True where there are none."""
    lanes = profile.lanes.keys()
    if not lanes:
        return True
    if kind.name in INTEGERS:
        return lanes <= {Lane.INT} and _within(profile, INTEGERS[kind.name])
    if kind.name == "boolean":
        return lanes <= {Lane.INT} and profile.int_min in (0, 1) and profile.int_max in (0, 1)
    if kind.name == "double precision":
        return lanes <= {Lane.INT, Lane.REAL} and _within(profile, EXACT_IN_DOUBLE + 1)
    if kind.name == "real":
        return False
    if kind.name == "numeric":
        return _holds_decimals(kind, profile)
    if kind.name in {"text", "varchar"}:
        return Lane.BLOB not in lanes and (not kind.args or _short(kind.args[0], profile))
    if kind.name == "bytea":
        return True
    if kind.name == "uuid" and lanes == {Lane.BLOB}:
        return profile.blob_uuid == profile.count(Lane.BLOB)
    if kind.name == "bit":
        return lanes == {Lane.BLOB}
    form = _FORMS.get(kind.family, kind.family)
    return lanes == {Lane.TEXT} and profile.text_forms.get(form, 0) == profile.count(Lane.TEXT)


_FORMS = {"timestamp": "datetime", "timestamptz": "datetime_tz"}


def _within(profile: ColumnProfile, limit: int) -> bool:
    return -limit <= (profile.int_min or 0) and (profile.int_max or 0) < limit


def _holds_decimals(kind: PgType, profile: ColumnProfile) -> bool:
    if not profile.lanes.keys() <= _INT_TEXT_REAL:
        return False
    texts = profile.count(Lane.TEXT)
    if texts and profile.text_forms.get("decimal", 0) != texts:
        return False
    if not kind.args:
        return True
    precision, scale = kind.args
    whole = max(abs(profile.int_min or 0), abs(profile.int_max or 0))
    digits = max(profile.number_digits, profile.text_digits, len(str(whole)) if whole else 0)
    if profile.count(Lane.REAL) and not (profile.number_digits or profile.number_scale):
        return False  # The digits of reals are counted only where a decimal is declared.
    fraction = max(profile.number_scale, profile.text_scale)
    return not profile.real_nonfinite and digits <= precision - scale and fraction <= scale


def _short(length: int, profile: ColumnProfile) -> bool:
    if profile.count(Lane.REAL) or profile.text_invalid:
        return False
    numbers = max(len(str(profile.int_min or 0)), len(str(profile.int_max or 0)))
    if profile.count(Lane.INT) and numbers > length:
        return False
    return profile.text_chars <= length
