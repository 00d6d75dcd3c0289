"""Everything that a run will need, looked at before it begins."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2

from migration_assets import pause, run_lock
from migration_assets.backup import target_of
from migration_assets.core.cutover_config import PRODUCTION, STAGING
from migration_assets.core.preflight import Finding, Sizes, Verdict
from migration_assets.errors import InputError, MigrationError
from migration_assets.home import Migration
from migration_assets.postgres import app_rights, tls
from migration_assets.postgres.connect import Target, parameters, session
from migration_assets.preflight import backups, database, room, source, staged
from migration_assets.preflight.staged import Staged


def look(migration: Migration, environment: str, run_id: str | None = None) -> list[Finding]:
    """Look at source, target and this machine; nothing is written.

    Args:
        migration: what is to be moved.
        environment: the target that a run would go to.
        run_id: the run that asks, whose own traces are none of another run's.

    Raises:
        InputError: the migration has no such target.
    """
    config = migration.config
    if environment not in config.targets:
        raise InputError(f"{migration.defs_yaml} has no targets: {environment}")
    findings: list[Finding] = []
    if run_id is None:
        findings.append(_others(migration))
    catalog = source.look(migration, environment, findings)
    sizes = Sizes(migration.source().size(), len(catalog.tables)) if catalog else Sizes()
    rehearsed = staged.read(migration) if environment == PRODUCTION else None
    try:
        target = target_of(migration, environment)
    except InputError as error:
        findings.append(Finding("target", Verdict.NO_GO, str(error)))
    else:
        findings += _target(migration, environment, target, rehearsed, sizes, run_id)
        if catalog is not None and config.schema_mode == "existing":
            findings.append(database.fit(target, catalog, config))
    findings += room.look(migration, sizes.bytes)
    return findings


def _others(migration: Migration) -> Finding:
    """Whether a run could begin at all now."""
    paused, under_way = pause.read(migration.folder), run_lock.under_way(migration)
    if paused is not None:
        resume = f"migration-assets resume {migration.name}"
        return Finding("runs", Verdict.NO_GO, f"{migration.name} is {paused}; {resume}")
    if under_way is not None:
        reason = f"run {under_way} of {migration.name} is under way; wait for its end"
        return Finding("runs", Verdict.NO_GO, reason)
    return Finding("runs", Verdict.GO, "none is under way")


def _target(
    migration: Migration,
    environment: str,
    target: Target,
    rehearsed: Staged | None,
    sizes: Sizes,
    run_id: str | None,
) -> Iterator[Finding]:
    yield _tls(migration, environment, target)
    try:
        with session(target, "the look at the target") as connection:
            yield Finding("target", Verdict.GO, f"{target.location} answers")
            yield from database.look(
                connection, migration, environment, target, rehearsed, sizes, run_id
            )
            if environment == PRODUCTION:
                yield from backups.look(connection, migration, environment, target)
        app_role = migration.config.app_role
        if app_role is not None and (
            environment == PRODUCTION or app_rights.is_role(target, app_role)
        ):
            yield from _app_role(target, app_role)
    except MigrationError as error:
        yield Finding("target", Verdict.NO_GO, str(error))
    except psycopg2.Error as error:
        said = " ".join(str(error).split())
        yield Finding("target", Verdict.NO_GO, f"{target.location} refuses a look: {said}")


def _app_role(target: Target, role: str) -> Iterator[Finding]:
    """Whether the application could work afterwards."""
    found = app_rights.check_before(target, role)
    for reason in found.no_go:
        yield Finding("app role", Verdict.NO_GO, reason)
    for reason in found.warnings:
        yield Finding("app role", Verdict.WARNING, reason)
    if not found.no_go and not found.warnings:
        rights = len(found.rights.rights)
        said = f'"{role}" may connect; of its {rights} rights on what is live none will be lost'
        yield Finding("app role", Verdict.GO, said)


def _tls(migration: Migration, environment: str, target: Target) -> Finding:
    """How the target is reached; what production refuses has been refused before."""
    found = parameters(target)
    mode = tls.mode(found)
    if tls.is_local(found):
        return Finding("tls", Verdict.GO, "the target is reached within this machine")
    if mode == "verify-full":
        return Finding("tls", Verdict.GO, "encrypted, certificate and host name are verified")
    if mode == "verify-ca":
        return Finding(
            "tls",
            Verdict.WARNING,
            "the certificate is verified, the host name in it is not: any server with a "
            "certificate of that CA is taken; sslmode=verify-full asks for both",
        )
    allowed = ", which defs.yaml allows" if environment != STAGING else ""
    return Finding(
        "tls",
        Verdict.WARNING,
        f"{target.location} is reached over a network without verified TLS (sslmode is {mode})"
        f"{allowed}; add sslmode=verify-full to its URL",
    )
