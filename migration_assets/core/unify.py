"""Give both sides of every foreign key one type: the narrowest that holds both sides exactly."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from migration_assets.core.catalog import Column
from migration_assets.core.choose import Choice, uuid_choice
from migration_assets.core.override_types import holds, natural
from migration_assets.core.plan import Conversion
from migration_assets.core.profile import ColumnProfile, Lane
from migration_assets.core.types import PgType

ColumnId = tuple[str, str]
"""(source table, source column)."""

_INTEGERS = ("smallint", "integer", "bigint")
_TEXTS = ("varchar", "text")


def groups(pairs: list[tuple[ColumnId, ColumnId]]) -> list[list[ColumnId]]:
    """Columns that foreign keys tie together, in a fixed order.

    Args:
        pairs: (child column, parent column) of every foreign key.
    """
    leader: dict[ColumnId, ColumnId] = {}

    def find(item: ColumnId) -> ColumnId:
        while leader.setdefault(item, item) != item:
            item = leader[item]
        return item

    for child, parent in pairs:
        leader[find(child)] = find(parent)
    gathered: dict[ColumnId, list[ColumnId]] = {}
    for item in sorted(leader):
        gathered.setdefault(find(item), []).append(item)
    return sorted(gathered.values())


def unify(
    members: list[ColumnId],
    columns: Mapping[ColumnId, Column],
    choices: Mapping[ColumnId, Choice],
    profiles: Mapping[ColumnId, ColumnProfile],
    identities: set[ColumnId],
    fixed: Collection[ColumnId] = (),
) -> dict[ColumnId, Choice]:
    """Return the new choices of a group's members; empty if they agree already or cannot.

    An identity column keeps its type: where the others do not fit it, nothing is changed and the
    foreign key between them is reported by the planner. So it is with a type that the user fixed,
    which the others follow where all their values fit.
    """
    wished = {choices[member].type for member in members if member in fixed}
    if len(wished) == 1:
        return _followers(wished.pop(), members, choices, profiles, identities, fixed)
    if wished:
        return {}
    types = {choices[member].type for member in members}
    if len(types) == 1 and not next(iter(types)).labels:
        return {}
    target = _joined(members, columns, choices, profiles)
    if target is None:
        return {}
    if any(member in identities and choices[member].type != target for member in members):
        return {}
    others = {
        m: next((o for o in members if choices[o].type == target and o != m), m) for m in members
    }
    return {
        member: Choice(
            target,
            _conversion(target, choices[member], profiles[member]),
            f"same type as {'.'.join(others[member])} by foreign key"
            if others[member] != member
            else "the type that holds both sides of a foreign key",
        )
        for member in members
        if choices[member].type != target
    }


def _followers(
    target: PgType,
    members: list[ColumnId],
    choices: Mapping[ColumnId, Choice],
    profiles: Mapping[ColumnId, ColumnProfile],
    identities: set[ColumnId],
    fixed: Collection[ColumnId],
) -> dict[ColumnId, Choice]:
    """The choices of the members whose values all fit the type that the user fixed."""
    leader = next(member for member in members if member in fixed)
    return {
        member: Choice(
            target,
            natural(target, choices[member].conversion, profiles[member]),
            f"same type as {'.'.join(leader)}, which overrides: fixes, by foreign key",
        )
        for member in members
        if choices[member].type != target
        and holds(target, profiles[member])
        and (member not in identities or target.name in _INTEGERS)
    }


def _joined(
    members: list[ColumnId],
    columns: Mapping[ColumnId, Column],
    choices: Mapping[ColumnId, Choice],
    profiles: Mapping[ColumnId, ColumnProfile],
) -> PgType | None:
    """The narrowest type that holds every member's values exactly, None if there is none."""
    types = [choices[member].type for member in members]
    names = {t.name for t in types}
    if any(t.labels for t in types):
        # Each enum is a type of its own, which equals no other.
        return PgType("text")
    if "uuid" in names:
        texts = all(
            set(profiles[m].lanes) <= {Lane.TEXT}
            and profiles[m].text_forms.get("uuid", 0) == profiles[m].count(Lane.TEXT)
            for m in members
            if choices[m].conversion is not Conversion.UUID_BYTES
        )
        if texts and not any(choices[m].conversion is Conversion.UUID_BYTES for m in members):
            return uuid_choice(columns[members[0]]).type
        return _text_or_bytes(members, profiles)
    if names <= set(_INTEGERS):
        return PgType(max(names, key=_INTEGERS.index))
    whole = PgType("numeric", (20, 0))
    if names <= {*_INTEGERS, "numeric"} and whole in types:
        # What counts beyond bigint may refer to a column that does not.
        if all(_within_bigint(profiles[m]) for m in members) and any(
            choices[m].type.name in _INTEGERS for m in members
        ):
            return PgType("bigint")
        return whole if {t.args for t in types} <= {(), (20, 0)} else PgType("numeric")
    if names <= {*_INTEGERS, "numeric"}:
        return PgType("numeric")
    if names <= set(_TEXTS):
        lengths = [t.args[0] for t in types if t.name == "varchar"]
        return PgType("varchar", (max(lengths),)) if "text" not in names else PgType("text")
    empty = [m for m in members if not profiles[m].lanes]
    filled = {choices[m].type for m in members if m not in empty}
    if len(filled) == 1:
        return filled.pop()
    return _text_or_bytes(members, profiles)


def _within_bigint(profile: ColumnProfile) -> bool:
    return set(profile.lanes) <= {Lane.INT}


def _text_or_bytes(
    members: list[ColumnId], profiles: Mapping[ColumnId, ColumnProfile]
) -> PgType | None:
    """Text if no member holds blobs, bytea if all hold only blobs and texts."""
    if not any(profiles[m].count(Lane.BLOB) for m in members):
        return PgType("text")
    if all(set(profiles[m].lanes) <= {Lane.BLOB, Lane.TEXT} for m in members):
        return PgType("bytea")
    return None


def _conversion(target: PgType, choice: Choice, profile: ColumnProfile) -> Conversion:
    """The conversion of a column's lanes into ``target``."""
    if target.name in _INTEGERS:
        return Conversion.INTEGER
    if target.name in _TEXTS:
        return Conversion.TEXT
    return {
        "numeric": Conversion.DECIMAL,
        "bytea": Conversion.BYTES,
        "uuid": Conversion.UUID_TEXT,
        "boolean": Conversion.BOOLEAN,
        "double precision": Conversion.DOUBLE,
    }.get(
        target.name,
        choice.conversion if profile.lanes else _EMPTY.get(target.name, Conversion.TEXT),
    )


_EMPTY = {
    "date": Conversion.DATE,
    "time": Conversion.TIME,
    "timestamp": Conversion.TIMESTAMP,
    "timestamptz": Conversion.TIMESTAMPTZ,
    "json": Conversion.JSON,
    "jsonb": Conversion.JSON,
}
