"""What the parts of the configuration share: a strict record, and the kinds of text in it."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict

from migration_assets.core.naming import MAX_IDENTIFIER_BYTES
from migration_assets.core.types import parse_type


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f'"{name}" is no time zone; write a name such as Europe/Berlin or UTC'
        ) from None
    return name


def _type(text: str) -> str:
    return parse_type(text).sql


def _identifier(name: str) -> str:
    if not name or "\0" in name:
        raise ValueError("a name must have at least one character, and no NUL")
    if len(name.encode()) > MAX_IDENTIFIER_BYTES:
        raise ValueError(f'"{name}" is longer than the {MAX_IDENTIFIER_BYTES} bytes of a name')
    return name


ZoneName = Annotated[str, AfterValidator(_zone)]
TypeText = Annotated[str, AfterValidator(_type)]
"""A PostgreSQL type as ``core.types.PgType.sql`` writes it."""
Identifier = Annotated[str, AfterValidator(_identifier)]


class StrictModel(BaseModel):
    """A record whose unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")
