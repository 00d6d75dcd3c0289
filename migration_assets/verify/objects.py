"""Objects of the source counted: those found in PostgreSQL's catalog, and those reported."""

from __future__ import annotations

from migration_assets.core.catalog import Catalog
from migration_assets.core.inventory import KINDS, Accounted, Carrier, objects
from migration_assets.core.plan import Plan
from migration_assets.core.results import Finding, ObjectCount
from migration_assets.postgres.connect import Target
from migration_assets.verify.real_schema import RealSchema, read_schema


def count(
    target: Target, schema: str, catalog: Catalog, plan: Plan
) -> tuple[list[ObjectCount], list[Finding]]:
    """Count the objects of ``catalog`` that are in ``schema``, and those that are reported.

    Args:
        target: the database.
        schema: the loaded schema.
        catalog: what the source declares.
        plan: with all that was withdrawn.

    Returns:
        the counts by kind, and a finding for each object that is neither there nor reported.

    Raises:
        InputError: the target can not be reached.
        BrokenOffError: the target was lost in the middle.
    """
    real = read_schema(target, schema)
    counts: dict[str, list[int]] = {}
    lost = []
    for item in objects(catalog, plan):
        total = counts.setdefault(item.kind, [0, 0, 0])
        total[0] += 1
        if item.reported:
            total[2] += 1
        elif item.carrier is not None and _is_there(item.carrier, real):
            total[1] += 1
        elif item.carrier is None:
            # What was planned and is not there is a finding of its own.
            lost.append(_finding(item))
    order = {kind: place for place, kind in enumerate(KINDS)}
    kinds = sorted(counts, key=lambda kind: (order.get(kind, len(order)), kind))
    return [ObjectCount(kind, *counts[kind]) for kind in kinds], lost


def _is_there(carrier: Carrier, real: RealSchema) -> bool:
    if carrier.kind == "view":
        return carrier.name in real.views
    if carrier.kind == "table":
        return carrier.name in real.tables
    table = real.tables.get(carrier.table or "")
    if table is None:
        return False
    if carrier.kind == "index":
        return any(index.name == carrier.name for index in table.indexes)
    if carrier.kind in {"column", "default", "generated"}:
        column = next((c for c in table.columns if c.name == carrier.name), None)
        return column is not None and (
            carrier.kind == "column"
            or (column.generated if carrier.kind == "generated" else column.default)
        )
    return any((c.kind, c.name) == (carrier.kind, carrier.name) for c in table.constraints)


def _finding(item: Accounted) -> Finding:
    category = {"foreign key": "references", "check": "references"}.get(item.kind, "schema")
    category = "keys" if item.kind in {"primary key", "unique key", "index"} else category
    problem = f"{item.kind} of the source is neither in PostgreSQL nor reported"
    return Finding(category, item.table or item.name, item.name, problem)
