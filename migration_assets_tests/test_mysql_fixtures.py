"""Every public MySQL database can be had on the tests' server, as its authors made it."""

from __future__ import annotations

from contextlib import closing

import pytest

from migration_assets_tests.fixture_databases import FOLDER, MySQLFixture, mysql_fixtures
from migration_assets_tests.mysql_server import MySQLDatabase

FIXTURES = mysql_fixtures()

pytestmark = pytest.mark.skipif(
    not FIXTURES, reason=f"the public databases are not in {FOLDER} (set MIGRATION_FIXTURES)"
)


def test_all_mysql_fixtures_are_found() -> None:
    assert len({fixture.name.partition("/")[0] for fixture in FIXTURES}) == 12
    assert all(file.is_file() for fixture in FIXTURES for file in fixture.files)


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.name)
def test_dump_is_loaded_whole(fixture: MySQLFixture, mysql_database: MySQLDatabase) -> None:
    mysql_database.server.load(fixture.files, mysql_database.name)
    with closing(mysql_database.connect()) as connection, connection.cursor() as cursor:
        for table, rows in fixture.rows.items():
            cursor.execute(f"SELECT count(*) FROM `{table}`")
            assert cursor.fetchone() == (rows,), table
