"""Where a MySQL database is, read from a URL as frameworks write it.

``mysql://user:password@host:3306/database?option=value``; ``mariadb://``, ``mysql2://`` and
``mysql+driver://`` mean the same. The password may stand in the URL, in a file that
``password_file`` names, or in the variable ``MYSQL_PWD``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from migration_assets.errors import InputError

DEFAULT_PORT = 3306
PASSWORD_VARIABLE = "MYSQL_PWD"
"""The variable that MySQL's own programs read."""

SCHEMES = re.compile(r"(mysql2?|mariadb)(\+\w+)?", re.IGNORECASE)
SSL_MODES = ("disabled", "preferred", "required", "verify_ca", "verify_identity")
_WRITTEN = "mysql://user@host:3306/database"
_OPTIONS = {
    "unix_socket": "unix_socket",
    "socket": "unix_socket",
    "password_file": "password_file",
    "ssl_mode": "ssl_mode",
    "sslmode": "ssl_mode",
    "ssl-mode": "ssl_mode",
    "ssl_ca": "ssl_ca",
    "sslcert": "ssl_ca",
    "sslaccept": "sslaccept",
    "ssl_cert": "ssl_cert",
    "ssl_key": "ssl_key",
    "connect_timeout": "connect_timeout",
}
"""Options of a URL, by all their spellings, and what they are called here."""
_OF_FRAMEWORKS = frozenset({
    "charset", "collation", "encoding", "use_unicode", "serverversion", "parsetime", "loc",
    "multistatements", "pool", "pool_timeout", "pool_size", "connection_limit", "timeout",
    "reconnect", "prepared_statements", "autocommit", "timezone", "usessl", "schema",
    "allowpublickeyretrieval", "reaping_frequency", "checkout_timeout",
})  # fmt: skip
"""What frameworks add for themselves; it makes no difference to what is read here."""


@dataclass(frozen=True)
class Address:
    """One database of one server, and how to get in.

    Attributes:
        host: name or number; not used with a socket.
        port: TCP port.
        user: whose account is used.
        database: the database, whose tables are the source.
        password: None to find it by ``password_file`` or ``MYSQL_PWD``.
        unix_socket: path of the server's socket, None for TCP.
        password_file: path of a file that holds nothing but the password.
        kept_password: another such file, which need not exist; asked after the former.
        ssl_mode: one of SSL_MODES, None for verified TLS where the server offers it (and for
            unverified TLS on this machine's own addresses).
        ssl_ca, ssl_cert, ssl_key: paths of PEM files.
        connect_timeout: seconds.
    """

    host: str
    port: int
    user: str
    database: str
    password: str | None = field(default=None, repr=False)
    unix_socket: str | None = None
    password_file: str | None = None
    kept_password: Path | None = None
    ssl_mode: str | None = None
    ssl_ca: str | None = None
    ssl_cert: str | None = None
    ssl_key: str | None = None
    connect_timeout: int = 5

    @property
    def location(self) -> str:
        """The URL without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORT else f":{self.port}"
        user = quote(self.user, safe="")
        names = ("unix_socket", "password_file", "ssl_mode", "ssl_ca", "ssl_cert", "ssl_key")
        options = {name: value for name in names if (value := getattr(self, name)) is not None}
        query = f"?{urlencode(options, quote_via=quote, safe='/')}" if options else ""
        return f"mysql://{user}@{host}{port}/{quote(self.database, safe='')}{query}"

    @property
    def server(self) -> str:
        """The server in words, for messages."""
        return f"socket {self.unix_socket}" if self.unix_socket else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether nothing of the connection leaves this machine."""
        return self.unix_socket is not None or self.host in {"localhost", "127.0.0.1", "::1"}

    def secret(self) -> str:
        """The password, from wherever it is kept.

        Raises:
            InputError: the password file cannot be read.
        """
        if self.password is not None:
            return self.password
        kept = self.kept_password
        file = self.password_file or (kept if kept is not None and kept.exists() else None)
        if file is not None:
            try:
                return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "is not UTF-8"
                raise InputError(f"{self.location}: password_file: {reason}") from error
        return os.environ.get(PASSWORD_VARIABLE, "")


def parse(url: str) -> Address:
    """Read a URL.

    Raises:
        InputError: it is none, names no database, or has an option that means nothing here.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise InputError(f"the source is not a URL; write {_WRITTEN}") from error
    if not SCHEMES.fullmatch(parts.scheme) or not url[len(parts.scheme) :].startswith("://"):
        raise InputError(f"a MySQL source is written {_WRITTEN}")
    database = unquote(parts.path.removeprefix("/"))
    if not database or "/" in database:
        raise InputError(f"the source names no database; write {_WRITTEN}")
    options = _options(parts.query)
    accept = options.pop("sslaccept", None)
    if accept == "strict":
        options.setdefault("ssl_mode", "verify_identity")
    return replace(
        Address(
            host=parts.hostname or "localhost",
            port=port,
            user=unquote(parts.username) if parts.username else "root",
            database=database,
            password=unquote(parts.password) if parts.password is not None else None,
            connect_timeout=_seconds(options.pop("connect_timeout", "5")),
        ),
        **options,
    )


def _options(query: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        name = _OPTIONS.get(key.lower())
        if name is None:
            if key.lower() in _OF_FRAMEWORKS:
                continue
            known = ", ".join(sorted(set(_OPTIONS.values())))
            raise InputError(f'the source has the unknown option "{key}"; known are {known}')
        found[name] = value
    if "ssl_mode" in found:
        mode = found["ssl_mode"].lower().replace("-", "_")
        found["ssl_mode"] = {"require": "required", "prefer": "preferred"}.get(mode, mode)
        if found["ssl_mode"] not in SSL_MODES:
            raise InputError(f"ssl_mode of the source must be one of {', '.join(SSL_MODES)}")
    for name in ("unix_socket", "password_file", "ssl_ca", "ssl_cert", "ssl_key"):
        if name in found:
            found[name] = os.path.abspath(os.path.expanduser(found[name]))
    return found


def _seconds(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 3600:
        raise InputError("connect_timeout of the source is a number of seconds, from 1 to 3600")
    return int(text)
