"""The variables by which a command, or the application, finds a schema of a database."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, unquote, urlencode

from psycopg2 import sql

from migration_assets.core.cutover_config import CutoverConfig
from migration_assets.errors import InputError
from migration_assets.postgres.connect import Target, parameters

DATABASE_URL = "DATABASE_URL"
_NAMES_SCHEMA = re.compile(r"(?:^|&)(?:schema|currentSchema|search_path)=|search_path")
"""A query that says which schema already: of Prisma, of JDBC, of libpq."""


def variables(target: Target, schema: str) -> dict[str, str]:
    """``DATABASE_URL``, ``DATABASE_SCHEMA`` and ``PGOPTIONS`` of a schema of the target.

    Names without a schema are looked for, and made, in ``schema``.
    """
    options = search_path(schema)
    given = parameters(target).get("options")
    options = f"{given} {options}" if given else options
    url = _url(target, options)
    return {DATABASE_URL: url, "DATABASE_SCHEMA": schema, "PGOPTIONS": options}


def application_variables(config: CutoverConfig, target: Target, folder: Path) -> dict[str, str]:
    """The same as the application has them once it is on the target: its own role, its own URL.

    Args:
        config: says what differs from the target's URL.
        target: the production target.
        folder: the migration's; ``app_password_file`` is relative to it.

    Raises:
        InputError: the password file can not be read, or there is no place for it in ``app_url``.
    """
    url = config.app_url
    if url is None:
        found = variables(target, target.schema)
        if not config.app_url_schema:
            found[DATABASE_URL] = _url(target, parameters(target).get("options"))
            del found["PGOPTIONS"]
        return found
    if config.app_password_file is not None:
        url = _with_password(url, folder / config.app_password_file)
    found = {DATABASE_URL: url, "DATABASE_SCHEMA": target.schema}
    if config.app_url_schema:
        options = search_path(target.schema)
        found[DATABASE_URL] = _with_options(url, options)
        found["PGOPTIONS"] = options
    return found


def search_path(schema: str) -> str:
    """The ``options`` of libpq that look for names in ``schema``."""
    quoted = '"' + sql.Identifier(schema).strings[0].replace('"', '""') + '"'
    # Its words are parted by spaces.
    escaped = quoted.replace("\\", "\\\\").replace(" ", "\\ ")
    return f"-csearch_path={escaped}"


def _url(target: Target, options: str | None) -> str:
    found = parameters(target)
    found.pop("options", None)
    host = found.pop("host", "")
    user, password = quote(found.pop("user", ""), safe=""), found.pop("password", None)
    secret = f":{quote(password, safe='')}" if password else ""
    port = f":{found.pop('port')}" if found.get("port") else ""
    database = quote(found.pop("dbname", ""), safe="")
    # A socket's folder is no host of a URL; most drivers want one there, and look at the query.
    socket = host.startswith("/")
    query = {**found, **({"options": options} if options else {})}
    query |= {"host": host} if socket else {}
    place = "localhost" if socket or not host else host
    at = f"{user}{secret}@" if user else ""
    asked = f"?{urlencode(query, quote_via=quote)}" if query else ""
    return f"postgresql://{at}{place}{port}/{database}{asked}"


def _with_options(url: str, options: str) -> str:
    """The URL with ``options`` among its query, unless it names a schema by itself."""
    base, _, query = url.partition("?")
    if _NAMES_SCHEMA.search(unquote(query)):
        return url
    items = [item for item in query.split("&") if item]
    given = [unquote(item.partition("=")[2]) for item in items if item.startswith("options=")]
    items = [item for item in items if not item.startswith("options=")]
    items.append(f"options={quote(' '.join([*given, options]), safe='')}")
    return f"{base}?{'&'.join(items)}"


def _with_password(url: str, file: Path) -> str:
    try:
        password = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"app_password_file {file} can not be read: {reason}") from None
    found = re.fullmatch(r"([^:/?#]+:(?:[^/]+:)?//)([^:@/?#]+)@(.*)", url, re.DOTALL)
    if found is None:
        raise InputError(
            "app_url has no place for the password of app_password_file; write it as "
            "postgresql://user@host:port/database"
        )
    scheme, user, rest = found.groups()
    return f"{scheme}{user}:{quote(password, safe='')}@{rest}"
