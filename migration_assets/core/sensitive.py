"""Columns whose values are never shown, and what is shown in their place.

Only files that hold rows (extract, ledger, quarantine, backups) have the values; what people and
machines read about a run has :data:`MASK` instead.
"""

from __future__ import annotations

import json
import re
import traceback
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from migration_assets.core.catalog import Catalog, Table
from migration_assets.core.plan import Plan, TablePlan
from migration_assets.core.profile import ColumnProfile, Profile
from migration_assets.core.results import ColumnFacts
from migration_assets.errors import InputError, MigrationError

MASK = "***"
ALL = "*"
"""Stands for all columns of a table in ``defs.yaml``."""

Columns = frozenset[tuple[str, str]]
"""(table, column) by source names."""

_LIKELY = re.compile(
    r"(?:^|_)(?:e_?mail|phone|mobile|fax|password|passwd|pwd|secret|token|api_?key|ssn|iban|bic|"
    r"card_?(?:number|no)|cvv|cvc|tax_?(?:id|number)|passport|salary|birth_?(?:day|date)|born|dob|"
    r"date_of_birth|address|street|first_?name|last_?name|surname|full_?name|ip_?address|"
    r"license_?plate|diagnosis)(?:_|$)"
)
"""Words of names, in snake case, behind which there often is a person or a secret."""

_NAMED = 8
"""Columns that an advice names."""

_QUOTED = re.compile(r'"[^"]*"|\'[^\']*\'')
_KEY = re.compile(r"Key \((?P<columns>.*?)\)=\(.*\)", re.DOTALL)


def columns_of(catalog: Catalog, sensitive: Mapping[str, Collection[str]]) -> Columns:
    """The columns that ``defs.yaml`` means, and those tied to them by foreign keys.

    Args:
        catalog: what the source declares.
        sensitive: source table -> its columns, ``*`` for all.

    Raises:
        InputError: a table or column is not there.
    """
    if not sensitive:
        return frozenset()
    tables = {table.name: table for table in catalog.tables}
    found: set[tuple[str, str]] = set()
    for name, columns in sensitive.items():
        if name not in tables:
            raise InputError(
                f'defs.yaml, key "sensitive": there is no table "{name}" in the source; names are '
                "the source's, case included"
            )
        known = [column.name for column in tables[name].columns]
        for column in columns:
            if column != ALL and column not in known:
                raise InputError(
                    f'defs.yaml, key "sensitive.{name}": there is no column "{column}"; it has '
                    f"{', '.join(known)}"
                )
            found |= {(name, each) for each in (known if column == ALL else [column])}
    pairs = [
        ((table.name, child), (key.ref_table, parent))
        for table in catalog.tables
        for key in table.foreign_keys
        for child, parent in zip(key.columns, key.ref_columns, strict=False)
    ]
    size = -1
    while found and len(found) > size:
        size = len(found)
        for pair in pairs:
            if found.intersection(pair):
                found.update(pair)
    return frozenset(found)


def likely(tables: Iterable[Table], known: Columns) -> list[tuple[str, str]]:
    """Columns (by source names) that look sensitive by name and are not ``known`` to be."""
    return [
        (table.name, column.name)
        for table in tables
        for column in table.columns
        if (table.name, column.name) not in known
        and _LIKELY.search(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column.name).lower())
    ]


def advice(found: Sequence[tuple[str, str]]) -> str:
    """One line that names columns which look sensitive."""
    shown = ", ".join(f"{table}.{column}" for table, column in found[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return (
        f"{shown}{more} may be sensitive by name: values of columns under sensitive: in defs.yaml "
        "are shown nowhere"
    )


def marked(plan: Plan, known: Columns) -> Plan:
    """The plan with these columns marked."""
    if not known:
        return plan
    tables = tuple(
        replace(table, sensitive=tuple(sorted(name for of, name in known if of == table.source)))
        for table in plan.tables
    )
    return replace(plan, tables=tables)


def names(table: TablePlan) -> frozenset[str]:
    """Target names of the table's sensitive columns."""
    return frozenset(c.name for c in table.columns if c.source in table.sensitive)


def shown_key(table: TablePlan, key: str) -> str:
    """A row's key, a JSON array as the ledger has it, without sensitive values."""
    hidden = names(table)
    if not hidden.intersection(table.key):
        return key
    values = json.loads(key)
    shown = [
        MASK if name in hidden else value for name, value in zip(table.key, values, strict=True)
    ]
    return json.dumps(shown, ensure_ascii=False)


def shown_values(hidden: Collection[str], columns: Sequence[str], values: Sequence[object]) -> str:
    """Some of a row's values for people: ``id = 5, email = ***``."""
    pairs = zip(columns, values, strict=False)
    return ", ".join(f"{name} = {MASK if name in hidden else value}" for name, value in pairs)


def shown_entry(
    entry: Mapping[str, str | None], tables: Mapping[str, TablePlan]
) -> dict[str, str | None]:
    """An entry of ledger or quarantine for people.

    Args:
        entry: by the columns of its Parquet file.
        tables: source name -> plan.
    """
    table = tables.get(entry["table"] or "")
    if table is None or not table.sensitive:
        return dict(entry)
    shown = {**entry, "key": shown_key(table, entry["key"] or "[]")}
    if entry.get("column") in table.sensitive:
        shown |= {name: MASK for name in ("before", "after") if entry[name] is not None}
    if entry.get("values") is not None:
        row = json.loads(entry["values"] or "{}")
        masked = {k: MASK if k in table.sensitive and v is not None else v for k, v in row.items()}
        shown["values"] = json.dumps(masked, ensure_ascii=False)
    return shown


def without_values(text: str) -> str:
    """A database's message without what it quotes, which may be a value."""
    return _QUOTED.sub(f'"{MASK}"', text)


def shown_detail(detail: str | None, hidden: Collection[str]) -> str | None:
    """PostgreSQL's DETAIL of a table with ``hidden`` columns: a key's values are taken out.

    Any other detail is left out: it has a whole row, or a part of a document.
    """
    if detail is None or not hidden:
        return detail
    found = _KEY.search(detail)
    if found is None:
        return None
    if not any(name in found["columns"] for name in hidden):
        return detail
    return f"Key ({found['columns']})=({MASK}){detail[found.end() :]}"


def shown_error(error: BaseException, hidden: bool) -> str:
    """An error in one line; of one that is none of ours, with ``hidden``, only where it arose."""
    text = " ".join(str(error).split())
    if isinstance(error, MigrationError):
        return text
    if type(error).__name__ in {"DagsterExecutionInterruptedError", "KeyboardInterrupt"}:
        return "interrupted"
    if hidden and isinstance(error, ExceptionGroup):
        return error.message  # of together()
    if hidden:
        frames = traceback.extract_tb(error.__traceback__)
        place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        return f"{type(error).__name__}{place}; its message may have sensitive values"
    return f"{type(error).__name__}: {text}"


def shown_facts(table: TablePlan, facts: Mapping[str, ColumnFacts]) -> dict[str, ColumnFacts]:
    """Facts by target column; of sensitive ones without those that are values, or sums of them."""
    hidden = names(table)
    return {
        name: replace(each, sum_low=None, sum_high=None, minimum=None, maximum=None)
        if name in hidden
        else each
        for name, each in facts.items()
    }


def shown_profile(profile: Profile, known: Columns) -> Profile:
    """A profile that leads to the same plan, without values of these columns."""
    tables = {
        table: replace(
            facts,
            columns={
                name: _shown_column(column) if (table, name) in known else column
                for name, column in facts.columns.items()
            },
        )
        for table, facts in profile.tables.items()
    }
    return Profile(tables)


def _shown_column(facts: ColumnProfile) -> ColumnProfile:
    return replace(
        facts,
        int_min=_rough(facts.int_min),
        int_max=_rough(facts.int_max),
        real_min=None,
        real_max=None,
        example=None,
    )


def _rough(value: int | None) -> int | None:
    """The end of the span that a number is in: the same type holds it.

    >>> _rough(4_111), _rough(-70_000), _rough(1), _rough(None)
    (9999, -99999, 1, None)
    """
    if value is None or abs(value) <= 1:
        return value
    sign = 1 if value > 0 else -1
    place = bisect_right(_SPANS, abs(value))
    return sign * (_SPANS[place] - 1 if place < len(_SPANS) else abs(value))


_SPANS = sorted(
    {10**digits for digits in range(1, 20)}
    | {2**bits for bits in (1, 7, 8, 15, 16, 24, 31, 32, 53, 63)}
    | {2**bits + 1 for bits in (7, 15, 31, 53, 63)}
    | {2**53 + 2}
)
"""Where types, digits and units of time begin; a span is from one to the next."""
