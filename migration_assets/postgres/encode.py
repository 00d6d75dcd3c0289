"""Arrow batches -> the bytes of ``COPY ... (FORMAT binary)``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pgpq
import pgpq.encoders
import pgpq.schema
import pyarrow as pa

from migration_assets.core.plan import ColumnPlan
from migration_assets.core.types import Encoding, PgType
from migration_assets.postgres import wire


class CopyEncoder:
    """Encodes the batches of one table, in order, into one COPY stream.

    Args:
        columns: the stored columns in the order of the COPY statement; each batch must have
            exactly their Arrow types, since a narrower or wider value would be misread.
    """

    def __init__(self, columns: Sequence[ColumnPlan]) -> None:
        self._columns = tuple(columns)
        self._types = [column.type.arrow for column in columns]
        # Numbered fields: two target names may differ in nothing that the encoder's map keeps.
        fields = [pa.field(f"c{i}", _sent_type(column.type)) for i, column in enumerate(columns)]
        self._schema = pa.schema(fields)
        self._encoder = pgpq.ArrowToPostgresBinaryEncoder.new_with_encoders(
            self._schema,
            {f.name: _builder(c.type, f) for c, f in zip(columns, fields, strict=True)},
        )

    def header(self) -> bytes:
        """The bytes before the first batch."""
        return bytes(self._encoder.write_header())

    def encode(self, batch: pa.RecordBatch) -> bytes:
        """The bytes of one batch; may be empty, as the encoder keeps small batches back.

        Raises:
            ValueError: the batch does not fit the plan, or a value can not be sent; the column
                is named.
        """
        arrays = []
        for column, wanted, array in zip(self._columns, self._types, batch.columns, strict=True):
            if array.type != wanted:
                raise ValueError(
                    f'column "{column.name}": Parquet holds {array.type}, the plan {wanted}'
                )
            if column.type.encoding is Encoding.WIRE:
                try:
                    array = _wire(column.type)(array)
                except ValueError as error:
                    raise ValueError(f'column "{column.name}": {error}') from error
            arrays.append(array)
        return bytes(
            self._encoder.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        )

    def finish(self) -> bytes:
        """The bytes kept back and the end of the stream."""
        return bytes(self._encoder.finish())


def _sent_type(type_: PgType) -> pa.DataType:
    return pa.binary() if type_.encoding is Encoding.WIRE else type_.arrow


def _builder(type_: PgType, field: pa.Field) -> Any:
    if type_.encoding is Encoding.JSONB:
        return pgpq.encoders.StringEncoderBuilder.new_with_output(field, pgpq.schema.Jsonb())
    return pgpq.ArrowToPostgresBinaryEncoder.infer_encoder(field)


def _wire(type_: PgType) -> Callable[[pa.Array], pa.Array]:
    if type_.name == "numeric":
        return wire.numeric
    if type_.name == "bit":
        return wire.bits
    raise ValueError(f"no wire encoding of {type_.sql}")
