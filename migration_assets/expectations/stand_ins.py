"""Parts of Great Expectations that are not imported until they are needed, or never.

It imports every data source and every expectation it knows, and each makes pydantic models: more
than a third of the time until it is ready. A suite on PostgreSQL uses one data source and half a
dozen expectations. So the other sources' modules are stood in for by empty ones, whose classes
can be named but not made; so are those of the expectations, until one is asked for.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NoReturn

_SOURCES = "great_expectations.datasource.fluent."
_EXPECTATIONS = "great_expectations.expectations.core."
_NEEDED_SOURCES = frozenset(
    {"sql_datasource", "postgres_datasource", "invalid_datasource", "databricks_sql_datasource"}
)
"""The last one is looked up by every SQL source, for a hint."""


class _StandIn(ModuleType):
    """A module in which every class that is asked for is there, and can not be used."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(_self: object, *_: Any, **__: Any) -> NoReturn:
            raise NotImplementedError(f"{self.__name__}.{name} is not imported in this process")

        made = type(name, (), {"__init__": refuse, "__module__": self.__name__})
        setattr(self, name, made)
        return made


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if _is_left_out(fullname) else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is in it."""


def _is_left_out(module: str) -> bool:
    if module.startswith(_SOURCES):
        name = module.removeprefix(_SOURCES)
        source = name == "fabric" or name.endswith("_datasource")
        return source and name not in _NEEDED_SOURCES
    return module.startswith(f"{_EXPECTATIONS}expect_")


@contextmanager
def standing_in() -> Iterator[None]:
    """Import Great Expectations without its other sources, and without its expectations yet."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def import_expectation(type_: str) -> None:
    """Import an expectation (its type in snake case) if so far only its stand-in was.

    Of an expectation that Great Expectations does not import by itself nothing is imported.
    """
    module = _EXPECTATIONS + type_
    if isinstance(sys.modules.get(module), _StandIn):
        del sys.modules[module]
        importlib.import_module(module)
