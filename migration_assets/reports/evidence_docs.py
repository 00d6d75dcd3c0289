"""Documentation of ``evidence.json``, generated from the records that make it.

``python -m migration_assets.reports.evidence_docs docs`` writes ``evidence.md`` and
``evidence.schema.json`` into ``docs``.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from migration_assets.core.evidence import EVIDENCE_VERSION, Evidence, json_schema

_INTRODUCTION = f"""\
# evidence.json

Every run leaves `evidence.json` in its folder: what was read, what was written, how each table was
proven, what was changed on purpose, what does not come along, and the verdict. `report.html` beside
it shows the same facts to people.

- `evidence_version` is {EVIDENCE_VERSION}. Within a version fields are only added: ignore those
  you do not know.
- Times of day are ISO 8601 in UTC, durations are wall seconds, sizes are bytes.
- No credentials are in it. Keys and values of differing rows are: the file is readable by its owner
  only.
- [`evidence.schema.json`](evidence.schema.json) is its JSON schema.
- The run is `proven` only if every planned table was extracted with the source's own counts and
  sums, loaded, found identical in every cell, and met its expectations; if every key, index and
  constraint was made and is as planned; if no more rows than `max_quarantined` are in quarantine;
  if the schema went live; and if the application's own checks passed on it. Entries in the ledger
  and objects that do not come along leave it proven: they are listed.

This page is generated from the records in `migration_assets/core/evidence*.py` by
`python -m migration_assets.reports.evidence_docs docs`.
"""

_PLAIN: dict[Any, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
}


def markdown() -> str:
    """The page: one table per record, in order of first use."""
    parts = [_INTRODUCTION]
    for record in _records(Evidence):
        heading = "The file" if record is Evidence else _title(record)
        lines = [f"## {heading}", "", (record.__doc__ or "").strip().splitlines()[0], ""]
        lines += ["| field | type | meaning |", "|---|---|---|"]
        for name, field in record.model_fields.items():
            meaning = (field.description or "").replace("|", "\\|")
            lines.append(f"| `{field.alias or name}` | {_type(field.annotation)} | {meaning} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def main() -> None:
    """Write both files into the folder given as the only argument."""
    folder = Path(sys.argv[1])
    (folder / "evidence.md").write_text(markdown(), encoding="utf-8")
    (folder / "evidence.schema.json").write_text(json_schema(), encoding="utf-8")


def _records(root: type[BaseModel]) -> list[type[BaseModel]]:
    found = [root]
    for record in found:
        for field in record.model_fields.values():
            found += [inner for inner in _inner(field) if inner not in found]
    return found


def _inner(field: FieldInfo) -> Iterator[type[BaseModel]]:
    waiting = [field.annotation]
    while waiting:
        annotation = waiting.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        waiting += typing.get_args(annotation)


def _type(annotation: Any) -> str:
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    arguments = typing.get_args(annotation)
    if NoneType in arguments:
        return f"{_type(next(a for a in arguments if a is not NoneType))} or null"
    origin = typing.get_origin(annotation)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"object of {_type(arguments[1])}"
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return " or ".join(f"`{value}`" for value in annotation)
    title = _title(annotation)
    return f"[{title}](#{title.lower().replace(' ', '-')})"


def _title(record: type[BaseModel]) -> str:
    """``TableEvidence`` is called Table, ``LedgerRule`` Ledger rule."""
    name = record.__name__.removesuffix("Evidence")
    return "".join(f" {c.lower()}" if c.isupper() and i else c for i, c in enumerate(name))


if __name__ == "__main__":
    main()
