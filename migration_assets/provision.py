"""The roles of a migration's target: their names, their passwords, and what goes into defs.yaml."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from migration_assets import home as homes
from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.naming import MAX_IDENTIFIER_BYTES, shorten
from migration_assets.errors import InputError
from migration_assets.postgres.connect import parameters
from migration_assets.postgres.provision import Wanted

_PASSWORD_BYTES = 24


@dataclass(frozen=True)
class Login:
    """A role that logs in.

    Attributes:
        role: its name.
        files: where its password is kept: for this target first, then for others of the migration
            that it logs in at as well.
        given: the password, if it stands in a URL already.
    """

    role: str
    files: tuple[Path, ...]
    given: str | None = None

    @property
    def known(self) -> str | None:
        """The password, if it stands in a URL or a file already."""
        there = next((path for path in self.files if path.exists()), None)
        return self.given if self.given or there is None else _read(there)


@dataclass(frozen=True)
class Provision:
    """What is wanted at a target, and who logs in there."""

    wanted: Wanted
    loader: Login
    app: Login


def of(
    migration: homes.Migration,
    environment: str,
    owner: str | None = None,
    loader: str | None = None,
    app: str | None = None,
) -> Provision:
    """The names and password files of a target; names that are not given come from defs.yaml.

    Args:
        migration: the migration.
        environment: a target of it, with a URL that names a database.
        owner: else ``role`` of the target, else ``<name>_owner``.
        loader: else the user in the target's URL, else ``<name>_loader``.
        app: else ``app_role``, else the user in ``cutover.app_url``, else ``<name>_app``.

    Raises:
        InputError: there is no such target, it is the embedded server, or names are not usable.
    """
    config = migration.config
    target = config.targets.get(environment)
    if target is None:
        raise InputError(f"{migration.defs_yaml} has no targets: {environment}")
    if target.url == "embedded":
        raise InputError(
            f"{config.name}: target {environment} is the embedded PostgreSQL, which needs no "
            f"roles; put the server into targets.{environment}.url in defs.yaml"
        )
    if not parameters(target.url).get("dbname"):
        raise InputError(
            f"{config.name}: targets.{environment}.url names no database: "
            "postgresql://host:port/database"
        )
    made = _named(migration, environment, owner, loader, app)
    _check_names(made.wanted)
    for name, other in config.targets.items():
        if name != environment and _server(other.url) == _server(target.url):
            there = _named(migration, name, owner, loader, app)
            made = replace(
                made, loader=_both(made.loader, there.loader), app=_both(made.app, there.app)
            )
    return made


def _named(
    migration: homes.Migration,
    environment: str,
    owner: str | None,
    loader: str | None,
    app: str | None,
) -> Provision:
    config = migration.config
    target = config.targets[environment]
    found = parameters(target.url)
    production = environment == PRODUCTION
    app_url = config.cutover.app_url if production else None
    app_found = parameters(app_url) if app_url else {}
    wanted = Wanted(
        database=found.get("dbname", ""),
        schema=config.schema_of(environment),
        owner=owner or target.role or shorten(f"{config.name}_owner"),
        loader=loader or found.get("user") or shorten(f"{config.name}_loader"),
        app=app or config.app_role or app_found.get("user") or shorten(f"{config.name}_app"),
        createdb=config.gate.restore_drill,
    )
    app_file = config.cutover.app_password_file if production else None
    files = (
        migration.folder / (target.password_file or homes.password_name(environment)),
        migration.folder / (app_file or homes.password_name(f"{environment}_app")),
    )
    given = [
        known.get("password") if known.get("user") == role else None
        for role, known in ((wanted.loader, found), (wanted.app, app_found))
    ]
    return Provision(
        wanted,
        Login(wanted.loader, files[:1], given[0]),
        Login(wanted.app, files[1:], given[1]),
    )


def _server(url: str) -> tuple[str | None, str | None] | None:
    """Host and port, by which roles are one server's; None for the embedded server."""
    if url == "embedded":
        return None
    found = parameters(url)
    return found.get("host"), found.get("port")


def _both(own: Login, other: Login) -> Login:
    """A role that two targets share has one password."""
    if own.role != other.role:
        return own
    return Login(own.role, own.files + other.files, own.given or other.given)


def passwords(
    logins: Sequence[Login], changed: Collection[str], *, anew: bool
) -> tuple[dict[str, str], dict[Path, str]]:
    """The passwords that roles get, and the files that lack one.

    Args:
        logins: the roles.
        changed: those of them that have no password yet.
        anew: all get another, but for those whose password stands in a URL.

    Returns:
        role -> password, of those that get one; file -> password, of those to be written.

    Raises:
        InputError: a file can not be read.
    """
    chosen: dict[str, str] = {}
    files: dict[Path, str] = {}
    for login in logins:
        fresh = login.role in changed or anew
        password = login.given if anew else login.known
        if password is None and fresh:
            password = secrets.token_urlsafe(_PASSWORD_BYTES)
        if password is None:
            continue  # somebody else's, and known to them
        if fresh:
            chosen[login.role] = password
        if login.given is None:
            files |= {path: password for path in login.files if anew or not path.exists()}
    return chosen, files


@contextmanager
def kept(files: Mapping[Path, str]) -> Iterator[None]:
    """Write passwords beside their places, so that none is lost whatever comes of the block.

    They are put into their places when it has ended, and taken away if it failed.
    """
    parts = {path: path.with_name(f"{path.name}.new") for path in files}
    for path, part in parts.items():
        homes.write_secret(part, files[path] + "\n")
    try:
        yield
    except BaseException:
        for part in parts.values():
            part.unlink()
        raise
    for path, part in parts.items():
        part.replace(path)


def settings(migration: homes.Migration, environment: str, made: Provision) -> dict[str, Any]:
    """What ``defs.yaml`` needs for these roles and does not say yet."""
    config, wanted = migration.config, made.wanted
    target = config.targets[environment]
    lacking: dict[str, Any] = {}
    entries: dict[str, Any] = {}
    if parameters(target.url).get("user") != wanted.loader:
        entries["url"] = _as(target.url, wanted.loader)
    if target.role != wanted.owner:
        entries["role"] = wanted.owner
    if entries:
        lacking["targets"] = {environment: entries}
    if config.app_role != wanted.app:
        lacking["app_role"] = wanted.app
    if environment == PRODUCTION and config.cutover.app_url is None:
        lacking["cutover"] = {
            "app_url": _as(target.url, wanted.app),
            "app_password_file": str(made.app.files[0].relative_to(migration.folder)),
        }
    return lacking


def _as(url: str, user: str) -> str:
    parts = urlsplit(homes.split_password(url)[0])
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}@{host}"))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"password file {path} can not be read") from error


def _check_names(wanted: Wanted) -> None:
    names = (wanted.owner, wanted.loader, wanted.app)
    if len(set(names)) < len(names):
        raise InputError(
            "owner, loader and application must be three roles, not "
            f"{', '.join(names)}; name them with --owner, --loader and --app"
        )
    for name in names:
        if len(name.encode()) > MAX_IDENTIFIER_BYTES or "\0" in name:
            raise InputError(f'"{name}" is no name of a role: it has 1 to 63 bytes')
