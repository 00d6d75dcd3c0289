"""Connections to a target, and every way they fail, in one line that never shows a password."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import adbc_driver_manager
import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import make_dsn, parse_dsn

from migration_assets import lean
from migration_assets.core.config import TargetConfig
from migration_assets.core.cutover_config import PRODUCTION, STAGING
from migration_assets.core.naming import MAX_IDENTIFIER_BYTES, quote
from migration_assets.errors import BrokenOffError, InputError, UnreachableError
from migration_assets.postgres import embedded, tls

if TYPE_CHECKING:
    from migration_assets.postgres.pool import Pool

CONNECT_SECONDS = 4
"""For each address of the host, so that a target that is down is known within five seconds."""

APPLICATION_NAME = "migration_assets"
BACKUP = f"{APPLICATION_NAME} backup"
"""Name of the sessions of a backup: it can be made again, so what can not wait may end them."""

SESSION = """
SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres';
SET bytea_output = 'hex'; SET extra_float_digits = 1; SET standard_conforming_strings = on;
SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0
"""
"""Plain SET, so that it works through a pooler in session mode; roles may carry other defaults."""

KEEPALIVE = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
"""A server that vanished is noticed within a minute."""

_SCHEME = re.compile(r"^postgres(?:ql)?(?:\+\w+)?://")
"""Applications name their driver in it; here it makes no difference."""


@dataclass(frozen=True)
class Target:
    """One schema of one PostgreSQL database.

    Attributes:
        url: any URL that libpq takes; a password in it is never shown.
        schema: the schema that readers use.
        password_file: a file with the password; it is read at each connection.
        role: what is done is done as this role, None for the one that connects.
        verified: over a network, only with verified TLS.
        pool: lends the connections of :func:`session`, None to open one for each.
    """

    url: str = field(repr=False)
    schema: str
    password_file: Path | None = field(default=None, repr=False)
    role: str | None = None
    verified: bool = False
    pool: Pool | None = field(default=None, repr=False, compare=False)

    @property
    def location(self) -> str:
        """Host and database for people, without user and password."""
        return _location(parameters(self))


def resolve_target(
    config: TargetConfig, schema: str, folder: Path, home: Path, environment: str = STAGING
) -> Target:
    """The target that ``config`` names; starts the embedded server if it is that one.

    Args:
        config: the target's part of the configuration.
        schema: the schema to load into.
        folder: the migration's folder; a relative ``password_file`` is below it.
        home: the migration home, which owns the embedded server.
        environment: which of the migration's targets it is.

    Raises:
        InputError: the URL is malformed, the password file is missing, the embedded server does
            not start, or production would be reached over a network without verified TLS.
    """
    if len(schema.encode()) > MAX_IDENTIFIER_BYTES or not schema:
        raise InputError(f'"{schema}" can not be a schema: PostgreSQL\'s names have 1 to 63 bytes')
    password_file = folder / config.password_file if config.password_file else None
    url = embedded.start(home) if config.url == "embedded" else config.url
    verified = environment == PRODUCTION and not config.allow_unverified_tls
    target = Target(url, schema, password_file, config.role, verified)
    parameters(target)
    return target


def is_postgres(url: str) -> bool:
    """True if a URL is one of PostgreSQL, well-formed or not."""
    return _SCHEME.match(url) is not None


def pooled(target: Target, most: int) -> Target:
    """The same target, whose sessions share at most ``most`` connections; close its pool."""
    from migration_assets.postgres.pool import Pool  # SQLAlchemy, which a run imports with Dagster

    return replace(target, pool=Pool(lambda: connect(target), most, SESSION))


def parameters(target_or_url: Target | str) -> dict[str, str]:
    """The libpq parameters of a target, password included if it is known here.

    Raises:
        InputError: malformed URL, the password file can not be read, or the target asks for
            verified TLS and would be reached without.
    """
    url = target_or_url if isinstance(target_or_url, str) else target_or_url.url
    if not is_postgres(url):
        raise InputError(
            f"target URL must be postgresql://user@host:port/database, not {redact(url)}"
        )
    try:
        found: dict[str, str] | None = dict(parse_dsn(_SCHEME.sub("postgresql://", url)))
    except psycopg2.ProgrammingError as error:
        unknown = re.search(r'invalid URI query parameter: "([^"]*)"', str(error))
        if unknown:
            raise InputError(f"target URL has an unknown parameter {unknown[1]}") from None
        found = None
    # libpq cuts at the first @ or / and would take the rest of a password for a host or database.
    if found is None or _ambiguous(url):
        raise InputError(
            f"malformed target URL {redact(url)}: write special characters of user, password and "
            "database percent-encoded (@ is %40)"
        ) from None
    if not all(part.isdecimal() for part in found.get("port", "").split(",") if part):
        raise InputError(f"malformed port in target URL {redact(url)}")
    if isinstance(target_or_url, Target):
        if target_or_url.verified:
            tls.require_verified(found, _location(found))
        if target_or_url.password_file is not None:
            found["password"] = _password(target_or_url.password_file)
        if target_or_url.role is not None:
            _add_option(found, setting("role", target_or_url.role))
    return found


def setting(name: str, value: str) -> str:
    """A setting among libpq's ``options``, whose words are parted by spaces."""
    return f"-c{name}={value}".replace("\\", "\\\\").replace(" ", "\\ ")


def connect(target_or_url: Target | str, **options: Any) -> Connection:
    """Open a psycopg2 connection: UTC, UTF-8, no time limits, known by ``application_name``.

    Args:
        target_or_url: where to.
        options: libpq parameters that win over the URL's; ``options`` are added to them.

    Raises:
        InputError: the server is down, the password is wrong, there is no such database, its
            encoding is not UTF8, or the target's role is not there or may not be taken.
    """
    session_options = options.pop("options", None)
    asked = {
        "connect_timeout": str(CONNECT_SECONDS),
        "application_name": APPLICATION_NAME,
        **KEEPALIVE,
        **parameters(target_or_url),
        **{name: str(value) for name, value in options.items()},
        "client_encoding": "UTF8",
    }
    if session_options is not None:
        _add_option(asked, session_options)
    try:
        connection = psycopg2.connect(make_dsn(**asked))
    except psycopg2.Error as error:
        raise UnreachableError(_connect_message(error, asked)) from None
    encoding = connection.get_parameter_status("server_encoding")
    if encoding != "UTF8":
        connection.close()
        raise InputError(
            f"database {_location(asked)} is encoded in {encoding}: values would be changed; "
            "create it with ENCODING 'UTF8'"
        )
    role = target_or_url.role if isinstance(target_or_url, Target) else None
    with broken_off("the start of a session", asked), connection.cursor() as cursor:
        cursor.execute(SESSION)
        if role is not None:
            _check_role(cursor, role, asked)
    connection.commit()
    return connection


def _check_role(cursor: Cursor, role: str, found: dict[str, str]) -> None:
    """Poolers may drop the options of a connection, and what is made would be another's."""
    cursor.execute("SELECT current_user")
    row = cursor.fetchone()
    if row is None or row[0] != role:
        cursor.connection.close()
        raise InputError(
            f'role "{role}" was not taken at {_location(found)}: a pooler between drops the '
            "options of connections; connect to the server itself"
        )


@contextmanager
def session(target_or_url: Target | str, what: str, **options: Any) -> Iterator[Connection]:
    """A connection for one piece of work: committed at its end, rolled back on an error.

    It is one of the target's pool, as new, or is closed at the end.

    Args:
        target_or_url: where to.
        what: the work, for the message if the connection is lost, such as ``load of table "a"``.
        options: as for :func:`connect`.

    Raises:
        InputError: as :func:`connect`.
        BrokenOffError: the server was lost in the middle.
    """
    pool = target_or_url.pool if isinstance(target_or_url, Target) and not options else None
    with (
        broken_off(what, target_or_url),
        pool.connection() if pool else closing(connect(target_or_url, **options)) as connection,
    ):
        yield connection
        connection.commit()  # what was not is rolled back


@contextmanager
def adbc(target: Target | str) -> Iterator[Any]:
    """An ADBC connection (``adbc_driver_postgresql.dbapi``) with the same session settings.

    Raises:
        InputError: as :func:`connect`.
    """
    with lean.without("pandas"):
        import adbc_driver_postgresql.dbapi  # slow to import, needed by the read-back only

    asked = {
        "connect_timeout": str(CONNECT_SECONDS),
        "application_name": APPLICATION_NAME,
        **KEEPALIVE,
        **parameters(target),
        "client_encoding": "UTF8",
    }
    try:
        # The driver hands its URI to libpq, which takes the other form of it just as well.
        connection = adbc_driver_postgresql.dbapi.connect(make_dsn(**asked))
    except adbc_driver_manager.Error as error:
        raise UnreachableError(_connect_message(error, asked)) from None
    try:
        with connection.cursor() as cursor:
            for statement in SESSION.strip().split(";"):
                cursor.execute(statement)
        connection.commit()
        yield connection
    finally:
        connection.close()


def redact(url: str) -> str:
    """``url`` without its password, whatever form it has; rather too short than too long."""
    head, separator, rest = url.partition("://")
    if separator:
        # The last @ of all: an unencoded @, / or ? may stand in the password.
        at = rest.rfind("@")
        if at >= 0:
            user, colon, _ = rest[:at].partition(":")
            rest = user + (":***" if colon else "") + rest[at:]
        else:
            rest = re.sub(r":(?!\d*(?:[/?,]|$))[^/?]*", ":***", rest, count=1)
        url = head + separator + rest
    return re.sub(
        r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&'][^\s&]*)", r"\1***", url, flags=re.IGNORECASE
    )


def _add_option(found: dict[str, str], option: str) -> None:
    found["options"] = f"{found['options']} {option}" if found.get("options") else option


def _ambiguous(url: str) -> bool:
    """True if an unencoded @ stands where libpq does not take it for the end of the user."""
    before_query = url.partition("://")[2].partition("?")[0]
    authority, _, path = before_query.partition("/")
    return authority.count("@") > 1 or "@" in path


@contextmanager
def broken_off(what: str, target_or_url: Target | str | dict[str, str]) -> Iterator[None]:
    """Turn the loss of the server inside the block into one line.

    Other database errors pass as they are: what they mean is known only to the caller.

    Args:
        what: the work that is broken off, such as ``load of table "a"``.
        target_or_url: where it was going on.

    Raises:
        BrokenOffError: the connection was lost, the server shut down, or its disk is full.
    """
    try:
        yield
    except (psycopg2.Error, adbc_driver_manager.Error) as error:
        if not is_lost(error):
            raise
        found = target_or_url if isinstance(target_or_url, dict) else parameters(target_or_url)
        reason = _clean(_first_line(error), found) or "connection lost"
        raise BrokenOffError(
            f"{what} broke off at {_location(found)}: {reason}; the live schema is as it was, run "
            "again"
        ) from error


def is_lost(error: Exception) -> bool:
    """True if a database error means that the server was lost, not that a statement is wrong."""
    state = getattr(error, "pgcode", None) or getattr(error, "sqlstate", None)
    if state == "XX000" and _is_open(error):
        return False  # an internal error of one statement, often of one value
    if state:
        # PostgreSQL manual, "PostgreSQL Error Codes": connection, resources, shutdown, system.
        return state[:2] in {"08", "53", "58", "XX"} or state[:3] == "57P"
    if isinstance(error, psycopg2.InterfaceError):
        return "closed" in str(error)
    return isinstance(error, psycopg2.OperationalError | adbc_driver_manager.OperationalError) or (
        "server closed the connection" in str(error) or "no connection to the server" in str(error)
    )


def _is_open(error: Exception) -> bool:
    """True if the connection that an error came from is known to have outlived it."""
    cursor = getattr(error, "cursor", None)
    return cursor is not None and cursor.connection.closed == 0


def _connect_message(error: Exception, found: dict[str, str]) -> str:
    text = str(error)
    state = getattr(error, "pgcode", None) or getattr(error, "sqlstate", None)
    where = _location(found)
    user = f'user "{found["user"]}"' if "user" in found else "this user"
    if state == "28P01" or "password authentication failed" in text:
        return f"wrong password for {user} at {where}"
    if "no password supplied" in text:
        places = "the URL, a password_file, PGPASSWORD or .pgpass"
        return f"{user} at {where} needs a password: put it in {places}"
    if state == "3D000" or re.search(r'database ".*" does not exist', text):
        return f"no such database: {where}; create it first"
    if denied := re.search(r'permission denied to set role "(.*)"', text):
        return (
            f'{user} at {where} may not take role "{denied[1]}" (role in defs.yaml): GRANT '
            f"{quote(denied[1])} TO {quote(found.get('user', ''))}"
        )
    if missing := re.search(r'role "(.*)" does not exist', text):
        known = missing[1] == found.get("user", missing[1])
        return f"no such role: {user if known else quote(missing[1])} at {where}"
    if "could not translate host name" in text:
        return f"unknown host: {where}"
    if "Connection refused" in text or "No such file or directory" in text:
        return f"no server answers at {where}: is PostgreSQL running there?"
    if "timeout expired" in text or "timed out" in text or "unreachable" in text:
        return f"no answer from {where} within {found['connect_timeout']} s"
    return f"cannot connect to {where}: {_clean(_last_line(error), found)}"


def _location(found: dict[str, str]) -> str:
    host = found.get("host", "localhost")
    port = f":{found['port']}" if "port" in found and not host.startswith("/") else ""
    return f"{host}{port}/{found.get('dbname', '')}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[-1]


def _clean(text: str, found: dict[str, str]) -> str:
    password = found.get("password")
    text = text.replace(password, "***") if password else text
    return redact(re.sub(r"\s+", " ", text))


def _password(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"password file {path} can not be read: {reason}") from None
    return text.rstrip("\r\n")
