"""Whether the application's role can read and write what it could, before a swap and after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.app_rights import AppRights, Relation, Right, lost
from migration_assets.errors import InputError, NotProvenError
from migration_assets.postgres import marker
from migration_assets.postgres.connect import Target, session

ROWS = "SELECT, INSERT, UPDATE, DELETE"
"""Rights of an application on tables."""
NUMBERS = "USAGE, SELECT"
"""Rights of an application on sequences."""

_NAMED = 5
"""Lost rights that a refusal names."""

_RELATIONS = """
SELECT c.relname,
       CASE c.relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view'
                      WHEN 'm' THEN 'materialized view' ELSE 'table' END,
       ARRAY(SELECT t.attname::text FROM pg_attribute t
             WHERE t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped
               AND c.relkind <> 'S' ORDER BY t.attnum)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
"""

_RIGHTS = """
WITH who AS (
    SELECT oid, rolsuper OR rolbypassrls AS sees_all FROM pg_roles WHERE rolname = %(role)s
), found AS (
    SELECT c.oid, c.relname, c.relkind, p.privilege, p.command,
           CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(who.oid, c.oid, p.privilege)
                ELSE has_table_privilege(who.oid, c.oid, p.privilege) END AS whole,
           -- PostgreSQL manual, "Row Security Policies": owners pass unless it is forced.
           c.relrowsecurity AND NOT who.sees_all
               AND (c.relforcerowsecurity OR NOT pg_has_role(who.oid, c.relowner, 'USAGE'))
               AS secured,
           CASE WHEN c.relkind <> 'v' THEN NULL
                WHEN EXISTS (SELECT 1 FROM pg_options_to_table(c.reloptions) o
                             WHERE o.option_name = 'security_invoker'
                               AND o.option_value::boolean)
                THEN who.oid ELSE c.relowner END AS reads_as
    FROM who, pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN (VALUES ('t', 'SELECT', 'r'), ('t', 'INSERT', 'a'), ('t', 'UPDATE', 'w'),
                 ('t', 'DELETE', 'd'), ('t', 'TRUNCATE', NULL),
                 ('S', 'USAGE', NULL), ('S', 'SELECT', NULL), ('S', 'UPDATE', NULL)
         ) p (kind, privilege, command) ON (p.kind = 'S') = (c.relkind = 'S')
    WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
), usable AS (
    SELECT f.* FROM found f, who
    WHERE (NOT f.secured OR f.command IS NULL OR EXISTS (
               SELECT 1 FROM pg_policy y, unnest(y.polroles) r (oid)
               WHERE y.polrelid = f.oid AND y.polpermissive AND y.polcmd IN ('*', f.command)
                 AND CASE WHEN r.oid = 0 THEN true
                          ELSE pg_has_role(who.oid, r.oid, 'USAGE') END))
      AND (f.reads_as IS NULL OR f.privilege <> 'SELECT' OR NOT EXISTS (
               SELECT 1 FROM pg_rewrite w
               JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
                    AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> f.oid
               JOIN pg_class b ON b.oid = d.refobjid AND b.relkind IN ('r', 'p', 'v', 'm', 'f')
               WHERE w.ev_class = f.oid
                 AND NOT has_any_column_privilege(f.reads_as, b.oid, 'SELECT')))
)
SELECT u.relname, u.privilege, NULL::text FROM usable u WHERE u.whole
UNION ALL
SELECT u.relname, u.privilege, t.attname::text
FROM usable u JOIN who ON true
JOIN pg_attribute t ON t.attrelid = u.oid AND t.attnum > 0 AND NOT t.attisdropped
WHERE NOT u.whole AND u.relkind <> 'S' AND u.privilege IN ('SELECT', 'INSERT', 'UPDATE')
  AND t.attacl IS NOT NULL AND has_column_privilege(who.oid, u.oid, t.attnum, u.privilege)
"""


@dataclass(frozen=True)
class Look:
    """What a look before a cutover found.

    Attributes:
        rights: what the role can do now.
        no_go: why the application would not work afterwards, each with what to do.
        warnings: what is odd, and may be meant.
    """

    rights: AppRights
    no_go: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def is_role(target: Target, role: str) -> bool:
    """True if there is a role of that name at ``target``."""
    with session(target, "the look at roles") as connection, connection.cursor() as cursor:
        return _is_role(cursor, role)


def read(cursor: Cursor, schema: str, role: str) -> AppRights:
    """What ``role`` can read and write in ``schema``; nothing if the schema is not there.

    Raises:
        InputError: there is no such role.
    """
    if not _is_role(cursor, role):
        raise InputError(
            f'app_role "{role}" is no role of this server; make it (migration-assets provision '
            "prints how), or correct app_role"
        )
    cursor.execute(
        "SELECT has_schema_privilege(%s, oid, 'USAGE') FROM pg_namespace WHERE nspname = %s",
        (role, schema),
    )
    row = cursor.fetchone()
    if row is None:
        return AppRights(role, schema, False)
    cursor.execute(_RELATIONS, {"schema": schema})
    relations = {name: Relation(kind, tuple(columns)) for name, kind, columns in cursor.fetchall()}
    cursor.execute(_RIGHTS, {"schema": schema, "role": role})
    rights = tuple(sorted(Right(*found) for found in cursor.fetchall()))
    return AppRights(role, schema, bool(row[0]), relations, rights)


def check_before(target: Target, role: str) -> Look:
    """Look, before a cutover, whether ``role`` can work and what it can do.

    Args:
        target: the database and the schema that readers use.
        role: the application's role.

    Raises:
        InputError: there is no such role, or the target can not be reached.
    """
    with (
        session(target, "the look at the application's role") as connection,
        connection.cursor() as cursor,
    ):
        rights = read(cursor, target.schema, role)
        there = marker.schema_exists(cursor, target.schema)
        ours = marker.read_mark(cursor, target.schema) is not None
        cursor.execute(
            "SELECT has_database_privilege(%(role)s, current_database(), 'CONNECT'), rolcanlogin,"
            " rolsuper, quote_ident(current_database()), quote_ident(%(role)s),"
            " quote_ident(%(schema)s) FROM pg_roles WHERE rolname = %(role)s",
            {"role": role, "schema": target.schema},
        )
        connects, logs_in, super_, database, name, schema = marker.one(cursor)
    no_go, warnings = [], []
    if not connects:
        no_go.append(
            f'app_role "{role}" may not connect to {target.location}: GRANT CONNECT ON DATABASE '
            f"{database} TO {name}"
        )
    # A schema of ours takes its rights along, one that is new gets them; in another's we have none
    # to give.
    if there and not rights.usage and (rights.relations or not ours):
        no_go.append(
            f'app_role "{role}" may not use schema "{target.schema}": GRANT USAGE ON SCHEMA '
            f"{schema} TO {name}"
        )
    if not logs_in:
        warnings.append(f'app_role "{role}" can not log in: is it the one that connects?')
    if super_:
        warnings.append(f'app_role "{role}" is a superuser: an application needs no such rights')
    if rights.usage and rights.relations and not rights.rights:
        warnings.append(f'app_role "{role}" can read nothing in schema "{target.schema}" today')
    return Look(rights, tuple(no_go), tuple(warnings))


@contextmanager
def kept(
    cursor: Cursor, live: str, incoming: str, role: str | None, *, first: bool
) -> Iterator[list[Right]]:
    """Frame the exchange of ``live`` for ``incoming``: ``role`` can do afterwards what it could.

    What has no counterpart in ``live`` would have no rights: the role may read and write it.

    Args:
        cursor: in the transaction of the swap, as the owner of ``incoming``.
        live: the schema that readers use.
        incoming: the schema that takes its place.
        role: the application's role, None to do nothing.
        first: nothing of this migration is live yet; the role may then use the new schema too.

    Yields:
        a list that has the role's rights when the block has ended.

    Raises:
        InputError: there is no such role.
        NotProvenError: the role would lack a right; the transaction must not be committed.
    """
    found: list[Right] = []
    if role is None:
        yield found
        return
    before = read(cursor, live, role)
    _let_in(cursor, role, incoming, None if first else live)
    if first:
        # A schema that is there stays, one that is not is the incoming one, renamed.
        _let_in_later(cursor, role, live if marker.schema_exists(cursor, live) else incoming)
    yield found
    after = read(cursor, live, role)
    found += after.rights
    missing = lost(before, after)
    if first and not after.usage:
        missing = (f'USAGE on schema "{live}"',)
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise NotProvenError(
            f'app_role "{role}" would lack {", ".join(missing[:_NAMED])}{more}; nothing was '
            "swapped, grant it to the role or correct app_role, then run again"
        )


def _let_in(cursor: Cursor, role: str, incoming: str, live: str | None) -> None:
    cursor.execute(
        """
        SELECT CASE WHEN i.relkind = 'S' THEN %s || ' ON SEQUENCE'
                    WHEN i.relkind IN ('v', 'm') THEN 'SELECT ON TABLE'
                    ELSE %s || ' ON TABLE' END,
               array_agg(i.relname::text ORDER BY i.relname)
        FROM pg_class i JOIN pg_namespace m ON m.oid = i.relnamespace
        WHERE m.nspname = %s AND i.relkind IN ('r', 'p', 'v', 'm', 'S')
          AND NOT EXISTS (
              SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname = %s AND c.relname = i.relname AND c.relkind = i.relkind)
        GROUP BY 1 ORDER BY 1
        """,
        (NUMBERS, ROWS, incoming, live),
    )
    to = sql.Identifier(role)
    for words, names in cursor.fetchall():
        relations = sql.SQL(", ").join(sql.Identifier(incoming, name) for name in names)
        cursor.execute(sql.SQL("GRANT {} {} TO {}").format(sql.SQL(words), relations, to))
    if live is None:
        cursor.execute(
            sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(incoming), to)
        )


def _let_in_later(cursor: Cursor, role: str, schema: str) -> None:
    """Tables that this role makes in the schema beside runs, as by a migration, are open too."""
    for rights, kind in ((ROWS, "TABLES"), (NUMBERS, "SEQUENCES")):
        cursor.execute(
            sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA {} GRANT {} ON {} TO {}").format(
                sql.Identifier(schema), sql.SQL(rights), sql.SQL(kind), sql.Identifier(role)
            )
        )


def _is_role(cursor: Cursor, role: str) -> bool:
    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
    return cursor.fetchone() is not None
