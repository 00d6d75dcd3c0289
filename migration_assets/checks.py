"""Asset checks: what must hold before a target goes on.

``content`` and ``values`` are checks of each table and stand before the constraints; ``schema``,
``keys`` and ``references`` are checks of the target's constraints and stand before the swap. Any
other order would be a cycle, or would not hold the swap back. All are blocking, and all run in ops
of their own, so that they can be run again without loading anything.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import TypeAdapter

from migration_assets.assets.existing import existing_findings, is_existing
from migration_assets.assets.keys import Keys, op_names
from migration_assets.assets.load import table_batches
from migration_assets.assets.run import Run, step
from migration_assets.assets.upstream import (
    Loaded,
    extract_folder,
    loaded,
    loaded_folder,
    standing_schema,
)
from migration_assets.core.plan import Plan, TablePlan
from migration_assets.core.profile import Profile
from migration_assets.core.results import (
    ContentResult,
    Difference,
    Finding,
    Manifest,
    SuiteResult,
)
from migration_assets.expectations.client import ExpectationsWorker
from migration_assets.expectations.suite import derive_suite
from migration_assets.extract import open_parquet
from migration_assets.home import Migration
from migration_assets.postgres import connect
from migration_assets.run_folder import RunFolder
from migration_assets.state import State
from migration_assets.verify import content, objects, structure

TABLE_CHECKS = {
    "content": "Every cell of the table equals that of the Parquet file.",
    "values": "The table's Great Expectations suite, on PostgreSQL.",
}
STRUCTURE_CHECKS = {
    "schema": "Columns, types, nullability, defaults, generated columns and views are as planned.",
    "keys": "Primary and unique keys, indexes with their terms and identity values are as planned.",
    "references": "Foreign keys and the texts of checks are as planned.",
}
_NAMED = 5
"""Keys that the description of a failed check names; the metadata has up to 100."""


def expectations_resource() -> dg.ResourceDefinition:
    """Great Expectations in a child process, which imports while the run extracts and loads."""

    @dg.resource(description="Great Expectations in a child process.")
    def expectations(_context: Any) -> Iterator[ExpectationsWorker]:
        with ExpectationsWorker() as worker:
            yield worker

    return expectations


def table_checks(
    migration: Migration, state: State, plan: Plan, target: str
) -> list[dg.AssetChecksDefinition]:
    """``content`` and ``values`` of every planned table, in the batches of the loads."""
    groups = table_batches(migration, state, plan)
    names = op_names(f"{migration.name}_{target}_checks", len(groups))
    return [
        _table_checks(migration, target, name, tables)
        for name, tables in zip(names, groups, strict=True)
    ]


def _table_checks(
    migration: Migration, target: str, op_name: str, tables: list[TablePlan]
) -> dg.AssetChecksDefinition:
    keys = Keys(migration.name)
    specs = [
        dg.AssetCheckSpec(
            name, asset=keys.table(target, table.slug), blocking=True, description=description
        )
        for table in tables
        for name, description in TABLE_CHECKS.items()
    ]
    slugs = {keys.table(target, table.slug): table.slug for table in tables}

    @dg.multi_asset_check(
        name=op_name,
        specs=specs,
        can_subset=True,
        required_resource_keys={keys.run_resource, keys.expectations_resource},
        pool=migration.name,
    )
    def check_op(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        run: Run = getattr(context.resources, keys.run_resource)
        worker: ExpectationsWorker = getattr(context.resources, keys.expectations_resource)
        with (
            step(run, context, "checks") as current,
            closing(_Tables(run, context.instance, keys, target)) as tables_of,
        ):
            works: dict[str, Callable[[str], ContentResult | SuiteResult]] = {
                "content": tables_of.content,
                "values": lambda slug: tables_of.values(slug, worker),
            }
            selected = [spec.key for spec in specs if spec.key in context.selected_asset_check_keys]
            for check in selected:
                run.folder.forget(check.name, slugs[check.asset_key])
            failed = []
            pools = {name: ThreadPoolExecutor(1, thread_name_prefix=name) for name in works}
            try:
                # Beside each other: the one works mostly here, the other mostly in the server.
                futures: dict[Future[ContentResult | SuiteResult], dg.AssetCheckKey] = {
                    pools[check.name].submit(works[check.name], slugs[check.asset_key]): check
                    for check in selected
                }
                for future in as_completed(futures):
                    check = futures[future]
                    error = future.exception()
                    if isinstance(error, Exception):
                        current.fail(f"{slugs[check.asset_key]} ({check.name})", error)
                        continue
                    result = future.result()
                    if not result.passed:
                        failed.append(check)
                    yield _table_result(check, result, tables_of.plan(result.slug))
            except BaseException:
                run.progress.stop()  # the tables at work would be waited for, paused or not
                raise
            finally:
                for pool in pools.values():
                    pool.shutdown(wait=True, cancel_futures=True)
            current.blocked = bool(failed)

    return check_op


class _Tables:
    """The loaded tables of one op, and how each is checked."""

    def __init__(self, run: Run, instance: dg.DagsterInstance, keys: Keys, target: str) -> None:
        self._run = run
        self._instance = instance
        self._keys = keys
        self._target = target
        self._plans: dict[Path, Plan] = {}
        self._profiles: dict[Path, Profile] = {}
        self._schemas: dict[Path, str] = {}
        self._stack = ExitStack()
        self._reader: Any = None

    def close(self) -> None:
        """Close the connection that the comparisons share."""
        self._stack.close()

    def content(self, slug: str) -> ContentResult:
        """Compare every cell; keeps and returns the result. One thread at a time may call it."""
        place, folder, manifest = self._made(slug)
        destination = self._run.target(self._target)
        if self._reader is None:
            # Such a connection reads all of the server's types first, which takes longer than
            # comparing a small table.
            self._reader = self._stack.enter_context(connect.adbc(destination))
        opened = partial(open_parquet, folder, manifest.path)
        with opened() as parquet:
            result = content.compare_table(
                destination,
                place.schema,
                self.plan(slug),
                parquet,
                self._run.progress,
                reader=self._reader,
                again=opened,
            )
        self._run.folder.write_result("content", slug, result)
        return result

    def values(self, slug: str, worker: ExpectationsWorker) -> SuiteResult:
        """Evaluate the suite; keeps and returns the result."""
        place, _, manifest = self._made(slug)
        table = self.plan(slug)
        own = self._run.migration.config.expectations.get(table.name, ())
        if place.folder.path not in self._profiles:
            self._profiles[place.folder.path] = place.folder.profile()
        profile = self._profiles[place.folder.path].tables[table.source]
        suite = derive_suite(table, manifest, profile, own)
        with self._run.progress.task("values", table.source, manifest.rows):
            result = worker.run(self._run.target(self._target), place.schema, table, suite)
        self._run.folder.write_result("values", slug, result)
        return result

    def plan(self, slug: str) -> TablePlan:
        """The plan that the table was loaded by."""
        folder = self._loaded(slug).folder
        if folder.path not in self._plans:
            self._plans[folder.path] = folder.plan()
        return self._plans[folder.path].by_slug(slug)

    def _loaded(self, slug: str) -> Loaded:
        key = self._keys.table(self._target, slug)
        folder = loaded_folder(self._run, self._instance, key, "load", slug)
        if folder.path not in self._schemas:
            schema = standing_schema(self._run, folder, self._target)
            self._schemas[folder.path] = schema
        return Loaded(folder, self._schemas[folder.path])

    def _made(self, slug: str) -> tuple[Loaded, RunFolder, Manifest]:
        """Where the table is, and the extract it was loaded from."""
        place = self._loaded(slug)
        left = place.folder.read_result("loaded", slug, Manifest)
        if left is not None:
            # Rows were refused: the extract is what is left without them.
            return place, place.folder, left
        loader = replace(self._run, folder=place.folder)
        folder = extract_folder(loader, self._instance, self._keys.extract(slug), slug)
        manifest = folder.read_result("extract", slug, Manifest)
        assert manifest is not None, "extract_folder looked"
        return place, folder, manifest


def _table_result(
    check: dg.AssetCheckKey, result: ContentResult | SuiteResult, table: TablePlan
) -> dg.AssetCheckResult:
    describe = _content if isinstance(result, ContentResult) else _values
    description, metadata = describe(result, table)  # type: ignore[arg-type]
    return dg.AssetCheckResult(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=result.passed,
        description=description,
        metadata={**metadata, "seconds": result.seconds},
    )


def _content(result: ContentResult, table: TablePlan) -> tuple[str, dict[str, Any]]:
    metadata: dict[str, Any] = {
        "rows_identical": result.identical,
        "rows_missing": result.missing,
        "rows_extra": result.extra,
        "rows_changed": result.changed,
    }
    if result.passed:
        return f"{result.identical:,} rows identical", metadata
    metadata["differences"] = dg.MetadataValue.table(
        records=[_record(difference) for difference in result.differences],
        schema=dg.TableSchema.from_name_type_dict(
            dict.fromkeys(("kind", "key", "column", "expected", "found"), "string")
        ),
    )
    counts = [
        f"{count:,} {kind}"
        for kind in ("missing", "extra", "changed")
        if (count := getattr(result, kind))
    ]
    named = "; ".join(_phrase(difference) for difference in result.differences[:_NAMED])
    return f'table "{table.name}": rows {", ".join(counts)}: {named}', metadata


def _record(difference: Difference) -> dg.TableRecord:
    values = {name: str(value or "") for name, value in asdict(difference).items()}
    return dg.TableRecord(values)


def _phrase(difference: Difference) -> str:
    if difference.kind != "changed":
        return f"{difference.kind} key {difference.key}"
    return (
        f'key {difference.key} column "{difference.column}" is {difference.found!r} '
        f"instead of {difference.expected!r}"
    )


def _values(result: SuiteResult, table: TablePlan) -> tuple[str, dict[str, Any]]:
    failed = [found for found in result.results if not found.passed]
    metadata: dict[str, Any] = {
        "expectations": len(result.results),
        "failed": len(failed),
    }
    if not failed:
        return f"{len(result.results)} expectations hold", metadata
    metadata["failures"] = dg.MetadataValue.json([asdict(found) for found in failed])
    named = "; ".join(
        f'{found.expectation} of column "{found.column}"' if found.column else found.expectation
        for found in failed[:_NAMED]
    )
    return f'table "{table.name}": {len(failed)} expectations do not hold: {named}', metadata


def structure_checks(migration: Migration, target: str) -> dg.AssetChecksDefinition:
    """``schema``, ``keys`` and ``references`` of a target's constraints."""
    keys = Keys(migration.name)
    asset = keys.step(target, "constraints")

    @dg.multi_asset_check(
        name=f"{migration.name}_{target}_structure",
        specs=[
            dg.AssetCheckSpec(name, asset=asset, blocking=True, description=description)
            for name, description in STRUCTURE_CHECKS.items()
        ],
        can_subset=True,
        required_resource_keys={keys.run_resource},
        pool=migration.name,
    )
    def structure_op(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        run: Run = getattr(context.resources, keys.run_resource)
        with step(run, context, "structure") as current:
            run.folder.forget("structure")
            place = loaded(run, context.instance, asset, target, "constraints", "all")
            plan, profile = place.folder.kept_plan(), place.folder.profile()
            if is_existing(run):
                found = existing_findings(run, target, place, plan)
            else:
                found = structure.findings(run.target(target), place.schema, plan, profile)
            counts, lost = objects.count(
                run.target(target), place.schema, place.folder.catalog(), plan
            )
            found += lost
            run.folder.write_counts(counts)
            run.folder.write_text(
                "results/structure/all.json", _FINDINGS.dump_json(found, indent=1).decode()
            )
            current.blocked = bool(found)
            chosen = {key.name for key in context.selected_asset_check_keys}
            for name in STRUCTURE_CHECKS:
                if name in chosen:
                    yield _structure_result(
                        asset, name, [f for f in found if f.category == name], len(plan.tables)
                    )

    return structure_op


_FINDINGS: TypeAdapter[list[Finding]] = TypeAdapter(list[Finding])


def _structure_result(
    asset: dg.AssetKey, name: str, found: list[Finding], tables: int
) -> dg.AssetCheckResult:
    metadata: dict[str, Any] = {"tables": tables, "findings": len(found)}
    description = f"{tables} tables as planned"
    if found:
        named = "; ".join(f'"{f.table}" {f.object}: {f.problem}' for f in found[:_NAMED])
        description = f"{len(found)} findings: {named}"
        metadata["list"] = dg.MetadataValue.table(
            records=[
                dg.TableRecord({"table": f.table, "object": f.object, "problem": f.problem})
                for f in found
            ],
            schema=dg.TableSchema.from_name_type_dict(
                dict.fromkeys(("table", "object", "problem"), "string")
            ),
        )
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=name,
        passed=not found,
        description=description,
        metadata=metadata,
    )
