"""Run a job from the command line so that the UI lists it and can re-execute it.

``execute_in_process`` leaves no trace of where the job's code is, and such a run can not be
re-executed. A run that is made with the origin of the code location can. There is no public way
to do that in one process, so what is private in Dagster stays in this module.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.job_base import IJob, InMemoryJob
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.execution.api import execute_run_iterator
from dagster._core.instance.ref import InstanceRef
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.dagster_run import RunRecord
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from migration_assets import home as homes
from migration_assets import run_lock
from migration_assets.assets.keys import Keys
from migration_assets.assets.report import write_evidence
from migration_assets.assets.run import REST
from migration_assets.core.results import StepFailure
from migration_assets.definitions import assemble
from migration_assets.errors import BrokenOffError, NotProvenError
from migration_assets.expectations.client import ExpectationsWorker
from migration_assets.run_folder import RunFolder

MODULE = "migration_assets.definitions"
LOCATION = "migration_assets"
"""Both as in ``workspace.yaml``: by them the UI finds the job of a run again."""

_REPOSITORY = "__repository__"
"""The name Dagster gives to the one repository of a module with ``Definitions``."""

_OWN_TERMINAL = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}
"""Capturing output would redirect this process's terminal, on which the progress is shown."""

_QUIET: dict[str, Any] = {"loggers": {"console": {}}}
"""Names the logger of ``definitions``, which is silent; Dagster's own prints every event."""


@dataclass(frozen=True)
class RunOutcome:
    """What became of a run.

    Attributes:
        run_id: Dagster's id of the run.
        status: Dagster's word for it, such as ``SUCCESS``, ``FAILURE`` or ``CANCELED``.
        folder: the run's folder.
        failures: why it failed, one line a step.
    """

    run_id: str
    status: str
    folder: RunFolder
    failures: tuple[StepFailure, ...] = ()

    @property
    def success(self) -> bool:
        """True if every step and every check passed."""
        return self.status == dg.DagsterRunStatus.SUCCESS.value


@contextmanager
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of a migration home, without the capture of this process's output."""
    folder = str(homes.dagster_home(home))
    os.environ["DAGSTER_HOME"] = folder  # dagster.yaml names it, for step processes as well
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(folder, overrides=_OWN_TERMINAL)) as made:
        yield made


def launch(
    migration: homes.Migration,
    job_name: str,
    started: Callable[[str, RunFolder], None] | None = None,
    worker: ExpectationsWorker | None = None,
    run_id: str | None = None,
    config: Mapping[str, Any] | None = None,
    rest_of: str | None = None,
    steps: Collection[dg.AssetKey] = (),
) -> RunOutcome:
    """Run a job of ``migration`` in this process, to its end.

    Needs no daemon. Whatever becomes of the rehearsal, its evidence is in the run's folder
    afterwards. Ctrl-C ends the run; it has then failed, as ``interrupted``.

    Args:
        migration: the migration; its cached state must be there for the rehearsal.
        job_name: one of its jobs, such as ``<name>_rehearsal``.
        started: called with the run's id and folder before the first step.
        worker: Great Expectations' process, started already; it is left running. None to start
            one when the run begins.
        run_id: Dagster's id of the run to be; None to make one up.
        config: configuration of the run's ops, as in the launchpad.
        rest_of: the run whose rest is done, in its folder; None for a run of its own.
        steps: the assets of that rest.

    Raises:
        InputError: another run of the migration is under way; nothing was begun.
    """
    # Step processes of the multiprocess executor find the migrations by it.
    os.environ[homes.VARIABLE] = str(migration.home)
    run_id = run_id or str(uuid.uuid4())
    with _lock(migration, job_name, run_id), instance(migration.home) as dagster:
        job = _job(migration, job_name, worker)
        selection = frozenset(steps) if rest_of else None
        if selection:
            job = job.get_subset(asset_selection=selection)
        run = dagster.create_run_for_job(
            job.get_definition(),
            run_id=run_id,
            run_config={**_QUIET, **(config or {})},
            remote_job_origin=_repository_origin().get_job_origin(job_name),
            parent_run_id=rest_of,
            root_run_id=rest_of,
            asset_selection=selection,
            tags={REST: "true"} if rest_of else None,
        )
        folder = migration.run_folder(rest_of or run.run_id)
        if started:
            started(run.run_id, folder)
        lost, said = _execute(dagster, job, run)
        final = dagster.get_run_record_by_id(run.run_id)
    assert final is not None, "it was made above"
    status = final.dagster_run.status
    if job_name in Keys(migration.name).moving:
        _complete_evidence(migration, folder, final, lost)
    failures = list(folder.read_results("failures", StepFailure).values()) or said
    if lost is not None:
        failures.append(lost)
    return RunOutcome(run.run_id, status.value, folder, tuple(failures))


def _lock(migration: homes.Migration, job_name: str, run_id: str) -> AbstractContextManager[None]:
    if job_name in Keys(migration.name).beside:
        return nullcontext()
    return run_lock.held(migration, run_id, job_name)


def _job(migration: homes.Migration, name: str, worker: ExpectationsWorker | None) -> IJob:
    """The job, in a form that the executor's processes can make again where it has some."""
    if migration.config.executor == "multiprocess":
        home = ReconstructableRepository.for_module(MODULE, "defs", str(Path.cwd()))
        return home.get_reconstructable_job(name)
    # Of this migration only: those of a whole home take longer than a small run.
    job = assemble([migration]).resolve_job_def(name)
    if worker is not None:
        started = dg.ResourceDefinition.hardcoded_resource(worker)
        resource = Keys(migration.name).expectations_resource
        job = job.with_top_level_resources({**job.resource_defs, resource: started})
    return InMemoryJob(job)


def _execute(
    dagster: dg.DagsterInstance, job: IJob, run: dg.DagsterRun
) -> tuple[StepFailure | None, list[StepFailure]]:
    """Run to the end.

    Returns:
        why the run failed, if it is not for one of its steps, and what its steps said to fail.
    """
    data = None
    said = []
    for event in execute_run_iterator(job, run, dagster):
        if event.event_type is dg.DagsterEventType.RUN_FAILURE:
            data = event.job_failure_data
        elif event.event_type is dg.DagsterEventType.STEP_FAILURE:
            own = event.step_failure_data.user_failure_data
            if own is not None and own.description is not None:
                value = own.metadata.get("exit_code")
                number = value.value if isinstance(value, dg.IntMetadataValue) else None
                worth = NotProvenError.exit_code if number is None else number
                said.append(StepFailure(event.step_key or "", own.description, worth))
    # A step that failed has kept its reason in the run folder, an interrupted one as well.
    if data is None or data.error is None or data.first_step_failure_event is not None:
        return None, said
    if data.error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
        line, code = "the run was interrupted", BrokenOffError.exit_code
    else:
        line, code = " ".join(data.error.message.split()), NotProvenError.exit_code
    return StepFailure(run.job_name, line, code), said


def _complete_evidence(
    migration: homes.Migration, folder: RunFolder, final: RunRecord, lost: StepFailure | None
) -> None:
    """Write the evidence where no step could, or did after the run was stopped."""
    canceled = final.dagster_run.status is dg.DagsterRunStatus.CANCELED
    if folder.evidence.exists() and not canceled and lost is None:
        return
    folder.create()
    began = datetime.fromtimestamp(final.start_time or final.create_timestamp.timestamp(), UTC)
    write_evidence(
        migration,
        folder,
        final.dagster_run.job_name,
        began,
        run_lock.environment_of(migration.name, final.dagster_run.job_name),
        failure=lost.message if lost else "the run was canceled" if canceled else None,
        broken_off=canceled or (lost is not None and lost.exit_code == BrokenOffError.exit_code),
    )


def _repository_origin() -> RemoteRepositoryOrigin:
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=MODULE)
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, location_name=LOCATION)
    return RemoteRepositoryOrigin(location, _REPOSITORY)
