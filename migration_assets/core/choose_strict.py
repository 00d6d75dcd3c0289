"""Choose the type of a column whose engine keeps nothing else in it than what was declared.

The declaration decides; the values only say whether a narrower or plainer type holds them, such as
a boolean for ``tinyint(1)``, or whether some can not come as they are. The rules are those of
``docs/fidelity.md``.
"""

from __future__ import annotations

from migration_assets.core.catalog import Column, DeclaredType, Kind
from migration_assets.core.choose import Choice
from migration_assets.core.plan import Conversion
from migration_assets.core.profile import ColumnProfile, Lane
from migration_assets.core.types import MAX_FRACTION, MAX_LABEL, PgType

_HELD = (("smallint", 15), ("integer", 31), ("bigint", 63))
"""Integer types and the bits of the magnitudes that they hold."""
_LARGEST_SIGNED = 2**63


def strict_choice(column: Column, profile: ColumnProfile, identity: bool) -> Choice | None:
    """Choose the type of a strict column; None where its kind is chosen as for any source.

    Args:
        column: as declared, of a strict type.
        profile: facts of all its values.
        identity: the column takes its next number by itself.
    """
    if identity:
        return _identity(column, profile)
    chooser = {
        Kind.INTEGER: _integer,
        Kind.YEAR: _year,
        Kind.FLOAT: _float,
        Kind.DECIMAL: _decimal,
        Kind.BIT: _bits,
        Kind.DATE: _temporal,
        Kind.DATETIME: _temporal,
        Kind.TIME: _time,
        Kind.ENUM: _enum,
        Kind.SET: _set,
        Kind.GEOMETRY: _geometry,
    }.get(column.type.kind)
    return chooser(column, profile) if chooser else None


def _magnitude(declared: DeclaredType) -> int:
    """Bits that the greatest magnitude of a declared integer needs."""
    return (declared.bits or 64) - (0 if declared.unsigned else 1)


def _identity(column: Column, profile: ColumnProfile) -> Choice:
    if column.type.kind is not Kind.INTEGER:
        return Choice(PgType("bigint"), Conversion.INTEGER, "takes its next number by itself")
    bits = _magnitude(column.type)
    name = next((name for name, held in _HELD if bits <= held), "bigint")
    reason = f"declared {column.source_type}, takes its next number by itself"
    if bits > _HELD[-1][1]:
        reason += "; an identity has at most 63 bits, which hold every value there is"
    return Choice(PgType(name), Conversion.INTEGER, reason)


def _integer(column: Column, profile: ColumnProfile) -> Choice:
    declared = column.type
    if declared.boolean:
        low, high = profile.int_min or 0, profile.int_max or 0
        if low >= 0 and high <= 1:
            return Choice(
                PgType("boolean"),
                Conversion.BOOLEAN,
                f"declared {column.source_type}, only 0, 1 and NULL",
            )
        decided = high if high > 1 else low
        return Choice(
            PgType("smallint"),
            Conversion.INTEGER,
            f"declared {column.source_type}, but holds other numbers than 0 and 1",
            str(decided),
        )
    bits = _magnitude(declared)
    for name, held in _HELD:
        if bits <= held:
            return Choice(PgType(name), Conversion.INTEGER, f"declared {column.source_type}")
    return Choice(
        PgType("numeric", (20, 0)),
        Conversion.DECIMAL,
        f"declared {column.source_type}: its numbers reach beyond bigint",
    )


def _year(column: Column, profile: ColumnProfile) -> Choice:
    return Choice(PgType("smallint"), Conversion.INTEGER, f"declared {column.source_type}")


def _float(column: Column, profile: ColumnProfile) -> Choice:
    name = "real" if column.type.bits == 32 else "double precision"
    return Choice(PgType(name), Conversion.DOUBLE, f"declared {column.source_type}")


def _decimal(column: Column, profile: ColumnProfile) -> Choice:
    declared = column.type
    args = () if declared.precision is None else (declared.precision, declared.scale or 0)
    return Choice(PgType("numeric", args), Conversion.DECIMAL, f"declared {column.source_type}")


def _bits(column: Column, profile: ColumnProfile) -> Choice:
    length = column.type.bits or 1
    if length == 1:
        return Choice(PgType("boolean"), Conversion.BOOLEAN, f"declared {column.source_type}")
    return Choice(PgType("bit", (length,)), Conversion.BITS, f"declared {column.source_type}")


def _fraction(column: Column) -> tuple[int, ...]:
    """The modifier for fraction digits, where PostgreSQL would have more without it."""
    scale = column.type.scale
    return () if scale is None or scale >= MAX_FRACTION else (scale,)


def _temporal(column: Column, profile: ColumnProfile) -> Choice:
    name, conversion, form = {
        (Kind.DATE, False): ("date", Conversion.DATE, "date"),
        (Kind.DATETIME, False): ("timestamp", Conversion.TIMESTAMP, "datetime"),
        (Kind.DATETIME, True): ("timestamptz", Conversion.UTC, "datetime"),
    }[column.type.kind, column.type.zoned]
    texts = profile.count(Lane.TEXT)
    fits = profile.text_forms.get(form, 0)
    if fits + profile.text_zero < texts:
        length = max(profile.text_chars, 1)
        return Choice(
            PgType("varchar", (length,)),
            Conversion.TEXT,
            f"declared {column.source_type}, but has dates that do not exist",
            profile.example,
        )
    args = () if name == "date" else _fraction(column)
    reason = f"declared {column.source_type}"
    if not profile.text_zero:
        return Choice(PgType(name, args), conversion, reason)
    return Choice(
        PgType(name, args),
        conversion,
        f"{reason}; a year, month or day of zero is none: policy zero_date",
        f"{profile.text_zero} values",
    )


def _time(column: Column, profile: ColumnProfile) -> Choice:
    texts = profile.count(Lane.TEXT)
    reason = f"declared {column.source_type}"
    if profile.text_forms.get("time", 0) == texts:
        return Choice(PgType("time", _fraction(column)), Conversion.TIME, reason)
    return Choice(
        PgType("interval"),
        Conversion.INTERVAL,
        f"{reason}, but holds spans below zero or beyond a day",
        profile.example,
    )


def _enum(column: Column, profile: ColumnProfile) -> Choice:
    labels = column.type.values
    long = next((label for label in labels if len(label.encode()) > MAX_LABEL), None)
    if long is not None or len(set(labels)) < len(labels):
        return Choice(
            PgType("text"),
            Conversion.TEXT,
            f"a label of an enum type has at most {MAX_LABEL} bytes",
            long,
        )
    wrong = profile.count(Lane.TEXT) - profile.text_forms.get("enum", 0)
    return Choice(
        PgType("enum", labels=labels),
        Conversion.ENUM,
        f"declared {_short(column.source_type)}"
        + ("; a value that is no label is none: policy invalid_enum" if wrong else ""),
        f"{wrong} values" if wrong else None,
    )


def _set(column: Column, profile: ColumnProfile) -> Choice:
    return Choice(PgType("text[]"), Conversion.SET, f"declared {_short(column.source_type)}")


def _geometry(column: Column, profile: ColumnProfile) -> Choice:
    return Choice(
        PgType("bytea"),
        Conversion.GEOMETRY,
        f"declared {column.source_type}: in the form EWKB with its SRID, which PostGIS reads "
        "(ST_GeomFromEWKB)",
    )


def _short(declared: str) -> str:
    return declared if len(declared) <= 60 else declared[:57] + "..."
