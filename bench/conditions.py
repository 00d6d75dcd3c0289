"""Under what conditions a benchmark ran; without them its figures mean little."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from contextlib import closing
from importlib.metadata import version
from typing import Any

import psutil
import psycopg2

PACKAGES = ("dagster", "great-expectations", "pyarrow", "pgpq", "adbc-driver-postgresql", "numpy")


def conditions(url: str | None) -> dict[str, Any]:
    """Machine, versions and load; those of the server at ``url`` too, unless it is None."""
    found: dict[str, Any] = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "pgloader": _pgloader(),
    }
    if url is not None:
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT name, setting FROM pg_settings WHERE name IN ('server_version', 'fsync',"
                " 'synchronous_commit', 'wal_level', 'shared_buffers', 'max_wal_size')"
            )
            found["postgresql"] = dict(cursor.fetchall())
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(s.split(":", 1)[1].strip() for s in file if s.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _pgloader() -> str | None:
    """The Debian package's version; the program's own word is an older one."""
    if shutil.which("dpkg-query"):
        done = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", "pgloader"], capture_output=True, text=True
        )
        if done.returncode == 0:
            return done.stdout
    return "unknown" if shutil.which("pgloader") else None
