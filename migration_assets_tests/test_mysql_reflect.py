"""The catalog of a MySQL database: everything it declares, or by name why it does not come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from migration_assets.core.catalog import Catalog, Check, Index, IndexTerm, Kind, UniqueKey
from migration_assets.sources import open_source
from migration_assets.sources.mysql.declared import declared_type
from migration_assets.sources.mysql.query import default_query
from migration_assets_tests.mysql_server import MySQLServer

SCRIPT = """
CREATE TABLE parents (
    a int, b varchar(20) COLLATE utf8mb4_bin, label varchar(50) NOT NULL,
    PRIMARY KEY (a, b)
) COMMENT 'of all';
CREATE TABLE `odd ``names``` (
    id int unsigned NOT NULL AUTO_INCREMENT COMMENT 'counts',
    `pa` int, `pb` varchar(20) COLLATE utf8mb4_bin,
    price decimal(8,2) unsigned DEFAULT 1.50 CHECK (price < 1000),
    word varchar(30) DEFAULT 'it''s' INVISIBLE,
    state enum('new','it''s','done') NOT NULL DEFAULT 'new',
    flags set('x','y'),
    doc json,
    at timestamp(3) NOT NULL DEFAULT current_timestamp(3) ON UPDATE current_timestamp(3),
    made datetime DEFAULT (now() + interval 1 day),
    twice int GENERATED ALWAYS AS (price * 2) STORED,
    half int AS (price DIV 2) VIRTUAL,
    place point NOT NULL,
    nothing int DEFAULT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY by_word (word),
    UNIQUE KEY by_prefix (word(5), state),
    KEY by_price (price DESC, pa),
    FULLTEXT KEY words (word),
    SPATIAL KEY places (place),
    CONSTRAINT positive CHECK (pa > 0 OR pb = 'a)b'),
    CONSTRAINT of_parent FOREIGN KEY (pa, pb) REFERENCES parents (a, b)
        ON DELETE CASCADE ON UPDATE NO ACTION
);
CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 3;
CREATE VIEW sums AS SELECT a, count(*) AS n FROM parents GROUP BY a;
CREATE SEQUENCE numbers;
CREATE TRIGGER before_parents BEFORE INSERT ON parents FOR EACH ROW SET NEW.label = 'x';
CREATE PROCEDURE doing() SELECT 1;
CREATE FUNCTION answer() RETURNS int DETERMINISTIC RETURN 42;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO SELECT 1;
"""


@pytest.fixture(scope="module")
def catalog(mysql_server: MySQLServer) -> Iterator[Catalog]:
    with mysql_server.database() as database:
        database.script(SCRIPT)
        yield open_source(database.url).reflect()


def test_columns_are_as_declared(catalog: Catalog) -> None:
    table = catalog.table("odd `names`")
    assert (catalog.dialect, table.auto_column, table.primary_key) == ("mysql", "id", ("id",))
    assert catalog.table("parents").comment == "of all"
    column = {column.name: column for column in table.columns}
    defaults = {name: c.default for name, c in column.items() if c.default is not None}
    assert defaults.pop("made", "").startswith("(")
    assert defaults == {
        "price": "1.50",
        "word": "'it''s'",
        "state": "'new'",
        "at": "current_timestamp(3)",
    }
    assert column["id"].type == declared_type("int unsigned")
    assert (column["id"].not_null, column["id"].comment) == (True, "counts")
    assert column["state"].type.values == ("new", "it's", "done")
    assert (column["flags"].type.kind, column["flags"].type.values) == (Kind.SET, ("x", "y"))
    assert column["doc"].type.kind is Kind.JSON
    assert (column["at"].on_update, column["at"].type.zoned) == ("current_timestamp(3)", True)
    assert column["word"].invisible and column["word"].ignores_case
    assert not column["pb"].ignores_case and column["pb"].collation == "utf8mb4_bin"
    assert (column["twice"].generated, column["twice"].stored) == ("`price` * 2", True)
    assert (column["half"].generated, column["half"].stored) == ("`price` DIV 2", False)


def test_keys_indexes_and_checks_are_as_declared(catalog: Catalog) -> None:
    table = catalog.table("odd `names`")
    assert catalog.table("parents").primary_key == ("a", "b")
    assert table.unique_keys == (UniqueKey(("word",), "by_word"),)
    indexes = {index.name: index for index in table.indexes}
    assert indexes["by_price"] == Index(
        "by_price",
        (IndexTerm("price", descending=True), IndexTerm("pa")),
        sql="CREATE INDEX `by_price` ON `odd ``names``` (`price` DESC, `pa`)",
    )
    assert indexes["by_prefix"].unique
    assert indexes["by_prefix"].terms == (IndexTerm("word", prefix=5), IndexTerm("state"))
    assert (indexes["words"].method, indexes["places"].method) == ("fulltext", "spatial")
    assert set(table.checks) == {
        Check("`price` < 1000"),
        Check("`pa` > 0 or `pb` = 'a)b'", "positive"),
    }
    (key,) = table.foreign_keys
    assert (key.columns, key.ref_table, key.ref_columns) == (("pa", "pb"), "parents", ("a", "b"))
    assert (key.on_delete, key.on_update, key.name) == ("CASCADE", "NO ACTION", "of_parent")


def test_what_does_not_come_is_named_with_its_text(catalog: Catalog) -> None:
    found = {item.kind: item for item in catalog.skipped}
    assert {(item.kind, item.name) for item in catalog.skipped} == {
        ("sequence", "numbers"),
        ("trigger", "before_parents"),
        ("routine", "doing"),
        ("routine", "answer"),
        ("event", "nightly"),
        ("partitioning", "parted"),
    }
    assert "SET NEW.label" in (found["trigger"].sql or "")
    assert found["trigger"].table == "parents"
    assert found["partitioning"].reason.startswith("3 partitions")
    assert all(item.sql for item in catalog.skipped)
    (view,) = catalog.views
    assert view.name == "sums" and view.sql.startswith("CREATE ")


def test_defaults_are_asked_for_by_their_type() -> None:
    assert default_query("int(10) unsigned", "5") == "SELECT CAST((5) AS UNSIGNED)"
    assert default_query("varchar(9)", "'x'") == "SELECT CAST(('x') AS CHAR)"
    assert default_query("bit(1)", "b'1'") == "SELECT b'1'+0"
