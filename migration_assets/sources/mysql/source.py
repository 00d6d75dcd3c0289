"""A database of a MySQL or MariaDB server as a source."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from migration_assets.core.catalog import Catalog
from migration_assets.core.standing import Movement, Position, Standing, TableState
from migration_assets.errors import InputError
from migration_assets.sources.base import SnapshotGoneError, SourceCopy
from migration_assets.sources.mysql import connect, dump, snapshot, standing
from migration_assets.sources.mysql.address import Address, parse
from migration_assets.sources.mysql.reader import MySQLReader
from migration_assets.sources.mysql.reflect import reflect

_SIZE = (
    "SELECT CAST(sum(data_length + index_length) AS SIGNED) FROM information_schema.tables"
    " WHERE table_schema = DATABASE()"
)


class MySQLSource:
    """One database of a server; only read.

    Attributes:
        kind: ``mysql``, for MariaDB too.
        location: the URL without the password.
        address: all of the URL.
        copies: false, a snapshot is a transaction.
    """

    kind = "mysql"
    copies = False

    def __init__(self, address: Address) -> None:
        self.address = address
        self.location = address.location
        self._unmoved: tuple[str, str] | None = None

    @classmethod
    def from_url(cls, url: str, kept_password: Path | None = None) -> MySQLSource:
        """Make a source from ``mysql://user:password@host:port/database``.

        Args:
            url: the URL.
            kept_password: a file with the password, used if it exists and the URL names no other.

        Raises:
            InputError: it is no such URL.
        """
        return cls(replace(parse(url), kept_password=kept_password))

    def check(self) -> None:
        """Connect and look; see :func:`connect.connect` for what is raised."""
        connection = connect.connect(self.address)
        connection.close()

    def reflect(self) -> Catalog:
        """The catalog straight from the server.

        Raises:
            InputError: the server cannot be used, or the account sees nothing.
        """
        connection = connect.connect(self.address)
        try:
            with connect.errors(self.location):
                return reflect(lambda statement: connect.rows(connection, statement)).catalog
        finally:
            connection.close()

    def size(self) -> int | None:
        """Bytes of the tables and indexes, as the server estimates them."""
        connection = connect.connect(self.address)
        try:
            with connect.errors(self.location):
                found = connect.rows(connection, _SIZE)
        finally:
            connection.close()
        return int(connect.text(found[0][0])) if found and found[0][0] is not None else None

    def take_snapshot(self, path: Path) -> MySQLReader:
        """Begin one transaction on several connections; a record of it is left at ``path``.

        Raises:
            InputError: the server cannot be used.
            BrokenOffError: it was lost.
        """
        with connect.errors(self.location):
            connections, record = snapshot.take(self.address)
        record.write(path)
        return MySQLReader(connections, record)

    def open_snapshot(self, path: Path) -> MySQLReader:
        """Read on after the transactions have ended, if nothing was written since.

        The server's binary log tells: the same position is the same content.

        Raises:
            SnapshotGoneError: something was written, or the server keeps no log that would tell.
            InputError: there is no record at ``path``, or the server cannot be used.
        """
        try:
            before = snapshot.Record.read(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"snapshot {path.name}: is not there any more") from error
        with connect.errors(self.location):
            connections, now = snapshot.take(self.address)
        doubt = now.doubt or before.doubt
        if doubt or (now.server, now.position) != (before.server, before.position):
            connections.close()
            why = "it was written to since"
            if doubt:
                why = f"nothing tells whether it was written to: {doubt}"
            raise SnapshotGoneError(
                f"the snapshot of {self.location} ended with the process that read it, and {why}"
            )
        return MySQLReader(connections, before)

    def position(self, before: Position | None, scratch: Path) -> Position:
        """Where the database stands, by its tables' times and the server's log."""
        connection = connect.connect(self.address)
        with connect.errors(self.location), closing(connection):
            return standing.now(connection)

    def moved_since(self, before: Standing, path: Path) -> Movement | None:
        """Hold the database against a snapshot of it.

        The same place in the server's log is the same content. If the log has moved, or there is
        none that would tell, the digest of every table is made again; not once more if the tables
        were not written since this was found out.
        """
        with closing(self._now()) as reader:
            state = before.snapshot_id, reader.position().token
            found = reader.moved_since(before, known=state == self._unmoved)
        if found is None:
            self._unmoved = state
        return found

    def back_up(self, folder: Path) -> SourceCopy:
        """Dump the database, and restore it into one of its own where the account may make it."""
        with connect.errors(self.location):
            program, notes = dump.dump(self.address, folder)
            if program is None:
                return SourceCopy("none", {}, restored=False, notes=notes)
            try:
                with dump.restored(self.address, folder) as there:
                    catalog, before = self._states()
                    _, now = MySQLSource(there)._states()
            except PermissionError as error:
                notes = (*notes, f"not restored for a trial: {error}")
                return SourceCopy("dump", {}, restored=False, program=program, notes=notes)
        return dump.judged(before, now, catalog, program, notes)

    def _states(self) -> tuple[Catalog, dict[str, TableState]]:
        with closing(self._now()) as reader:
            return reader.catalog(), reader.states()

    def _now(self) -> MySQLReader:
        with connect.errors(self.location):
            return MySQLReader(*snapshot.take(self.address))
