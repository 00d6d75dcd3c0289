"""The source, looked at before a run: does it answer, and is it written to."""

from __future__ import annotations

import time

from migration_assets import source_state
from migration_assets.core.catalog import Catalog
from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.preflight import Finding, Verdict
from migration_assets.core.sensitive import advice, columns_of, likely
from migration_assets.errors import MigrationError
from migration_assets.home import Migration

QUIET_SECONDS = 1.0
"""So long nobody writes to a source that is quiet."""


def look(migration: Migration, environment: str, findings: list[Finding]) -> Catalog | None:
    """What the source declares, None if it can not be read; ``findings`` are added to."""
    source = migration.source()
    try:
        source.check()
        catalog = source.reflect()
        said = f"{source.location} answers: {len(catalog.tables)} tables"
        findings.append(Finding("source", Verdict.GO, said))
        found = likely(catalog.tables, columns_of(catalog, migration.config.sensitive))
        if found:
            findings.append(Finding("sensitive", Verdict.WARNING, advice(found)))
        findings.append(_quiet(migration, environment))
    except MigrationError as error:
        findings.append(Finding("source", Verdict.NO_GO, str(error)))
        return None
    return catalog


def _quiet(migration: Migration, environment: str) -> Finding:
    """Whether it is written to, and what stops that before a cutover reads it."""
    source, scratch = migration.source(), migration.folder / "state"
    first = source.position(source_state.last_read(migration), scratch)
    time.sleep(QUIET_SECONDS)
    if source.position(first, scratch).same_as(first):
        said = f"nobody wrote to the source for {QUIET_SECONDS:.0f} s"
        return Finding("quiet", Verdict.GO, said)
    if environment != PRODUCTION:
        said = "the source is being written to; a rehearsal reads one moment of it"
        return Finding("quiet", Verdict.GO, said)
    hooks = migration.config.cutover.hooks
    stops = [name for name in ("stop_app", "freeze") if getattr(hooks, name) is not None]
    if stops:
        said = f"the source is being written to; {' and '.join(stops)} must end that"
        return Finding("quiet", Verdict.GO, said)
    return Finding(
        "quiet",
        Verdict.NO_GO,
        "the source is being written to, and a cutover moves only what stands still; stop the "
        "application, or name what does as cutover.hooks.stop_app in defs.yaml",
    )
