"""What the application's role may do in a schema, and what of it is lost by the next look."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Relation:
    """A table, view or sequence: its kind for people, and its columns."""

    kind: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class Right:
    """One right on a relation, or on one of its columns."""

    relation: str
    privilege: str
    column: str | None = None


@dataclass(frozen=True)
class AppRights:
    """What a role can read and write in a schema, however it came by the right.

    Rights through other roles and through PUBLIC count. A right that row security makes
    worthless, as there is no policy that lets the role through, does not; nor does the right to
    read a view whose owner may not read the tables behind it.

    Attributes:
        role: the application's role.
        schema: the schema.
        usage: it may use the schema; without it no right below is worth anything.
        relations: name -> what it is, all that are in the schema.
        rights: what it may do, sorted; on single columns only where not on the whole table.
    """

    role: str
    schema: str
    usage: bool
    relations: dict[str, Relation] = field(default_factory=dict)
    rights: tuple[Right, ...] = ()


def lost(before: AppRights, after: AppRights) -> tuple[str, ...]:
    """What the role could do before and can not any more, one line each; empty is good.

    What is not in the schema any more is no loss of a right: see :func:`gone`.
    """
    if not before.usage or not before.rights:
        return ()
    if not after.usage:
        return (f'USAGE on schema "{after.schema}"',)
    now = set(after.rights)
    missing = []
    for right in before.rights:
        there = after.relations.get(right.relation)
        if there is None or (right.column is not None and right.column not in there.columns):
            continue
        if right in now or Right(right.relation, right.privilege) in now:
            continue
        column = f' ("{right.column}")' if right.column is not None else ""
        missing.append(f'{right.privilege}{column} on {there.kind} "{right.relation}"')
    return tuple(missing)


def gone(before: AppRights, after: AppRights) -> tuple[str, ...]:
    """What the role could use before and is not in the schema any more, one line each."""
    used = {right.relation for right in before.rights} if before.usage else set()
    return tuple(
        f'{before.relations[name].kind} "{name}"' for name in sorted(used - after.relations.keys())
    )
