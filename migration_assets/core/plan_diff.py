"""What is different between two plans of one source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from migration_assets.core.plan import ColumnPlan, Plan, TablePlan
from migration_assets.core.types import PgType

T = TypeVar("T")

_FOR_PEOPLE = {
    "reason",
    "deciding",
    "source",
    "source_type",
    "source_sql",
    "source_where",
    "source_expression",
    "source_generated",
    "translated",
    "slug",
}
"""Fields that say why or from what, not what comes of it."""
_PARTS = ("columns", "uniques", "indexes", "foreign_keys", "checks")
_WORDS = {
    "uniques": "unique key",
    "indexes": "index",
    "foreign_keys": "foreign key",
    "checks": "check",
}


@dataclass(frozen=True)
class Difference:
    """One thing that one plan has otherwise than the other.

    Attributes:
        change: what became of it from the old plan to the new one.
        kind: ``table``, ``column``, ``index``, ``view`` and so on; ``skipped`` for what does not
            come along.
        table: source name of its table, None for what belongs to none.
        name: its name, of a column or table the source's.
        field: which of its properties changed, None if it is there in one plan only.
        before, after: that property in either plan.
    """

    change: Literal["added", "removed", "changed"]
    kind: str
    table: str | None
    name: str
    field: str | None = None
    before: str | None = None
    after: str | None = None


def compare(old: Plan, new: Plan) -> list[Difference]:
    """The differences from ``old`` to ``new``, table by table; empty if there are none.

    Tables, columns and views are the same if the source calls them the same, all else by its name
    in PostgreSQL. Reasons and deciding values are no differences.
    """
    found = list(_both("table", None, old.tables, new.tables, lambda t: t.source, _tables))
    found += _both("view", None, old.views, new.views, lambda v: v.source or v.name, _fields)
    before = {(s.kind, s.table, s.name) for s in old.skipped}
    after = {(s.kind, s.table, s.name) for s in new.skipped}
    for kind, table, name in sorted(after - before, key=str):
        found.append(Difference("added", f"skipped {kind}", table, name))
    for kind, table, name in sorted(before - after, key=str):
        found.append(Difference("removed", f"skipped {kind}", table, name))
    return found


def _both(
    kind: str,
    table: str | None,
    old: Iterable[T],
    new: Iterable[T],
    name: Callable[[T], str],
    inner: Callable[[str, str | None, str, T, T], Iterator[Difference]],
) -> Iterator[Difference]:
    """Match by name; what both have is looked into by ``inner``."""
    before = {name(item): item for item in old}
    after = {name(item): item for item in new}
    for key, item in before.items():
        if key not in after:
            yield Difference("removed", kind, table, key)
        else:
            yield from inner(kind, table, key, item, after[key])
    for key in after:
        if key not in before:
            yield Difference("added", kind, table, key)


def _tables(
    kind: str, _table: str | None, name: str, old: TablePlan, new: TablePlan
) -> Iterator[Difference]:
    yield from _fields(kind, None, name, old, new)
    yield from _both("column", name, old.columns, new.columns, _source_of, _fields)
    for part, word in _WORDS.items():
        pairs: tuple[Any, Any] = (getattr(old, part), getattr(new, part))
        yield from _both(word, name, *pairs, lambda item: str(item.name), _fields)


def _source_of(column: ColumnPlan) -> str:
    return column.source


def _fields(kind: str, table: str | None, name: str, old: Any, new: Any) -> Iterator[Difference]:
    for field in fields(old):
        if field.name in _FOR_PEOPLE or (kind == "table" and field.name in _PARTS):
            continue
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before != after:
            yield Difference(
                "changed", kind, table, name, field.name, _shown(before), _shown(after)
            )


def _shown(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value if value is None else str(value)
    if isinstance(value, PgType):
        return value.sql
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(": ".join(i) if isinstance(i, tuple) else str(i) for i in value) or "none"
    return str(value)
