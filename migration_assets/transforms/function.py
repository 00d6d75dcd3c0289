"""Functions of the user's own, by import path; the migration's folder is looked in first."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from migration_assets.core.config import MigrationConfig
from migration_assets.core.transform_plan import functions
from migration_assets.errors import InputError

Function = Callable[[Any], Any]


def source_hash(path: str, folder: Path | None, place: str) -> str:
    """16 hex digits over the source of a function's module; nothing is imported.

    Args:
        path: ``module:function``.
        folder: the migration's, None for the environment alone.
        place: where it is named in ``defs.yaml``, for the error.

    Raises:
        InputError: there is no such module.
    """
    module = path.partition(":")[0]
    spec = _spec(module, folder)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        where = f" beside defs.yaml in {folder} nor" if folder else ""
        raise InputError(
            f'{place}: there is no module "{module}"{where} in the environment; '
            "write module:function, with the module in the migration's folder"
        )
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()[:16]


def located(config: MigrationConfig, folder: Path) -> MigrationConfig:
    """The configuration with the hashes of the modules that its transforms name.

    Args:
        config: the migration's.
        folder: its folder.

    Raises:
        InputError: a module is not there.
    """
    return config.located(
        {path: source_hash(path, folder, place) for place, path in functions(config)}
    )


def load(path: str, folder: Path | None, expected: str | None) -> Function:
    """Import a function.

    Args:
        path: ``module:function``.
        folder: the migration's, looked in first and left importable.
        expected: :func:`source_hash` in the plan, None to take any.

    Raises:
        InputError: it can not be imported, or its module has changed since the plan was made.
    """
    place = f'function "{path}"'
    found = source_hash(path, folder, place)
    if expected is not None and found != expected:
        raise InputError(f"{place}: its module has changed since the plan was made; run again")
    name, _, attribute = path.partition(":")
    spec = _spec(name, folder)
    assert spec is not None, "it has a hash"
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    held = sys.modules.get(name)
    if held is not None and getattr(held, "__file__", None) != spec.origin:
        # Another migration's module of the same name, in the same process.
        for other in [m for m in sys.modules if m.partition(".")[0] == name.partition(".")[0]]:
            del sys.modules[other]
        sys.path.remove(str(folder)) if str(folder) in sys.path else None
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
    try:
        function = getattr(importlib.import_module(name), attribute)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{place}: can not be imported: {reason}") from error
    if not callable(function):
        raise InputError(f"{place}: is no function")
    result: Function = function
    return result


def _spec(module: str, folder: Path | None) -> ModuleSpec | None:
    """Find a module as an import would, without running its packages."""
    path = [*([str(folder)] if folder else []), *sys.path]
    spec: ModuleSpec | None = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or [])
    return spec
