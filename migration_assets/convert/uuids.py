"""UUIDs from canonical text or from 16 bytes."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.convert.column import (
    Converted,
    Lanes,
    UnfitError,
    converted_lanes,
    only,
    require,
    where,
    with_validity,
)
from migration_assets.convert.forms import parse_uuid
from migration_assets.core.profile import Lane
from migration_assets.core.types import PgType


def from_text(lanes: Lanes, kind: PgType) -> Converted:
    """UUIDs in canonical lower-case text; raises UnfitError for all else."""
    return converted_lanes(lanes, kind, {Lane.TEXT: _text_uuid})


def from_bytes(lanes: Lanes, kind: PgType) -> Converted:
    """Blobs of 16 bytes; raises UnfitError for all else."""
    return converted_lanes(lanes, kind, {Lane.BLOB: _blob_uuid})


def _text_uuid(lanes: Lanes, kind: PgType) -> Converted:
    texts = only(lanes)
    values, ok = parse_uuid(texts)
    if int(ok.sum()) != len(texts) - texts.null_count:
        bad = pc.and_(texts.is_valid(), pc.invert(pa.array(ok)))
        raise UnfitError(where(bad), "is not a UUID in canonical lower case")
    return Converted(with_validity(values, texts, kind.arrow))


def _blob_uuid(lanes: Lanes, kind: PgType) -> Converted:
    blobs = only(lanes)
    require(pc.equal(pc.binary_length(blobs), 16), "has not the 16 bytes of a UUID")
    return Converted(blobs.cast(kind.arrow))
