"""Arguments of expectations: the columns they name, and their numbers.

Nothing of the project is imported here, so that the child process stays small.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

COLUMN_ARGUMENTS = ("column", "column_A", "column_B")
COLUMN_LIST_ARGUMENTS = ("column_list", "column_set")
_CONDITION_COLUMN = re.compile(r"""col\((?P<mark>["'])(?P<name>.*?)(?P=mark)\)""")


def columns_named(kwargs: dict[str, Any]) -> Iterator[str]:
    """The columns that the arguments of an expectation name."""
    for argument in COLUMN_ARGUMENTS:
        if isinstance(kwargs.get(argument), str):
            yield kwargs[argument]
    for argument in COLUMN_LIST_ARGUMENTS:
        yield from kwargs.get(argument) or ()
    if isinstance(kwargs.get("row_condition"), str):
        for match in _CONDITION_COLUMN.finditer(kwargs["row_condition"]):
            yield match["name"]


def rename_columns(kwargs: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The arguments with each column called by its name in ``names``, others as they are."""
    renamed = dict(kwargs)
    for argument in COLUMN_ARGUMENTS:
        if isinstance(renamed.get(argument), str):
            renamed[argument] = names.get(renamed[argument], renamed[argument])
    for argument in COLUMN_LIST_ARGUMENTS:
        if renamed.get(argument):
            renamed[argument] = [names.get(name, name) for name in renamed[argument]]
    if isinstance(renamed.get("row_condition"), str):
        renamed["row_condition"] = _CONDITION_COLUMN.sub(
            lambda match: f'col("{names.get(match["name"], match["name"])}")',
            renamed["row_condition"],
        )
    return renamed


def exact_number(text: str) -> int | float:
    """A decimal as int if it is whole, else the nearest double; both sides are read by this."""
    number = Decimal(text)
    if number.is_finite() and number == number.to_integral_value():
        return int(number)
    return float(number)
