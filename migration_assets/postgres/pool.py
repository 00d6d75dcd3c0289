"""Connections of a run that are used again, at most so many at once.

SQLAlchemy's queue lends them. One is looked at before it is lent again, so that a server that was
restarted between two pieces of work does no harm, and is as new when it comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg2
from psycopg2.extensions import connection as Connection
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.exc import TimeoutError as NoneFreeError
from sqlalchemy.pool import QueuePool

from migration_assets.errors import BrokenOffError

BESIDE = 3
"""Connections of a run that are none of the pool's: two read back, one asks expectations."""
WAIT_SECONDS = 600.0
"""A piece of work waits for so long for a connection that another one has."""

FORGET = """
UNLISTEN *; CLOSE ALL; DEALLOCATE ALL; SELECT pg_advisory_unlock_all(); DISCARD TEMP;
DISCARD SEQUENCES; RESET ALL; RESET ROLE;
"""
"""``DISCARD ALL`` but for what it may not do in one round trip, and for plans, which stay."""


class Pool:
    """Lends connections to the threads of one process.

    Args:
        connect: opens one.
        most: connections that a run may have at once, those beside the pool included.
        settings: SQL that makes a session what it is when it begins.
    """

    def __init__(self, connect: Callable[[], Connection], most: int, settings: str) -> None:
        self._forget = FORGET + settings
        self._queue = QueuePool(
            cast(Callable[[], Any], connect),
            pool_size=most - BESIDE,
            max_overflow=0,
            timeout=WAIT_SECONDS,
            reset_on_return=None,
        )
        event.listen(self._queue, "checkout", _look)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend one; it is closed if the block raises, whatever it had begun is rolled back.

        Raises:
            BrokenOffError: all of them have been in use for too long.
            InputError: there is none yet, and none can be opened.
        """
        try:
            lent = self._queue.connect()
        except NoneFreeError:
            raise BrokenOffError(
                f"all {self._queue.size()} connections of the pool have been in use for "
                f"{WAIT_SECONDS:.0f} s; raise pool of the target in defs.yaml, then run again"
            ) from None
        connection = cast(Connection, lent.dbapi_connection)
        clean = False
        try:
            yield connection
            clean = _as_new(connection, self._forget)
        finally:
            if not clean:
                lent.invalidate()
            lent.close()

    def close(self) -> None:
        """Close those that nobody uses."""
        self._queue.dispose()


def _look(connection: Any, _record: Any, _lent: Any) -> None:
    """Ask for an answer; SQLAlchemy opens another one in its place if there is none."""
    if not _as_new(connection, "SELECT 1"):
        raise DisconnectionError


def _as_new(connection: Connection, statements: str) -> bool:
    """Run statements in one round trip, outside of a transaction; False if that fails."""
    try:
        connection.rollback()
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statements)
        connection.autocommit = False
    except psycopg2.Error:
        return False
    return True
