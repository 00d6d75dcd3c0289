"""The migration home: one folder per migration, and the Dagster instance of all of them.

::

    <home>/<name>/defs.yaml    what the user writes
    <home>/<name>/secrets/     passwords, readable by the owner only
    <home>/<name>/state/       cached catalog and profile, from which the definitions are made
    <home>/<name>/runs/        one folder per run
    <home>/dagster/            DAGSTER_HOME: run history and event log

Nothing is ever written into the installed package.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import pyarrow as pa
import yaml
from pyarrow import fs
from pydantic import BaseModel, ValidationError

from migration_assets import defs_template
from migration_assets.core.config import MigrationConfig, TargetConfig
from migration_assets.core.cutover_config import STAGING, BackupConfig
from migration_assets.errors import InputError
from migration_assets.run_folder import RunFolder
from migration_assets.sources import absolute_url, open_source, password_in
from migration_assets.sources.base import Source
from migration_assets.transforms.function import located

VARIABLE = "MIGRATION_HOME"
DEFAULT = "migrations"
COMPONENT = "migration_assets.components.DatabaseMigrationComponent"

_RESERVED = frozenset({"dagster"})
_MAX_NAME = 48
"""Leaves room for suffixes of schema names below PostgreSQL's 63 bytes."""


@dataclass(frozen=True)
class Migration:
    """One migration of a home: its folder and what its ``defs.yaml`` says."""

    home: Path
    folder: Path
    config: MigrationConfig

    @property
    def name(self) -> str:
        """The migration's name, which is also its folder's."""
        return self.config.name

    @property
    def defs_yaml(self) -> Path:
        """The file the user writes."""
        return self.folder / "defs.yaml"

    @property
    def state(self) -> Path:
        """The cached catalog and profile."""
        return self.folder / "state" / "state.json"

    @property
    def kept_password(self) -> Path:
        """The file with the source's password, if one was given in its URL."""
        return self.folder / "secrets" / "source.password"

    def source(self) -> Source:
        """The source, not opened yet."""
        return open_source(self.config.source, self.kept_password, self.config.sensitive)

    def run_folder(self, run_id: str) -> RunFolder:
        """The folder of one run; nothing is made."""
        return RunFolder(self.folder / "runs" / run_id, self.config.storage)


def home_path() -> Path:
    """The migration home: ``MIGRATION_HOME``, else ``./migrations``; nothing is made."""
    return Path(os.environ.get(VARIABLE) or DEFAULT).expanduser().absolute()


def dagster_home(home: Path) -> Path:
    """Make the home's Dagster folder (0700) with its ``dagster.yaml``; returns the folder."""
    folder = home / "dagster"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = folder / "dagster.yaml"
    if not config.exists():
        template = resources.files("migration_assets").joinpath("dagster.yaml").read_text()
        part = config.with_suffix(f".{os.getpid()}")
        part.write_text(template)
        part.replace(config)
    return folder


def migration_names(home: Path) -> list[str]:
    """The names of all migrations of the home, sorted; empty if there is no home."""
    if not home.is_dir():
        return []
    return sorted(p.parent.name for p in home.glob("*/defs.yaml") if p.parent.name not in _RESERVED)


def load(home: Path, name: str) -> Migration:
    """Read one migration.

    Raises:
        InputError: there is no such migration, or its ``defs.yaml`` is not usable.
    """
    folder = home / name
    path = folder / "defs.yaml"
    if not path.is_file():
        raise InputError(f'no migration "{name}" in {home}: there is no {path}')
    config = read_config(path)
    if config.name != name:
        raise InputError(f'{path}: name "{config.name}" must be that of its folder, "{name}"')
    return Migration(
        home=home, folder=folder, config=located(_with_passwords(config, folder), folder)
    )


def _with_passwords(config: MigrationConfig, folder: Path) -> MigrationConfig:
    """Name the password files that were kept after ``defs.yaml`` was written."""
    targets = {
        name: target.model_copy(update={"password_file": password_name(name)})
        if target.password_file is None and (folder / password_name(name)).exists()
        else target
        for name, target in config.targets.items()
    }
    return config.model_copy(update={"targets": targets})


def password_name(target: str) -> str:
    """The file with the password of a target, in the migration's folder, where none is named."""
    return f"secrets/{target}.password"


def read_config(path: Path) -> MigrationConfig:
    """Read a ``defs.yaml``.

    Raises:
        InputError: it is no YAML, names another component, or has a wrong key or value.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise InputError(f"{path}: can not be read: {error.strerror}") from error
    if not isinstance(document, dict):
        raise InputError(f'{path}: must be a mapping with the keys "type" and "attributes"')
    for key in document:
        if key not in {"type", "attributes"}:
            raise InputError(f'{path}: unknown key "{key}"; known are "type" and "attributes"')
    if document.get("type") != COMPONENT:
        raise InputError(f'{path}: key "type" must be {COMPONENT}')
    attributes = document.get("attributes")
    if not isinstance(attributes, dict):
        raise InputError(f'{path}: key "attributes" must be a mapping')
    try:
        config = MigrationConfig.model_validate(resolve_templates(attributes))
    except ValidationError as error:
        raise InputError(f"{path}: {_first_problem(error)}") from error
    _check_schedule(path, "schedule", config.schedule, MigrationConfig)
    _check_schedule(path, "backup.schedule", config.backup.schedule, BackupConfig)
    _check_storage(path, config.storage)
    return config


def _check_schedule(path: Path, key: str, schedule: str, of: type[BaseModel]) -> None:
    """Refuse a cron line that Dagster does not take, which would stop the whole code location."""
    if schedule == of.model_fields["schedule"].default:
        return
    import dagster as dg  # slow to import, and seldom needed

    try:
        dg.ScheduleDefinition(name="schedule", job_name="job", cron_schedule=schedule)
    except dg.DagsterInvalidDefinitionError as error:
        raise InputError(
            f'{path}: key "{key}": "{schedule}" is not a cron line of five fields'
        ) from error


def _check_storage(path: Path, storage: str | None) -> None:
    if storage is None:
        return
    try:
        fs.FileSystem.from_uri(storage)
    except pa.ArrowInvalid as error:
        line = " ".join(str(error).split())
        raise InputError(f'{path}: key "storage": {line}') from error


def resolve_templates(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fill in ``{{ env.NAME }}`` and the like, by Dagster's rules for component YAML."""
    if "{{" not in repr(attributes):
        return attributes
    from dagster import ResolutionContext  # slow to import, and seldom needed

    resolved: Mapping[str, Any] = fill_templates(dict(attributes), ResolutionContext.default())
    return resolved


def fill_templates(value: Any, context: Any) -> Any:
    """Fill in the templates of a nested value; a text without one stays the text it is.

    Args:
        value: mappings, lists and scalars as YAML gives them.
        context: Dagster's ``ResolutionContext``, which reads every other text as Python: "1" as 1.
    """
    if isinstance(value, dict):
        return {key: fill_templates(item, context) for key, item in value.items()}
    if isinstance(value, list):
        return [fill_templates(item, context) for item in value]
    return context.resolve_value(value) if isinstance(value, str) and "{{" in value else value


def _first_problem(error: ValidationError) -> str:
    details = error.errors(include_url=False)
    first = min(details, key=lambda d: d["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f'unknown key "{key}"{more}'
    if first["type"] == "missing":
        return f'key "{key}" is missing{more}'
    problem = first["msg"].removeprefix("Value error, ")
    return f'key "{key}": {problem}{more}' if key else f"{problem}{more}"


def create(
    home: Path,
    name: str,
    source_url: str,
    target_url: str | None = None,
    schema: str | None = None,
    tables: Sequence[str] = (),
) -> Migration:
    """Make the folder of a new migration with its commented ``defs.yaml``.

    Args:
        home: the migration home, made if it is not there.
        name: name of the migration, ``[A-Za-z0-9_]+``.
        source_url: source URL; the path of a file is made absolute.
        target_url: target URL, None for the embedded PostgreSQL. A password in it goes to
            ``secrets/staging.password``, never into the YAML.
        schema: target schema, None for the migration's name.
        tables: source table names, listed in a comment.

    Raises:
        InputError: there is such a migration already, or the name can not be one.
    """
    folder = home / name
    if name in _RESERVED or not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise InputError(f'"{name}" can not be the name of a migration: use letters, digits and _')
    if (folder / "defs.yaml").exists():
        raise InputError(f'there is a migration "{name}" in {home} already')
    url, password = split_password(target_url) if target_url else ("embedded", None)
    source_url = absolute_url(source_url)
    for part in (folder, folder / "secrets", folder / "state", folder / "runs"):
        part.mkdir(mode=0o700, parents=True, exist_ok=True)
    password_file = _write_password(folder, password) if password is not None else None
    target = TargetConfig(url=url, password_file=password_file, schema=schema)
    text = defs_template.render(COMPONENT, name, source_url, target, tables)
    path = folder / "defs.yaml"
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return load(home, name)


def choose(
    home: Path, source_url: str, target_url: str | None = None, schema: str | None = None
) -> tuple[str, Migration | None]:
    """The migration of this source, target and schema; nothing is made.

    The same three always lead to the same migration, so that a run repeated on the command line
    is one more run of it.

    Returns:
        Its name, and the migration itself if there is one already.

    Raises:
        InputError: the target's URL is none, or an existing ``defs.yaml`` of that name is broken.
    """
    url = split_password(target_url)[0] if target_url else "embedded"
    source_url = absolute_url(source_url)
    stem = _stem(source_url)
    digest = hashlib.sha256(repr((source_url, url, schema)).encode()).hexdigest()
    numbers = (digest[at : at + 4] for at in range(0, 60, 4))
    for name in (stem, *(f"{stem}_{number}" for number in numbers)):
        if name in _RESERVED:
            continue
        if not (home / name / "defs.yaml").exists():
            return name, None
        migration = load(home, name)
        if _is_of(migration.config, source_url, url, schema):
            return name, migration
    raise InputError(f"no free name for {stem} in {home}: remove migrations that are not needed")


def of_the_same_source(migration: Migration) -> list[str]:
    """Names of the other migrations of its home that move the same source."""
    found = []
    for name in migration_names(migration.home):
        with suppress(InputError):  # a broken defs.yaml speaks where it is used
            if name != migration.name and load(migration.home, name).source().location == (
                migration.source().location
            ):
                found.append(name)
    return found


def keep_password(migration: Migration, target_url: str) -> None:
    """Keep the password in ``target_url`` for later runs, if ``defs.yaml`` has it from nowhere."""
    password = split_password(target_url)[1]
    known = split_password(migration.config.targets[STAGING].url)[1]
    if password is not None and known is None:
        _write_password(migration.folder, password)


def keep_source_password(migration: Migration, source_url: str) -> None:
    """Keep the password in ``source_url``, if there is one, for the runs to come."""
    password = password_in(source_url)
    if password is not None:
        write_secret(migration.kept_password, password)


def _is_of(config: MigrationConfig, source_url: str, url: str, schema: str | None) -> bool:
    target = config.targets.get(STAGING)
    if target is None or config.source != source_url:
        return False
    with suppress(InputError):  # what is no URL speaks where it is used
        if split_password(target.url)[0] == url:
            return schema in {target.schema_name, config.schema_of(STAGING)}
    return False


def _stem(source_url: str) -> str:
    """A name from the last part of a URL's path, without its suffix."""
    last = unquote(urlsplit(source_url).path).rstrip("/").rpartition("/")[2]
    plain = re.sub(r"[^A-Za-z0-9]+", "_", last.rpartition(".")[0] or last).strip("_").lower()
    return plain[:_MAX_NAME] or "migration"


def split_password(url: str) -> tuple[str, str | None]:
    """Take the password out of a PostgreSQL URL, wherever it stands in it.

    Raises:
        InputError: it is no ``postgresql://`` URL.
    """
    if url == "embedded":
        return url, None
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InputError(
            "the target is not a URL; give postgresql://user@host:port/database"
        ) from error
    if not re.fullmatch(r"postgres(ql)?(\+\w+)?", parts.scheme) or "://" not in url:
        raise InputError(
            "the target must be embedded or a URL postgresql://user@host:port/database"
        )
    query = parse_qsl(parts.query, keep_blank_values=True)
    password = next((value for key, value in query if key == "password"), None)
    userinfo, at, host = parts.netloc.rpartition("@")
    user, colon, inline = userinfo.partition(":")
    if colon:
        password = unquote(inline)
    if password is None:
        return urlunsplit(parts._replace(scheme="postgresql")), None
    rest = urlencode([item for item in query if item[0] != "password"], quote_via=quote, safe="/")
    stripped = parts._replace(scheme="postgresql", netloc=f"{user}{at}{host}", query=rest)
    return urlunsplit(stripped), password


def _write_password(folder: Path, password: str) -> str:
    """Keep the password readable by the owner only; returns the file's name in the folder."""
    name = password_name(STAGING)
    write_secret(folder / name, password)
    return name


def write_secret(path: Path, text: str) -> None:
    """Write a file that its owner alone can read."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
