"""Geometries as PostGIS writes them, and as MySQL keeps them."""

from __future__ import annotations

WITH_SRID = 0x20000000
"""Flag of EWKB's type word: four bytes of SRID follow (PostGIS manual, "EWKB")."""
SRID = 4
HEAD = 5
"""Bytes of WKB before its content: the byte order and the type."""


def without_srid(value: bytes) -> bytes:
    """The way back of :func:`migration_assets.convert.octets.ewkb`, by the flag that it holds."""
    order = "little" if value[0] == 1 else "big"
    kind = int.from_bytes(value[1:HEAD], order)  # type: ignore[arg-type]
    if not kind & WITH_SRID:
        return bytes(SRID) + value
    srid = int.from_bytes(value[HEAD : HEAD + SRID], order)  # type: ignore[arg-type]
    plain = (kind ^ WITH_SRID).to_bytes(4, order)  # type: ignore[arg-type]
    return srid.to_bytes(SRID, "little") + value[:1] + plain + value[HEAD + SRID :]
