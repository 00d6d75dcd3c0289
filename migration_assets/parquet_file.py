"""A table's Parquet file as it is written: row groups that are its batches, and a digest."""

from __future__ import annotations

import hashlib
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from migration_assets.convert import parquet_schema
from migration_assets.core.plan import TablePlan


def parquet_writer(sink: Sink, plan: TablePlan) -> pq.ParquetWriter:
    """A writer whose row groups are the batches: what is read back streams in the same steps."""
    # Measured on 1 M rows of 12 columns, without dictionaries: lz4 0.35 s to write, 0.27 s to
    # read and 88 MB; zstd 1 0.62 s, 0.5 s and 62 MB. It is written once and read twice.
    return pq.ParquetWriter(
        pa.PythonFile(sink, mode="w"),
        parquet_schema(plan),
        compression="lz4",
        use_dictionary=False,
        write_statistics=False,
    )


class Sink:
    """A file on any file system that digests what is written to it.

    Attributes:
        bytes: written so far.
    """

    def __init__(self, filesystem: fs.FileSystem, path: str) -> None:
        self.bytes = 0
        self.closed = False
        self._filesystem = filesystem
        self._path = path
        self._stream = filesystem.open_output_stream(path)
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        """16 hex digits over all bytes so far."""
        return self._hash.hexdigest()[:16]

    def write(self, data: bytes) -> int:
        """Take in bytes (any buffer)."""
        self._stream.write(data)
        self._hash.update(data)
        size = len(data)
        self.bytes += size
        return size

    def tell(self) -> int:
        """Bytes written so far."""
        return self.bytes

    def flush(self) -> None:
        """Pass on what waits."""
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self.closed = True
            self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if kind is not None:
            self._filesystem.delete_file(self._path)
