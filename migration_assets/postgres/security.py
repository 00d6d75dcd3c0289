"""Row security and publications of live tables, carried over to those that take their place.

A policy is written again from its deparsed text. What it names without a schema is what the live
schema holds, so that it is found in the incoming schema when it is made there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psycopg2
from psycopg2 import errors, sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.errors import InputError, NotProvenError

COMMANDS = {"*": "ALL", "r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}
PUBLISHED_PARTS_VERSION = 150000
"""Column lists, row filters and whole schemas in publications came with PostgreSQL 15."""


@dataclass(frozen=True)
class Step:
    """One statement; ``what`` it carries over and what to do if it is refused, for people.

    ``unless_allowed`` takes the place of ``advice`` where a right is what lacks.
    """

    statement: sql.Composed
    what: str
    advice: str
    unless_allowed: str | None = None


def row_security(cursor: Cursor, live: str, incoming: str) -> list[Step]:
    """What gives tables and views of ``incoming`` the row security of those of ``live``.

    Tables are matched by name. The steps of two looks are equal if nothing has changed.
    """
    before = _search_path(cursor, live)
    steps = _policies(cursor, live, incoming)
    steps += _flags(cursor, live, incoming) + _view_options(cursor, live, incoming)
    _set_search_path(cursor, before)
    return steps


def replaced(cursor: Cursor, live: str, former: str) -> list[Step]:
    """What gives tables and views of ``former`` the row security of those of ``live`` alone.

    For tables that come back: what they had when they were live goes, if it is another one.
    """
    wanted = row_security(cursor, live, former)
    had = row_security(cursor, former, former)
    if [step.statement for step in wanted] == [step.statement for step in had]:
        return []
    return _cleared(cursor, live, former) + wanted


def publications(cursor: Cursor, live: str, incoming: str, *, schema_too: bool) -> list[Step]:
    """What puts tables of ``incoming`` into the publications of those of ``live``, instead of them.

    Args:
        cursor: where to look.
        live: the schema whose tables are published.
        incoming: the schema whose tables are to be.
        schema_too: also the publications of the whole schema.
    """
    steps = _replica_identities(cursor, live, incoming) + _published(cursor, live, incoming)
    if schema_too and cursor.connection.server_version >= PUBLISHED_PARTS_VERSION:
        steps += _published_schema(cursor, live, incoming)
    return steps


def carry_over(cursor: Cursor, live: str, incoming: str, steps: Iterable[Step]) -> None:
    """Execute ``steps``.

    Raises:
        NotProvenError: one can not be done, or a policy would still read a table of ``live``.
    """
    # The live schema comes second, for functions that stay in it.
    before = _search_path(cursor, incoming, live)
    for step in steps:
        try:
            cursor.execute(step.statement)
        except psycopg2.OperationalError:  # locks of others, a lost server
            raise
        except psycopg2.DatabaseError as error:
            denied = isinstance(error, errors.InsufficientPrivilege)
            advice = (step.unless_allowed if denied else None) or step.advice
            raise NotProvenError(
                f"{step.what} can not be carried over: {error.diag.message_primary}; nothing was "
                f"swapped, {advice}, then run again"
            ) from error
    _set_search_path(cursor, before)
    _check_nothing_left(cursor, live, incoming)


def check_publications(cursor: Cursor, schema: str) -> None:
    """Raise InputError if a table of ``schema`` is in a publication that this role may not change.

    Known before the run, so that it is not refused at its end.
    """
    cursor.execute(
        """
        SELECT p.pubname, c.relname, pg_get_userbyid(p.pubowner)::text, current_user::text
        FROM pg_publication_rel r
        JOIN pg_publication p ON p.oid = r.prpubid
        JOIN pg_class c ON c.oid = r.prrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND NOT pg_has_role(p.pubowner, 'USAGE')
        ORDER BY 1, 2 LIMIT 1
        """,
        (schema,),
    )
    row = cursor.fetchone()
    if row:
        name, table, owner, user = row
        raise InputError(
            f'table "{schema}"."{table}" is in publication "{name}", which role "{user}" may not '
            f'change; as "{owner}": {_give(cursor, name, user)}'
        )


def _policies(cursor: Cursor, live: str, incoming: str) -> list[Step]:
    cursor.execute(
        """
        SELECT c.relname, p.polname, p.polpermissive, p.polcmd,
               ARRAY(SELECT CASE WHEN r.oid <> 0 THEN pg_get_userbyid(r.oid)::text END
                     FROM unnest(p.polroles) r (oid) ORDER BY 1),
               pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
        FROM pg_policy p
        JOIN pg_class c ON c.oid = p.polrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_class i ON i.relname = c.relname AND i.relkind IN ('r', 'p')
        JOIN pg_namespace m ON m.oid = i.relnamespace
        WHERE n.nspname = %s AND m.nspname = %s
        ORDER BY c.relname, p.polname
        """,
        (live, incoming),
    )
    steps = []
    for table, name, permissive, command, roles, using, check in cursor.fetchall():
        statement = sql.SQL("CREATE POLICY {} ON {} AS {} FOR {} TO {}").format(
            sql.Identifier(name),
            sql.Identifier(incoming, table),
            sql.SQL("PERMISSIVE" if permissive else "RESTRICTIVE"),
            sql.SQL(COMMANDS[command]),
            sql.SQL(", ").join(
                sql.SQL("PUBLIC") if role is None else sql.Identifier(role) for role in roles
            ),
        )
        if using is not None:
            statement += sql.SQL(" USING (") + sql.SQL(using) + sql.SQL(")")
        if check is not None:
            statement += sql.SQL(" WITH CHECK (") + sql.SQL(check) + sql.SQL(")")
        steps.append(
            Step(
                statement,
                f'policy "{name}" on table "{live}"."{table}"',
                "change or drop the policy",
            )
        )
    return steps


def _cleared(cursor: Cursor, live: str, former: str) -> list[Step]:
    """What takes policies and flags from tables of ``former`` that are in ``live`` as well."""
    cursor.execute(
        """
        SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,
               ARRAY(SELECT p.polname::text FROM pg_policy p WHERE p.polrelid = c.oid ORDER BY 1)
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_class l ON l.relname = c.relname AND l.relkind IN ('r', 'p')
        JOIN pg_namespace m ON m.oid = l.relnamespace
        WHERE n.nspname = %s AND m.nspname = %s AND c.relkind IN ('r', 'p')
        ORDER BY c.relname
        """,
        (former, live),
    )
    steps = []
    for table, enabled, forced, policies in cursor.fetchall():
        name = sql.Identifier(former, table)
        gone = [
            sql.SQL("DROP POLICY {} ON {}").format(sql.Identifier(policy), name)
            for policy in policies
        ] + [
            sql.SQL("ALTER TABLE {} {} ROW LEVEL SECURITY").format(name, sql.SQL(how))
            for how, there in (("DISABLE", enabled), ("NO FORCE", forced))
            if there
        ]
        what = f'row security of table "{live}"."{table}"'
        steps += [Step(statement, what, "switch it off") for statement in gone]
    return steps


def _flags(cursor: Cursor, live: str, incoming: str) -> list[Step]:
    cursor.execute(
        """
        SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_class i ON i.relname = c.relname AND i.relkind IN ('r', 'p')
        JOIN pg_namespace m ON m.oid = i.relnamespace
        WHERE n.nspname = %s AND m.nspname = %s AND (c.relrowsecurity OR c.relforcerowsecurity)
        ORDER BY c.relname
        """,
        (live, incoming),
    )
    return [
        Step(
            sql.SQL("ALTER TABLE {} {} ROW LEVEL SECURITY").format(
                sql.Identifier(incoming, table), sql.SQL(how)
            ),
            f'row security of table "{live}"."{table}"',
            "switch it off",
        )
        for table, enabled, forced in cursor.fetchall()
        for how, wanted in (("ENABLE", enabled), ("FORCE", forced))
        if wanted
    ]


def _view_options(cursor: Cursor, live: str, incoming: str) -> list[Step]:
    """A view without ``security_invoker`` shows what its owner may see."""
    cursor.execute(
        """
        SELECT c.relname, o.option_name, o.option_value
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_class i ON i.relname = c.relname AND i.relkind = c.relkind
        JOIN pg_namespace m ON m.oid = i.relnamespace
        CROSS JOIN LATERAL pg_options_to_table(c.reloptions) o
        WHERE n.nspname = %s AND m.nspname = %s AND c.relkind = 'v'
        ORDER BY c.relname, o.option_name
        """,
        (live, incoming),
    )
    return [
        Step(
            sql.SQL("ALTER VIEW {} SET ({} = {})").format(
                sql.Identifier(incoming, view), sql.Identifier(option), sql.Literal(value)
            ),
            f'option {option} of view "{live}"."{view}"',
            "reset the option",
        )
        for view, option, value in cursor.fetchall()
    ]


def _replica_identities(cursor: Cursor, live: str, incoming: str) -> list[Step]:
    """Without them updates of a published table are refused."""
    cursor.execute(
        """
        SELECT c.relname, c.relreplident, x.relname
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_class i ON i.relname = c.relname AND i.relkind = c.relkind
        JOIN pg_namespace m ON m.oid = i.relnamespace
        LEFT JOIN pg_index k ON k.indrelid = c.oid AND k.indisreplident
        LEFT JOIN pg_class x ON x.oid = k.indexrelid
        WHERE n.nspname = %s AND m.nspname = %s AND c.relkind IN ('r', 'p')
          AND (c.relreplident IN ('f', 'n') OR c.relreplident = 'i' AND x.oid IS NOT NULL)
        ORDER BY c.relname
        """,
        (live, incoming),
    )
    words = {"f": "FULL", "n": "NOTHING"}
    return [
        Step(
            sql.SQL("ALTER TABLE {} REPLICA IDENTITY {}").format(
                sql.Identifier(incoming, table),
                sql.SQL("USING INDEX {}").format(sql.Identifier(index))
                if kind == "i"
                else sql.SQL(words[kind]),
            ),
            f'the replica identity of table "{live}"."{table}"',
            "set it to DEFAULT or FULL",
        )
        for table, kind, index in cursor.fetchall()
    ]


def _published(cursor: Cursor, live: str, incoming: str) -> list[Step]:
    parts = (
        """ARRAY(SELECT t.attname::text FROM pg_attribute t
                 WHERE t.attrelid = c.oid AND t.attnum = ANY(r.prattrs) ORDER BY t.attnum),
           pg_get_expr(r.prqual, r.prrelid)"""
        if cursor.connection.server_version >= PUBLISHED_PARTS_VERSION
        else "ARRAY[]::text[], NULL"
    )
    cursor.execute(
        sql.SQL(
            """
            SELECT p.pubname, pg_get_userbyid(p.pubowner)::text, current_user::text, c.relname, {}
            FROM pg_publication_rel r
            JOIN pg_publication p ON p.oid = r.prpubid
            JOIN pg_class c ON c.oid = r.prrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_class i ON i.relname = c.relname AND i.relkind = c.relkind
            JOIN pg_namespace m ON m.oid = i.relnamespace
            WHERE n.nspname = %s AND m.nspname = %s
            ORDER BY p.pubname, c.relname
            """
        ).format(sql.SQL(parts)),
        (live, incoming),
    )
    steps = []
    for name, owner, user, table, columns, rows in cursor.fetchall():
        publication = sql.Identifier(name)
        add = sql.SQL("ALTER PUBLICATION {} ADD TABLE {}").format(
            publication, sql.Identifier(incoming, table)
        )
        if columns:
            names = sql.SQL(", ").join(map(sql.Identifier, columns))
            add += sql.SQL(" (") + names + sql.SQL(")")
        if rows is not None:
            add += sql.SQL(" WHERE (") + sql.SQL(rows) + sql.SQL(")")
        drop = sql.SQL("ALTER PUBLICATION {} DROP TABLE {}").format(
            publication, sql.Identifier(live, table)
        )
        steps += [
            Step(
                statement,
                f'table "{live}"."{table}" in publication "{name}"',
                "take the table out of the publication",
                f'as "{owner}": {_give(cursor, name, user)}',
            )
            for statement in (drop, add)
        ]
    return steps


def _give(cursor: Cursor, publication: str, user: str) -> str:
    return (
        sql.SQL("ALTER PUBLICATION {} OWNER TO {}")
        .format(sql.Identifier(publication), sql.Identifier(user))
        .as_string(cursor)
    )


def _published_schema(cursor: Cursor, live: str, incoming: str) -> list[Step]:
    cursor.execute(
        "SELECT p.pubname FROM pg_publication_namespace s JOIN pg_publication p ON p.oid ="
        " s.pnpubid JOIN pg_namespace n ON n.oid = s.pnnspid WHERE n.nspname = %s ORDER BY 1",
        (live,),
    )
    return [
        Step(
            sql.SQL("ALTER PUBLICATION {} {} TABLES IN SCHEMA {}").format(
                sql.Identifier(name), sql.SQL(how), sql.Identifier(schema)
            ),
            f'schema "{live}" in publication "{name}"',
            "take the schema out of the publication",
            "connect as a superuser or publish the tables one by one (FOR TABLE)",
        )
        for (name,) in cursor.fetchall()
        for how, schema in (("DROP", live), ("ADD", incoming))
    ]


def _check_nothing_left(cursor: Cursor, live: str, incoming: str) -> None:
    """A policy that names a table which is gone has found the old one."""
    cursor.execute(
        """
        SELECT p.polname, c.relname, o.relname
        FROM pg_policy p
        JOIN pg_class c ON c.oid = p.polrelid
        JOIN pg_namespace m ON m.oid = c.relnamespace
        JOIN pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid
        LEFT JOIN pg_type t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
        JOIN pg_class o ON o.oid = t.typrelid
             OR d.refclassid = 'pg_class'::regclass AND o.oid = d.refobjid
        JOIN pg_namespace n ON n.oid = o.relnamespace
        WHERE m.nspname = %s AND n.nspname = %s
          AND NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
                          AND e.objid = o.oid AND e.deptype = 'e')
        ORDER BY 1, 2, 3 LIMIT 1
        """,
        (incoming, live),
    )
    row = cursor.fetchone()
    if row:
        raise NotProvenError(
            f'policy "{row[0]}" on table "{live}"."{row[1]}" can not be carried over: it reads '
            f'"{row[2]}", which is gone; nothing was swapped, change or drop the policy, then run '
            "again"
        )


def _search_path(cursor: Cursor, *schemas: str) -> str:
    """Look through ``schemas`` alone until the transaction ends; returns the path before."""
    cursor.execute("SELECT current_setting('search_path')")
    row = cursor.fetchone()
    _set_search_path(cursor, ", ".join(sql.Identifier(s).as_string(cursor) for s in schemas))
    return row[0] if row else ""


def _set_search_path(cursor: Cursor, path: str) -> None:
    cursor.execute("SELECT set_config('search_path', %s, true)", (path,))
