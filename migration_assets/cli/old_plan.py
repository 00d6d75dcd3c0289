"""The plan that ``plan --diff`` compares with: from a file, a run, a migration or a home."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from migration_assets import home as homes
from migration_assets.core.plan import Plan
from migration_assets.errors import InputError
from migration_assets.sources import open_source


def read_old_plan(path: Path, source_url: str, name: str | None) -> tuple[Path, Plan]:
    """Read a plan that was made before.

    Args:
        path: a ``plan.json``, a run's folder, a migration's folder or a migration home.
        source_url: the source, by which the migration of a home is found.
        name: the migration of a home, None for the only one of this source.

    Returns:
        The file, and what is in it.

    Raises:
        InputError: there is no plan, or the file is none.
    """
    file = _file(path, source_url, name)
    try:
        return file, Plan.from_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{file}: is not a plan: {where or 'the file'}: {first['msg']}") from error
    except OSError as error:
        raise InputError(f"{file}: can not be read: {error.strerror}") from error


def _file(path: Path, source_url: str, name: str | None) -> Path:
    if path.is_file():
        return path
    if (path / "plan.json").is_file():
        return path / "plan.json"
    folder = path if (path / "defs.yaml").is_file() else _migration(path, source_url, name)
    plans = sorted(folder.glob("runs/*/plan.json"), key=lambda plan: plan.stat().st_mtime)
    if not plans:
        raise InputError(f"{folder}: no run of it has a plan yet; migrate first")
    return plans[-1]


def _migration(home: Path, source_url: str, name: str | None) -> Path:
    """The folder of a home's migration."""
    if name is not None:
        return homes.load(home.absolute(), name).folder
    location = open_source(source_url).location
    fitting = [
        migration.folder
        for found in homes.migration_names(home)
        if (migration := homes.load(home.absolute(), found)).config.source == location
    ]
    if len(fitting) != 1:
        found = f"{len(fitting)} migrations" if fitting else "no plan.json and no migration"
        raise InputError(
            f"{home}: holds {found} of {location}; give a plan.json, a run's folder, or --name"
        )
    return fitting[0]
