"""Owners and rights of live tables, carried over to the tables that take their place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from psycopg2 import errors, sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.errors import NotProvenError

KEYWORDS = {"r": "TABLE", "p": "TABLE", "v": "TABLE", "m": "TABLE", "S": "SEQUENCE"}


@dataclass(frozen=True)
class _Right:
    """One right of a role (None for PUBLIC) on a relation, one of its columns, or the schema."""

    privilege: str
    kind: str
    relation: str | None
    role: str | None
    column: str | None = None
    option: bool = False

    def granted(self, schema: str) -> sql.Composed:
        """The statement that grants it in ``schema``."""
        return sql.SQL("GRANT {} TO {}{}").format(
            self._what(schema),
            _role(self.role),
            sql.SQL(" WITH GRANT OPTION" if self.option else ""),
        )

    def revoked(self, schema: str) -> sql.Composed:
        """The statement that takes it away in ``schema``."""
        return sql.SQL("REVOKE {} FROM {} CASCADE").format(self._what(schema), _role(self.role))

    def _what(self, schema: str) -> sql.Composed:
        privilege: sql.Composable = sql.SQL(self.privilege)
        if self.column is not None:
            privilege = sql.SQL("{} ({})").format(privilege, sql.Identifier(self.column))
        place = [schema] if self.relation is None else [schema, self.relation]
        return sql.SQL("{} ON {} {}").format(privilege, sql.SQL(self.kind), sql.Identifier(*place))


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
    rights = _on_relations(cursor, live, incoming) + _on_columns(cursor, live, incoming)
    statements = [right.granted(incoming) for right in rights]
    statements += _owners(cursor, live, incoming)
    if schema_too:
        statements += _default_privileges(cursor, live, incoming)
        statements += [right.granted(incoming) for right in _on_schema(cursor, live)]
        statements += _schema_owner(cursor, live, incoming)
    return statements


def withdraw(cursor: Cursor, live: str, former: str, *, schema_too: bool) -> list[sql.Composed]:
    """The statements that take the rights from ``former`` that ``live`` does not give any more.

    For tables that come back: what was revoked since they were live must not come back with them.
    Arguments as for :func:`carry_over`.
    """
    now = _on_relations(cursor, live, former) + _on_columns(cursor, live, former)
    before = _on_relations(cursor, former, live) + _on_columns(cursor, former, live)
    if schema_too:
        now += _on_schema(cursor, live)
        before += _on_schema(cursor, former)
    kept = {replace(right, option=False) for right in now}
    return [right.revoked(former) for right in before if replace(right, option=False) not in kept]


def apply(cursor: Cursor, live: str, statements: Iterable[sql.Composed]) -> None:
    """Carry out what the functions above give.

    Raises:
        NotProvenError: this role may not; the transaction is lost.
    """
    for statement in statements:
        try:
            cursor.execute(statement)
        except errors.InsufficientPrivilege as error:
            raise NotProvenError(
                f'owners and rights of schema "{live}" can not be carried over: '
                f"{error.diag.message_primary}; nothing was swapped, connect as a role that is a "
                "member of the tables' owners, then run again"
            ) from error


def _on_relations(cursor: Cursor, live: str, incoming: str) -> list[_Right]:
    """Rights on the relations of ``live`` that are in ``incoming`` as well."""
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
        _Right(privilege, KEYWORDS[kind], name, role, option=option)
        for kind, name, privilege, option, _, role in cursor.fetchall()
    ]


def _on_columns(cursor: Cursor, live: str, incoming: str) -> list[_Right]:
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
        _Right(privilege, "TABLE", table, role, column, option)
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


def _on_schema(cursor: Cursor, live: str) -> list[_Right]:
    cursor.execute(
        """
        SELECT a.privilege_type, a.is_grantable,
               CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END
        FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a
        WHERE n.nspname = %s AND a.grantee <> n.nspowner ORDER BY 3, 1
        """,
        (live,),
    )
    return [
        _Right(privilege, "SCHEMA", None, role, option=option)
        for privilege, option, role in cursor.fetchall()
    ]


def _schema_owner(cursor: Cursor, live: str, incoming: str) -> list[sql.Composed]:
    cursor.execute(
        "SELECT pg_get_userbyid(o.nspowner) FROM pg_namespace o JOIN pg_namespace i ON i.nspname "
        "= %s"
        " WHERE o.nspname = %s AND o.nspowner <> i.nspowner",
        (incoming, live),
    )
    return [
        sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(
            sql.Identifier(incoming), sql.Identifier(owner)
        )
        for (owner,) in cursor.fetchall()
    ]


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


def _role(role: str | None) -> sql.Composable:
    return sql.SQL("PUBLIC") if role is None else sql.Identifier(role)


def _regnamespace(cursor: Cursor, schema: str) -> str:
    return sql.Identifier(schema).as_string(cursor)
