"""Bit strings and geometries, which the source keeps as bytes of its own form."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa

from migration_assets.convert.column import (
    Converted,
    Lanes,
    UnfitError,
    converted_lanes,
    only,
    where,
)
from migration_assets.core.ewkb import HEAD, SRID, WITH_SRID
from migration_assets.core.profile import Lane
from migration_assets.core.types import PgType


def to_bits(lanes: Lanes, kind: PgType) -> Converted:
    """Big-endian bytes as the last ``n`` binary digits; raises UnfitError if any more is set."""
    return converted_lanes(lanes, kind, {Lane.BLOB: _digits})


def to_ewkb(lanes: Lanes, kind: PgType) -> Converted:
    """SRID and WKB as EWKB: the SRID inside, where there is one.

    Raises:
        UnfitError: for what is no WKB.
    """
    return converted_lanes(lanes, kind, {Lane.BLOB: _ewkb})


def _digits(lanes: Lanes, kind: PgType) -> Converted:
    (length,) = kind.args
    blobs = only(lanes)
    rows = blobs.drop_null()
    size = -(-length // 8)
    sizes = {len(value) for value in rows.to_pylist()}
    if sizes != {size}:
        raise UnfitError(where(blobs.is_valid()), f"has not the {size} bytes of {kind.sql}")
    start = np.frombuffer(rows.buffers()[1], np.int32)[rows.offset]
    octets = np.frombuffer(rows.buffers()[2], np.uint8, len(rows) * size, start)
    bits = np.unpackbits(octets.reshape(-1, size), axis=1)
    if bits[:, : size * 8 - length].any():
        raise UnfitError(where(blobs.is_valid()), f"has more bits than {kind.sql}")
    text = (bits[:, size * 8 - length :] + ord("0")).tobytes().decode()
    values = iter(text[at : at + length] for at in range(0, len(text), length))
    return Converted(
        pa.array([next(values) if valid else None for valid in blobs.is_valid().to_pylist()])
    )


def _ewkb(lanes: Lanes, kind: PgType) -> Converted:
    blobs = only(lanes)
    values = blobs.to_pylist()
    wrong = [
        row
        for row, value in enumerate(values)
        if value is not None and (len(value) < SRID + HEAD or value[SRID] > 1)
    ]
    if wrong:
        raise UnfitError(np.array(wrong, np.intp), "is no geometry in the form WKB")
    return Converted(pa.array([v if v is None else ewkb(v) for v in values], pa.binary()))


def ewkb(value: bytes) -> bytes:
    """One geometry with its SRID before it (four bytes, little-endian) as EWKB."""
    (srid,) = struct.unpack_from("<I", value)
    if srid == 0:
        return value[SRID:]
    order = "<" if value[SRID] == 1 else ">"
    (kind,) = struct.unpack_from(f"{order}I", value, SRID + 1)
    head = struct.pack(f"{order}II", kind | WITH_SRID, srid)
    return value[SRID : SRID + 1] + head + value[SRID + HEAD :]
