"""Where the migrations of a home are: read from files and targets, without Dagster."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import psutil
import psycopg2

from migration_assets import backup, backup_store, gate, history, pause, run_lock, unfinished, watch
from migration_assets.core import window
from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.history import Outcome
from migration_assets.core.status import (
    Backups,
    Gate,
    Live,
    PastRun,
    Running,
    StageStatus,
    Status,
    TaskStatus,
    Watch,
)
from migration_assets.errors import MigrationError
from migration_assets.home import Migration
from migration_assets.postgres import embedded, run_log
from migration_assets.postgres.connect import resolve_target, session
from migration_assets.progress import Task, read_tasks
from migration_assets.run_folder import RunFolder

RUNS = 5
"""Runs that came to their end that are shown."""

_OF_ALL_TABLES = frozenset({"extract", "load", "content", "values"})
"""Stages that every planned table goes through."""

_NOT_STARTED = "the embedded PostgreSQL does not run"


def look(migration: Migration, live: Sequence[Live] | None = None) -> Status:
    """Where ``migration`` is now.

    Args:
        migration: the migration.
        live: what its targets show, if somebody asked them a moment ago; None to ask them.

    Raises:
        InputError: a record of its history is damaged.
    """
    paused = pause.read(migration.folder)
    ended = [*history.rehearsals(migration), *history.attempts(migration)]
    ended.sort(key=lambda outcome: outcome.finished_at, reverse=True)
    now = datetime.now(UTC)
    return Status(
        name=migration.name,
        source=migration.source().location,
        zone=migration.config.display_timezone,
        paused=str(paused) if paused else None,
        stopped=_stopped(migration),
        running=_running(migration, ended, now),
        runs=tuple(_past(outcome) for outcome in ended[:RUNS]),
        live=tuple(look_at_targets(migration) if live is None else live),
        gate=_gate(migration, now),
        backups=tuple(_backups(migration)),
        watch=_watch(migration),
    )


def _stopped(migration: Migration) -> str | None:
    """What waits for somebody after a cutover; None too if the target can not say."""
    with suppress(MigrationError):
        place = unfinished.left_stopped(migration)
        if place is None:
            return unfinished.left_half_way(migration)
        return (
            f"cutover {place.folder.path.name} ended before its swap and left the application "
            f"stopped; migration-assets cutover {migration.name} --bring-back"
        )
    return None


def look_at_targets(migration: Migration) -> list[Live]:
    """What is live in each target environment; one that does not answer says so."""
    return [_live(migration, name) for name in migration.config.targets]


def _live(migration: Migration, environment: str) -> Live:
    config = migration.config.targets[environment]
    schema = migration.config.schema_of(environment)
    if config.url == "embedded" and not embedded.status(migration.home).running:
        return Live(environment, schema, problem=_NOT_STARTED)
    try:
        target = resolve_target(config, schema, migration.folder, migration.home, environment)
        with (
            session(target, "the look at the target") as connection,
            connection.cursor() as cursor,
        ):
            run_id = run_log.live_run(cursor, schema, migration.name)
            since = run_log.finished_at(cursor, run_id) if run_id else None
    except (MigrationError, psycopg2.Error) as error:
        return Live(environment, schema, problem=str(error).partition("\n")[0])
    return Live(environment, schema, target.location, run_id, since)


def _running(migration: Migration, ended: Sequence[Outcome], now: datetime) -> Running | None:
    at_work = run_lock.at_work(migration)
    if at_work is None:
        return None
    folder, environment = at_work.folder, at_work.environment
    began = datetime.fromtimestamp((migration.folder / "lock").stat().st_mtime, UTC)
    usual = next((o for o in ended if o.proven and o.environment == environment), None)
    steps = sorted(folder.path.glob("results/steps/*.json"), key=lambda path: path.stat().st_mtime)
    stages, tasks = _tasks(folder)
    seconds = (now - began).total_seconds()
    return Running(
        run_id=at_work.run_id,
        environment=environment,
        started_at=began.isoformat(timespec="seconds"),
        seconds=seconds,
        stages=stages,
        tasks=tasks,
        step=steps[-1].stem if steps else None,
        left_seconds=max(_seconds(usual) - seconds, 0.0) if usual else None,
    )


def _tasks(folder: RunFolder) -> tuple[tuple[StageStatus, ...], tuple[TaskStatus, ...]]:
    now = time.time()
    tasks = read_tasks(folder.path / "progress", psutil.pid_exists)
    tables = len(folder.plan().tables) if folder.has_plan else 0
    stages: dict[str, list[Task]] = {}
    for task in tasks:
        stages.setdefault(task.stage, []).append(task)
    shown = tuple(
        StageStatus(
            stage,
            sum(task.finished is not None for task in members),
            max(len(members), tables if stage in _OF_ALL_TABLES else 0),
        )
        for stage, members in stages.items()
    )
    return shown, tuple(
        TaskStatus(
            task.stage,
            task.table,
            task.rows,
            task.total,
            task.seconds(now),
            task.left(now),
            task.stands is not None,
        )
        for task in tasks
        if task.finished is None
    )


def _past(outcome: Outcome) -> PastRun:
    if not outcome.proven:
        word = "not proven"
    else:
        word = "live" if outcome.swapped and outcome.environment == PRODUCTION else "proven"
    return PastRun(
        run_id=outcome.run_id,
        job=outcome.job,
        finished_at=outcome.finished_at,
        seconds=_seconds(outcome),
        outcome=word,
        rows=outcome.rows,
        reason=outcome.reasons[0] if outcome.reasons else None,
    )


def _seconds(outcome: Outcome) -> float:
    times = (datetime.fromisoformat(text) for text in (outcome.started_at, outcome.finished_at))
    started, finished = times
    return (finished - started).total_seconds()


def _gate(migration: Migration, now: datetime) -> Gate | None:
    if PRODUCTION not in migration.config.targets:
        return None
    approval = gate.standing_approval(migration)
    maintenance = migration.config.cutover.window
    is_open = window.is_open(maintenance, now)
    opens = None if is_open or maintenance is None else window.next_opening(maintenance, now)
    return Gate(
        missing=tuple(gate.missing(migration)),
        approved_by=approval.approved_by if approval else None,
        window_open=is_open,
        opens_at=opens.isoformat() if opens else None,
    )


def _backups(migration: Migration) -> Iterator[Backups]:
    for kind in (*migration.config.targets, "source"):
        ids = backup_store.ids(migration, kind)
        drills = ((name, backup.read_drill(migration, kind, name)) for name in ids)
        restored = next((name for name, drill in drills if drill and drill.passed), None)
        if ids:
            yield Backups(kind, len(ids), ids[0], restored)


def _watch(migration: Migration) -> Watch | None:
    looks = watch.looks(migration)
    if not looks:
        return None
    failed = tuple(f"{measure.name}: {measure.line()}" for measure in looks[-1].failed)
    return Watch(looks[-1].at, len(looks), failed)
