"""Databases that live as long as a piece of work.

The session that made one is open as long as it is needed, and bears its name: what has no such
session any more was left by a process that was killed, and goes before the next is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar
from uuid import uuid4

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.errors import InputError
from migration_assets.postgres import connect
from migration_assets.postgres.connect import Target

Server = TypeVar("Server", Target, str)

PREFIX = "migration_assets_"

PLAIN = sql.SQL("ENCODING 'UTF8'")
"""Sorts as the server's databases do that nobody has said anything about."""

LEFT = """
SELECT d.datname FROM pg_database d
WHERE d.datname ~ '^migration_assets_[0-9a-f]{12}$' AND pg_has_role(d.datdba, 'USAGE')
AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.application_name = d.datname
    OR a.datname = d.datname)
"""

LOCALE = """
SELECT datcollate, datctype, to_jsonb(d) ->> 'datlocprovider',
    coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale')
FROM pg_database d WHERE datname = current_database()
"""
"""PostgreSQL manual, "pg_database": the provider came with 15, its locale has two names since."""


@contextmanager
def empty_database(server: Server, locale: sql.Composable = PLAIN) -> Iterator[Server]:
    """An empty database, as URL or target like the one given, dropped when the block ends.

    Args:
        server: a database of a server on which this role may make another one.
        locale: of :func:`locale_of`.

    Raises:
        InputError: the server does not answer, or refuses to make one.
        BrokenOffError: it was lost, or its disk is full.
    """
    name = f"{PREFIX}{uuid4().hex[:12]}"
    connection = connect.connect(server, application_name=name)
    connection.autocommit = True
    try:
        with (
            connect.broken_off("the work in a database of its own", server),
            connection.cursor() as cursor,
        ):
            cursor.execute(LEFT)
            for (left,) in cursor.fetchall():
                _drop(cursor, left)
            try:
                # Not the usual template: it may hold what somebody has put there.
                cursor.execute(
                    sql.SQL("CREATE DATABASE {} TEMPLATE template0 {}").format(
                        sql.Identifier(name), locale
                    )
                )
            except psycopg2.Error as error:
                if connect.is_lost(error):
                    raise
                raise InputError(
                    f"no database can be made at {connection.info.host or 'localhost'}: "
                    f"{error.diag.message_primary or error}"
                ) from error
            try:
                yield _named(server, name)
            finally:
                _drop(cursor, name)
    finally:
        connection.close()


def may_create(cursor: Cursor) -> bool:
    """True if this role may make databases."""
    cursor.execute(
        "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user",
    )
    row = cursor.fetchone()
    return bool(row and row[0])


def locale_of(cursor: Cursor) -> sql.Composable:
    """How the present database sorts, for another one of the same server."""
    cursor.execute(LOCALE)
    row = cursor.fetchone()
    assert row is not None, "it is there"
    collate, ctype, provider, locale = row
    clauses = [
        PLAIN,
        sql.SQL("LC_COLLATE {}").format(sql.Literal(collate)),
        sql.SQL("LC_CTYPE {}").format(sql.Literal(ctype)),
    ]
    if provider == "i":
        clauses.append(sql.SQL("LOCALE_PROVIDER icu ICU_LOCALE {}").format(sql.Literal(locale)))
    elif provider == "b":
        clause = sql.SQL("LOCALE_PROVIDER builtin BUILTIN_LOCALE {}")
        clauses.append(clause.format(sql.Literal(locale)))
    return sql.SQL(" ").join(clauses)


def _drop(cursor: Cursor, name: str) -> None:
    """Drop a database, with the sessions that are left in it.

    Not by FORCE: it wants a right over every process there, autovacuum's too, which DROP DATABASE
    sends away by itself.
    """
    # Sessions are those of who has logged in, the database is of the role that was taken then.
    cursor.execute("SET ROLE NONE")
    cursor.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = %s AND usename = session_user",
        (name,),
    )
    cursor.execute("RESET ROLE")
    cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))


def _named(server: Server, database: str) -> Server:
    """Another database of a server."""
    if isinstance(server, Target):
        # A pool's connections are to the database that it was made for.
        return replace(server, url=_named(server.url, database), pool=None)
    scheme, _, rest = server.partition("://")
    place, question, query = rest.partition("?")
    authority = place.partition("/")[0]
    return f"{scheme}://{authority}/{database}{question}{query}"
