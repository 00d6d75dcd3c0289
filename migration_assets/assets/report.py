"""Evidence and report of a run, whatever became of it."""

from __future__ import annotations

from datetime import UTC, datetime

from migration_assets.core.evidence import Evidence
from migration_assets.home import Migration
from migration_assets.run_folder import RunFolder


def write_evidence(
    migration: Migration,
    folder: RunFolder,
    job: str,
    started: datetime,
    target: str,
    failure: str | None = None,
    broken_off: bool = False,
) -> Evidence:
    """Write ``evidence.json`` and ``report.html`` from what the steps left in the run folder.

    Args:
        migration: whose run it is.
        folder: the run's folder.
        job: the name of the run's job.
        started: when the run started.
        target: the target environment.
        failure: why the run ended, beyond what its steps recorded.
        broken_off: True if source, target or the run itself was lost.
    """
    # Only at the end of a run, so that its start does not wait for templates.
    from migration_assets import history, reports
    from migration_assets.evidence import build_evidence

    # Steps with processes of their own may fail at one moment.
    with folder.lock():
        evidence = build_evidence(
            folder,
            migration.config,
            target,
            folder.path.name,
            job,
            started,
            datetime.now(UTC),
            failure=failure,
            broken_off=broken_off,
        )
        written = reports.write(folder, evidence, migration.config.display_timezone)
    history.note(migration, written)
    return written
