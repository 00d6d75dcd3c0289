"""Parts of a migration's graph, executed as attempts of one run."""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator

from migration_assets.definitions import assemble
from migration_assets.home import Migration
from migration_assets.launch import _repository_origin, instance
from migration_assets.run_folder import RunFolder


def scheduled(migration: Migration, job_name: str, tags: dict[str, str]) -> dg.DagsterRun:
    """Execute a job as a schedule would have it run, with its tags; the daemon could retry it."""
    with instance(migration.home) as dagster:
        job = assemble([migration]).resolve_job_def(job_name)
        origin = _repository_origin().get_job_origin(job_name)
        made = dagster.create_run_for_job(job, tags=tags, remote_job_origin=origin)
        list(execute_run_iterator(InMemoryJob(job), made, dagster))
        final = dagster.get_run_by_id(made.run_id)
    assert final is not None
    return final


def run(
    migration: Migration, selection: dg.AssetSelection, root: str | None = None
) -> tuple[bool, RunFolder]:
    """Execute a part of the graph; with ``root`` as one more attempt of that run.

    Returns:
        whether all of it succeeded, and the folder that it worked in.
    """
    with instance(migration.home) as dagster:
        definitions = assemble([migration])
        graph = definitions.resolve_asset_graph()
        job = (
            definitions.get_repository_def()
            .get_implicit_global_asset_job_def()
            .get_subset(
                asset_selection=selection.resolve(graph),
                asset_check_selection=selection.resolve_checks(graph),
            )
        )
        made = dagster.create_run_for_job(
            job,
            parent_run_id=root,
            root_run_id=root,
            tags={"dagster/step_selection": "true"} if root else {},
        )
        list(execute_run_iterator(InMemoryJob(job), made, dagster))
        final = dagster.get_run_by_id(made.run_id)
    return final.is_success, migration.run_folder(root or made.run_id)
