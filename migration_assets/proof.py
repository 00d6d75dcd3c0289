"""Prove, or disprove, a schema that is loaded already: the checks of a run, without loading."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from time import monotonic

import adbc_driver_manager
from psycopg2 import DatabaseError, ProgrammingError
from psycopg2.errors import InsufficientPrivilege
from pydantic import TypeAdapter

from migration_assets import dangling, extract
from migration_assets.core.catalog import POSTGRES, Catalog, SkippedObject, Table
from migration_assets.core.config import MigrationConfig
from migration_assets.core.kept_plan import with_dangling, without
from migration_assets.core.plan import Origin, Plan, TablePlan
from migration_assets.core.profile import Profile
from migration_assets.core.results import (
    ContentResult,
    Finding,
    Manifest,
    StageResult,
    StepFailure,
    TargetResult,
)
from migration_assets.core.structure import Structure
from migration_assets.errors import BrokenOffError, InputError, MigrationError, NotProvenError
from migration_assets.expectations.client import ExpectationsWorker
from migration_assets.expectations.suite import derive_suite
from migration_assets.postgres import connect, marker
from migration_assets.postgres.connect import Target
from migration_assets.progress import Progress
from migration_assets.run_folder import RunFolder
from migration_assets.sources.base import SnapshotReader, source_result
from migration_assets.verify import content, objects, real_schema, structure
from migration_assets.verify.agreement import disagreements

STAGES = ("extract", "content", "values", "structure")
"""What a proof is made of; the evidence asks for no other stage."""

_FINDINGS: TypeAdapter[list[Finding]] = TypeAdapter(list[Finding])


def check_target(target: Target) -> marker.Mark | None:
    """Look whether there is a schema to prove anything about.

    Returns:
        the mark of the run that made it, None for what any other tool has loaded.

    Raises:
        InputError: there is none.
    """
    with (
        connect.session(target, "the look at the target") as connection,
        connection.cursor() as cursor,
    ):
        if not marker.schema_exists(cursor, target.schema):
            raise InputError(
                f'{target.location} has no schema "{target.schema}"; name another with --schema'
            )
        return marker.read_mark(cursor, target.schema)


def prove(
    reader: SnapshotReader,
    catalog: Catalog,
    profile: Profile,
    config: MigrationConfig,
    plan: Plan,
    target: Target,
    folder: RunFolder,
    progress: Progress,
    existing: Structure | None = None,
    taken_back: Collection[SkippedObject] | None = None,
) -> None:
    """Compare the schema of ``target`` with the snapshot; the results go to ``folder``.

    Args:
        reader: the snapshot.
        catalog: its catalog.
        profile: its profile, the lanes spilled to ``folder``.
        config: gives the user's own expectations.
        plan: what ought to be in the target.
        target: the database and the schema to look at.
        folder: takes results as those of a run.
        progress: shows each table.
        existing: the schema of ``target`` if the application's own migrations made it.
        taken_back: what the run that made the schema did not bring along; None if that is not
            known, as where another tool made it.

    Raises:
        BrokenOffError: the target was lost.
    """
    _keep(reader, catalog, profile, plan, target, folder)
    there = set(real_schema.read_schema(target, target.schema).tables)
    with ExpectationsWorker() as worker, connect.adbc(target) as connection:
        worker.start()
        for table in plan.tables:

            def work(table: TablePlan = table) -> None:
                source = catalog.table(table.source)
                manifest = extract.write_table(reader, source, table, folder, progress)
                folder.write_result("extract", table.slug, manifest)
                if table.name not in there:
                    folder.write_result("content", table.slug, _nothing(table, manifest))
                    raise NotProvenError(f'table "{table.name}" is not in the target')

                def compared(manifest: Manifest) -> ContentResult:
                    opened = partial(extract.open_parquet, folder, manifest.path)
                    with opened() as parquet:
                        return content.compare_table(
                            target,
                            target.schema,
                            table,
                            parquet,
                            progress,
                            reader=connection,
                            again=opened,
                        )

                def without_refused(manifest: Manifest) -> Manifest | None:
                    most = config.max_quarantined
                    return _without_refused(
                        reader, source, table, manifest, target, folder, progress, most
                    )

                manifest = _held(table, manifest, compared, without_refused, folder)
                own = config.expectations.get(table.name, ())
                suite = derive_suite(table, manifest, profile.tables[table.source], own)
                with progress.task("values", table.source, manifest.rows):
                    values = worker.run(target, target.schema, table, suite)
                folder.write_result("values", table.slug, values)

            _stage(folder, f"verify_{table.slug}", work)
    _stage(
        folder,
        "structure",
        lambda: _structure(reader, target, plan, profile, folder, existing, taken_back),
    )


def _keep(
    reader: SnapshotReader,
    catalog: Catalog,
    profile: Profile,
    plan: Plan,
    target: Target,
    folder: RunFolder,
) -> None:
    folder.write_catalog(catalog)
    folder.write_profile(profile)
    folder.write_plan(plan)
    snapshot = reader.snapshot
    folder.write_result(
        "source",
        "all",
        source_result(snapshot.source.partition(":")[0], snapshot),
    )
    with connect.session(target, "the look at the target") as connection:
        version = str(connection.get_parameter_status("server_version"))
    folder.write_result(
        "target",
        "all",
        TargetResult(target.location, target.schema, server_version=version),
    )


def _stage(folder: RunFolder, name: str, work: Callable[[], None]) -> None:
    """Do one piece of work; a failure is kept, and the rest goes on."""
    started = monotonic()
    try:
        work()
    except BrokenOffError:
        raise
    except MigrationError as error:
        folder.write_result("failures", name, StepFailure(name, str(error), error.exit_code))
    finally:
        if not name.startswith("verify_"):
            folder.write_result("stages", name, StageResult(name, monotonic() - started))


def _nothing(table: TablePlan, manifest: Manifest) -> ContentResult:
    """The result of comparing with a table that is not there."""
    return ContentResult(
        slug=table.slug,
        rows_expected=manifest.rows,
        rows_found=0,
        identical=0,
        missing=manifest.rows,
        extra=0,
        changed=0,
    )


def _held(
    table: TablePlan,
    manifest: Manifest,
    compared: Callable[[Manifest], ContentResult],
    without_refused: Callable[[Manifest], Manifest | None],
    folder: RunFolder,
) -> Manifest:
    """Compare a table, if need be without the rows that PostgreSQL refuses.

    Returns:
        the manifest that its content was compared with; the result is in ``folder``.
    """
    tried = table.policy("load_refused") != "fail"
    try:
        result = compared(manifest)
    except (DatabaseError, adbc_driver_manager.Error):
        # Columns that PostgreSQL compares are sent there, where it refuses them once more.
        left = without_refused(manifest) if tried else None
        if left is None:
            raise
        folder.write_result("content", table.slug, compared(left))
        return left
    folder.write_result("content", table.slug, result)
    if not result.missing or not tried:
        return manifest
    left = without_refused(manifest)
    if left is not None and (again := compared(left)).extra <= result.extra:
        folder.write_result("content", table.slug, again)
        return left
    # Nothing is refused, or what is refused here has been loaded all the same.
    folder.forget("loaded", table.slug)
    folder.refused_part(table.slug).unlink(missing_ok=True)
    return manifest


def _without_refused(
    reader: SnapshotReader,
    source: Table,
    table: TablePlan,
    manifest: Manifest,
    target: Target,
    folder: RunFolder,
    progress: Progress,
    allowed: int,
) -> Manifest | None:
    """Set aside the rows that PostgreSQL refuses, as the run did that loaded the table.

    They are tried on a temporary table that is rolled back.

    Returns:
        the manifest of what is left, None if it takes them all, or can not be asked.

    Raises:
        NotProvenError: it refuses too many, or this role can not try.
    """
    if table.existing:
        return None  # no copy of it can be made there
    # Needed where rows are missing only.
    from migration_assets import refusals
    from migration_assets.set_aside import set_aside

    most = max(allowed, refusals.MOST)
    with extract.open_parquet(folder, manifest.path) as parquet:
        try:
            found = refusals.find(target, "pg_temp", table, parquet, None, most, progress)
        except InsufficientPrivilege as error:
            raise NotProvenError(
                f'table "{table.name}": rows are missing, and whether PostgreSQL refuses them can '
                "not be tried: this role may make no temporary tables (GRANT TEMP ON DATABASE)"
            ) from error
        if not found:
            return None
        return set_aside(reader, source, table, manifest, parquet, found, folder)


def _structure(
    reader: SnapshotReader,
    target: Target,
    plan: Plan,
    profile: Profile,
    folder: RunFolder,
    existing: Structure | None,
    taken_back: Collection[SkippedObject] | None,
) -> None:
    """Structure findings; translated objects that are there must mean the same."""
    aside = {slug: m.quarantined for slug, m in folder.manifests().items() if m.quarantined}
    plan = _with_dangling(target, plan, {t.name for t in plan.tables if t.slug in aside}, folder)
    if existing is None:
        found = structure.findings(target, target.schema, plan, profile)
    else:
        from migration_assets.existing import findings  # needed seldom

        tables = {table.name for table in plan.tables}
        found = findings.findings(target, target.schema, existing, tables, plan, profile)
    translated = folder.catalog().dialect != POSTGRES
    missing = _missing_translated(found, plan) if translated else ()
    if taken_back is not None:
        known = {(item.kind, item.table, item.name) for item in taken_back}
        missing = tuple(item for item in missing if (item.kind, item.table, item.name) in known)
    if missing:
        # A run takes back what it cannot translate truly, so its absence disproves nothing.
        folder.write_withdrawn(missing)
        found = structure.findings(target, target.schema, without(plan, missing), profile)
    counts, lost = objects.count(target, target.schema, folder.catalog(), without(plan, missing))
    folder.write_counts(counts)
    found += lost
    for item in disagreements(reader, target, target.schema, plan, aside) if translated else ():
        category = "references" if item.kind == "check" else "keys"
        category = "schema" if item.kind in {"view", "default"} else category
        found.append(Finding(category, item.table or item.name, item.name, item.reason))
    folder.write_text("results/structure/all.json", _FINDINGS.dump_json(found, indent=1).decode())


def _with_dangling(target: Target, plan: Plan, aside: set[str], folder: RunFolder) -> Plan:
    """The plan, its foreign keys as a run leaves them that sets rows of ``aside`` aside."""
    if not aside:
        return plan
    try:
        found = dangling.find(target, target.schema, plan, aside)
    except ProgrammingError:
        return plan  # a table or column is not there, which the structure findings say
    folder.write_dangling(found)
    return with_dangling(plan, found)


def _missing_translated(found: list[Finding], plan: Plan) -> tuple[SkippedObject, ...]:
    """The translated objects that findings name as missing."""
    named = {(f.table, f.object) for f in found if f.problem.endswith("is missing")}
    gone = [
        SkippedObject("view", view.name, "", None, view.source_sql)
        for view in plan.views
        if (view.name, view.name) in named
    ]
    for table in plan.tables:
        gone += [
            SkippedObject("default", column.source, "", table.source, column.source_default)
            for column in table.columns
            if column.default_test is not None
            and Finding("schema", table.name, column.name, "default is missing") in found
        ]
        gone += [
            SkippedObject(
                "generated column", column.source, "", table.source, column.source_generated
            )
            for column in table.columns
            if Finding("schema", table.name, column.name, "generation expression is missing")
            in found
        ]
        gone += [
            SkippedObject("check", check.name, "", table.source, check.source_expression)
            for check in table.checks
            if check.origin is Origin.SOURCE and (table.name, check.name) in named
        ]
        gone += [
            SkippedObject("index", index.name, "", table.source, index.source_sql)
            for index in table.indexes
            if index.translated and (table.name, index.name) in named
        ]
    reason = "is not in the target: it was not translated, or has been dropped since"
    return tuple(replace(item, reason=reason) for item in gone)
