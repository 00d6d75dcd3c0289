"""Result sets as Arrow columns, straight from the bytes of MySQL's text protocol.

A row is a packet: three bytes of length, one of sequence, then each value behind its own length
(MySQL Internals, "Text Resultset Row" and "Length-Encoded Integer"). Only the lengths of the
packets are walked one by one; the values of a column are found for all rows of a chunk at once, and
Arrow copies them. No Python object is made of a value.

PyMySQL makes the connection and reads what comes before the rows; the rows are read from its
buffered file. These are the only places where its private names are used beside ``connect``.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pymysql
from pymysql.constants import CR, ER
from pymysql.protocol import MysqlPacket

from migration_assets.sources.mysql.connect import Connection, rows, text

CHUNK_BYTES = 4 << 20
"""Bytes of one chunk of rows at most, unless one row is longer."""

_LARGEST_PACKET = 0xFFFFFF
"""A packet of this length goes on in the next."""
_NULL = 0xFB
_ERROR = 0xFF
_END = 0xFE
_HEADER = struct.Struct("<I")
_Offsets = npt.NDArray[np.int64]
_Bytes = npt.NDArray[np.uint8]


class ProtocolError(Exception):
    """The bytes are not those of the result set that was announced."""


def stream(
    connection: Connection, statement: str, most: int
) -> Generator[list[pa.Array], None, None]:
    """Run a query and yield its columns in chunks, as binary arrays, as they come.

    How many rows are in a chunk follows from the rows alone, not from the network. When the caller
    ends early the rest is thrown away, so that the connection can be used again.

    Args:
        connection: idle.
        statement: one that gives rows.
        most: rows of a chunk.

    Raises:
        pymysql.err.MySQLError: the server refuses the statement, or is lost.
    """
    connection.query(statement, unbuffered=True)
    result = connection._result
    assert result is not None
    fields = result.field_count
    reader = _Reader(connection)
    try:
        while (chunk := reader.chunk(most)) is not None:
            data, starts, ends = chunk
            if len(starts):
                yield _columns(data, starts, ends, fields)
    finally:
        with suppress(pymysql.err.MySQLError):
            while not reader.ended:
                reader.chunk(most)
        # It would read to the end of rows that are read already.
        result.unbuffered_active = False
        result.connection = None
    if reader.warnings:
        _raise_cut(connection)


class _Reader:
    """Cuts the stream into chunks of whole packets."""

    def __init__(self, connection: Connection) -> None:
        self.ended = False
        self.warnings = 0
        self._connection = connection
        self._file: Any = connection._rfile
        self._buffer = bytearray(CHUNK_BYTES)
        self._start = 0
        self._filled = 0

    def chunk(self, most: int) -> tuple[_Bytes, _Offsets, _Offsets] | None:
        """The next rows: bytes, and where each row's first value begins and its last ends.

        None after the last.
        """
        if self.ended:
            return None
        self._restart()
        starts: list[int] = []
        ends: list[int] = []
        unpack, buffer = _HEADER.unpack_from, self._buffer
        at = 0
        while True:
            while len(starts) < most and at + 4 <= self._filled:
                size = unpack(buffer, at)[0] & _LARGEST_PACKET
                end = at + 4 + size
                if end > self._filled or size == _LARGEST_PACKET:
                    break
                starts.append(at + 4)
                ends.append(end)
                at = end
            if starts and at == self._filled and self._is_last(starts[-1], at):
                starts.pop()
                ends.pop()
                self.ended = True
                break
            if len(starts) == most:
                break
            if at + 4 <= self._filled:
                size = unpack(buffer, at)[0] & _LARGEST_PACKET
                needed = at + 4 + size
                if starts and (needed > CHUNK_BYTES or size == _LARGEST_PACKET):
                    break
                if size == _LARGEST_PACKET:
                    return self._giant()
                if needed > len(buffer):
                    buffer = self._buffer = self._grown(needed)
            elif starts and at + 4 > CHUNK_BYTES:
                break
            self._read(self._filled + 1)
        self._start = at
        return np.frombuffer(buffer, np.uint8), np.array(starts, np.int64), np.array(ends, np.int64)

    def _restart(self) -> None:
        """Move what is left to the front of a buffer of the usual size."""
        rest = self._filled - self._start
        # A new one, for Arrow may still look at the one before; as large as what is left.
        buffer = bytearray(max(CHUNK_BYTES, rest + 4))
        buffer[:rest] = memoryview(self._buffer)[self._start : self._filled]
        self._buffer, self._start, self._filled = buffer, 0, rest

    def _grown(self, size: int) -> bytearray:
        buffer = bytearray(size)
        buffer[: self._filled] = memoryview(self._buffer)[: self._filled]
        return buffer

    def _read(self, least: int) -> None:
        """Read until the buffer holds ``least`` bytes; more if they are there."""
        while self._filled < least:
            try:
                # Not readinto1: with some bytes at hand it waits for more all the same.
                found = self._file.read1(len(self._buffer) - self._filled)
            except OSError as error:
                raise self._lost(str(error)) from error
            if not found:
                raise self._lost("the connection was closed")
            end = self._filled + len(found)
            self._buffer[self._filled : end] = found
            self._filled = end

    def _lost(self, reason: str) -> pymysql.err.OperationalError:
        self.ended = True
        self._connection._force_close()
        return pymysql.err.OperationalError(CR.CR_SERVER_LOST, reason)

    def _is_last(self, start: int, end: int) -> bool:
        """Whether the packet ends the rows; raises what the server says went wrong."""
        first, size = self._buffer[start], end - start
        if first == _ERROR:
            self.ended = True
            packet = MysqlPacket(bytes(self._buffer[start:end]), "utf8")
            packet.raise_for_error()
        if first != _END or size >= 9:
            return False
        self.warnings = int.from_bytes(self._buffer[start + 1 : start + 3], "little")
        return True

    def _giant(self) -> tuple[_Bytes, _Offsets, _Offsets]:
        """One row whose packet goes on in others."""
        parts: list[bytes] = []
        at = 0
        while True:
            self._want(at + 4)
            size = _HEADER.unpack_from(self._buffer, at)[0] & _LARGEST_PACKET
            self._want(at + 4 + size)
            parts.append(bytes(memoryview(self._buffer)[at + 4 : at + 4 + size]))
            self._start = at + 4 + size
            if size < _LARGEST_PACKET:
                break
            self._restart()
            at = 0
        row = b"".join(parts)
        return np.frombuffer(row, np.uint8), np.array([0], np.int64), np.array([len(row)], np.int64)

    def _want(self, size: int) -> None:
        if size > len(self._buffer):
            self._buffer = self._grown(size)
        self._read(size)


def _raise_cut(connection: Connection) -> None:
    """Raise if the server gave NULL for a value that is too long for its own functions."""
    for _, code, message in rows(connection, "SHOW WARNINGS"):
        if code == str(ER.WARN_ALLOWED_PACKET_OVERFLOWED).encode():
            raise pymysql.err.OperationalError(int(code), text(message))


def _columns(data: _Bytes, starts: _Offsets, ends: _Offsets, fields: int) -> list[pa.Array]:
    """The values of all rows, column by column."""
    count = len(starts)
    buffer = pa.py_buffer(data)
    wanted = pa.array(np.arange(0, 2 * count, 2, dtype=np.int32))
    found = []
    at = starts
    for _ in range(fields):
        if at.max() >= len(data):
            raise ProtocolError("a row is shorter than its columns")
        lead = data[at]
        begin = at + 1
        size = lead.astype(np.int64)
        null = None
        if (lead >= _NULL).any():
            null = lead == _NULL
            size[null] = 0
            _long(data, lead, begin, size)
        # Every second element is what lies between a value and that of the next row.
        offsets = np.empty(2 * count, np.int32)
        offsets[0::2] = begin
        at = begin + size
        offsets[1::2] = at
        both = pa.Array.from_buffers(
            pa.binary(), 2 * count - 1, [None, pa.py_buffer(offsets), buffer]
        )
        values = both.take(wanted)
        if null is not None and null.any():
            valid = pa.py_buffer(np.packbits(~null, bitorder="little"))
            values = pa.Array.from_buffers(pa.binary(), count, [valid, *values.buffers()[1:]])
        found.append(values)
    if not np.array_equal(at, ends):
        raise ProtocolError("a row has other values than its columns")
    return found


def _long(data: _Bytes, lead: _Bytes, begin: _Offsets, size: _Offsets) -> None:
    """Lengths that take more than one byte."""
    for mark, width in ((0xFC, 2), (0xFD, 3), (0xFE, 8)):
        here = np.flatnonzero(lead == mark)
        if len(here) == 0:
            continue
        places = begin[here]
        total = np.zeros(len(here), np.int64)
        for byte in range(width):
            total |= data[places + byte].astype(np.int64) << (8 * byte)
        size[here] = total
        begin[here] += width
