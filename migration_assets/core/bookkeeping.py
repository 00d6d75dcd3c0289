"""Tables in which frameworks keep which of their migrations have run: never a target of rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

BOOKKEEPING: Mapping[str, tuple[tuple[str, frozenset[str]], ...]] = {
    name: tuple((framework, frozenset(columns.split())) for framework, columns in known)
    for name, known in {
        "_prisma_migrations": (("Prisma", "checksum migration_name"),),
        "migrations": (("TypeORM", "timestamp name"), ("Laravel", "migration batch")),
        "typeorm_metadata": (("TypeORM", "type name value"),),
        "django_migrations": (("Django", "app name applied"),),
        "schema_migrations": (("Rails", "version"),),
        "ar_internal_metadata": (("Rails", "key value"),),
        "flyway_schema_history": (("Flyway", "installed_rank script checksum"),),
        "databasechangelog": (("Liquibase", "author filename orderexecuted"),),
        "databasechangeloglock": (("Liquibase", "locked lockgranted"),),
        "alembic_version": (("Alembic", "version_num"),),
        "knex_migrations": (("Knex", "name batch migration_time"),),
        "knex_migrations_lock": (("Knex", "is_locked"),),
        "schema_migration": (("pop (Kratos, Hydra)", "version"),),
        "strapi_migrations": (("Strapi", "name time"),),
        "strapi_migrations_internal": (("Strapi", "name time"),),
        "strapi_database_schema": (("Strapi", "schema hash"),),
        "sequelizemeta": (("Sequelize", "name"),),
        "__drizzle_migrations": (("Drizzle", "hash created_at"),),
        "goose_db_version": (("Goose", "version_id is_applied"),),
        "_migrations": (("PocketBase", "file applied"),),
    }.items()
}
"""Name in lower case -> the frameworks that have such a table, and columns that it then has.

By name and columns, for an application may have a table of its own called ``migrations``.
"""


def framework_of(table: str, columns: Iterable[str]) -> str | None:
    """The framework whose bookkeeping a table is, None for a table of the application.

    >>> framework_of("migrations", ["id", "timestamp", "name"])
    'TypeORM'
    >>> framework_of("migrations", ["id", "species", "distance"])
    """
    found = {column.lower() for column in columns}
    for framework, needed in BOOKKEEPING.get(table.lower(), ()):
        if needed <= found:
            return framework
    return None
