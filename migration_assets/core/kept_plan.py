"""The plan as the load left it: without what was withdrawn, references as the quarantine has them.

It is no other plan, and has no digest of its own that counts: the next run plans all of it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from migration_assets.core.catalog import SkippedObject
from migration_assets.core.plan import ColumnPlan, Decision, Plan


@dataclass(frozen=True)
class Dangling:
    """A foreign key whose rows refer to rows that are in quarantine.

    Attributes:
        table: source name of the children.
        name: the key.
        rows: how many dangle.
    """

    table: str
    name: str
    rows: int


def with_dangling(plan: Plan, found: tuple[Dangling, ...]) -> Plan:
    """The plan when rows turned out to dangle after the load, by the table's policy of orphans."""
    rows = {(item.table, item.name): item.rows for item in found}
    tables, decisions, skipped = [], list(plan.decisions), list(plan.skipped)
    for table in plan.tables:
        keys = []
        for key in table.foreign_keys:
            count = rows.get((table.source, key.name))
            reason = f'rows refer to rows of "{key.ref_table}" that are in quarantine'
            if count is None:
                keys.append(key)
            elif table.policy("orphans") == "drop_key":
                reason = f"{count} {reason}, and the policy orphans is drop_key"
                skipped.append(SkippedObject("foreign key", key.name, reason, table.source))
            else:
                keys.append(replace(key, valid=False))
                columns = ", ".join(table.column(name).source for name in key.columns)
                decisions.append(
                    Decision(table.source, columns, "NOT VALID", reason, f"{count} rows")
                )
        tables.append(replace(table, foreign_keys=tuple(keys)))
    return replace(plan, tables=tuple(tables), decisions=tuple(decisions), skipped=tuple(skipped))


def without(plan: Plan, withdrawn: tuple[SkippedObject, ...]) -> Plan:
    """The plan that is left when some translated objects turned out not to mean the same.

    Args:
        plan: as it was made.
        withdrawn: views, indexes and checks by target name, defaults and generated columns by
            the column's source name; ``table`` by source name.
    """
    views = {item.name for item in withdrawn if item.kind == "view"}
    indexes = {(item.table, item.name) for item in withdrawn if item.kind == "index"}
    checks = {(item.table, item.name) for item in withdrawn if item.kind == "check"}
    of_columns = {
        (item.kind, item.table, item.name)
        for item in withdrawn
        if item.kind in {"default", "generated column"}
    }
    return replace(
        plan,
        tables=tuple(
            replace(
                table,
                columns=tuple(_kept(c, table.source, of_columns) for c in table.columns)
                if of_columns
                else table.columns,
                indexes=tuple(i for i in table.indexes if (table.source, i.name) not in indexes),
                checks=tuple(c for c in table.checks if (table.source, c.name) not in checks),
            )
            for table in plan.tables
        ),
        views=tuple(view for view in plan.views if view.name not in views),
        skipped=(*plan.skipped, *withdrawn),
    )


def _kept(
    column: ColumnPlan, table: str, withdrawn: set[tuple[str, str | None, str]]
) -> ColumnPlan:
    if ("default", table, column.source) in withdrawn:
        column = replace(column, default=None, default_test=None)
    if ("generated column", table, column.source) in withdrawn:
        column = replace(column, generated=None)
    return column
