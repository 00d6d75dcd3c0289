"""The look at production after a cutover: figures, limits, and what they were at each look before.

A look reads PostgreSQL's statistics, counts rows and writes nothing there. It takes no lock of the
migration and makes no run folder, so that it goes on beside everything else. What it found is kept
in ``history/watch``, as long as the history is.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

import psycopg2
from pydantic import TypeAdapter

from migration_assets import history, watch_figures
from migration_assets.core import results
from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.history import Cutover
from migration_assets.core.results import LoadResult
from migration_assets.core.standing import Position, Standing
from migration_assets.core.watch import MEASURES, Baseline, Counters, Look, Measure, Seen
from migration_assets.errors import InputError, MigrationError
from migration_assets.home import Migration
from migration_assets.postgres.connect import resolve_target, session
from migration_assets.watch_figures import Figure
from migration_assets.watch_plots import plots

STATEMENT_SECONDS = 60
"""Most that one statement of a look may take: production has other work."""
_LOOK: TypeAdapter[Look] = TypeAdapter(Look)


def standing_cutover(migration: Migration) -> Cutover | None:
    """The newest cutover that was not taken back."""
    return next((c for c in history.cutovers(migration) if c.rolled_back_at is None), None)


def not_due(migration: Migration, now: datetime) -> str | None:
    """Why there is nothing to watch at ``now``, None if there is."""
    cutover = standing_cutover(migration)
    if cutover is None:
        return f"{migration.name} has not gone live, or it was taken back"
    hours = migration.config.watch.hours
    if now - datetime.fromisoformat(cutover.live_at) > timedelta(hours=hours):
        return f"{migration.name} went live more than {hours} hours ago, at {cutover.live_at}"
    return None


def look(migration: Migration) -> Look:
    """Look at production once, and keep what was found.

    Raises:
        InputError: there was no cutover, or the target can not be used.
        BrokenOffError: the target was lost.
    """
    cutover = standing_cutover(migration)
    if cutover is None:
        raise InputError(f"{migration.name} has not gone live: there is nothing to watch")
    config = migration.config
    baseline = _baseline(migration, cutover)
    place = _path(migration, cutover.run_id, "seen.json")
    before = results.from_json(Seen, place.read_bytes()) if place.exists() else None
    writes, position = _source_writes(migration, baseline, before)
    figures, counters = _production(migration, baseline, before.counters if before else None)
    figures = {"source_writes": writes, **figures}
    limits = {name: kind.limit for name, kind in MEASURES.items()} | config.watch.thresholds
    found = Look(
        datetime.now(UTC).isoformat(timespec="seconds"),
        tuple(
            Measure(name, value, limits[name], detail) for name, (value, detail) in figures.items()
        ),
    )
    _write(place, results.to_json(Seen(counters, position, writes)))
    with _opened(_path(migration, cutover.run_id, "jsonl"), os.O_APPEND) as file:
        file.write(_LOOK.dump_json(found).decode() + "\n")
    return found


def _production(
    migration: Migration, baseline: Baseline, before: Counters | None
) -> tuple[dict[str, Figure], Counters]:
    """The figures of the target.

    Raises:
        InputError: it can not be used.
        BrokenOffError: it was lost.
    """
    config = migration.config
    schema = config.schema_of(PRODUCTION)
    target = resolve_target(
        config.targets[PRODUCTION], schema, migration.folder, migration.home, PRODUCTION
    )
    try:
        with session(target, "the look at production") as connection:
            connection.autocommit = True  # what the role may not do spoils nothing else
            with connection.cursor() as cursor:
                cursor.execute("SET statement_timeout = %s", (f"{STATEMENT_SECONDS}s",))
                return watch_figures.figures(cursor, schema, baseline, before)
    except psycopg2.Error as error:
        line = str(error).partition("\n")[0]
        raise InputError(f'schema "{schema}" at {target.location}: {line}') from error


def _source_writes(
    migration: Migration, baseline: Baseline, before: Seen | None
) -> tuple[Figure, Position | None]:
    """Whether somebody still writes to the old database, and where that stands now."""
    if baseline.source is None:
        return (None, "the cutover left no record of where the source stood"), None
    snapshot = migration.run_folder(baseline.run_id).snapshot
    if not snapshot.exists():
        snapshot = _path(migration, baseline.run_id, "snapshot")
    source = migration.source()
    try:
        position = source.position(before.source if before else None, snapshot.parent)
        if before and before.source and before.source.same_as(position):
            return before.writes, position
        moved = source.moved_since(baseline.source, snapshot)
    except MigrationError as error:
        return (None, f"the source can not be asked: {error}"), None
    if moved is None:
        return (0.0, "the source is as it was"), position
    return (float(len(moved.tables) or 1), moved.line), position


def looks(migration: Migration) -> list[Look]:
    """All looks since the standing cutover, the oldest first."""
    cutover = standing_cutover(migration)
    path = _path(migration, cutover.run_id, "jsonl") if cutover else None
    if path is None or not path.exists():
        return []
    return [_LOOK.validate_json(line) for line in path.read_bytes().splitlines()]


def news(migration: Migration) -> list[Measure]:
    """The bad signs of the last look that were none at the look before."""
    found = looks(migration)
    before = {measure.name for measure in found[-2].failed} if len(found) > 1 else set()
    return [each for each in found[-1].failed if each.name not in before] if found else []


def write_plots(migration: Migration) -> Path:
    """Write the plots of all looks since the standing cutover; returns the SVG file.

    Raises:
        InputError: there was no look yet.
    """
    cutover, found = standing_cutover(migration), looks(migration)
    if cutover is None or not found:
        raise InputError(f"{migration.name} was not looked at yet: migration-assets watch")
    path = _path(migration, cutover.run_id, "svg")
    _write(path, plots(found))
    return path


def _baseline(migration: Migration, cutover: Cutover) -> Baseline:
    """What went live; kept at the first look, before its run folder is dropped."""
    place = _path(migration, cutover.run_id, "baseline.json")
    if place.exists():
        return results.from_json(Baseline, place.read_bytes())
    folder = migration.run_folder(cutover.run_id)
    loads = folder.read_results("load", LoadResult)
    names = {table.slug: table.name for table in folder.plan().tables} if folder.has_plan else {}
    rows = {name: loads[slug].rows for slug, name in names.items() if slug in loads}
    made = Baseline(cutover.run_id, rows, folder.read_result("standing", "all", Standing))
    _write(place, results.to_json(made))
    return made


def _path(migration: Migration, run_id: str, what: str) -> Path:
    return history.folder(migration, "watch") / f"{run_id}.{what}"


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with _opened(part, os.O_TRUNC) as file:
        file.write(text)
    part.replace(path)


def _opened(path: Path, how: int) -> TextIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600), "a", encoding="utf-8")
