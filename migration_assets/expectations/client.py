"""The parent's side of Great Expectations: one child process per run, asked by JSON lines.

Requests, one JSON object a line, are ``{"id", "do": "validate", "expectations"}`` with a list of
``{"type", "kwargs"}``, and ``{"id", "do": "run", "connection", "schema", "table", "columns",
"expectations"}`` with libpq parameters. Answers carry the same ``id`` and one of ``results`` (one
per expectation, in order), ``problems`` (expectations that cannot be built), ``lost`` (the target
cannot be reached) or ``failure`` (anything else). The first line of all is ``{"ready": true}``.
The password goes over the pipe: a command line or an environment can be read by others.

The process is started before anything else is imported, so this module imports next to nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from migration_assets.errors import BrokenOffError, InputError, NotProvenError

if TYPE_CHECKING:
    from migration_assets.core.config import ExpectationConfig
    from migration_assets.core.plan import TablePlan
    from migration_assets.core.results import SuiteResult
    from migration_assets.expectations.suite import Expectation, Suite
    from migration_assets.postgres.connect import Target

START_TIMEOUT = 300.0
"""Seconds; the import takes three on an idle machine."""

RUN_TIMEOUT = 3600.0
"""Seconds for one table: its suite is a few scans, but the user's own may be slow."""

CLOSE_TIMEOUT = 5.0
WORKER = "migration_assets.expectations.worker"


class ExpectationsWorker:
    """A child process with Great Expectations; safe to call from several threads.

    Args:
        run_timeout: seconds until a table's suite is given up; the process is then ended.
        start_timeout: seconds until the process must be ready, counted from the first request.

    Example:
        >>> with ExpectationsWorker() as worker:  # doctest: +SKIP
        ...     extract_everything()  # the worker imports meanwhile
        ...     result = worker.run(target, "shop", table, suite)
    """

    def __init__(
        self, run_timeout: float = RUN_TIMEOUT, start_timeout: float = START_TIMEOUT
    ) -> None:
        self._run_timeout = run_timeout
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._buffer = b""
        self._ready = False
        self._asked = 0
        self._lock = threading.Lock()

    def __enter__(self) -> ExpectationsWorker:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The child's process id, None when it does not run."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process and return at once; does nothing if it was started."""
        with self._lock:
            self._start()

    def validate(self, table: TablePlan, extra: Sequence[ExpectationConfig]) -> None:
        """Find the user's mistakes in the expectations of ``table`` before any row moves.

        Raises:
            InputError: unknown type, column or argument, naming table and expectation.
            NotProvenError: the process is gone or does not answer.
        """
        from migration_assets.expectations.suite import own_expectations

        own = own_expectations(table, extra)
        if own:
            answer = self._ask({"do": "validate", "expectations": _plain(own)})
            _raise_problems(answer.get("problems") or (), table.name, own)

    def run(self, target: Target, schema: str, table: TablePlan, suite: Suite) -> SuiteResult:
        """Evaluate ``suite`` on ``schema``.``table``.

        An expectation that cannot be evaluated is a failed result with the error's text.

        Raises:
            InputError: one of the user's own expectations is none, naming table and expectation.
            BrokenOffError: the target cannot be reached.
            NotProvenError: the process is gone or does not answer in time.
        """
        from migration_assets.core.results import ExpectationResult, SuiteResult
        from migration_assets.core.sensitive import names
        from migration_assets.postgres.connect import parameters

        started = time.monotonic()
        hidden = names(table)
        answer = self._ask(
            {
                "do": "run",
                "connection": parameters(target),
                "schema": schema,
                "table": table.name,
                "columns": list(suite.columns),
                "expectations": _plain(suite.expectations),
            },
            hidden=bool(hidden),
        )
        if "lost" in answer:
            raise BrokenOffError(
                f'table "{table.name}": the expectations could not reach the target: '
                f"{answer['lost']}; run again when it is back"
            )
        _raise_problems(answer.get("problems") or (), table.name, suite.expectations)
        results = tuple(
            ExpectationResult(
                expectation=expectation.type,
                column=found["column"],
                passed=found["success"] and found["error"] is None,
                **_shown(expectation, found, hidden),
            )
            for expectation, found in zip(suite.expectations, answer["results"], strict=True)
        )
        return SuiteResult(table.slug, results, time.monotonic() - started)

    def close(self) -> None:
        """End the process; it may be started again."""
        with self._lock:
            # While it still imports it would not listen.
            self._end(CLOSE_TIMEOUT if self._ready else 0)

    def _start(self) -> None:
        if self._process is not None:
            return
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._buffer, self._ready = b"", False
        self._process = subprocess.Popen(
            [sys.executable, "-m", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            env=_environment(),
        )

    def _ask(self, request: dict[str, Any], hidden: bool = False) -> dict[str, Any]:
        with self._lock:
            self._start()
            if not self._ready:
                self._read(self._start_timeout)
                self._ready = True
            self._asked += 1
            assert self._process is not None and self._process.stdin is not None
            line = json.dumps({"id": self._asked, **request}, default=str).encode() + b"\n"
            try:
                _write_all(self._process.stdin.fileno(), line)
            except BrokenPipeError:
                self._give_up("ended")
            answer = self._read(self._run_timeout)
            if answer.get("id") != self._asked:
                self._give_up("answered out of turn")
            if "failure" in answer:
                from migration_assets.core.sensitive import MASK

                table = f'table "{request["table"]}": ' if "table" in request else ""
                said = MASK if hidden else answer["failure"]
                raise NotProvenError(f"{table}Great Expectations failed: {said}")
            return answer

    def _read(self, timeout: float) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            left = max(deadline - time.monotonic(), 0)
            if not select.select([pipe], [], [], left)[0]:
                self._give_up(f"gave no answer within {timeout:.0f} s")
            chunk = os.read(pipe, 1 << 16)
            if not chunk:
                self._give_up("ended")
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _give_up(self, what: str) -> None:
        """End the process and say why; a later request starts a new one."""
        last = self._last_error()
        self._end(0)
        raise NotProvenError(
            f"the Great Expectations process {what}{f' ({last})' if last else ''}; "
            "the values are not checked, run the checks again"
        )

    def _last_error(self) -> str:
        assert self._errors is not None
        self._errors.seek(0)
        lines = self._errors.read()[-4096:].decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:200]

    def _end(self, patience: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        if self._errors is not None:
            self._errors.close()


def _environment() -> dict[str, str]:
    """The child's environment: no usage data, few malloc arenas, this package importable."""
    environment = {
        **os.environ,
        "GX_ANALYTICS_ENABLED": "false",
        "MALLOC_ARENA_MAX": "2",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    root = str(Path(__file__).resolve().parents[2])
    if root not in sysconfig.get_paths().values():
        rest = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{root}{os.pathsep}{rest}" if rest else root
    return environment


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _plain(expectations: Sequence[Expectation]) -> list[dict[str, Any]]:
    return [{"type": e.type, "kwargs": e.kwargs} for e in expectations]


def _raise_problems(
    problems: Sequence[dict[str, Any]], table: str, expectations: Sequence[Expectation]
) -> None:
    for problem in problems:
        expectation = expectations[problem["position"]]
        raise InputError(
            f'table "{table}", expectation {expectation.type}: {problem["problem"]}; '
            "correct it under expectations in defs.yaml"
        )


def _shown(
    expectation: Expectation, found: Mapping[str, Any], hidden: Collection[str]
) -> dict[str, str | None]:
    """What is said of a result; of sensitive columns only whether it holds."""
    from migration_assets.core.sensitive import MASK
    from migration_assets.expectations.arguments import columns_named

    said = {
        "observed": found["observed"],
        "expected": _arguments(expectation.kwargs),
        "error": found["error"],
    }
    if not any(name in hidden for name in columns_named(expectation.kwargs)):
        return said
    return {name: None if text is None else MASK for name, text in said.items()}


def _arguments(kwargs: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in kwargs.items() if name != "column")
