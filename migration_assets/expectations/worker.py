"""The child process that runs Great Expectations: JSON lines in on stdin, JSON lines out on stdout.

Importing Great Expectations takes three seconds, so it happens here, beside the extract. Requests
and answers are described in :mod:`migration_assets.expectations.client`.
"""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import IO, Any

from migration_assets.expectations.stand_ins import standing_in
from migration_assets.lean import never_import

HEAVY_AND_UNUSED = frozenset({"scipy.stats", "altair"})
"""Imported by Great Expectations for a few distribution tests and for plots: 80 MB, 1.5 s."""

ABSENT = ("pyarrow",)
"""Imported by pandas only if it is there, and of no use to the suites: 40 MB."""


class _LazyFinder(importlib.abc.MetaPathFinder):
    """Loads HEAVY_AND_UNUSED only when something in them is used (importlib.util.LazyLoader)."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in HEAVY_AND_UNUSED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


@contextmanager
def _lazy_imports() -> Iterator[None]:
    finder = _LazyFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def _answers_only_on_stdout() -> IO[str]:
    """Keep stdout for answers; whatever a library prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def main() -> None:
    """Answer requests until stdin ends."""
    # The parent decides when to stop; Ctrl-C reaches the whole process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = _answers_only_on_stdout()
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    never_import(*ABSENT)
    # Thousands of classes are made here for good: looking for garbage among them takes 0.8 s.
    gc.disable()
    with _lazy_imports(), standing_in():
        from migration_assets.expectations.evaluate import Evaluator

        evaluator = Evaluator()
    gc.freeze()
    gc.enable()

    def answer(record: dict[str, Any]) -> None:
        answers.write(json.dumps(record) + "\n")
        answers.flush()

    answer({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer({"id": request["id"], **evaluator.handle(request)})
        except Exception as error:
            message = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            answer({"id": request["id"], "failure": message})
    evaluator.close()
    # The parent waits, and taking thousands of classes apart takes a while.
    os._exit(0)


if __name__ == "__main__":
    main()
