"""The history of a migration, one JSON file a record in ``<home>/<name>/history``.

Run folders are pruned; what a gate, a rollback and a person need of them later stays here. Files
are readable by the owner only.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from migration_assets import private
from migration_assets.core.cutover_config import PRODUCTION, STAGING
from migration_assets.core.evidence import Evidence, Verdict
from migration_assets.core.history import QUARANTINE, Approval, Change, Cutover, Outcome, Record
from migration_assets.core.rollback import Rollback
from migration_assets.errors import InputError
from migration_assets.home import Migration

R = TypeVar("R", bound=Record)


def note(migration: Migration, evidence: Evidence) -> None:
    """Keep what a run that moved everything came to; a later attempt of it replaces it."""
    run = evidence.run
    if run.job not in (f"{migration.name}_rehearsal", f"{migration.name}_cutover"):
        return
    outcome = Outcome(
        run_id=run.id,
        job=run.job,
        environment=evidence.target.name,
        started_at=run.started_at,
        finished_at=run.finished_at,
        proven=run.verdict is Verdict.PROVEN,
        swapped=evidence.target.swapped,
        plan_digest=evidence.plan.digest,
        snapshot_id=evidence.source.snapshot_id,
        taken_at=evidence.source.taken_at,
        rows=sum(table.rows_loaded or 0 for table in evidence.tables),
        ledger=changes(evidence),
        app_checks={check.name: check.passed for check in evidence.app_checks if check.ran},
        reasons=run.reasons,
    )
    _write(migration, _folder(outcome.environment), run.id, outcome)


def changes(evidence: Evidence) -> tuple[Change, ...]:
    """All that a run changed or set aside, by rule, table and column."""
    return tuple(
        [
            Change(rule=r.rule, table=r.table, column=r.column, count=r.count)
            for r in evidence.ledger.by_rule
        ]
        + [
            Change(rule=QUARANTINE + c.anomaly, table=c.table, column=c.column, count=c.count)
            for c in evidence.quarantine.by_cause
        ]
    )


def rehearsals(migration: Migration) -> list[Outcome]:
    """All rehearsals, the newest first."""
    return _newest(_read(migration, _folder(STAGING), Outcome))


def attempts(migration: Migration) -> list[Outcome]:
    """All attempts at a cutover, the newest first."""
    return _newest(_read(migration, _folder(PRODUCTION), Outcome))


def write_approval(migration: Migration, approval: Approval) -> None:
    """Keep an approval."""
    _write(migration, "approvals", approval.id, approval)


def approvals(migration: Migration) -> list[Approval]:
    """All approvals, the newest first."""
    found = _read(migration, "approvals", Approval)
    return sorted(found, key=lambda approval: approval.approved_at, reverse=True)


def write_cutover(migration: Migration, cutover: Cutover) -> None:
    """Keep, or replace, a cutover that went live."""
    _write(migration, "cutovers", cutover.run_id, cutover)


def cutovers(migration: Migration) -> list[Cutover]:
    """All cutovers that went live, the newest first."""
    found = _read(migration, "cutovers", Cutover)
    return sorted(found, key=lambda cutover: cutover.live_at, reverse=True)


def write_rollback(migration: Migration, rollback: Rollback) -> None:
    """Keep, or replace, a rollback; the cutover that it took back says so, unless it was undone."""
    _write(migration, "rollbacks", rollback.id, rollback)
    if rollback.swap is None or rollback.drill:
        return
    for cutover in cutovers(migration):
        at = None if rollback.undone_at else rollback.started_at
        if cutover.run_id == rollback.run and cutover.rolled_back_at != at:
            write_cutover(migration, cutover.model_copy(update={"rolled_back_at": at}))


def rollbacks(migration: Migration) -> list[Rollback]:
    """All rollbacks and their drills, the newest first."""
    found = _read(migration, "rollbacks", Rollback)
    return sorted(found, key=lambda rollback: rollback.started_at, reverse=True)


def last_drill(place: Path) -> Rollback | None:
    """The last drill of the migration whose folder is ``place``, None if there was none."""
    found = (one for one in _records(place / "history" / "rollbacks", Rollback) if one.drill)
    return max(found, key=lambda drill: drill.started_at, default=None)


def folder(migration: Migration, kind: str = "") -> Path:
    """The folder of the history, or of one kind of record; it need not be there."""
    return migration.folder / "history" / kind


def _folder(environment: str) -> str:
    return "rehearsals" if environment == STAGING else "attempts"


def _newest(outcomes: Iterator[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda outcome: outcome.started_at, reverse=True)


def _write(migration: Migration, kind: str, name: str, record: Record) -> None:
    place = folder(migration, kind)
    private.make_folder(place)
    part = place / f".{name}.{os.getpid()}.{threading.get_ident()}.part"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(record.model_dump_json(indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(place / f"{name}.json")


def _read(migration: Migration, kind: str, record: type[R]) -> Iterator[R]:
    return _records(folder(migration, kind), record)


def _records(place: Path, record: type[R]) -> Iterator[R]:
    """All records of a folder.

    Raises:
        InputError: one is damaged: a gate must not decide by the others alone.
    """
    for path in sorted(place.glob("*.json")):
        try:
            yield record.model_validate_json(path.read_bytes())
        except (ValidationError, OSError) as error:
            raise InputError(
                f"{path} can not be read; move it away if it is not needed: "
                f"{' '.join(str(error).split())[:200]}"
            ) from error
