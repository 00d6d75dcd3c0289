"""Result sets as Arrow columns, straight from the bytes of MySQL's binary protocol.

A row is a packet: three bytes of length, one of sequence, a zero byte, a bitmap of NULLs, then each
value: numbers in their own width, all else behind its length (MySQL source documentation, "Binary
Protocol Resultset Row"). Only the lengths of the packets are walked one by one; the values of a
column are found for all rows of a chunk at once, and Arrow copies them. No Python object is made of
a value, no number becomes a text on its way: for a DOUBLE that is a third of the server's work.

PyMySQL makes the connection and reads what comes before the rows; the rows are read from its
socket, by private names of it.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pymysql
from pymysql.constants import COMMAND, CR, ER, FIELD_TYPE, FLAG
from pymysql.protocol import MysqlPacket

from migration_assets.errors import InputError
from migration_assets.sources.mysql.connect import Connection, rows, text

CHUNK_BYTES = 4 << 20
"""Bytes of one chunk of rows at most, unless one row is longer."""

_LARGEST_PACKET = 0xFFFFFF
"""A packet of this length goes on in the next."""
_LARGEST_ROW = 2**31 - 1
_SHORT = 0xFA
"""The longest length that is its own byte."""
_ERROR = 0xFF
_END = 0xFE
_HEADER = struct.Struct("<I")
_NUMBERS: dict[int, tuple[str, str]] = {
    FIELD_TYPE.TINY: ("<i1", "<u1"),
    FIELD_TYPE.SHORT: ("<i2", "<u2"),
    FIELD_TYPE.YEAR: ("<i2", "<u2"),
    FIELD_TYPE.INT24: ("<i4", "<u4"),
    FIELD_TYPE.LONG: ("<i4", "<u4"),
    FIELD_TYPE.LONGLONG: ("<i8", "<u8"),
    FIELD_TYPE.FLOAT: ("<f4", "<f4"),
    FIELD_TYPE.DOUBLE: ("<f8", "<f8"),
}
"""Of fields with a sign, and without."""
_TIMES = frozenset({FIELD_TYPE.DATE, FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP, FIELD_TYPE.TIME})
_Offsets: TypeAlias = npt.NDArray[np.int64]
_Bytes: TypeAlias = npt.NDArray[np.uint8]
_Bools: TypeAlias = npt.NDArray[np.bool_]
Kind: TypeAlias = np.dtype[Any] | None
"""Of a number; None for what comes as bytes behind their length."""


class ProtocolError(Exception):
    """The bytes are not those of the result set that was announced."""


def stream(
    connection: Connection, statement: str, most: int
) -> Generator[list[pa.Array], None, None]:
    """Run a query and yield its columns in chunks as they come.

    Numbers are int64, uint64 or float64, all else is binary. How many rows are in a chunk follows
    from the rows alone, not from the network. When the caller ends early the rest is thrown away,
    so that the connection can be used again.

    Args:
        connection: idle.
        statement: one that gives rows; dates and times are to be cast to CHAR.
        most: rows of a chunk.

    Raises:
        pymysql.err.MySQLError: the server refuses the statement, or is lost.
    """
    with _executed(connection, statement) as result:
        reader = _Reader(connection)
        try:
            kinds = [_kind(field) for field in result.fields]
            while (chunk := reader.chunk(most)) is not None:
                data, starts, ends = chunk
                if len(starts):
                    yield _columns(data, starts, ends, kinds)
        finally:
            with suppress(pymysql.err.MySQLError):
                while not reader.ended:
                    reader.chunk(most)
            # It would read to the end of rows that are read already.
            result.unbuffered_active = False
            result.connection = None
        if reader.warnings:
            _raise_cut(connection)


@contextmanager
def _executed(connection: Connection, statement: str) -> Iterator[Any]:
    """The result of a prepared statement, of which no row was read yet."""
    connection._execute_command(COMMAND.COM_STMT_PREPARE, statement)
    prepared = connection._read_packet()
    number, fields = struct.unpack_from("<IH", prepared.get_all_data(), 1)
    for _ in range(fields + 1 if fields else 0):  # their end is a packet too
        connection._read_packet()
    try:
        connection._execute_command(COMMAND.COM_STMT_EXECUTE, struct.pack("<IBI", number, 0, 1))
        connection._read_query_result(unbuffered=True)
        yield connection._result
    finally:
        with suppress(pymysql.err.MySQLError):
            connection._execute_command(COMMAND.COM_STMT_CLOSE, struct.pack("<I", number))


def _kind(field: Any) -> Kind:
    if field.type_code in _TIMES:
        raise ProtocolError(f"column {field.name} is a date or time, which has to be cast to CHAR")
    if field.type_code not in _NUMBERS:
        return None
    return np.dtype(_NUMBERS[field.type_code][bool(field.flags & FLAG.UNSIGNED)])


class _Reader:
    """Cuts the stream into chunks of whole packets."""

    def __init__(self, connection: Connection) -> None:
        self.ended = False
        self.warnings = 0
        self._connection = connection
        self._socket: Any = connection._sock
        self._first: Any = connection._rfile
        self._buffer = bytearray(CHUNK_BYTES)
        self._start = 0
        self._filled = 0

    def chunk(self, most: int) -> tuple[_Bytes, _Offsets, _Offsets] | None:
        """The next rows: bytes, and where each row begins and ends.

        None after the last.
        """
        if self.ended:
            return None
        self._restart()
        ends: list[int] = []
        add, unpack, buffer = ends.append, _HEADER.unpack_from, self._buffer
        at = 0
        while True:
            filled = self._filled
            for _ in range(most - len(ends)):
                if at + 4 > filled:
                    break
                size = unpack(buffer, at)[0] & _LARGEST_PACKET
                end = at + 4 + size
                if end > filled or size == _LARGEST_PACKET:
                    break
                add(end)
                at = end
            if ends and at == filled and self._is_last((ends[-2] if ends[1:] else 0) + 4, at):
                ends.pop()
                self.ended = True
                break
            if len(ends) == most:
                break
            if at + 4 <= filled:
                size = unpack(buffer, at)[0] & _LARGEST_PACKET
                needed = at + 4 + size
                if ends and (needed > CHUNK_BYTES or size == _LARGEST_PACKET):
                    break
                if size == _LARGEST_PACKET:
                    return self._giant()
                if needed > len(buffer):
                    buffer = self._buffer = self._grown(needed)
            elif ends and at + 4 > CHUNK_BYTES:
                break
            self._read(filled + 1)
        self._start = at
        last = np.array(ends, np.int64)
        first = np.empty_like(last)
        if len(first):
            first[0], first[1:] = 4, last[:-1] + 4
        return np.frombuffer(buffer, np.uint8), first, last

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
                found = self._received()
            except OSError as error:
                raise self._lost(str(error)) from error
            if not found:
                raise self._lost("the connection was closed")
            self._filled += found

    def _received(self) -> int:
        """Put in what there is; waits for the first of it."""
        with memoryview(self._buffer) as whole, whole[self._filled :] as room:
            if self._first is None:
                return int(self._socket.recv_into(room))
            # What PyMySQL has read already, all of it.
            begin, self._first = self._first.read1(len(room)), None
            room[: len(begin)] = begin
            return len(begin)

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
        if len(row) > _LARGEST_ROW:
            raise InputError("a row of more than 2 GiB can not be read; leave a column out")
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


def _columns(
    data: _Bytes, starts: _Offsets, ends: _Offsets, kinds: Sequence[Kind]
) -> list[pa.Array]:
    """The values of all rows, column by column."""
    buffer = pa.py_buffer(data)
    at = starts + 1 + (len(kinds) + 9) // 8
    if at[0] > ends[0]:
        raise ProtocolError("a row is shorter than its columns")
    found = []
    for position, kind in enumerate(kinds):
        # The first two bits mean something only in another direction.
        byte, bit = divmod(position + 2, 8)
        marks: _Bytes = data[starts + (1 + byte)] & np.uint8(1 << bit)
        null = marks != 0 if marks.any() else None
        if kind is None:
            values, at = _octets(data, buffer, at, null)
        else:
            values, at = _numbers(data, at, null, kind)
        found.append(values)
        if at[-1] > ends[-1]:
            raise ProtocolError("a row is shorter than its columns")
    if not np.array_equal(at, ends):
        raise ProtocolError("a row has other values than its columns")
    return found


def _numbers(
    data: _Bytes, at: _Offsets, null: _Bools | None, kind: np.dtype[Any]
) -> tuple[pa.Array, _Offsets]:
    """Numbers in their own width, and where the next value of each row begins."""
    width = kind.itemsize
    if null is None:
        places, after = at, at + width
    else:
        places, after = np.where(null, 0, at), at + np.where(null, 0, width)
    if int(places.max()) + width > len(data):
        raise ProtocolError("a row is shorter than its columns")
    # A number at each byte, of which those are taken that are some.
    every = np.ndarray(len(data) - width + 1, kind, data, strides=(1,))
    wide = {"i": np.int64, "u": np.uint64 if width == 8 else np.int64, "f": np.float64}[kind.kind]
    values = every[places].astype(wide)
    if null is None:
        return pa.array(values), after
    values[null] = 0
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(wide), len(at), [_valid(null), pa.py_buffer(values)]
    ), after


def _octets(
    data: _Bytes, buffer: pa.Buffer, at: _Offsets, null: _Bools | None
) -> tuple[pa.Array, _Offsets]:
    """Bytes behind their length, and where the next value of each row begins."""
    count = len(at)
    # A NULL has no length, and may be the last of all.
    lead = data[at if null is None else np.where(null, 0, at)]
    begin, size = at + 1, lead.astype(np.int64)
    if null is not None:
        begin -= null
        size[null] = lead[null] = 0
    if (lead > _SHORT).any():
        _long(data, lead, begin, size)
    after = begin + size
    # Every second element is what lies between a value and that of the next row.
    offsets = np.empty(2 * count, np.int32)
    offsets[0::2], offsets[1::2] = begin, after
    both = pa.Array.from_buffers(pa.binary(), 2 * count - 1, [None, pa.py_buffer(offsets), buffer])
    values = both.take(pa.array(np.arange(0, 2 * count, 2, dtype=np.int32)))
    if null is not None:
        values = pa.Array.from_buffers(pa.binary(), count, [_valid(null), *values.buffers()[1:]])
    return values, after


def _valid(null: _Bools) -> pa.Buffer:
    return pa.py_buffer(np.packbits(~null, bitorder="little"))


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
