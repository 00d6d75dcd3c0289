"""Indexes over more than plain columns: folded values, beginnings of values, and words."""

from __future__ import annotations

from migration_assets.core.catalog import Index
from migration_assets.core.naming import quote
from migration_assets.core.plan import ColumnPlan, IndexPlan, TablePlan
from migration_assets.core.translate import UntranslatableError

_TEXTS = {"text", "varchar"}

FOLDED = {"NOCASE": 'lower({} COLLATE "C")', "RTRIM": "rtrim({}, ' ')"}
"""Collations of SQLite that hold different texts for equal -> what is equal of them.

NOCASE folds ASCII letters, as ``lower`` does in the C collation; RTRIM ignores spaces at the end.
"""


def prefix_term(plan: TablePlan, column: str, length: int) -> str:
    """The index term of a value's first characters or bytes.

    Args:
        plan: the table.
        column: its source name.
        length: how many.
    """
    target = _target(plan, column)
    quoted = quote(target.name)
    if target.type.name in _TEXTS:
        return f'"left"({quoted}, {length})'
    if target.type.name == "bytea":
        return f"substring({quoted}, 1, {length})"
    return quoted


def words_index(plan: TablePlan, index: Index, name: str) -> IndexPlan:
    """A FULLTEXT index as a GIN index over the words of its columns, not reduced to stems.

    Args:
        plan: the table.
        index: as declared.
        name: that is free in the target.

    Raises:
        UntranslatableError: it is spatial, or not over texts alone.
    """
    if index.method != "fulltext":
        raise UntranslatableError(
            "a spatial index needs geometries of PostGIS, and the bytes that come are none"
        )
    columns = [term.column or "" for term in index.terms]
    if any(column in plan.dropped for column in columns):
        raise UntranslatableError("one of its columns is dropped by overrides: of defs.yaml")
    targets = [_target(plan, column) for column in columns]
    if any(target.type.name not in _TEXTS for target in targets):
        raise UntranslatableError("one of its columns holds no text")
    words = " || ' ' || ".join(f"coalesce({quote(target.name)}, '')" for target in targets)
    return IndexPlan(
        name,
        (f"to_tsvector('simple'::regconfig, {words})",),
        reason="FULLTEXT in the source; queries say to_tsvector('simple', ...) @@ ...",
        translated=True,
        source_sql=index.sql,
        method="gin",
    )


def _target(plan: TablePlan, column: str) -> ColumnPlan:
    return next(c for c in plan.columns if c.source == column)
