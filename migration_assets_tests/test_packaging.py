"""The package declares what it imports, explains it, and carries its data files."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[; ]", name)[0]).lower()


def imported(folder: Path) -> set[str]:
    """Top-level modules that the Python files below ``folder`` import."""
    modules: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.split(".")[0])
    return modules - set(sys.stdlib_module_names) - {"migration_assets", "migration_assets_tests"}


@pytest.mark.parametrize(
    ("folder", "extras"), [("migration_assets", []), ("migration_assets_tests", ["dev"])]
)
def test_everything_imported_is_declared(
    project: dict[str, Any], folder: str, extras: list[str]
) -> None:
    declared = [*project["project"]["dependencies"]]
    for extra in extras:
        declared += project["project"]["optional-dependencies"][extra]
    names = {normal(name) for name in declared}
    distributions = packages_distributions()
    for module in imported(ROOT / folder):
        assert names & {normal(d) for d in distributions[module]}, module


def test_every_dependency_is_explained(project: dict[str, Any]) -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text()
    extras = project["project"]["optional-dependencies"]["dev"]
    for name in [*project["project"]["dependencies"], *extras]:
        assert re.search(rf"(^\| |, ){re.escape(normal(name))}(,| \|)", text, re.MULTILINE), name


def test_no_dependency_is_pinned_to_one_version(project: dict[str, Any]) -> None:
    for names in (
        project["project"]["dependencies"],
        project["project"]["optional-dependencies"]["dev"],
    ):
        assert not [name for name in names if "==" in name]


def test_sample_scripts_are_in_the_package() -> None:
    sample = files("migration_assets.sample")
    assert "CREATE TABLE" in sample.joinpath("tables.sql").read_text()
    assert "CREATE VIEW" in sample.joinpath("objects.sql").read_text()
