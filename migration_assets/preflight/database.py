"""The target database, looked at before a run: rights, roles, schema, and what it must have."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from migration_assets import load
from migration_assets.core import naming
from migration_assets.core.catalog import Catalog
from migration_assets.core.config import MigrationConfig
from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.planner import build_plan
from migration_assets.core.preflight import Finding, Sizes, Verdict
from migration_assets.errors import InputError
from migration_assets.home import Migration
from migration_assets.postgres import admission, marker, run_log
from migration_assets.postgres.connect import Target
from migration_assets.preflight import capacity, staged
from migration_assets.preflight.staged import Staged


def look(
    connection: Connection,
    migration: Migration,
    environment: str,
    target: Target,
    rehearsed: Staged | None,
    sizes: Sizes,
    run_id: str | None,
) -> Iterator[Finding]:
    """Look at the database of ``connection``; writes nothing.

    Args:
        connection: to the target.
        migration: whose run it would be.
        environment: which of its targets this is.
        target: the database and schema.
        rehearsed: what staging holds, None if that is not known.
        sizes: of the source.
        run_id: the run that asks, None if none does.
    """
    config = migration.config
    with connection.cursor() as cursor:
        yield _version(connection, rehearsed)
        check = None
        if config.schema_mode == "existing":
            from migration_assets.existing.prepare import schema_check  # needed seldom

            check = schema_check(config)
        looks = admission.looks(cursor, target, migration.name, check)
        said = {
            "rights": "the role may create schemas",
            "log": "the log of runs can be written",
            "schema": _schema_state(cursor, target.schema, migration.name),
            "publications": "none stands in the way of the swap",
        }
        for name, fine in said.items():
            yield _asked(name, fine, looks[name])
        if environment == PRODUCTION:
            yield from _replaces(cursor, target.schema, migration.name)
        yield _takes_writes(cursor)
        yield _encoding(cursor, rehearsed)
        yield from _extensions(cursor, rehearsed)
        yield capacity.connections(cursor, config.targets[environment].pool)
        yield capacity.locks(cursor, target.schema, sizes.tables)
        yield from capacity.in_the_way(cursor, target.schema)
        yield capacity.clock(cursor)
        stored = rehearsed.stored if rehearsed else None
        if stored is None and marker.read_mark(cursor, target.schema) is not None:
            stored = staged.size(cursor, target.schema)
        yield capacity.disk(cursor, target, stored, sizes.bytes)
        own = naming.shorten(f"{target.schema}__in_{run_id[:8]}") if run_id else ""
        yield from _leftovers(cursor, own, migration.name)


def fit(target: Target, catalog: Catalog, config: MigrationConfig) -> Finding:
    """Whether the source goes into the application's own tables, as far as declarations tell."""
    if config.schema_command is not None:
        return Finding("fit", Verdict.GO, "schema_command makes the tables when the run begins")
    from migration_assets.existing import prepare  # needed seldom

    def look() -> None:
        structure = prepare.read(target)
        declared = build_plan(catalog, None, config.plan, structure)
        prepare.check_fit(target, structure, declared, config)

    return _asked("fit", "every column of the source has its place in the existing tables", look)


def _asked(name: str, fine: str, look: Callable[[], None]) -> Finding:
    try:
        look()
    except InputError as error:
        return Finding(name, Verdict.NO_GO, str(error))
    return Finding(name, Verdict.GO, fine)


def _version(connection: Connection, rehearsed: Staged | None) -> Finding:
    major = connection.server_version // 10000
    said = f"PostgreSQL {connection.info.parameter_status('server_version')}"
    if major < admission.MINIMUM_VERSION:
        reason = f"{said}; {admission.MINIMUM_VERSION} or later is needed"
        return Finding("version", Verdict.NO_GO, reason)
    if rehearsed is not None and rehearsed.version // 10000 != major:
        return Finding(
            "version",
            Verdict.WARNING,
            f"{said}, but rehearsals went to PostgreSQL {rehearsed.version // 10000}; rehearse on "
            f"PostgreSQL {major}",
        )
    return Finding("version", Verdict.GO, said)


def _schema_state(cursor: Cursor, schema: str, migration: str) -> str:
    if not marker.schema_exists(cursor, schema):
        return f'schema "{schema}" is not there yet'
    mark = marker.read_mark(cursor, schema)
    if mark is None:
        return f'schema "{schema}" holds nothing that a run would change'
    return f'schema "{schema}" is live with run {mark.run}, which stays as the way back'


def _replaces(cursor: Cursor, schema: str, migration: str) -> Iterator[Finding]:
    run = run_log.live_run(cursor, schema, migration)
    if run is not None:
        yield Finding(
            "replaces",
            Verdict.WARNING,
            f"run {run} is live here: what the application has written to it since leaves with it, "
            "counted and kept, but not in the source; if it works here, take that back first: "
            f"migration-assets rollback {migration}",
        )


def _takes_writes(cursor: Cursor) -> Finding:
    cursor.execute("SHOW default_transaction_read_only")
    if marker.one(cursor)[0] == "off":
        return Finding("writes", Verdict.GO, "transactions may write")
    return Finding(
        "writes",
        Verdict.NO_GO,
        "transactions are read only by default here; ALTER ROLE ... SET, or ALTER DATABASE ... SET "
        "default_transaction_read_only = off",
    )


def _encoding(cursor: Cursor, rehearsed: Staged | None) -> Finding:
    """The connection itself refuses other encodings than UTF-8."""
    cursor.execute(staged.COLLATION)
    (collation,) = marker.one(cursor)
    if rehearsed is not None and rehearsed.collation != collation:
        return Finding(
            "encoding",
            Verdict.WARNING,
            f"UTF-8; texts are sorted by {collation} here and by {rehearsed.collation} in staging, "
            "so that lists may come in another order than rehearsed",
        )
    return Finding("encoding", Verdict.GO, f"UTF-8, sorted by {collation}")


def _extensions(cursor: Cursor, rehearsed: Staged | None) -> Iterator[Finding]:
    """What the rehearsed schema depends on must be here as well."""
    if rehearsed is None or not rehearsed.extensions:
        yield Finding("extensions", Verdict.GO, "none is needed")
        return
    cursor.execute(
        "SELECT name, installed_version FROM pg_available_extensions WHERE name = ANY(%s)",
        (list(rehearsed.extensions),),
    )
    found = dict(cursor.fetchall())
    for name in rehearsed.extensions:
        if found.get(name):
            yield Finding("extensions", Verdict.GO, f"{name} {found[name]} is installed")
        else:
            how = f'CREATE EXTENSION "{name}"' if name in found else "install it on the server"
            reason = f"staging's schema depends on {name}, which is not in this database; {how}"
            yield Finding("extensions", Verdict.NO_GO, reason)


def _leftovers(cursor: Cursor, own: str, migration: str) -> Iterator[Finding]:
    """Schemas of runs that did not come to their end."""
    dropped = load.leftovers(cursor, own, migration) if run_log.has_log(cursor) else []
    found = marker.marked_schemas(cursor, migration, marker.Role.INCOMING)
    others = {name: mark.run for name, mark in found.items() if name not in {own, *dropped}}
    for name, run in others.items():
        if marker.is_free(cursor, name):
            yield Finding(
                "leftovers",
                Verdict.WARNING,
                f'schema "{name}" is what the unfinished run {run} has loaded; it stays for a day, '
                "so that the run can be gone on with",
            )
        else:
            yield Finding(
                "leftovers",
                Verdict.NO_GO,
                f'run {run} is at work in schema "{name}"; wait for its end',
            )
    for name in dropped:
        yield Finding(
            "leftovers", Verdict.WARNING, f'the next run drops schema "{name}" of a broken run'
        )
    if not others and not dropped:
        yield Finding("leftovers", Verdict.GO, "no run has left a schema behind")
