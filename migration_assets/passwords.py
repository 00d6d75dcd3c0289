"""All passwords that a migration knows, so that none of them is ever shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from migration_assets.command_output import secrets_in
from migration_assets.core.config import MigrationConfig

_FILE = "password_file"


def known_passwords(config: MigrationConfig, folder: Path) -> tuple[str, ...]:
    """Passwords in ``defs.yaml``, in files that it names, in ``secrets/``, and the application's.

    What can not be read is no password of this process.

    Args:
        config: of the migration.
        folder: the migration's; file names are relative to it.
    """
    urls = [config.source, *(target.url for target in config.targets.values())]
    if config.cutover.app_url is not None:
        urls.append(config.cutover.app_url)
    found = list(secrets_in({str(number): url for number, url in enumerate(urls)}))
    switch = config.cutover.hooks.switch_env
    if switch is not None and switch.file is not None:
        lines = _read(folder / switch.file).splitlines()
        found += secrets_in({name: value for name, _, value in (x.partition("=") for x in lines)})
    found += [text for file in _files(config, folder) if (text := _read(file))]
    return tuple(dict.fromkeys(found))


def _files(config: MigrationConfig, folder: Path) -> Iterator[Path]:
    named = [target.password_file for target in config.targets.values()]
    named.append(config.cutover.app_password_file)
    named += parse_qs(urlsplit(config.source).query).get(_FILE, [])
    yield from (folder / name for name in named if name)
    yield from (folder / "secrets").glob("*.password")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        return ""
