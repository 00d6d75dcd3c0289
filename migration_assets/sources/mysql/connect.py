"""One connection to a MySQL server, set up so that nothing is rounded, converted or cut short.

PyMySQL makes the connection; results come as the bytes that the server stores
(``character_set_results = NULL``, MySQL manual, "Connection Character Sets and Collations").
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import pymysql
from pymysql.constants import CLIENT, CR, ER

from migration_assets.errors import BrokenOffError, InputError, MigrationError
from migration_assets.sources.mysql.address import Address

Connection: TypeAlias = Any
"""PyMySQL's, of which private names are used as well."""
Row = tuple[bytes | None, ...]

_SETTINGS = (
    "SET SESSION character_set_results = NULL",
    "SET SESSION time_zone = '+00:00'",
    # Nothing of it changes what is stored, but padding, quotes and || would change what is read.
    "SET SESSION sql_mode = ''",
    "SET SESSION sql_auto_is_null = 0",
    # What holds for all sessions may cut every answer short, those about columns too.
    "SET SESSION sql_select_limit = 18446744073709551615, sql_big_selects = 1",
    "SET SESSION max_error_count = 65535",
    # The reading may wait for a slow target, and connections for each other.
    "SET SESSION wait_timeout = 604800, net_write_timeout = 86400, net_read_timeout = 86400",
    "SET SESSION lock_wait_timeout = 30",
)
_WITHOUT_LIMIT = (
    "SET SESSION max_statement_time = 0",
    "SET SESSION idle_transaction_timeout = 0, idle_readonly_transaction_timeout = 0",
    "SET SESSION max_execution_time = 0",
)
"""MariaDB's own limits of a statement's time and of idle transactions, and MySQL's."""

_LOST = frozenset({
    CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, CR.CR_SERVER_LOST_EXTENDED, CR.CR_CONN_HOST_ERROR,
    ER.SERVER_SHUTDOWN, 1927, 3169, 4031,
})  # fmt: skip
"""Numbers of errors that end a connection; the last three: killed, or idle for too long."""
_DENIED = frozenset({
    ER.TABLEACCESS_DENIED_ERROR, ER.COLUMNACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR,
    ER.SPECIFIC_ACCESS_DENIED_ERROR, ER.ACCESS_DENIED_ERROR,
})  # fmt: skip
_SSL_FAILED = 2026
_TOO_MANY_PREPARED = 1461
_TOO_LARGE = frozenset({ER.NET_PACKET_TOO_LARGE, ER.WARN_ALLOWED_PACKET_OVERFLOWED})


def connect(address: Address) -> Connection:
    """Open a connection.

    Raises:
        InputError: the server is not there, refuses the account or its TLS cannot be trusted.
    """
    connection: Connection = pymysql.connections.Connection(
        host=address.host,
        port=address.port,
        unix_socket=address.unix_socket,
        user=address.user,
        # PyMySQL writes a text as Latin-1; the server compares bytes, which clients send as UTF-8.
        password=address.secret().encode(),
        database=address.database,
        charset="utf8mb4",
        use_unicode=False,
        conv={},
        autocommit=True,
        connect_timeout=address.connect_timeout,
        max_allowed_packet=1 << 30,
        program_name="migration_assets",
        ssl_disabled=True,
        defer_connect=True,
    )
    _secure(connection, address)
    try:
        connection.connect()
        for statement in _SETTINGS:
            connection.query(statement)
        for statement in _WITHOUT_LIMIT:
            with suppress(pymysql.err.OperationalError, pymysql.err.InternalError):
                connection.query(statement)
    except (pymysql.err.MySQLError, ssl.SSLError, OSError, EOFError, RuntimeError) as error:
        connection._force_close()
        raise InputError(_refused(address, error)) from error
    return connection


def _secure(connection: Connection, address: Address) -> None:
    """Set up TLS: by PyMySQL's own means one cannot ask for verified TLS *where it is offered*."""
    mode = address.ssl_mode or ("preferred" if address.is_local else None)
    if mode == "disabled" or address.unix_socket is not None:
        return
    try:
        context = ssl.create_default_context(cafile=address.ssl_ca)
        if address.ssl_cert is not None:
            context.load_cert_chain(address.ssl_cert, address.ssl_key)
    except OSError as error:
        reason = error.strerror or "is no PEM file"
        raise InputError(f"{address.location}: ssl_ca, ssl_cert or ssl_key: {reason}") from error
    if mode in {"preferred", "required", "verify_ca"}:
        context.check_hostname = False
    if mode in {"preferred", "required"} and address.ssl_ca is None:
        context.verify_mode = ssl.CERT_NONE
    connection.ssl = True
    connection.ctx = context
    connection._ssl_required = mode not in {None, "preferred"}
    if connection._ssl_required:
        connection.client_flag |= CLIENT.SSL


def rows(connection: Connection, statement: str) -> list[Row]:
    """All rows of a small result, each value as the server's bytes.

    Raises:
        pymysql.err.MySQLError: the server refuses the statement, or is gone.
    """
    connection.query(statement)
    result = connection._result
    return list(result.rows or ()) if result is not None else []


def text(value: bytes | None) -> str:
    """A value of the server's own tables, which are in UTF-8; NULL is the empty text."""
    return (value or b"").decode(errors="backslashreplace")


def quote(identifier: str) -> str:
    """``identifier`` as a name in MySQL's dialect."""
    return "`" + identifier.replace("`", "``") + "`"


def literal(value: str) -> str:
    """``value`` as a string constant, whatever ``sql_mode`` is."""
    if value.isascii() and value.isprintable() and "\\" not in value:
        return "'" + value.replace("'", "''") + "'"
    return f"CONVERT(X'{value.encode().hex()}' USING utf8mb4)" if value else "''"


def number(error: BaseException) -> int:
    """The server's or client's number of an error, 0 for none."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def line(error: BaseException) -> str:
    """What an error says, in one line."""
    words = error.args[1] if len(error.args) > 1 else str(error)
    return " ".join(str(words).split()) or type(error).__name__


def is_denied(error: BaseException) -> bool:
    """Whether the account lacks a right."""
    return number(error) in _DENIED


@contextmanager
def errors(where: str) -> Iterator[None]:
    """Turn what the server says into one line that names ``where``.

    Raises:
        BrokenOffError: the server was lost.
        InputError: it refuses what is asked of it.
    """
    try:
        yield
    except MigrationError:
        raise
    except (pymysql.err.MySQLError, OSError) as error:
        code = number(error)
        said = f"{where}: the source says: {line(error)}"
        if code in _LOST or isinstance(error, (OSError, pymysql.err.InterfaceError)):
            raise BrokenOffError(
                f"{where}: the source's server was lost ({line(error)}); nothing of the target "
                "was changed: run it again when the server is back"
            ) from error
        if code in {ER.TABLE_DEF_CHANGED, ER.NO_SUCH_TABLE}:
            raise BrokenOffError(
                f"{where}: was altered while the snapshot was read; run it again"
            ) from error
        if code in _DENIED:
            raise InputError(f"{said}; grant the account SELECT and SHOW VIEW") from error
        if code == _TOO_MANY_PREPARED:
            raise InputError(f"{said}; raise it by ten") from error
        if code in _TOO_LARGE:
            raise InputError(
                f"{said}; raise the server's max_allowed_packet above the longest value"
            ) from error
        raise InputError(said) from error


def _refused(address: Address, error: BaseException) -> str:
    """Why there is no connection, and what to do."""
    code, where = number(error), address.location
    cause = getattr(error, "original_exception", None) or error
    if isinstance(cause, ssl.SSLError) or code == _SSL_FAILED:
        reason = getattr(cause, "verify_message", "") or line(cause)
        return (
            f"{where}: the server's TLS is not trusted ({reason}); name its authority with "
            "?ssl_ca=/path/ca.pem, or choose ssl_mode=required (not verified) or disabled"
        )
    if code == ER.ACCESS_DENIED_ERROR:
        given = "the password is wrong" if address.secret() else "no password was given"
        return (
            f"{where}: access denied for user {address.user}: {given} or the account may not come "
            "from here; give it in the URL, by ?password_file=/path or in MYSQL_PWD"
        )
    if code in {ER.DBACCESS_DENIED_ERROR, 1698}:
        return f"{where}: user {address.user} has no right to it; grant SELECT on the database"
    if code == ER.BAD_DB_ERROR:
        return f'{where}: there is no database "{address.database}" on this server'
    if code in _LOST or isinstance(cause, OSError):
        reason = getattr(cause, "strerror", None) or line(cause)
        return f"{where}: no server answers at {address.server} ({reason})"
    return f"{where}: {line(error)}"
