"""How the values of a source's column get the type that an existing schema asks for."""

from __future__ import annotations

from migration_assets.core.catalog import Column
from migration_assets.core.choose import Choice
from migration_assets.core.config import ColumnOverride
from migration_assets.core.override_types import TAKES, WAYS, holds, natural
from migration_assets.core.plan import Conversion
from migration_assets.core.profile import ColumnProfile, Lane
from migration_assets.core.structure import TargetColumn
from migration_assets.core.types import PgType, parse_type

_EPOCHS = {Conversion.EPOCH_S, Conversion.EPOCH_MS, Conversion.EPOCH_US}


def fitted(
    table: str,
    column: Column,
    profile: ColumnProfile,
    override: ColumnOverride,
    target: TargetColumn,
    usual: Choice,
    zone: str | None,
    transformed: bool,
) -> Choice | str:
    """The conversion into the target's type, or what stands against it in one line.

    Args:
        table: the column's table in the source.
        column: as declared.
        profile: facts of all its values.
        override: what the user wants.
        target: where the values go; its type can be loaded.
        usual: what would be chosen without a target.
        zone: that naive times are meant in.
        transformed: a transform leads to the target's type, from whatever this one is.
    """
    place = f'defs.yaml, key "overrides.{table}.columns.{column.name}"'
    kind = target.type or usual.type
    if transformed:
        kind = parse_type(override.type) if override.type else usual.type
    elif override.type is not None and parse_type(override.type) != kind:
        return (
            f"{place}: the type is {target.type_name} by the existing schema; take the key type "
            "out, or lead there with a transform"
        )
    plain = _plain(kind)
    ways = WAYS[plain.family]
    naive = usual.conversion is Conversion.TIMESTAMP
    unknown = profile.count(Lane.TEXT) > 0 and not profile.text_forms
    if override.conversion is not None:
        conversion = override.conversion
        if conversion not in ways:
            return (
                f'{place}: the conversion "{conversion}" does not lead to {kind.sql}; take '
                f"{' or '.join(ways)}, or leave it out"
            )
    elif plain.name == "timestamptz" and zone is not None and (naive or unknown):
        return Choice(kind, Conversion.ZONED, f"meant in {zone} by source_timezone", None, zone)
    elif plain.name == "timestamptz" and naive and profile.lanes:
        return (
            f'column "{table}"."{column.name}" goes to a {target.type_name}, but its times have no '
            f"offset; write overrides: {{{table}: {{columns: {{{column.name}: {{source_timezone: "
            "UTC}}}} or the zone that they are meant in (source_timezone: for all)"
        )
    else:
        conversion = natural(plain, usual.conversion, profile)
    if profile.lanes and not TAKES[conversion] & profile.lanes.keys():
        held = " and ".join(f"{lane} values" for lane in profile.lanes)
        return (
            f'column "{table}"."{column.name}" holds only {held}, which are no {target.type_name}; '
            "change them with transforms: of defs.yaml, or drop the column with overrides:"
        )
    return Choice(kind, conversion, _reason(kind, conversion, profile))


def is_unsure(kind: PgType, profile: ColumnProfile) -> bool:
    """Whether a value may be there that the type does not hold."""
    return not holds(_plain(kind), profile)


def _reason(kind: PgType, conversion: Conversion, profile: ColumnProfile) -> str:
    if conversion in _EPOCHS:
        return f"by {conversion}" + (", on the clock of UTC" if kind.name == "timestamp" else "")
    if kind.name == "timestamp" and conversion is Conversion.TIMESTAMPTZ:
        return "on the clock of UTC"
    if kind.labels:
        return "values that are no label follow the policy invalid_enum"
    if is_unsure(kind, profile):
        return "values that do not fit follow the policy unfit"
    return "every value fits" if profile.lanes else "no values"


def _plain(kind: PgType) -> PgType:
    """The type whose values travel in the same way."""
    return PgType("text") if kind.name == "character" else kind
