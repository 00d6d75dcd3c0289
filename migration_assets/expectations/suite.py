"""Which expectations a loaded table must meet: from the plan, the facts of the source, the user.

Every derived expectation is an aggregate that Great Expectations gathers into one query per table,
so that a suite costs about one scan. Uniqueness is left to the keys, and every single cell to
:mod:`migration_assets.verify.content`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from migration_assets.core.config import ExpectationConfig
from migration_assets.core.plan import ColumnPlan, Conversion, TablePlan
from migration_assets.core.profile import ColumnProfile, Lane, TableProfile
from migration_assets.core.results import ColumnFacts, Manifest, rule_and_column
from migration_assets.errors import InputError
from migration_assets.expectations.arguments import columns_named, exact_number

_INTEGERS = frozenset({"smallint", "integer", "bigint"})
LENGTH_VALUES = 4_000_000
"""Texts measured per table: ``length`` costs about 0.1 s per million, so wide text tables stop."""


@dataclass(frozen=True)
class Expectation:
    """One expectation; column names in ``kwargs`` are the target's.

    Attributes:
        type: Great Expectations type in snake case.
        column: the column it is about, None for the table or for several columns.
        kwargs: its arguments, ``column`` included.
        own: True if the user wrote it.
    """

    type: str
    column: str | None
    kwargs: dict[str, Any] = field(default_factory=dict)
    own: bool = False


@dataclass(frozen=True)
class Suite:
    """The expectations of one table, and the columns they may name (of the kinds that compare)."""

    slug: str
    table: str
    columns: tuple[str, ...]
    expectations: tuple[Expectation, ...]

    def to_json(self) -> str:
        """Serialize for the run folder."""
        return _SUITE.dump_json(self, indent=1).decode()

    @staticmethod
    def from_json(text: str | bytes) -> Suite:
        """Read what :meth:`to_json` wrote."""
        return _SUITE.validate_json(text)


_SUITE: TypeAdapter[Suite] = TypeAdapter(Suite)


def derive_suite(
    table: TablePlan,
    manifest: Manifest,
    profile: TableProfile,
    extra: Sequence[ExpectationConfig] = (),
) -> Suite:
    """Derive the suite of one table.

    Args:
        table: its plan.
        manifest: its extract; the facts are those of the Parquet file.
        profile: its source facts, for the lengths of texts.
        extra: the user's own expectations.

    Raises:
        InputError: one of the user's names a column that the table does not have.
    """
    derived = [_table("expect_table_row_count_to_equal", value=manifest.rows)]
    if manifest.rows:
        budget = LENGTH_VALUES
        for column in table.columns:
            facts = manifest.facts.get(column.name)
            derived += _presence(column, facts, manifest.rows)
            derived += _range(column, facts)
            texts = None if table.transformed(column.source) else profile.columns.get(column.source)
            length = _length(column, facts, texts, manifest)
            if length is not None and manifest.rows <= budget:
                budget -= manifest.rows
                derived.append(length)
    return Suite(
        slug=table.slug,
        table=table.name,
        columns=tuple(column.name for column in table.columns),
        expectations=(*derived, *own_expectations(table, extra)),
    )


def own_expectations(
    table: TablePlan, extra: Sequence[ExpectationConfig]
) -> tuple[Expectation, ...]:
    """The user's own expectations of ``table``, their columns checked; needs no database.

    Raises:
        InputError: naming table and expectation.
    """
    names = {column.name for column in table.columns}
    own = []
    for config in extra:
        for name in columns_named(config.kwargs):
            if name not in names:
                raise InputError(
                    f'table "{table.name}", expectation {config.type}: there is no column '
                    f'"{name}"; name the column as in PostgreSQL'
                )
        own.append(Expectation(config.type, config.kwargs.get("column"), dict(config.kwargs), True))
    return tuple(own)


def _presence(column: ColumnPlan, facts: ColumnFacts | None, rows: int) -> Iterator[Expectation]:
    if not column.nullable:
        yield _column("expect_column_values_to_not_be_null", column)
    elif facts is not None:
        share = facts.values / rows
        yield _column(
            "expect_column_proportion_of_non_null_values_to_be_between",
            column,
            min_value=share,
            max_value=share,
        )


def _range(column: ColumnPlan, facts: ColumnFacts | None) -> Iterator[Expectation]:
    if facts is None or not facts.values:
        return
    for side, text in (("min", facts.minimum), ("max", facts.maximum)):
        bound = _number(column, text)
        if bound is not None:
            yield _equal(f"expect_column_{side}_to_be_between", column, bound)
    if column.type.name in _INTEGERS and facts.sum_low is not None:
        total = facts.sum_low + ((facts.sum_high or 0) << 32)
        yield _equal("expect_column_sum_to_be_between", column, total)


def _number(column: ColumnPlan, text: str | None) -> int | float | None:
    """An extreme as PostgreSQL's driver will give it, None where the two cannot be compared."""
    if text is None:
        return None
    if column.type.name in _INTEGERS:
        return int(text)
    if column.type.name in {"double precision", "numeric"}:
        number = exact_number(text)
        return number if math.isfinite(number) else None
    return None


def _length(
    column: ColumnPlan, facts: ColumnFacts | None, source: ColumnProfile | None, manifest: Manifest
) -> Expectation | None:
    """The greatest length, where the profile's is that of the loaded texts."""
    if column.conversion is not Conversion.TEXT or source is None or not source.text_chars:
        return None
    if column.type.labels:
        return None  # PostgreSQL measures no enum
    if facts is None or not facts.values or set(source.lanes) != {Lane.TEXT}:
        return None
    if any(rule_and_column(key)[1] == column.source for key in manifest.ledger):
        return None
    return _column("expect_column_value_lengths_to_be_between", column, max_value=source.text_chars)


def _equal(type_: str, column: ColumnPlan, value: int | float) -> Expectation:
    """Great Expectations keeps bounds as doubles: a value between two is bracketed by them."""
    low = high = float(value)
    if low > value:
        low = math.nextafter(low, -math.inf)
    elif high < value:
        high = math.nextafter(high, math.inf)
    exact = low == high
    return _column(
        type_, column, min_value=value if exact else low, max_value=value if exact else high
    )


def _table(type_: str, **kwargs: Any) -> Expectation:
    return Expectation(type_, None, kwargs)


def _column(type_: str, column: ColumnPlan, **kwargs: Any) -> Expectation:
    return Expectation(type_, column.name, {"column": column.name, **kwargs})
