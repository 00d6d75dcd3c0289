"""Choose a column's PostgreSQL type from what was declared and what is really there.

A type is taken only if every value fits it exactly, else the next wider one; the reason and the
deciding value go with it. The rules are those of ``docs/fidelity.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from migration_assets.core.catalog import Column, Kind
from migration_assets.core.plan import Conversion
from migration_assets.core.profile import ColumnProfile, Lane
from migration_assets.core.types import MAX_PRECISION, MAX_VARCHAR, PgType

EXACT_IN_DOUBLE = 2**53
"""Whole numbers up to this size have an exact double."""

_INTEGER_RANGES = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}
EPOCHS = (
    (10**8, 10**11, Conversion.EPOCH_S, "seconds"),
    (10**11, 10**14, Conversion.EPOCH_MS, "milliseconds"),
    (10**14, 10**17, Conversion.EPOCH_US, "microseconds"),
)
"""Least size, size it stays below, conversion and unit of integers that count from 1970."""


@dataclass(frozen=True)
class Choice:
    """A type, the conversion into it, and why; ``zone``: that naive times are meant in."""

    type: PgType
    conversion: Conversion
    reason: str
    deciding: str | None = None
    zone: str | None = None


def choose(column: Column, profile: ColumnProfile | None, identity: bool = False) -> Choice:
    """Choose the type of one column.

    Args:
        column: as declared.
        profile: facts of all its values; None (not read yet) or no values follow the declaration.
        identity: the column takes its next number by itself.
    """
    if column.type.strict:
        # Imported here, since its choices are made of what stands below.
        from migration_assets.core.choose_strict import strict_choice

        decided = strict_choice(column, profile or ColumnProfile(), identity)
        if decided is not None:
            return decided
    if identity:
        return Choice(
            PgType("bigint"), Conversion.INTEGER, "takes its next number by itself: 64-bit identity"
        )
    profile = profile or ColumnProfile()
    return _CHOOSERS[column.type.kind](column, profile)


def _only(profile: ColumnProfile, *lanes: Lane) -> bool:
    """Whether no value is outside ``lanes``."""
    return all(lane in lanes for lane in profile.lanes)


def _all_texts(profile: ColumnProfile, form: str) -> bool:
    """Whether there are texts and all of them have ``form``."""
    count = profile.count(Lane.TEXT)
    return count > 0 and profile.text_forms.get(form, 0) == count


def _integer(column: Column, profile: ColumnProfile) -> Choice:
    if not _only(profile, Lane.INT):
        return mixed(column, profile)
    wanted = {16: "smallint", 32: "integer"}.get(column.type.bits or 64, "bigint")
    return _integer_at_least(wanted, column, profile)


def _integer_at_least(wanted: str, column: Column, profile: ColumnProfile) -> Choice:
    for name in list(_INTEGER_RANGES)[list(_INTEGER_RANGES).index(wanted) :]:
        limit = _INTEGER_RANGES[name]
        low, high = profile.int_min or 0, profile.int_max or 0
        if -limit <= low and high < limit:
            if name == wanted:
                return Choice(PgType(name), Conversion.INTEGER, f"declared {_declared(column)}")
            decided = high if high >= _INTEGER_RANGES[wanted] else low
            return Choice(
                PgType(name),
                Conversion.INTEGER,
                f"a value does not fit the declared {wanted}",
                str(decided),
            )
    raise AssertionError("a 64-bit integer always fits bigint")


def _boolean(column: Column, profile: ColumnProfile) -> Choice:
    if not _only(profile, Lane.INT):
        return mixed(column, profile)
    low, high = profile.int_min or 0, profile.int_max or 0
    if low >= 0 and high <= 1:
        return Choice(PgType("boolean"), Conversion.BOOLEAN, "declared boolean, only 0, 1 and NULL")
    decided = high if high > 1 else low
    return Choice(
        PgType("bigint"),
        Conversion.INTEGER,
        "declared boolean, but holds other numbers than 0 and 1",
        str(decided),
    )


def _float(column: Column, profile: ColumnProfile) -> Choice:
    if not _only(profile, Lane.REAL):
        return mixed(column, profile)
    return Choice(PgType("double precision"), Conversion.DOUBLE, f"declared {_declared(column)}")


def _decimal(column: Column, profile: ColumnProfile) -> Choice:
    numbers = _only(profile, Lane.INT, Lane.REAL)
    decimals = _only(profile, Lane.INT, Lane.REAL, Lane.TEXT) and _all_texts(profile, "decimal")
    if not (numbers or decimals):
        return mixed(column, profile)
    declared = column.type
    digits = max(profile.number_digits, profile.text_digits)
    scale = max(profile.number_scale, profile.text_scale)
    if declared.precision is None or declared.precision > MAX_PRECISION:
        return Choice(
            PgType("numeric"), Conversion.DECIMAL, f"declared {_declared(column)} without precision"
        )
    room = declared.precision - (declared.scale or 0)
    if not profile.real_nonfinite and digits <= max(room, 0) and scale <= (declared.scale or 0):
        return Choice(
            PgType("numeric", (declared.precision, declared.scale or 0)),
            Conversion.DECIMAL,
            f"declared {_declared(column)}, every value fits",
        )
    if profile.real_nonfinite:
        why = "an infinity"
    elif scale > (declared.scale or 0):
        why = f"{scale} fraction digits"
    else:
        why = f"{digits} integer digits"
    return Choice(
        PgType("numeric"), Conversion.DECIMAL, f"a value does not fit {_declared(column)}", why
    )


def _text(column: Column, profile: ColumnProfile) -> Choice:
    if not _only(profile, Lane.TEXT):
        return mixed(column, profile)
    length = column.type.length
    if length == 36 and _all_texts(profile, "uuid"):
        return uuid_choice(column)
    return _sized_text(column, profile, f"declared {_declared(column)}")


def _sized_text(column: Column, profile: ColumnProfile, reason: str) -> Choice:
    length = column.type.length
    if length is None or length > MAX_VARCHAR:
        return Choice(PgType("text"), Conversion.TEXT, reason)
    if profile.text_invalid:
        return Choice(
            PgType("text"),
            Conversion.TEXT,
            "bytes that are not UTF-8 are escaped and may outgrow the declared length",
            f"{profile.text_invalid} values",
        )
    if profile.text_chars > length:
        return Choice(
            PgType("text"),
            Conversion.TEXT,
            f"a value is longer than the declared {length} characters",
            f"{profile.text_chars} characters",
        )
    return Choice(PgType("varchar", (length,)), Conversion.TEXT, f"{reason}, every value fits")


def uuid_choice(column: Column) -> Choice:
    """The choice of uuid for a text column whose values are all canonical."""
    return Choice(
        PgType("uuid"),
        Conversion.UUID_TEXT,
        f"declared {_declared(column)}, every value a canonical lower-case UUID",
    )


def _binary(column: Column, profile: ColumnProfile) -> Choice:
    if _only(profile, Lane.BLOB):
        return Choice(PgType("bytea"), Conversion.BYTES, f"declared {_declared(column)}")
    return mixed(column, profile)


def _uuid(column: Column, profile: ColumnProfile) -> Choice:
    if not profile.lanes or (_only(profile, Lane.TEXT) and _all_texts(profile, "uuid")):
        return uuid_choice(column)
    if _only(profile, Lane.BLOB) and profile.blob_uuid == profile.count(Lane.BLOB):
        return Choice(
            PgType("uuid"), Conversion.UUID_BYTES, f"declared {_declared(column)}, 16 bytes each"
        )
    return mixed(column, profile, "not every value is a canonical lower-case UUID")


def _json(column: Column, profile: ColumnProfile) -> Choice:
    if not profile.lanes or (_only(profile, Lane.TEXT) and _all_texts(profile, "jsonb")):
        return Choice(
            PgType("jsonb"), Conversion.JSON, "every value is JSON that jsonb keeps whole"
        )
    if profile.text_nul or profile.text_invalid:
        return mixed(column, profile, "declared JSON, but has bytes that JSON does not allow")
    if _only(profile, Lane.TEXT) and _all_texts(profile, "json"):
        return Choice(
            PgType("json"),
            Conversion.JSON,
            "jsonb would lose something (duplicate keys, \\u0000 or lone surrogates)",
            profile.example,
        )
    return mixed(column, profile, "not every value is valid JSON")


def _temporal(column: Column, profile: ColumnProfile) -> Choice:
    kind = column.type.kind
    if not profile.lanes:
        if kind is Kind.DATETIME:
            zoned = column.type.zoned
            return Choice(
                PgType("timestamptz" if zoned else "timestamp"),
                Conversion.TIMESTAMPTZ if zoned else Conversion.TIMESTAMP,
                f"declared {_declared(column)}, no values yet",
            )
        name = "date" if kind is Kind.DATE else "time"
        return Choice(
            PgType(name), Conversion(name), f"declared {_declared(column)}, no values yet"
        )
    if _only(profile, Lane.TEXT):
        for form, name, conversion in (
            ("date", "date", Conversion.DATE),
            ("datetime", "timestamp", Conversion.TIMESTAMP),
            ("datetime_tz", "timestamptz", Conversion.TIMESTAMPTZ),
            ("time", "time", Conversion.TIME),
        ):
            if _all_texts(profile, form):
                naive = "; no offset is given, so none is assumed" if name == "timestamp" else ""
                return Choice(
                    PgType(name),
                    conversion,
                    f"declared {_declared(column)}, every value is an ISO {_FORM[form]}{naive}",
                )
        found = ", ".join(f"{count} {_FORM[f]}" for f, count in profile.text_forms.items() if count)
        return mixed(column, profile, f"not all of one ISO form ({found or 'none'})")
    if _only(profile, Lane.INT) and kind is not Kind.TIME:
        low, high = profile.int_min or 0, profile.int_max or 0
        for least, most, conversion, unit in EPOCHS:
            if least <= high < most and (low >= least or low == 0):
                return Choice(
                    PgType("timestamptz"),
                    conversion,
                    f"declared {_declared(column)}, every value fits {unit} since 1970",
                    str(high),
                )
    return mixed(column, profile)


def _any(column: Column, profile: ColumnProfile) -> Choice:
    if not profile.lanes:
        return Choice(PgType("text"), Conversion.TEXT, "no declared type and no values")
    return mixed(column, profile)


_FORM = {
    "date": "date",
    "datetime": "datetime",
    "datetime_tz": "datetime with offset",
    "time": "time",
}


def mixed(column: Column, profile: ColumnProfile, why: str | None = None) -> Choice:
    """Choose by what is there: the one class found, or what holds all of them.

    Args:
        column: as declared.
        profile: facts of at least one value.
        why: reason that the declared type is not taken; None derives one.
    """
    counts = ", ".join(f"{count} {lane}" for lane, count in profile.lanes.items())
    why = why or (f"declared {_declared(column)}" if column.source_type else "no declared type")
    deciding = profile.example
    if _only(profile, Lane.TEXT):
        choice = _sized_text(column, profile, why)
        return Choice(choice.type, choice.conversion, choice.reason, choice.deciding or deciding)
    if _only(profile, Lane.INT):
        return Choice(PgType("bigint"), Conversion.INTEGER, f"{why}; holds only integers")
    if _only(profile, Lane.INT, Lane.REAL):
        if max(abs(profile.int_min or 0), abs(profile.int_max or 0)) <= EXACT_IN_DOUBLE:
            return Choice(PgType("double precision"), Conversion.DOUBLE, f"{why}; holds {counts}")
        return Choice(
            PgType("numeric"),
            Conversion.DECIMAL,
            f"{why}; holds {counts}, and an integer that no double holds exactly",
            str(max(abs(profile.int_min or 0), abs(profile.int_max or 0))),
        )
    if _only(profile, Lane.BLOB):
        return Choice(PgType("bytea"), Conversion.BYTES, f"{why}; holds only blobs")
    if _only(profile, Lane.INT, Lane.REAL, Lane.TEXT):
        return Choice(PgType("text"), Conversion.TEXT, f"{why}; holds {counts}", deciding)
    return Choice(PgType("bytea"), Conversion.BYTES, f"{why}; holds {counts}", deciding)


def _declared(column: Column) -> str:
    return column.source_type or "nothing"


_CHOOSERS = {
    Kind.INTEGER: _integer,
    Kind.BOOLEAN: _boolean,
    Kind.FLOAT: _float,
    Kind.DECIMAL: _decimal,
    Kind.TEXT: _text,
    Kind.BINARY: _binary,
    Kind.UUID: _uuid,
    Kind.JSON: _json,
    Kind.DATE: _temporal,
    Kind.DATETIME: _temporal,
    Kind.TIME: _temporal,
    Kind.ANY: _any,
}
