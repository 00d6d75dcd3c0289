"""Suites evaluated by Great Expectations. Only the child process imports this module.

Great Expectations breaks on hostile names in table assets, so each table is a query that renames
its columns to c1, c2, ...; the results are given back under the true names.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import great_expectations as gx
import psycopg2
import psycopg2.extensions
import sqlalchemy as sa
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.registry import get_expectation_impl
from great_expectations.util import convert_to_json_serializable
from psycopg2.extensions import make_dsn

from migration_assets.expectations.arguments import (
    columns_named,
    exact_number,
    rename_columns,
)
from migration_assets.expectations.shortcuts import shortcuts
from migration_assets.expectations.stand_ins import import_expectation

CONNECT_TIMEOUT = "5"
MOST_COLUMNS = 100
"""Columns looked at together: Great Expectations' own time grows with their square."""
MAX_TEXT = 300
NUMERIC_OID = 1700

_SESSION = "SET jit = off; SET max_parallel_workers_per_gather = 0"
"""Its queries run beside the comparison of every cell: a third faster alone, but with twice the
server's time, they would slow it down."""

_NUMERIC = psycopg2.extensions.new_type(
    (NUMERIC_OID,),
    "EXACT_NUMBER",
    lambda text, _: None if text is None else exact_number(str(text)),
)
"""Great Expectations rounds Decimals to doubles, sums of integers among them, and walks the stack
for each to warn of it; whole numbers stay exact as int."""


class Evaluator:
    """One ephemeral context; one engine per target, kept."""

    def __init__(self) -> None:
        logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
        # Any: its data source methods are made at run time, unknown to type checkers.
        self._context: Any = gx.get_context(mode="ephemeral")
        self._context.variables.progress_bars = ProgressBarsConfig(globally=False)
        self._sources: dict[str, Any] = {}
        self._queries: set[str] = set()

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request: ``validate`` or ``run``."""
        if request["do"] == "validate":
            return {"problems": self._problems(request["expectations"])}
        return self._run(request)

    def close(self) -> None:
        """Close the connections."""
        for source in self._sources.values():
            source.get_execution_engine().close()

    def _problems(self, expectations: list[dict[str, Any]]) -> list[dict[str, Any]]:
        problems = []
        for position, expectation in enumerate(expectations):
            try:
                _build(expectation["type"], expectation["kwargs"], position)
            except Exception as error:
                problems.append({"position": position, "problem": _one_line(error)})
        return problems

    def _run(self, request: dict[str, Any]) -> dict[str, Any]:
        aliases = {name: f"c{n}" for n, name in enumerate(request["columns"], start=1)}
        expectations = request["expectations"]
        lost = _unreachable(_dsn(request["connection"]))
        if lost:
            return {"lost": lost}
        built: list[Expectation] = []
        problems = []
        for position, expectation in enumerate(expectations):
            kwargs = rename_columns(expectation["kwargs"], aliases)
            try:
                built.append(_build(expectation["type"], kwargs, position))
            except Exception as error:
                problems.append({"position": position, "problem": _one_line(error)})
        if problems:
            return {"problems": problems}

        results: dict[int, Any] = {}
        for columns, positions in _parts(request["columns"], expectations):
            batch = self._batch(request, {name: aliases[name] for name in columns})
            part = [built[position] for position in positions]
            # The values that do not meet an expectation cost one more scan per expectation on
            # single values, so they are fetched only where there are any.
            results |= self._validate(batch, part, "BOOLEAN_ONLY", only_maps=True)
            results |= self._validate(batch, part, "BASIC", only_maps=False)
            failed = [e for e in part if _is_map(e) and not results[_position(e)].success]
            if failed:
                results |= self._validate(batch, failed, "BASIC", only_maps=True)
        names = {alias: name for name, alias in aliases.items()}
        answers = [_flatten(results[n], names) for n in range(len(expectations))]
        if any(answer["error"] for answer in answers):
            # A target that went away fails each expectation; that is one thing, not many.
            lost = _unreachable(_dsn(request["connection"]))
            if lost:
                return {"lost": lost}
        return {"results": answers}

    def _batch(self, request: dict[str, Any], aliases: dict[str, str]) -> Any:
        source = self._source(request["connection"])
        columns = ", ".join(f"{_plain(name)} AS {alias}" for name, alias in aliases.items())
        table = f"{_plain(request['schema'])}.{_plain(request['table'])}"
        query = f"SELECT {columns or '1 AS c0'} FROM {table}"
        self._queries.add(sa.text(query).text)
        name = f"asset_{len(source.assets)}"
        asset = source.add_query_asset(name, query=query)
        return asset.add_batch_definition_whole_table("whole").get_batch()

    def _source(self, parameters: dict[str, str]) -> Any:
        dsn = _dsn(parameters)
        if dsn not in self._sources:

            def connect() -> Any:
                connection = psycopg2.connect(dsn)
                connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute(_SESSION)
                connection.autocommit = False
                psycopg2.extensions.register_type(_NUMERIC, connection)
                return connection

            # With a creator the password is in no configuration, where its $ would be expanded.
            source = self._context.data_sources.add_sql(
                f"target_{len(self._sources)}",
                connection_string="postgresql+psycopg2://",
                create_temp_table=False,
                kwargs={"creator": connect},
            )
            engine = source.get_execution_engine().engine
            sa.event.listen(engine, "before_execute", self._names_only, retval=True)
            self._sources[dsn] = source
        return self._sources[dsn]

    def _names_only(
        self,
        connection: sa.Connection,
        element: Any,
        multiparams: Any,
        params: Any,
        execution_options: Any,
    ) -> tuple[Any, Any, Any]:
        """Great Expectations runs a query asset whole to learn its column names; no rows needed."""
        if isinstance(element, sa.TextClause) and element.text.strip() in self._queries:
            element = sa.text(element.text + " LIMIT 0")
        return element, multiparams, params

    def _validate(
        self, batch: Any, expectations: list[Expectation], result_format: str, only_maps: bool
    ) -> dict[int, Any]:
        """The results by position."""
        chosen = [e for e in expectations if _is_map(e) is only_maps]
        if not chosen:
            return {}
        suite = gx.ExpectationSuite(name="suite", expectations=chosen)
        with shortcuts():
            outcome = batch.validate(suite, result_format=result_format)
        return {result.expectation_config.meta["position"]: result for result in outcome.results}


def _parts(
    columns: list[str], expectations: list[dict[str, Any]]
) -> list[tuple[list[str], list[int]]]:
    """Columns that are looked at together, and the positions of the expectations on them."""
    if len(columns) <= MOST_COLUMNS:
        return [(columns, list(range(len(expectations))))]
    parts: list[tuple[list[str], list[int]]] = [
        (columns[n : n + MOST_COLUMNS], []) for n in range(0, len(columns), MOST_COLUMNS)
    ]
    whole: tuple[list[str], list[int]] = (columns, [])
    part_of = {name: part for part in parts for name in part[0]}
    for position, expectation in enumerate(expectations):
        kwargs = expectation["kwargs"]
        named = set(columns_named(kwargs))
        # What names several columns, or none, may be about all of them.
        part = part_of[kwargs["column"]] if named == {kwargs.get("column")} else whole
        part[1].append(position)
    return [part for part in (whole, *parts) if part[1]]


def _plain(identifier: str) -> str:
    """A quoted identifier without the signs that SQLAlchemy and psycopg2 read in texts: % : $.

    PostgreSQL manual, "Identifiers and Key Words": Unicode escapes.
    """
    escaped = re.sub(
        r"[^A-Za-z0-9_ ]", lambda match: f"\\+{ord(match[0]):06x}", identifier, flags=re.ASCII
    )
    return f'U&"{escaped}"' if escaped != identifier else f'"{identifier}"'


def _dsn(parameters: dict[str, str]) -> str:
    asked = {"connect_timeout": CONNECT_TIMEOUT, "application_name": "migration_assets"}
    return make_dsn(**{**asked, **parameters, "client_encoding": "UTF8"})


def _unreachable(dsn: str) -> str | None:
    """Why no connection can be made, None if it can."""
    try:
        psycopg2.connect(dsn).close()
    except psycopg2.OperationalError as error:
        return _one_line(error)
    return None


def _build(type_: str, kwargs: dict[str, Any], position: int) -> Expectation:
    if type_ == "unexpected_rows_expectation":
        raise ValueError("SQL of one's own is not supported; use an expectation on columns")
    import_expectation(type_)
    implementation: type[Expectation] = get_expectation_impl(type_)
    return implementation(**kwargs, meta={"position": position})


def _is_map(expectation: Expectation) -> bool:
    return getattr(expectation, "map_metric", None) is not None


def _position(expectation: Expectation) -> int:
    return int((expectation.meta or {})["position"])


def _flatten(result: Any, names: dict[str, str]) -> dict[str, Any]:
    """One result as column, success, observed and error, with the true names of aliases."""
    column = result.expectation_config.kwargs.get("column")
    detail = convert_to_json_serializable(result.result or {})
    observed = None
    if "observed_value" in detail:
        observed = _short(detail["observed_value"])
    elif "unexpected_count" in detail:
        observed = f"{detail['unexpected_count']} unexpected"
        if detail.get("partial_unexpected_list"):
            observed += f": {_short(detail['partial_unexpected_list'])}"
    return {
        "column": names.get(column, column),
        "success": bool(result.success),
        "observed": observed,
        "error": _exception(result.exception_info or {}),
    }


def _exception(info: dict[str, Any]) -> str | None:
    """The first message; Great Expectations nests them by metric where a metric failed."""
    candidates = [info, *(value for value in info.values() if isinstance(value, dict))]
    for candidate in candidates:
        if candidate.get("raised_exception"):
            return _one_line(candidate.get("exception_message") or "it could not be evaluated")
    return None


def _one_line(error: object) -> str:
    """The message that matters, on one line: a validation error of pydantic has several."""
    return _short("; ".join(line.strip() for line in str(error).splitlines() if line.strip()))


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
