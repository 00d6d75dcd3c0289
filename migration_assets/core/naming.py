"""Names: slugs for keys and files, identifiers that fit PostgreSQL."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable

MAX_IDENTIFIER_BYTES = 63
"""PostgreSQL's NAMEDATALEN - 1 (PostgreSQL manual, "Identifiers and Key Words")."""


def quote(identifier: str) -> str:
    """Quote one identifier for PostgreSQL SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def slugs(names: Iterable[str]) -> dict[str, str]:
    """Give each name a unique slug of ``[A-Za-z0-9_]``, the same for the same set of names.

    Slugs that meet (also when only their case differs, since they become file names) get a hash
    of the true name.

    >>> slugs(["users", "order items", "order-items"])
    {'users': 'users', 'order items': 'order_items_0df27d', 'order-items': 'order_items_cbc9d4'}
    """
    plain = {name: re.sub(r"[^A-Za-z0-9_]", "_", name) or "_" for name in names}
    folded = [slug.lower() for slug in plain.values()]
    return {
        name: slug
        if folded.count(slug.lower()) == 1 and len(slug) <= 80
        else f"{slug[:80]}_{_hash(name)}"
        for name, slug in plain.items()
    }


def shorten(name: str) -> str:
    """Cut a generated name to 63 bytes, with a hash of the whole when anything is lost."""
    if len(name.encode()) <= MAX_IDENTIFIER_BYTES:
        return name
    head = name.encode()[: MAX_IDENTIFIER_BYTES - 7].decode(errors="ignore")
    return f"{head}_{_hash(name)}"


def truncated(name: str) -> str:
    """The identifier as PostgreSQL would cut it: the first 63 bytes, whole characters."""
    return name.encode()[:MAX_IDENTIFIER_BYTES].decode(errors="ignore")


def snake_case(name: str) -> str:
    """The name in lower case, its words with ``_`` between them.

    >>> [snake_case(name) for name in ("OrderItems", "HTTPServer", "order items", "Line2Id")]
    ['order_items', 'http_server', 'order_items', 'line2_id']
    """
    words = re.sub(r"(?<=[^\W_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[\W_]+", "_", words).strip("_").lower() or "_"


def styled(style: str) -> Callable[[str], str]:
    """How a name of the source is written in PostgreSQL under ``naming:``."""
    return snake_case if style == "snake_case" else str


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:6]
