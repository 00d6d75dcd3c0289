"""One run, as its ops see it: folder, target, progress, and what becomes of failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import dagster as dg

from migration_assets import pause, run_lock
from migration_assets.assets.report import write_evidence
from migration_assets.core import naming
from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.evidence import Evidence
from migration_assets.core.plan import TablePlan
from migration_assets.core.results import StageResult, StepFailure, TargetResult
from migration_assets.core.sensitive import shown_error
from migration_assets.errors import (
    BrokenOffError,
    InputError,
    MigrationError,
    NotProvenError,
    UnreachableError,
)
from migration_assets.home import Migration
from migration_assets.postgres.connect import Target, pooled, resolve_target
from migration_assets.progress import Progress
from migration_assets.retries import note_failure, refuse
from migration_assets.run_folder import RunFolder
from migration_assets.sources.base import SnapshotReader

T = TypeVar("T")
R = TypeVar("R")

RUN_FOLDER = "run_folder"
"""Metadata of every materialization: the run folder that holds what it stands for."""

REST = "dagster/is_asset_resume_retry"
"""The tag of a re-execution from an asset's failure."""

_CONTINUES = ("dagster/is_resume_retry", REST, "dagster/step_selection")
"""Tags of a re-execution that does the rest of its parent's work, not all of it again."""


@dataclass(frozen=True)
class Run:
    """One run of a migration.

    Attributes:
        migration: whose run it is.
        id: names the run folder and the incoming schema: the id of the run, or of the run whose
            rest is being done.
        job: the name of the job.
        folder: the run's folder.
        started: when Dagster's run started.
        progress: the process's tasks.
    """

    migration: Migration
    id: str
    job: str
    folder: RunFolder
    started: datetime
    progress: Progress
    _targets: dict[str, Target] = field(default_factory=dict, repr=False)
    _readers: list[SnapshotReader] = field(default_factory=list, repr=False)

    @property
    def environment(self) -> str:
        """The target environment that the run works in; never more than one."""
        record = self.folder.read_result("target", "all", TargetResult)
        return (
            record.environment if record else run_lock.environment_of(self.migration.name, self.job)
        )

    def incoming(self, target: str) -> str:
        """The schema that this run loads into before the swap."""
        schema = self.migration.config.schema_of(target)
        return naming.shorten(f"{schema}__in_{self.id[:8]}")

    def target(self, name: str) -> Target:
        """The target environment ``name``, the embedded server started if it is that one."""
        if name not in self._targets:
            config = self.migration.config
            schema = config.schema_of(name)
            target = resolve_target(
                config.targets[name], schema, self.migration.folder, self.migration.home, name
            )
            before = self.folder.read_result("target", "all", TargetResult)
            if before is not None and before.environment != name:
                raise InputError(
                    f"this run is one of {before.environment}: start another one for {name}"
                )
            version = before.server_version if before else None
            self._targets[name] = pooled(target, config.targets[name].pool)
            self.note_server(name, version)
        return self._targets[name]

    def admit(self, target: str) -> None:
        """Refuse to begin with anything that goes live in production, unless it may.

        Raises:
            NotProvenError: the run did not pass the preflight, or has gone live already.
        """
        if target == PRODUCTION:
            from migration_assets.assets.cutover import admitted  # of no concern to a rehearsal

            admitted(self)

    def note_server(self, name: str, version: str | None) -> None:
        """Keep for the evidence where the target environment ``name`` is, and its version."""
        target = self._targets[name]
        record = TargetResult(target.location, target.schema, self.incoming(name), version, name)
        self.folder.write_result("target", "all", record)

    def note_seconds(self, stage: str, started: float) -> None:
        """Add the seconds since ``started`` (``time.monotonic``) to those of a stage."""
        before = self.folder.read_result("stages", stage, StageResult)
        seconds = time.monotonic() - started + (before.seconds if before else 0.0)
        self.folder.write_result("stages", stage, StageResult(stage, seconds))

    def write_evidence(self) -> Evidence:
        """Write evidence and report as things stand."""
        return write_evidence(self.migration, self.folder, self.job, self.started, self.environment)

    def reader(self) -> SnapshotReader:
        """The run's snapshot, open until the run ends: it may be no copy that can be opened again.

        Raises:
            SnapshotGoneError: it is none, and the process that took it has ended.
        """
        if not self._readers:
            source = self.migration.source()
            self.keep(source.open_snapshot(self.folder.snapshot))
        return self._readers[-1]

    def keep(self, reader: SnapshotReader) -> None:
        """Make ``reader`` the run's snapshot."""
        self._readers.append(reader)

    def close(self) -> None:
        """Let tasks that still run end soon, show the last state, end snapshot and connections."""
        self.progress.stop()
        try:
            self.progress.flush()
        finally:
            for reader in self._readers:
                reader.close()
            for target in self._targets.values():
                if target.pool is not None:
                    target.pool.close()


def continued_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """The id of the run whose folder ``run`` works in.

    A re-execution *from failure* goes on where its parent ended; a re-execution of everything is
    a new run with a snapshot of its own.
    """
    while run.parent_run_id and any(tag in run.tags for tag in _CONTINUES):
        parent = instance.get_run_by_id(run.parent_run_id)
        if parent is None:
            return run.parent_run_id
        run = parent
    return run.run_id


def run_resource(migration: Migration) -> dg.ResourceDefinition:
    """The resource through which the ops of ``migration`` share one run."""

    @dg.resource(description=f"The run of migration {migration.name}: folder, targets, progress.")
    def run(context: Any) -> Iterator[Run]:
        run_id = continued_run(context.instance, context.run)
        with ExitStack() as held:
            try:
                work = run_lock.held(migration, context.run.run_id, context.run.job_name, run_id)
                held.enter_context(work)
                folder = migration.run_folder(run_id)
                if (gone := folder.purged) is not None:
                    raise InputError(f"run {run_id} was purged at {gone.at}: start a new run")
            except InputError:
                refuse(context)
                raise
            folder.create()
            progress = Progress(
                folder.path / "progress", context.log.info, pause.marker(migration.folder)
            )
            record = context.instance.get_run_record_by_id(context.run.run_id)
            began = record.start_time if record and record.start_time else time.time()
            job = context.run.job_name
            started = datetime.fromtimestamp(began, UTC)
            current = Run(migration, run_id, job, folder, started, progress)
            try:
                yield current
            finally:
                current.close()

    return run


@dataclass
class Step:
    """One op at work: collects what failed, so that the rest is still done.

    ``blocked`` is set by checks that found something: what comes after them will not run.
    """

    run: Run
    name: str
    failures: dict[str, Exception] = field(default_factory=dict)
    blocked: bool = False
    started: float = field(default_factory=time.monotonic)

    def restart_clock(self) -> None:
        """Count the stage's seconds from now: what went before has noted its own."""
        self.started = time.monotonic()

    def each(
        self,
        items: Iterable[TablePlan],
        work: Callable[[TablePlan], R],
    ) -> Iterator[tuple[TablePlan, R]]:
        """Do ``work`` for each table in a thread beside; yields each table when it is done.

        A table's failure is kept for the end. A lost source or target ends the loop.
        """
        pool = ThreadPoolExecutor(1, thread_name_prefix=self.name)
        try:
            futures = {pool.submit(work, item): item for item in items}
            for future in as_completed(futures):
                table = futures[future]
                error = future.exception()
                if error is None:
                    yield table, future.result()
                elif isinstance(error, Exception):
                    self.failures[table.source] = error
                    if isinstance(error, BrokenOffError):
                        break
                else:
                    raise error
        except BaseException:
            self.run.progress.stop()  # the table at work would be waited for, paused or not
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def fail(self, table: str, error: Exception) -> None:
        """Keep the failure of one table (source name)."""
        self.failures[table] = error


@contextmanager
def step(run: Run, context: Any, stage: str) -> Iterator[Step]:
    """Frame one op: its seconds, its failures as one line each, and the evidence of a failed run.

    Args:
        run: the run.
        context: the op's context.
        stage: name of the stage for the evidence.

    Raises:
        dagster.Failure: for every failure; its description names the tables, so that a
            re-execution from failure can do these alone.
    """
    current = Step(run, context.op_def.name)
    hidden = bool(run.migration.config.sensitive)
    record = run.folder.path / "results" / "failures" / f"{current.name}.json"
    record.unlink(missing_ok=True)
    try:
        run.progress.stand_still(current.name)
        yield current
        if current.failures:
            failures = {name: _lost(run, e) for name, e in current.failures.items()}
            raise together(failures, hidden)
    except GeneratorExit:
        raise
    except BaseException as caught:
        error = _lost(run, caught) if isinstance(caught, Exception) else caught
        run.progress.stop()
        failure = StepFailure(
            current.name, shown_error(error, hidden), _exit_code(error), tuple(current.failures)
        )
        run.folder.write_result("failures", current.name, failure)
        _bring_back(run, context)
        run.note_seconds(stage, current.started)
        note_failure(context, failure.exit_code)
        run.write_evidence()
        if isinstance(error, MigrationError):
            # What caused it has the driver's own words, in which values may be.
            raise dg.Failure(
                description=str(error),
                metadata={"exit_code": error.exit_code, "tables": list(current.failures)},
                allow_retries=False,
            ) from (None if hidden else caught)
        if hidden and isinstance(error, Exception) and not isinstance(error, dg.Failure):
            raise dg.Failure(
                description=failure.message, metadata={"exit_code": failure.exit_code}
            ) from None
        raise
    run.note_seconds(stage, current.started)
    if current.blocked:
        _bring_back(run, context)
        note_failure(context, NotProvenError.exit_code)
        run.write_evidence()


def _bring_back(run: Run, context: Any) -> None:
    """A cutover that fails before its swap leaves no application standing still."""
    if run.environment != PRODUCTION:
        return
    from migration_assets import cutover, unfinished  # of no concern to a rehearsal

    try:
        place = cutover.Place(run.migration, run.folder, run.target(PRODUCTION))
        record = unfinished.bring_back(place)
    except MigrationError as error:
        # The run has failed already, and that is what is told.
        context.log.warning(f"{unfinished.BROUGHT_BACK}: {error}")
        return
    if record is not None:
        context.log.warning(f"{record.name}: {record.outcome}: {record.detail}")


def _lost(run: Run, error: Exception) -> Exception:
    """The error, or that the target was lost, if the run has been there before."""
    if not isinstance(error, UnreachableError):
        return error
    target = run.folder.read_result("target", "all", TargetResult)
    if target is None or target.server_version is None:
        return error
    return BrokenOffError(f"{error}; the live schema is as it was: run again when it is back")


def together(failures: dict[str, Exception], hidden: bool) -> Exception:
    """One error for the failures of several tables, the worst kind of them."""
    if len(failures) == 1:
        return next(iter(failures.values()))
    lines = "; ".join(
        f'"{table}": {shown_error(error, hidden)}' for table, error in failures.items()
    )
    message = f"{len(failures)} tables failed: {lines}"
    for kind in (BrokenOffError, NotProvenError, InputError):
        if any(isinstance(error, kind) for error in failures.values()):
            return kind(message)
    return ExceptionGroup(message, list(failures.values()))


def _exit_code(error: BaseException) -> int:
    if isinstance(error, MigrationError):
        return error.exit_code
    return NotProvenError.exit_code if isinstance(error, Exception) else BrokenOffError.exit_code
