"""The adapter for MySQL and MariaDB servers."""

from migration_assets.sources.mysql.source import MySQLSource

__all__ = ["MySQLSource"]
