"""Whether a run may go into a target: rights, log, and what its schema holds."""

from __future__ import annotations

from collections.abc import Callable

from psycopg2.extensions import cursor as Cursor

from migration_assets.errors import InputError
from migration_assets.postgres import added, marker, run_log, security
from migration_assets.postgres.connect import Target, session
from migration_assets.postgres.marker import Mark, Role

MINIMUM_VERSION = 13


def check_target(
    target: Target, migration: str, check: Callable[[Cursor, str, str], None] | None = None
) -> None:
    """Look whether a run of ``migration`` can go into ``target``; writes nothing.

    Args:
        target: the database and schema.
        migration: the migration's name.
        check: looks at the schema, None for :func:`check_schema`.

    Raises:
        InputError: the target can not be reached, is too old, is a standby, refuses CREATE, or
            the schema holds what is not this migration's; the message says what to do.
    """
    with (
        session(
            target, "the look at the target", options="-c default_transaction_read_only=on"
        ) as connection,
        connection.cursor() as cursor,
    ):
        for look in looks(cursor, target, migration, check).values():
            look()


def looks(
    cursor: Cursor,
    target: Target,
    migration: str,
    check: Callable[[Cursor, str, str], None] | None = None,
) -> dict[str, Callable[[], None]]:
    """What a run of ``migration`` needs of its target, one look for each, in their order.

    Each raises InputError, as :func:`check_target` does.
    """
    where = target.location
    return {
        "version": lambda: _check_version(cursor, where),
        "rights": lambda: _check_rights(cursor, where),
        "log": lambda: _check_log(cursor, where),
        "schema": lambda: (check or check_schema)(cursor, target.schema, migration),
        "publications": lambda: security.check_publications(cursor, target.schema),
    }


def check_schema(cursor: Cursor, schema: str, migration: str, built: bool = False) -> None:
    """Raise InputError unless ``schema`` is absent, empty, or holds only ``migration``'s work.

    One that is ``built`` by the application's own command must be all ours, for it is replaced as
    a whole, with the routines, types and triggers of that command.
    """
    if schema.startswith("pg_") or schema in {"information_schema", run_log.SCHEMA}:
        raise InputError(f'schema "{schema}" is reserved; choose another one with --schema NAME')
    if not marker.schema_exists(cursor, schema):
        return
    mark = marker.read_mark(cursor, schema)
    if mark and mark.migration != migration:
        raise InputError(
            f'schema "{schema}" belongs to migration {mark.migration}; choose another one with '
            "--schema NAME"
        )
    if mark and mark.role is not Role.LIVE:
        raise InputError(
            f'schema "{schema}" is the {mark.role} schema of this migration; choose another one '
            "with --schema NAME"
        )
    if built and mark is None:
        raise InputError(
            f'schema "{schema}" is there and schema_command makes a new one in its place; choose '
            "another one with --schema NAME, or load into its tables without schema_command"
        )
    cursor.execute(
        "SELECT pg_get_userbyid(nspowner), pg_has_role(nspowner, 'USAGE'), "
        "has_schema_privilege(oid, 'CREATE'),"
        " current_user FROM pg_namespace WHERE nspname = %s",
        (schema,),
    )
    owner, owns, may_create, user = marker.one(cursor)
    if not (owns if mark else may_create):
        raise InputError(
            f'schema "{schema}" belongs to role "{owner}" and "{user}" may not create in it; '
            "connect as its owner or choose another one with --schema NAME"
        )
    known = run_log.own_objects(cursor, schema, migration)
    foreign = added.relations(cursor, schema, known)
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise InputError(
            f'schema "{schema}" holds {foreign[0]}{more}, which this migration did not make; '
            "choose another schema with --schema NAME"
        )
    if not built:
        _check_added(cursor, schema, known, mark)
    dependents = added.outside_dependents(cursor, schema)
    if dependents:
        raise InputError(
            f'{dependents[0]} depends on tables of schema "{schema}" and would stay with the old '
            "ones; "
            "drop it and make it again after the run, or choose another schema with --schema NAME"
        )


def _check_added(cursor: Cursor, schema: str, known: list[int], mark: Mark | None) -> None:
    """In a schema that is not ours alone, routines and types stay where they are."""
    attached = added.attached(cursor, known)
    if attached:
        more = f" and {len(attached) - 1} more" if len(attached) > 1 else ""
        raise InputError(
            f'schema "{schema}" holds {attached[0]}{more}, which the new tables would not have; '
            "drop it and make it again after the run, or choose another schema with --schema NAME"
        )
    held = added.routines_and_types(cursor, schema, known) if mark else []
    if held:
        more = f" and {len(held) - 1} more" if len(held) > 1 else ""
        raise InputError(
            f'schema "{schema}" holds {held[0]}{more}, which would go with the old tables; move it '
            "to another schema (ALTER ... SET SCHEMA), or choose another schema with --schema NAME"
        )


def _check_version(cursor: Cursor, where: str) -> None:
    version = cursor.connection.server_version
    if version < MINIMUM_VERSION * 10000:
        raise InputError(
            f"{where} is PostgreSQL {version // 10000}; {MINIMUM_VERSION} or later is needed"
        )


def _check_rights(cursor: Cursor, where: str) -> None:
    cursor.execute(
        "SELECT pg_is_in_recovery(), has_database_privilege(current_database(), 'CREATE'),"
        " current_user, quote_ident(current_database()), quote_ident(current_user)"
    )
    standby, may_create, user, database, role = marker.one(cursor)
    if standby:
        raise InputError(f"{where} is a standby and takes no writes; give the URL of its primary")
    if not may_create:
        raise InputError(
            f'role "{user}" has no CREATE right at {where}; as the database\'s owner: '
            f"GRANT CREATE ON DATABASE {database} TO {role}"
        )


def _check_log(cursor: Cursor, where: str) -> None:
    if not run_log.has_log(cursor):
        cursor.execute(
            "SELECT pg_get_userbyid(nspowner), has_schema_privilege(oid, 'CREATE'), current_user"
            " FROM pg_namespace WHERE nspname = %s",
            (run_log.SCHEMA,),
        )
        row = cursor.fetchone()
        if row and not row[1]:
            raise InputError(
                f'role "{row[2]}" may not create in schema {run_log.SCHEMA} of "{row[0]}" at '
                f"{where}"
            )
        return
    cursor.execute(
        "SELECT pg_get_userbyid(c.relowner), current_user, quote_ident(current_user),"
        " has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')"
        " AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = 'runs'",
        (run_log.SCHEMA,),
    )
    owner, user, role, allowed = marker.one(cursor)
    log = run_log.SCHEMA
    if not allowed:
        raise InputError(
            f'role "{user}" may not write {log}.runs at {where}; as "{owner}": GRANT USAGE ON '
            f"SCHEMA {log} TO {role}; GRANT SELECT, INSERT, UPDATE ON {log}.runs TO {role}"
        )
