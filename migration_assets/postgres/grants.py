"""Owners and rights of live tables, carried over to the tables that take their place."""

from __future__ import annotations

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

KEYWORDS = {"r": "TABLE", "p": "TABLE", "v": "TABLE", "m": "TABLE", "S": "SEQUENCE"}


def carry_over(cursor: Cursor, live: str, incoming: str, *, schema_too: bool) -> list[sql.Composed]:
    """The statements that give relations of ``incoming`` the rights of those of ``live``.

    Relations are matched by name and kind, sequences of identity columns with their tables.
    Rights on single columns go to columns of the same name. Owners come last: who gives a table
    away may not grant on it any more.

    Args:
        cursor: where to look.
        live: the schema whose rights are meant.
        incoming: the schema that gets them.
        schema_too: also the rights on the schema itself and its default privileges.
    """
    statements = _relation_grants(cursor, live, incoming) + _column_grants(cursor, live, incoming)
    statements += _owners(cursor, live, incoming)
    if schema_too:
        statements += _default_privileges(cursor, live, incoming)
        statements += _schema_grants(cursor, live, incoming)
    return statements


def _relation_grants(cursor: Cursor, live: str, incoming: str) -> list[sql.Composed]:
    cursor.execute(
        """
        SELECT c.relkind, c.relname, a.privilege_type, a.is_grantable, a.grantee,
               CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END
        FROM pg_class c
        JOIN pg_class i ON i.relname = c.relname AND i.relkind = c.relkind
        CROSS JOIN LATERAL aclexplode(c.relacl) a
        WHERE c.relnamespace = %s::regnamespace AND i.relnamespace = %s::regnamespace
          AND c.relkind IN ('r', 'p', 'v', 'm', 'S') AND a.grantee <> c.relowner
        ORDER BY c.relname, a.grantee, a.privilege_type
        """,
        (_regnamespace(cursor, live), _regnamespace(cursor, incoming)),
    )
    return [
        _grant(
            sql.SQL(privilege),
            sql.SQL(KEYWORDS[kind]),
            sql.Identifier(incoming, name),
            role,
            option,
        )
        for kind, name, privilege, option, _, role in cursor.fetchall()
    ]


def _column_grants(cursor: Cursor, live: str, incoming: str) -> list[sql.Composed]:
    cursor.execute(
        """
        SELECT c.relname, t.attname, a.privilege_type, a.is_grantable,
               CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END
        FROM pg_class c
        JOIN pg_attribute t ON t.attrelid = c.oid AND NOT t.attisdropped
        JOIN pg_class i ON i.relname = c.relname AND i.relkind = c.relkind
        JOIN pg_attribute it
          ON it.attrelid = i.oid AND it.attname = t.attname AND NOT it.attisdropped
        CROSS JOIN LATERAL aclexplode(t.attacl) a
        WHERE c.relnamespace = %s::regnamespace AND i.relnamespace = %s::regnamespace
          AND a.grantee <> c.relowner
        ORDER BY 1, 2, 5, 3
        """,
        (_regnamespace(cursor, live), _regnamespace(cursor, incoming)),
    )
    return [
        _grant(
            sql.SQL("{} ({})").format(sql.SQL(privilege), sql.Identifier(column)),
            sql.SQL("TABLE"),
            sql.Identifier(incoming, table),
            role,
            option,
        )
        for table, column, privilege, option, role in cursor.fetchall()
    ]


def _owners(cursor: Cursor, live: str, incoming: str) -> list[sql.Composed]:
    """Sequences of identity columns change owner with their tables.

    PostgreSQL wants the new owner to have CREATE on the schema: lent to those who lack it.
    """
    cursor.execute(
        """
        SELECT i.relkind, i.relname, pg_get_userbyid(c.relowner),
               has_schema_privilege(c.relowner, i.relnamespace, 'CREATE')
        FROM pg_class c JOIN pg_class i ON i.relname = c.relname AND i.relkind = c.relkind
        WHERE c.relnamespace = %s::regnamespace AND i.relnamespace = %s::regnamespace
          AND c.relkind IN ('r', 'p', 'v') AND c.relowner <> i.relowner
        ORDER BY 2
        """,
        (_regnamespace(cursor, live), _regnamespace(cursor, incoming)),
    )
    found = cursor.fetchall()
    lend, take = (
        [
            sql.SQL(words).format(sql.Identifier(incoming), sql.Identifier(owner))
            for owner in sorted({owner for _, _, owner, may_create in found if not may_create})
        ]
        for words in ("GRANT CREATE ON SCHEMA {} TO {}", "REVOKE CREATE ON SCHEMA {} FROM {}")
    )
    given = [
        sql.SQL("ALTER {} {} OWNER TO {}").format(
            sql.SQL("VIEW" if kind == "v" else "TABLE"),
            sql.Identifier(incoming, name),
            sql.Identifier(owner),
        )
        for kind, name, owner, _ in found
    ]
    return lend + given + take


def _schema_grants(cursor: Cursor, live: str, incoming: str) -> list[sql.Composed]:
    cursor.execute(
        """
        SELECT a.privilege_type, a.is_grantable,
               CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END
        FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a
        WHERE n.nspname = %s AND a.grantee <> n.nspowner ORDER BY 3, 1
        """,
        (live,),
    )
    statements = [
        _grant(sql.SQL(privilege), sql.SQL("SCHEMA"), sql.Identifier(incoming), role, option)
        for privilege, option, role in cursor.fetchall()
    ]
    cursor.execute(
        "SELECT pg_get_userbyid(o.nspowner) FROM pg_namespace o JOIN pg_namespace i ON i.nspname "
        "= %s"
        " WHERE o.nspname = %s AND o.nspowner <> i.nspowner",
        (incoming, live),
    )
    for (owner,) in cursor.fetchall():
        statements.append(
            sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(
                sql.Identifier(incoming), sql.Identifier(owner)
            )
        )
    return statements


def _default_privileges(cursor: Cursor, live: str, incoming: str) -> list[sql.Composed]:
    """What ALTER DEFAULT PRIVILEGES IN SCHEMA said (PostgreSQL manual, ``pg_default_acl``)."""
    cursor.execute(
        """
        SELECT pg_get_userbyid(d.defaclrole), d.defaclobjtype, a.privilege_type, a.is_grantable,
               CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END
        FROM pg_default_acl d CROSS JOIN LATERAL aclexplode(d.defaclacl) a
        WHERE d.defaclnamespace = %s::regnamespace AND d.defaclobjtype IN ('r', 'S', 'f', 'T')
        ORDER BY 1, 2, 5, 3
        """,
        (_regnamespace(cursor, live),),
    )
    kinds = {"r": "TABLES", "S": "SEQUENCES", "f": "FUNCTIONS", "T": "TYPES"}
    return [
        sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA {} GRANT {} ON {} TO {}{}").format(
            sql.Identifier(creator),
            sql.Identifier(incoming),
            sql.SQL(privilege),
            sql.SQL(kinds[kind]),
            _role(role),
            sql.SQL(" WITH GRANT OPTION" if option else ""),
        )
        for creator, kind, privilege, option, role in cursor.fetchall()
    ]


def _grant(
    privilege: sql.Composable,
    kind: sql.Composable,
    name: sql.Composable,
    role: str | None,
    option: bool,
) -> sql.Composed:
    return sql.SQL("GRANT {} ON {} {} TO {}{}").format(
        privilege, kind, name, _role(role), sql.SQL(" WITH GRANT OPTION" if option else "")
    )


def _role(role: str | None) -> sql.Composable:
    return sql.SQL("PUBLIC") if role is None else sql.Identifier(role)


def _regnamespace(cursor: Cursor, schema: str) -> str:
    return sql.Identifier(schema).as_string(cursor)
