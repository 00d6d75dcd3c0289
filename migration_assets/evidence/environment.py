"""What the run was made with."""

from __future__ import annotations

import platform
from importlib import metadata

from migration_assets.core.evidence import Environment, Tool

PACKAGE = "migration-assets"
PACKAGES = (
    "adbc-driver-postgresql",
    "dagster",
    "great-expectations",
    "pgpq",
    "psycopg2-binary",
    "pyarrow",
    "sqlglot",
)


def tool() -> Tool:
    """This tool and its version."""
    return Tool(name=PACKAGE, version=_version(PACKAGE) or "not installed")


def environment() -> Environment:
    """Python, platform and the packages that values pass through."""
    found = {name: _version(name) for name in PACKAGES}
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        packages={name: version for name, version in found.items() if version},
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
