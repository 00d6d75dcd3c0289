"""Database and roles of a target with least rights: what of them lacks, and the making of it.

The owner owns what is made and can not log in. The loader logs in, may become the owner, and has
no right of its own. The application reads and writes rows, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import encrypt_password

from migration_assets.core.naming import quote
from migration_assets.errors import InputError
from migration_assets.postgres import marker
from migration_assets.postgres.app_rights import NUMBERS, ROWS
from migration_assets.postgres.connect import connect, session
from migration_assets.postgres.script import rendered

_SET_OPTION_VERSION = 160000
"""Since PostgreSQL 16 a member of a role may be one that can not become it."""


@dataclass(frozen=True)
class Wanted:
    """Names of what a target needs; ``createdb`` lets the owner make scratch databases."""

    database: str
    schema: str
    owner: str
    loader: str
    app: str
    createdb: bool


@dataclass(frozen=True)
class RoleFacts:
    """What a role is."""

    logs_in: bool
    superuser: bool
    createdb: bool


@dataclass(frozen=True)
class Known:
    """What there is at a server; by default nothing.

    Attributes:
        database: the database is there.
        roles: those of the three that are there.
        loader_is_member: the loader may become the owner. app_is_member: the application may.
        acts_as_owner: the administrator has the owner's rights, which default privileges ask for.
        owner_creates: the owner may make schemas in the database.
        connects: those of the three that may connect to it.
        finds: the application's ``search_path`` in the database is set.
        schema_owner: of the target schema, None if it is not there.
        schema_is_ours: runs of a migration have made it.
        owner_uses: the owner may make tables in it.
        app_uses: the application may use it.
        defaults: it has default privileges of the owner.
    """

    database: bool = False
    roles: Mapping[str, RoleFacts] = field(default_factory=dict)
    loader_is_member: bool = False
    app_is_member: bool = False
    acts_as_owner: bool = True
    owner_creates: bool = False
    connects: frozenset[str] = frozenset()
    finds: bool = False
    schema_owner: str | None = None
    schema_is_ours: bool = False
    owner_uses: bool = False
    app_uses: bool = False
    defaults: bool = False


@dataclass(frozen=True)
class Step:
    """One statement and why; ``login`` is the role that needs a password after it."""

    why: str
    statement: sql.Composed
    login: str | None = None


def create_database(wanted: Wanted, known: Known) -> Step | None:
    """The statement that makes the database, which can be in no transaction; None if it is there.

    A template with nothing in it and UTF8, whatever the server's own are.
    """
    if known.database:
        return None
    return Step(
        "the database",
        sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(
            sql.Identifier(wanted.database)
        ),
    )


class _Steps:
    """Statements with the names of what is wanted filled in."""

    def __init__(self, wanted: Wanted) -> None:
        self.found: list[Step] = []
        self._names: dict[str, sql.Composable] = {
            "database": sql.Identifier(wanted.database),
            "schema": sql.Identifier(wanted.schema),
            "owner": sql.Identifier(wanted.owner),
            "loader": sql.Identifier(wanted.loader),
            "app": sql.Identifier(wanted.app),
            "rows": sql.SQL(ROWS),
            "numbers": sql.SQL(NUMBERS),
        }

    def add(self, lacks: bool, why: str, statement: str, login: str | None = None) -> None:
        """Add a statement if what it makes lacks."""
        if lacks:
            self.found.append(Step(why, sql.SQL(statement).format(**self._names), login))


def steps(wanted: Wanted, known: Known) -> list[Step]:
    """The statements that lack, in their order, to be executed in the database."""
    made = _Steps(wanted)
    owner = known.roles.get(wanted.owner)
    made.add(
        owner is None, "owns what is made; nobody logs in as it", "CREATE ROLE {owner} NOLOGIN"
    )
    made.add(
        wanted.createdb and not (owner and (owner.createdb or owner.superuser)),
        "restores backups into a scratch database (gate.restore_drill)",
        "ALTER ROLE {owner} CREATEDB",
    )
    made.add(
        wanted.loader not in known.roles,
        "logs in for the migration; its one right is to become the owner",
        "CREATE ROLE {loader} LOGIN NOINHERIT",
        wanted.loader,
    )
    made.add(not known.loader_is_member, "becomes the owner", "GRANT {owner} TO {loader}")
    made.add(
        wanted.app not in known.roles, "the application", "CREATE ROLE {app} LOGIN", wanted.app
    )
    made.add(
        not known.database,
        "only who is named below connects",
        "REVOKE CONNECT ON DATABASE {database} FROM PUBLIC",
    )
    made.add(
        not known.database,
        "nobody makes tables beside those of the migration",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    )
    for who, name in (("loader", wanted.loader), ("app", wanted.app)):
        made.add(
            name not in known.connects,
            "connects",
            f"GRANT CONNECT ON DATABASE {{database}} TO {{{who}}}",
        )
    made.add(
        not known.owner_creates,
        "makes the schema of each run",
        "GRANT CREATE ON DATABASE {database} TO {owner}",
    )
    made.add(
        not known.finds,
        "the application finds its tables by their names alone",
        "ALTER ROLE {app} IN DATABASE {database} SET search_path = {schema}, public",
    )
    if known.schema_owner is not None:
        _add_schema(made, known)
    return made.found


def _add_schema(made: _Steps, known: Known) -> None:
    """What lacks in a schema that is there; one that comes with a run gets it in the swap."""
    made.add(
        not known.owner_uses and not known.schema_is_ours,
        "makes tables",
        "GRANT USAGE, CREATE ON SCHEMA {schema} TO {owner}",
    )
    made.add(not known.app_uses, "the application", "GRANT USAGE ON SCHEMA {schema} TO {app}")
    kinds = (("rows", "TABLES"), ("numbers", "SEQUENCES"))
    for rights, what in kinds:
        made.add(
            known.schema_is_ours and not known.app_uses,
            "reads and writes what is there",
            f"GRANT {{{rights}}} ON ALL {what} IN SCHEMA {{schema}} TO {{app}}",
        )
    # Who made a role has its rights only by being granted it (CREATEROLE without superuser).
    becomes = not known.defaults and not known.acts_as_owner
    made.add(becomes, "for the next two statements", "GRANT {owner} TO CURRENT_USER")
    for rights, what in kinds:
        made.add(
            not known.defaults,
            "and what the owner makes there later",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} "
            f"GRANT {{{rights}}} ON {what} TO {{app}}",
        )
    made.add(becomes, "no longer needed", "REVOKE {owner} FROM CURRENT_USER")


def warnings(wanted: Wanted, known: Known) -> list[str]:
    """What is there and gives more, or less, than it should; one line each."""
    found = []
    for name in (wanted.owner, wanted.loader, wanted.app):
        facts = known.roles.get(name)
        if facts and facts.superuser:
            found.append(f'role "{name}" is a superuser: no right is needed that it would lack')
        if facts and facts.logs_in is (name == wanted.owner):
            can = "can log in, which an owner need not" if facts.logs_in else "can not log in"
            found.append(f'role "{name}" {can}')
    if known.app_is_member:
        found.append(
            f'role "{wanted.app}" may become "{wanted.owner}": the application could drop tables'
        )
    if known.schema_is_ours and not known.owner_uses:
        old, new = quote(known.schema_owner or ""), quote(wanted.owner)
        found.append(
            f'schema "{wanted.schema}" belongs to {old}, the next run would be refused: REASSIGN '
            f"OWNED BY {old} TO {new} gives it and its tables to the owner"
        )
    return found


def look(admin: str, wanted: Wanted) -> Known:
    """What there is of ``wanted``; writes nothing.

    Args:
        admin: URL of any database of the server, as who may look.
        wanted: the names.

    Raises:
        InputError: the server can not be reached, or the database is not in UTF-8.
    """
    with session(admin, "the look at roles") as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = %s",
            (wanted.database,),
        )
        if cursor.fetchone() is None:
            return _known(cursor, wanted, database=False)
    with (
        session(admin, "the look at roles", dbname=wanted.database) as connection,
        connection.cursor() as cursor,
    ):
        return _known(cursor, wanted, database=True)


def apply(admin: str, wanted: Wanted, known: Known, passwords: Mapping[str, str]) -> None:
    """Execute what lacks: the database first, then all else in one transaction.

    Args:
        admin: URL of any database of the server, as a superuser or a role with CREATEROLE, and
            CREATEDB if there is no database yet.
        wanted: the names.
        known: what :func:`look` found.
        passwords: of the roles that get one. The server is given a verifier, no password.

    Raises:
        InputError: PostgreSQL refuses a statement; nothing is left of the others.
    """
    made = create_database(wanted, known)
    if made is not None:
        _create(admin, made)
    try:
        with (
            session(admin, "the making of roles", dbname=wanted.database) as connection,
            connection.cursor() as cursor,
        ):
            for step in steps(wanted, known):
                _execute(cursor, step.statement)
            for role, password in passwords.items():
                _execute(cursor, _password(connection, role, password))
            # GRANT by who may not grant is a mere warning of PostgreSQL.
            left = steps(wanted, _known(cursor, wanted, database=True))
            if left:
                raise InputError(
                    f"{rendered(left[0].statement)} had no effect: the administrator has no right "
                    "to it; nothing was changed, connect as a superuser or as the owner of "
                    "database and schema"
                )
    except BaseException:
        if made is not None:
            statement = sql.SQL("DROP DATABASE {}").format(sql.Identifier(wanted.database))
            _create(admin, Step("it was empty", statement))
        raise


def _create(admin: str, step: Step) -> None:
    connection = connect(admin)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            _execute(cursor, step.statement)
    finally:
        connection.close()


def _execute(cursor: Cursor, statement: sql.Composed) -> None:
    try:
        cursor.execute(statement)
    except psycopg2.OperationalError:
        raise
    except psycopg2.Error as error:
        message = f"{error.diag.message_primary}; nothing was changed"
        raise InputError(f"{rendered(statement)}: {message}") from error


def _password(connection: Connection, role: str, password: str) -> sql.Composed:
    """The server, its log and its statistics see a verifier (RFC 5803), no password."""
    verifier = encrypt_password(password, role, connection, "scram-sha-256")
    return sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier))


def _known(cursor: Cursor, wanted: Wanted, *, database: bool) -> Known:
    three = [wanted.owner, wanted.loader, wanted.app]
    cursor.execute(
        "SELECT rolname::text, rolcanlogin, rolsuper, rolcreatedb FROM pg_roles"
        " WHERE rolname = ANY(%s)",
        (three,),
    )
    roles = {name: RoleFacts(*facts) for name, *facts in cursor.fetchall()}
    cursor.execute(
        "SELECT rolsuper OR EXISTS (SELECT FROM pg_roles o WHERE o.rolname = %s"
        " AND pg_has_role(o.oid, 'USAGE')) FROM pg_roles WHERE rolname = current_user",
        (wanted.owner,),
    )
    (acts,) = cursor.fetchone() or (False,)
    since = cursor.connection.server_version >= _SET_OPTION_VERSION
    cursor.execute(
        "SELECT r.rolname::text FROM pg_roles r, pg_roles o WHERE r.rolname = ANY(%s)"
        " AND o.rolname = %s AND r.oid <> o.oid AND pg_has_role(r.oid, o.oid, %s)",
        (three, wanted.owner, "SET" if since else "MEMBER"),
    )
    members = {name for (name,) in cursor.fetchall()}
    if not database:
        # The one schema that a new database comes with; everybody may use it.
        there = wanted.schema == "public"
        return Known(
            roles=roles,
            loader_is_member=wanted.loader in members,
            app_is_member=wanted.app in members,
            schema_owner="pg_database_owner" if there else None,
            app_uses=there,
            acts_as_owner=acts,
        )
    cursor.execute(
        "SELECT r.rolname::text, has_database_privilege(r.oid, d.oid, 'CONNECT'),"
        " has_database_privilege(r.oid, d.oid, 'CREATE'),"
        " EXISTS (SELECT FROM pg_db_role_setting s, unnest(s.setconfig) c WHERE s.setrole = r.oid"
        "         AND s.setdatabase IN (0, d.oid) AND starts_with(c, 'search_path='))"
        " FROM pg_roles r, pg_database d"
        " WHERE d.datname = current_database() AND r.rolname = ANY(%s)",
        (three,),
    )
    facts = {name: found for name, *found in cursor.fetchall()}
    cursor.execute(
        "SELECT n.nspname::text, pg_get_userbyid(n.nspowner)::text,"
        " EXISTS (SELECT FROM pg_roles r WHERE r.rolname = %(owner)s"
        "         AND has_schema_privilege(r.oid, n.oid, 'CREATE')),"
        " EXISTS (SELECT FROM pg_roles r WHERE r.rolname = %(app)s"
        "         AND has_schema_privilege(r.oid, n.oid, 'USAGE')),"
        " EXISTS (SELECT FROM pg_default_acl a, pg_roles r WHERE r.oid = a.defaclrole"
        "         AND r.rolname = %(owner)s AND a.defaclnamespace = n.oid)"
        " FROM pg_namespace n WHERE n.nspname = %(schema)s",
        {"owner": wanted.owner, "app": wanted.app, "schema": wanted.schema},
    )
    schema = cursor.fetchone()
    ours = schema is not None and marker.read_mark(cursor, wanted.schema) is not None
    return Known(
        database=True,
        roles=roles,
        loader_is_member=wanted.loader in members,
        app_is_member=wanted.app in members,
        acts_as_owner=acts,
        owner_creates=bool(facts.get(wanted.owner, (False,) * 3)[1]),
        connects=frozenset(name for name, found in facts.items() if found[0]),
        finds=bool(facts.get(wanted.app, (False,) * 3)[2]),
        schema_owner=schema[1] if schema else None,
        schema_is_ours=ours,
        owner_uses=bool(schema and schema[2]),
        app_uses=bool(schema and schema[3]),
        defaults=bool(schema and schema[4]),
    )
