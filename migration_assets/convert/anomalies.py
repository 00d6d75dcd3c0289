"""What is done about values that a column can not hold as they are: the policies at work.

A conversion says which values it could not take or had to change; the column's policy for that
anomaly decides whether the value is kept as changed, becomes NULL, or takes its whole row aside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.convert.column import Change, Converted, Lanes, Mask, Rows, mask_of, where
from migration_assets.convert.fit import text_of
from migration_assets.convert.rows import rendered
from migration_assets.core.plan import ColumnPlan
from migration_assets.core.policies import POLICIES

_ANOMALY: Mapping[str, str] = {"nul_removed": "nul_characters"}
"""Rule of the ledger -> anomaly, where the two have not the same name."""

EPOCH = "1970-01-01"

_PROBLEM: Mapping[str, str] = {
    "nul_characters": "has a NUL character",
    "invalid_utf8": "is not valid UTF-8",
    "negative_zero": "is a negative zero",
    "ambiguous_time": "is a time that occurs twice",
    "nonexistent_time": "is a time that does not exist",
    "zero_date": "is a date with a year, month or day of zero",
    "invalid_enum": "is no label of the enum",
}


@dataclass(frozen=True)
class SetAside:
    """Rows of a batch that one column sends to the quarantine.

    ``reason`` continues ``column "c": ``.
    """

    anomaly: str
    rows: Rows
    reason: str


@dataclass(frozen=True)
class Settled:
    """One column after its policies.

    Attributes:
        array: the column; whatever stands in rows that are set aside is dropped with them.
        changes: for the ledger.
        aside: rows that do not stay.
        emptied: rows whose value was made NULL by a policy.
    """

    array: pa.Array
    changes: tuple[Change, ...] = ()
    aside: tuple[SetAside, ...] = ()
    emptied: Rows = field(default_factory=lambda: np.zeros(0, np.intp))


class ForbiddenError(Exception):
    """A value whose policy is ``fail``; ``row`` is its row in the batch."""

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(problem)
        self.row = row


class Aside:
    """Collects the rows of one batch that are set aside, and why.

    Args:
        length: rows of the batch.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._found: list[tuple[str, SetAside]] = []

    def add(self, column: ColumnPlan, found: Iterable[SetAside]) -> None:
        """Take in what one column sends away."""
        self._found += [(column.source, item) for item in found]

    @property
    def rows(self) -> bool:
        """True if there are any."""
        return bool(self._found)

    @property
    def mask(self) -> Mask:
        """The rows as a mask."""
        return mask_of(np.concatenate([item.rows for _, item in self._found]), self.length)

    def listed(self) -> tuple[Rows, list[str], list[str]]:
        """The rows in order, all errors of each in one line, and each one's first cause."""
        errors: dict[int, list[str]] = {}
        causes: dict[int, str] = {}
        for column, item in self._found:
            for row in item.rows.tolist():
                errors.setdefault(row, []).append(f'column "{column}": {item.reason}')
                causes.setdefault(row, f"{item.anomaly}:{column}")
        rows = sorted(errors)
        return (
            np.array(rows, np.intp),
            ["; ".join(errors[row]) for row in rows],
            [causes[row] for row in rows],
        )


def settle(
    plan: ColumnPlan, lanes: Lanes, converted: Converted, unfit: Sequence[tuple[Rows, str]]
) -> Settled:
    """Apply the policies of one column to one batch of it.

    Args:
        plan: the column, with its policies.
        lanes: its values in the source.
        converted: the column as converted without the values that do not fit.
        unfit: the rows of these, and what is wrong with them, continuing "the value ...".

    Raises:
        ForbiddenError: an anomaly is there whose policy is ``fail``.
    """
    found: list[tuple[str, Rows, str, Change | None]] = [
        ("unfit", rows, f"{reason}, but the type is {plan.type.sql}", None)
        for rows, reason in unfit
    ]
    found += [
        (anomaly, change.rows, _PROBLEM.get(anomaly, f"is changed by {anomaly}"), change)
        for change in converted.changes
        if (anomaly := _ANOMALY.get(change.rule, change.rule)) in POLICIES
    ]
    changes = [c for c in converted.changes if _ANOMALY.get(c.rule, c.rule) not in POLICIES]
    aside: list[SetAside] = []
    emptied: list[Rows] = []
    array = converted.array
    for anomaly, rows, problem, change in found:
        match plan.policy(anomaly):
            case "quarantine":
                aside.append(SetAside(anomaly, rows, f"the value {problem}"))
            case "fail":
                raise ForbiddenError(int(rows[0]), _forbidden(anomaly, f"the value {problem}"))
            case "null":
                before = rendered(lanes, rows) if change is None else change.before
                rule = anomaly if change is None else change.rule
                changes.append(Change(rule, rows, before, [None] * len(rows)))
                emptied.append(rows)
            case day if anomaly == "zero_date" and change is not None:
                rule, before = change.rule, change.before
                array = _with_day(array, rows, EPOCH if day == "epoch" else day)
                after = text_of(array.take(pa.array(rows))).to_pylist()
                changes.append(Change(rule, rows, before, after))
            case _:
                assert change is not None, "an unfit value is never kept"
                changes.append(change)
    empty = np.unique(np.concatenate(emptied)) if emptied else np.zeros(0, np.intp)
    if len(empty):
        mask = mask_of(empty, len(array))
        array = pc.if_else(pa.array(mask), pa.scalar(None, array.type), array)
        # Two rules may have changed one value; what came after both is NULL.
        changes = [_emptied(change, mask) for change in changes]
    aside += _missing(plan, array, aside)
    return Settled(array, tuple(changes), tuple(aside), empty)


def _with_day(array: pa.Array, rows: Rows, day: str) -> pa.Array:
    """A day in some rows of a column of dates, or its beginning in one of instants."""
    value = pa.scalar(date.fromisoformat(day)).cast(array.type)
    return pc.if_else(pa.array(mask_of(rows, len(array))), value, array)


def _missing(plan: ColumnPlan, array: pa.Array, aside: Sequence[SetAside]) -> list[SetAside]:
    """NULLs of the source in a column that the plan makes NOT NULL."""
    policy = plan.policy("null_in_not_null")
    if plan.nullable or not array.null_count or policy == "nullable":
        return []
    rows = where(array.is_null())
    # An unfit value is NULL here as well, but that it is missing is not what is wrong with it.
    for item in aside:
        rows = np.setdiff1d(rows, item.rows)
    if len(rows) == 0:
        return []
    problem = "NULL in a column declared NOT NULL"
    if policy == "fail":
        raise ForbiddenError(int(rows[0]), _forbidden("null_in_not_null", problem))
    return [SetAside("null_in_not_null", rows, problem)]


def _emptied(change: Change, mask: Mask) -> Change:
    gone = mask[change.rows]
    if not gone.any():
        return change
    after = [None if lost else text for lost, text in zip(gone, change.after, strict=True)]
    return replace(change, after=after)


def _forbidden(anomaly: str, problem: str) -> str:
    return f'{problem}, and the policy of {anomaly} is "fail"'
