"""One point in time of a whole server, held still by transactions on several connections.

InnoDB gives every transaction its own view of the data from ``START TRANSACTION WITH CONSISTENT
SNAPSHOT`` on (MySQL manual, "Consistent Nonlocking Reads"). For several connections to see the
same, all of them begin while a global read lock lets nobody write; it is held for some
milliseconds. An account without that right (RELOAD) gets one connection, whose one transaction is
as consistent.
"""

from __future__ import annotations

import hashlib
import json
import queue
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pymysql
from pymysql.constants import ER

from migration_assets.errors import BrokenOffError, InputError, MigrationError
from migration_assets.sources.base import Snapshot
from migration_assets.sources.mysql import binary_log, written
from migration_assets.sources.mysql.address import Address
from migration_assets.sources.mysql.connect import (
    Connection,
    connect,
    is_denied,
    number,
    rows,
    text,
)

CONNECTIONS = 4
"""Of one snapshot: two that read a table, one that counts it meanwhile, one for all else."""
READERS = 2
LOCK_SECONDS = 5
"""How long others may be held up by our waiting for the lock; long queries are not waited for."""
SENT_AT_ONCE = 256 << 10
"""Bytes that the server is to send in one piece."""


@dataclass(frozen=True)
class Record:
    """What is kept of a snapshot in the run folder.

    Attributes:
        snapshot: its id and time.
        server: hash of the server's own identity and the database.
        position: GTID set or binary log position, None where there is no binary log.
        doubt: why the same position may not be the same content, None if it is.
    """

    snapshot: Snapshot
    server: str
    position: str | None
    doubt: str | None

    def write(self, path: Path) -> None:
        """Keep it as JSON."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read what :meth:`write` wrote; raises OSError."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        return cls(Snapshot.of(fields.pop("snapshot")), **fields)


class Connections:
    """The connections of one snapshot; each is used by one thread at a time."""

    def __init__(
        self,
        connections: list[Connection],
        address: Address,
        server: str,
        restless: frozenset[str],
        made: Mapping[str, str],
    ) -> None:
        self.restless = restless
        """Tables of an engine without transactions: they are not held still."""
        self._made = made
        self._address, self._server = address, server
        self._all = connections
        self._threads = [connection.thread_id() for connection in connections]
        self._large: set[int] = set()
        self._free: queue.LifoQueue[Connection] = queue.LifoQueue()
        self._taking = threading.Lock()
        for connection in connections:
            self._free.put(connection)

    @contextmanager
    def one(self) -> Iterator[Connection]:
        """A connection for the block; waits until one is free."""
        with self.several(1) as (connection,):
            yield connection

    @property
    def readers(self) -> int:
        """How many of them one table may be read by."""
        return READERS if len(self._all) > READERS else 1

    @contextmanager
    def several(self, count: int) -> Iterator[list[Connection]]:
        """Some connections for the block; nobody else gets any while it waits for all of them."""
        with self._taking:
            connections = [self._free.get() for _ in range(count)]
        try:
            yield connections
        finally:
            for connection in connections:
                try:
                    # Lets go of the tables: nobody who alters one waits for the snapshot to end.
                    with suppress(pymysql.err.MySQLError):
                        connection.query("ROLLBACK TO SAVEPOINT begun")
                finally:
                    self._free.put(connection)

    def check_name(self, connection: Connection, table: str) -> None:
        """Refuse what was read by a name that another table has taken since the snapshot.

        Names are no part of it, and holding them would keep others from every ALTER.

        Raises:
            BrokenOffError: it has.
        """
        if written.made_now(connection, table) != self._made.get(table):
            raise BrokenOffError(
                f'table "{table}": was renamed, altered or made anew while the snapshot was read; '
                "run it again"
            )

    def enlarge(self, connection: Connection) -> None:
        """Let the server send large results in large pieces, which is less work for both sides.

        It sends as much at once as it has once had to take, 16 KiB in the beginning; a session has
        no other way to ask for more (MySQL manual, ``net_buffer_length``).
        """
        if id(connection) not in self._large:
            self._large.add(id(connection))
            most = int(text(rows(connection, "SELECT @@max_allowed_packet")[0][0]))
            connection.query("DO 0".ljust(min(SENT_AT_ONCE, most // 2)))

    def close(self) -> None:
        """End the snapshot; who still asks by one of its connections gets an error."""
        idle = []
        with suppress(queue.Empty):
            while True:
                idle.append(self._free.get_nowait())
        for connection in idle:
            _close(connection)
        if len(idle) < len(self._all):
            self._end_statements()
        for connection in self._all:
            # Another thread that waits for an answer would not see that it is closed: it closes it
            # itself at this end. Not TLS's own one: it would take for rows what is encrypted.
            if (held := connection._sock) is not None:
                with suppress(OSError):
                    socket.socket.shutdown(held, socket.SHUT_RDWR)
        for connection in idle:
            self._free.put(connection)  # nobody waits for one for ever

    def _end_statements(self) -> None:
        """Let the server end what it still does for these connections: it would not notice."""
        with suppress(MigrationError, pymysql.err.MySQLError), closing(connect(self._address)) as c:
            # Behind a balancer it may be another one, whose threads are others.
            for thread in self._threads if server_of(c) == self._server else ():
                with suppress(pymysql.err.MySQLError):
                    c.query(f"KILL {thread}")


def take(address: Address) -> tuple[Connections, Record]:
    """Begin a snapshot.

    Raises:
        InputError: the server is not there or refuses the account.
        pymysql.err.MySQLError: it refuses what is asked of it.
    """
    connections = [connect(address)]
    notes: list[str] = []
    try:
        # First of all, so that what is written meanwhile moves a table after it.
        token, made = written.token(connections[0]), written.made(connections[0])
        with _locked(address, notes) as locked:
            if locked:
                connections += _more(address, notes)
            taken_at = datetime.now(UTC).isoformat(timespec="milliseconds")
            for connection in connections:
                # MariaDB lets go of a table before the end only where nothing would be logged.
                with suppress(pymysql.err.MySQLError):
                    connection.query("SET SESSION sql_log_bin = 0")
                connection.query("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                connection.query("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
                connection.query("SAVEPOINT begun")
            position = binary_log.position(connections[0], locked)
        server = server_of(connections[0])
        restless = _restless(connections[0])
        doubt: str | None = "it keeps no binary log that the account may see"
        if position:
            doubt = binary_log.blind_to(connections[0])
    except BaseException:
        for connection in connections:
            _close(connection)
        raise
    if restless:
        names = ", ".join(sorted(restless))
        notes.append(f"tables of an engine without transactions are not held still: {names}")
    # The same position of the same server is the same content, if its log tells of all changes.
    origin = f"{server} {taken_at} {uuid.uuid4()}" if doubt else f"{server} {position}"
    snapshot = Snapshot(
        id=hashlib.sha256(origin.encode()).hexdigest()[:16],
        taken_at=taken_at,
        bytes=None,
        source=address.location,
        position=position,
        notes=tuple(notes),
        token=token,
    )
    record = Record(snapshot, server, position, doubt)
    return Connections(connections, address, server, restless, made), record


@contextmanager
def _locked(address: Address, notes: list[str]) -> Iterator[bool]:
    """Let nobody write while the block runs, if that can be had; yields whether it can."""
    connection = connect(address)
    try:
        connection.query(f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}")
        try:
            connection.query("FLUSH TABLES WITH READ LOCK")
        except pymysql.err.MySQLError as error:
            if is_denied(error):
                why = "the account lacks the right RELOAD"
            elif number(error) == ER.LOCK_WAIT_TIMEOUT:
                why = f"a statement of somebody else's ran for more than {LOCK_SECONDS} s"
            else:
                raise
            notes.append(
                f"read over one connection: {why}, without which several can not begin at the "
                "same moment"
            )
            yield False
            return
        yield True
        connection.query("UNLOCK TABLES")
    finally:
        # The lock ends with its connection, whatever happened.
        _close(connection)


def _more(address: Address, notes: list[str]) -> list[Connection]:
    """The connections beside the first, if the account may have as many."""
    more: list[Connection] = []
    try:
        for _ in range(CONNECTIONS - 1):
            more.append(connect(address))
    except InputError as error:
        for connection in more:
            _close(connection)
        notes.append(f"read over one connection, since no more can be had: {error}")
        return []
    return more


def _restless(connection: Connection) -> frozenset[str]:
    """The tables whose engine knows no transactions."""
    found = rows(
        connection,
        "SELECT t.TABLE_NAME FROM information_schema.TABLES AS t"
        " JOIN information_schema.ENGINES AS e ON e.ENGINE = t.ENGINE"
        " WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_TYPE <> 'VIEW'"
        " AND COALESCE(e.TRANSACTIONS, 'NO') <> 'YES'",
    )
    return frozenset(text(name) for (name,) in found)


def server_of(connection: Connection) -> str:
    """A hash that tells this server and database from others."""
    identity = "@@hostname, @@port, @@datadir, DATABASE()"
    try:
        row = rows(connection, f"SELECT @@server_uuid, {identity}")[0]
    except pymysql.err.MySQLError:
        row = rows(connection, f"SELECT @@server_id, {identity}")[0]
    return hashlib.sha256("\0".join(map(text, row)).encode()).hexdigest()[:16]


def _close(connection: Connection) -> None:
    with suppress(pymysql.err.MySQLError, OSError):
        connection.close()
