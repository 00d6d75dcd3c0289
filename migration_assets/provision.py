"""The roles of a migration's target: their names, their passwords, and what goes into defs.yaml."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
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
    """A role that logs in: where its password is kept, or None if it stands in a URL already."""

    role: str
    file: Path | None
    given: str | None = None


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
        raise InputError(f"{config.name}: defs.yaml has no target {environment}")
    if target.url == "embedded":
        raise InputError(
            f"{config.name}: target {environment} is the embedded PostgreSQL, which needs no "
            f"roles; put the server into targets.{environment}.url in defs.yaml"
        )
    found = parameters(target.url)
    if not found.get("dbname"):
        raise InputError(
            f"{config.name}: targets.{environment}.url names no database: "
            "postgresql://host:port/database"
        )
    app_url = config.cutover.app_url if environment == PRODUCTION else None
    app_found = parameters(app_url) if app_url else {}
    wanted = Wanted(
        database=found["dbname"],
        schema=config.schema_of(environment),
        owner=owner or target.role or shorten(f"{config.name}_owner"),
        loader=loader or found.get("user") or shorten(f"{config.name}_loader"),
        app=app or config.app_role or app_found.get("user") or shorten(f"{config.name}_app"),
        createdb=config.gate.restore_drill,
    )
    _check_names(wanted)
    app_file = config.cutover.app_password_file if environment == PRODUCTION else None
    return Provision(
        wanted,
        Login(
            wanted.loader,
            migration.folder / (target.password_file or homes.password_name(environment)),
            found.get("password") if found.get("user") == wanted.loader else None,
        ),
        Login(
            wanted.app,
            migration.folder / (app_file or homes.password_name(f"{environment}_app")),
            app_found.get("password") if app_found.get("user") == wanted.app else None,
        ),
    )


def passwords(logins: list[Login], *, anew: bool) -> tuple[dict[str, str], dict[str, Path]]:
    """The passwords of roles, and the files that those which are new belong into.

    One that stands in a URL or in a file already is kept, unless a file's is made ``anew``.

    Raises:
        InputError: a file can not be read.
    """
    chosen, files = {}, {}
    for login in logins:
        if login.given is not None:
            chosen[login.role] = login.given
        elif login.file is not None and login.file.exists() and not anew:
            chosen[login.role] = _read(login.file)
        elif login.file is not None:
            chosen[login.role] = secrets.token_urlsafe(_PASSWORD_BYTES)
            files[login.role] = login.file
    return chosen, files


def keep(chosen: Mapping[str, str], files: Mapping[str, Path]) -> None:
    """Write new passwords beside their places, so that none is lost whatever comes."""
    for role, path in files.items():
        homes.write_secret(_beside(path), chosen[role] + "\n")


def settle(files: Mapping[str, Path], *, applied: bool) -> None:
    """Put the written passwords into their places, or take them away."""
    for path in files.values():
        if applied:
            _beside(path).replace(path)
        else:
            _beside(path).unlink()


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
        file = made.app.file
        lacking["cutover"] = {
            "app_url": _as(target.url, wanted.app),
            "app_password_file": str(file.relative_to(migration.folder)) if file else "",
        }
    return lacking


def _as(url: str, user: str) -> str:
    parts = urlsplit(homes.split_password(url)[0])
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}@{host}"))


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


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
