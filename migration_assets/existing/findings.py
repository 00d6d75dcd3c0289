"""Whether an application's own tables are what they were before the load."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from migration_assets.core.plan import Plan
from migration_assets.core.profile import Profile
from migration_assets.core.results import Finding
from migration_assets.core.structure import Line, Structure, lines
from migration_assets.postgres.connect import Target, session
from migration_assets.postgres.structure import read_structure
from migration_assets.verify import identity

_CATEGORIES = {"column": "schema", "index": "keys"}
_REFERENCES = ("FOREIGN KEY", "CHECK")


def findings(
    target: Target,
    schema: str,
    structure: Structure,
    tables: Collection[str],
    plan: Plan,
    profile: Profile,
    also: Sequence[str] = (),
) -> list[Finding]:
    """Compare loaded tables with what the application made; an empty list is proof.

    Args:
        target: the database.
        schema: with the loaded tables.
        structure: as the application made it.
        tables: which tables are in ``schema``.
        plan: what was loaded.
        profile: gives the next numbers.
        also: the application's schema, if the tables are copies that share its types.

    Raises:
        InputError: the target can not be reached.
        BrokenOffError: the target was lost in the middle.
    """
    with (
        session(target, f'reading the catalog of schema "{schema}"') as connection,
        connection.cursor() as cursor,
    ):
        now = read_structure(cursor, schema, also)
    wanted = set(tables)
    found = list(_differences(set(lines(structure, wanted)), set(lines(now, wanted))))
    there = {table.name for table in now.tables}
    found += [
        Finding("keys", proof.table, proof.column, proof.problem)
        for proof in identity.prove(
            target, schema, [table for table in plan.tables if table.name in there], profile
        )
        if proof.problem is not None
    ]
    return found


def _differences(before: set[Line], after: set[Line]) -> Iterator[Finding]:
    texts = {line[:3]: line[3] for line in after}
    for line in sorted(before - after):
        there = texts.get(line[:3])
        problem = f"{line[0]} {line[3]} is missing"
        if there is not None:
            problem = f"{line[0]} is {there}, by the application {line[3]}"
        yield Finding(_category(line), line[1], line[2], problem)
    known = {line[:3] for line in before}
    for line in sorted(after - before):
        if line[:3] not in known:
            problem = f"{line[0]} {line[3]} is not the application's"
            yield Finding(_category(line), line[1], line[2], problem)


def _category(line: Line) -> str:
    if line[0] == "constraint":
        return "references" if line[3].startswith(_REFERENCES) else "keys"
    return _CATEGORIES[line[0]]
