"""What is read of a MySQL server: every type in its lane, every charset, one snapshot of it all."""

from __future__ import annotations

import importlib.util
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest

from migration_assets.core.catalog import Kind
from migration_assets.core.profile import Lane
from migration_assets.errors import BrokenOffError, InputError
from migration_assets.facts import FactsCollector
from migration_assets.sources import open_source
from migration_assets.sources.base import LanesMissing, SnapshotGoneError, SnapshotReader
from migration_assets.sources.mysql import connect, ranges, wire
from migration_assets.sources.mysql.address import parse
from migration_assets.sources.mysql.snapshot import Record
from migration_assets_tests.mysql_server import MySQLDatabase, MySQLServer

ALL = {lane: lane for lane in Lane}
TYPES: list[tuple[str, Kind, dict[str, Any]]] = [
    # declared, kind, SQL literal -> value read
    ("tinyint(1)", Kind.INTEGER, {"-128": -128, "1": 1}),
    ("tinyint unsigned", Kind.INTEGER, {"255": 255}),
    ("int zerofill", Kind.INTEGER, {"42": 42}),
    ("bigint", Kind.INTEGER, {"-9223372036854775808": -(2**63), "9223372036854775807": 2**63 - 1}),
    ("year", Kind.YEAR, {"1999": 1999, "0": 0}),
    ("decimal(30,10)", Kind.DECIMAL, {"-1.5": b"-1.5000000000", "0": b"0.0000000000"}),
    ("float", Kind.FLOAT, {"0.1": 0.10000000149011612, "16777217": 16777216.0}),
    ("double", Kind.FLOAT, {"0.1": 0.1, "1.7976931348623157e308": 1.7976931348623157e308}),
    ("bit(1)", Kind.BIT, {"b'1'": 1, "b'0'": 0}),
    ("bit(12)", Kind.BIT, {"b'101'": b"\x00\x05"}),
    ("date", Kind.DATE, {"'0000-00-00'": b"0000-00-00", "'2024-02-00'": b"2024-02-00"}),
    ("datetime(6)", Kind.DATETIME, {"'1000-01-01 0:0:0.5'": b"1000-01-01 00:00:00.500000"}),
    ("timestamp", Kind.DATETIME, {"'2024-07-01 12:00:00'": b"2024-07-01 12:00:00"}),
    ("time(2)", Kind.TIME, {"'-838:59:59'": b"-838:59:59.00"}),
    ("char(5)", Kind.TEXT, {"'a '": b"a", "''": b""}),
    ("varchar(9)", Kind.TEXT, {"'\u00e4 '": "\u00e4 ".encode(), "_binary X'C328'": None}),
    ("longtext", Kind.TEXT, {"REPEAT('x', 70000)": b"x" * 70000}),
    ("varbinary(9)", Kind.BINARY, {"X'00ff'": b"\x00\xff"}),
    ("binary(3)", Kind.BINARY, {"X'01'": b"\x01\x00\x00"}),
    ("enum('b','a','it''s')", Kind.ENUM, {"'it''s'": b"it's", "''": b""}),
    ("set('x','y')", Kind.SET, {"'y,x'": b"x,y", "''": b""}),
    ("point", Kind.GEOMETRY, {
        "ST_GeomFromText('POINT(1 2)', 4326)": struct.pack("<IBIdd", 4326, 1, 1, 1, 2),
    }),
]  # fmt: skip


@pytest.fixture(scope="module")
def database(mysql_server: MySQLServer) -> Iterator[MySQLDatabase]:
    """A database for all tests of this module."""
    with mysql_server.database() as made:
        yield made


@pytest.fixture(scope="module")
def connection(database: MySQLDatabase) -> Iterator[Any]:
    """A connection that may store what is out of range."""
    with closing(database.connect()) as made, made.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = '', time_zone = '+00:00'")
        yield made


@pytest.fixture
def reader(database: MySQLDatabase, tmp_path: Path) -> Iterator[SnapshotReader]:
    """A snapshot of what is there now."""
    made = open_source(database.url).take_snapshot(tmp_path / "snapshot.db")
    yield made
    made.close()


def execute(connection: Any, *statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def read(reader: SnapshotReader, name: str, **lanes: tuple[Lane, ...]) -> dict[str, list[Any]]:
    """Column -> its values, each by whichever lane holds it."""
    table = reader.catalog().table(name)
    asked = {**reader.expected_lanes(table), **lanes}
    found: dict[str, list[Any]] = {column.name: [] for column in table.columns}
    for batch in reader.read(table, asked):
        for position, column in enumerate(table.columns):
            own = [batch.column(f"{position}:{lane}").to_pylist() for lane in asked[column.name]]
            found[column.name] += [
                next((value for value in values if value is not None), None)
                for values in zip(*own, strict=True)
            ]
    return found


def test_every_type_comes_in_its_lane_as_it_is_stored_and_is_counted_by_the_server(
    connection: Any, database: MySQLDatabase, tmp_path: Path
) -> None:
    columns = ", ".join(f"c{n} {declared}" for n, (declared, _, _) in enumerate(TYPES))
    execute(connection, f"CREATE TABLE types (id int PRIMARY KEY AUTO_INCREMENT, {columns})")
    for row in range(2):
        values = [list(values)[row] if row < len(values) else "NULL" for _, _, values in TYPES]
        values = [value.replace("_binary X'C328'", "NULL") for value in values]
        execute(connection, f"INSERT INTO types VALUES ({row + 1}, {', '.join(values)})")
    execute(connection, "INSERT INTO types (id) VALUES (7)")
    with closing(open_source(database.url).take_snapshot(tmp_path / "s")) as reader:
        table = reader.catalog().table("types")
        found = read(reader, "types")
        for number, (declared, kind, values) in enumerate(TYPES):
            column = table.column(f"c{number}")
            assert (column.type.kind, column.type.strict) == (kind, True), declared
            expected = [*[*values.values(), None, None][:2], None]
            assert repr(found[column.name]) == repr(expected), declared
        collected: dict[tuple[int, str], FactsCollector] = {}
        for batch in reader.read(table, reader.expected_lanes(table)):
            for field, array in zip(batch.schema, batch.columns, strict=True):
                position, _, lane = field.name.partition(":")
                collected.setdefault((int(position), lane), FactsCollector()).add(array)
        facts = reader.facts(table)
        assert facts.rows == 3 and reader.next_value(table) == 8
        for (position, lane), collector in collected.items():
            name = table.columns[position].name
            ours, theirs = collector.finish(), facts.columns[name][Lane(lane)]
            for fact in ("values", "sum_low", "sum_high", "bytes"):
                assert getattr(ours, fact) == getattr(theirs, fact), (name, fact)
            if lane in {"int", "real"}:
                assert float(ours.minimum or 0) == float(theirs.minimum or 0), name
                assert float(ours.maximum or 0) == float(theirs.maximum or 0), name


def test_unsigned_numbers_beyond_64_bits_with_sign_ask_for_the_text_lane(
    connection: Any, database: MySQLDatabase, tmp_path: Path
) -> None:
    execute(
        connection,
        "CREATE TABLE wide (n bigint unsigned zerofill PRIMARY KEY)",
        "INSERT INTO wide VALUES (5), (9223372036854775808), (18446744073709551615)",
    )
    with closing(open_source(database.url).take_snapshot(tmp_path / "s")) as reader:
        table = reader.catalog().table("wide")
        with pytest.raises(LanesMissing):
            read(reader, "wide")
        both = read(reader, "wide", n=(Lane.INT, Lane.TEXT))
        assert both == {"n": [5, b"9223372036854775808", b"18446744073709551615"]}
        facts = reader.facts(table).columns["n"]
        assert (facts[Lane.INT].values, facts[Lane.TEXT].values) == (1, 2)
        assert facts[Lane.TEXT].bytes == 39
        # Nobody waits for the snapshot: what was read is let go of at once.
        execute(connection, "SET SESSION lock_wait_timeout = 1", "ALTER TABLE wide FORCE")
        with pytest.raises(BrokenOffError, match='"wide": was altered while the snapshot was read'):
            read(reader, "wide", n=(Lane.INT, Lane.TEXT))


def test_texts_of_every_charset_come_as_utf8_and_bad_bytes_as_stored(
    connection: Any, database: MySQLDatabase, tmp_path: Path
) -> None:
    stored = {
        "latin1": (b"\x80\xe4\x81", "\u20ac\u00e4\x81".encode()),
        "cp1251": (b"\xcf\xf0", "\u041f\u0440".encode()),
        "gbk": (b"\xc4\xe3a", "\u4f60a".encode()),
        "sjis": (b"\x83\x5c", "\u30bd".encode()),
        "ucs2": (b"\x20\xac", "\u20ac".encode()),
        "utf16": (b"\xd8\x3d\xde\x00", "\U0001f600".encode()),
        "utf8mb3": (b"\xe2\x82\xac", "\u20ac".encode()),
        "utf8mb4": (b"\xf0\x9f\x98\x80", "\U0001f600".encode()),
        "greek": (b"a\xff", b"a\xff"),
    }
    columns = ", ".join(f"{name} varchar(9) CHARACTER SET {name}" for name in stored)
    values = ", ".join(f"_{name} X'{raw.hex()}'" for name, (raw, _) in stored.items())
    execute(
        connection,
        f"CREATE TABLE charsets (id int PRIMARY KEY, {columns})",
        f"INSERT INTO charsets VALUES (1, {values}), (2{', NULL' * len(stored)})",
    )
    with closing(open_source(database.url).take_snapshot(tmp_path / "s")) as reader:
        found = read(reader, "charsets")
        for name, (_, expected) in stored.items():
            assert found[name] == [expected, None], name
        facts = reader.facts(reader.catalog().table("charsets"))
        sizes = {name: facts.columns[name][Lane.TEXT].bytes for name in stored}
        assert sizes == {name: len(expected) for name, (_, expected) in stored.items()}


def test_rows_are_the_bytes_that_drivers_read_one_by_one(
    connection: Any, database: MySQLDatabase
) -> None:
    """Lengths of one, three and four bytes, rows longer than a packet, and no rows."""
    execute(
        connection,
        "CREATE TABLE lengths (id int PRIMARY KEY, a longblob, b text)",
        "INSERT INTO lengths VALUES (1, NULL, ''), (2, REPEAT('a', 250), 'b'),"
        " (3, REPEAT('a', 251), NULL), (4, REPEAT('c', 65536), 'd'), (5, '', NULL),"
        " (6, REPEAT('e', 5000000), 'f'), (7, 'g', REPEAT('h', 60000))",
        "INSERT INTO lengths VALUES (8, REPEAT('i', 16777207), 'j'),"
        " (9, REPEAT('k', 16777210), 'l'), (10, NULL, NULL)",
        "INSERT INTO lengths SELECT seq, REPEAT('m', seq % 300), seq FROM seq_11_to_2000",
    )
    statements = ["SELECT * FROM lengths ORDER BY id", "SELECT * FROM lengths WHERE id = 0"]
    ours = connect.connect(parse(database.url))
    readers: list[Any] = []
    settings = {"use_unicode": False, "conv": {}, "max_allowed_packet": 1 << 30}
    plain = database.connect(**settings)
    readers.append(plain)
    # A driver in C, which is compared where somebody has it.
    if importlib.util.find_spec("MySQLdb"):
        mysqlclient = importlib.import_module("MySQLdb._mysql")
        server = database.server
        readers.append(
            mysqlclient.connect(
                host=server.host,
                port=server.port,
                user=server.user,
                password=server.password,
                database=database.name,
            )
        )
    for statement in statements:
        chunks = list(wire.stream(ours, statement, 100))
        columns = [[array.to_pylist() for array in chunk] for chunk in chunks]
        found = [row for chunk in columns for row in zip(*chunk, strict=True)]
        assert all(len(chunk[0]) <= 100 for chunk in chunks)
        for reader in readers:
            reader.query(statement)
            if reader is plain:
                expected = list(plain._result.rows)  # type: ignore[attr-defined]
            else:
                expected = list(reader.use_result().fetch_row(maxrows=0))
            assert found == [(int(number), *values) for number, *values in expected]
        # What is left of a result that nobody wants is no answer to the next question.
        for _ in wire.stream(ours, statements[0], 10):
            break
        assert connect.rows(ours, "SELECT 1") == [(b"1",)]
    for opened in (ours, *readers):
        opened.close()


def test_sums_over_two_tables_are_those_of_one_moment_while_money_moves_between_them(
    connection: Any, database: MySQLDatabase, tmp_path: Path
) -> None:
    execute(
        connection,
        "CREATE TABLE left_side (id int PRIMARY KEY, money int)",
        "CREATE TABLE right_side (id int PRIMARY KEY, money int)",
        "INSERT INTO left_side SELECT seq, 100 FROM seq_1_to_500",
        "INSERT INTO right_side SELECT seq, 0 FROM seq_1_to_500",
    )
    done = threading.Event()

    def transfer() -> None:
        with closing(database.connect(autocommit=False)) as writer, writer.cursor() as cursor:
            number = 0
            while not done.is_set():
                number = number % 500 + 1
                cursor.execute(f"UPDATE left_side SET money = money - 1 WHERE id = {number}")
                cursor.execute(f"UPDATE right_side SET money = money + 1 WHERE id = {number}")
                writer.commit()

    thread = threading.Thread(target=transfer)
    thread.start()
    try:
        for attempt in range(5):
            source = open_source(database.url)
            with closing(source.take_snapshot(tmp_path / f"{attempt}")) as reader:
                left, right = (read(reader, f"{side}_side")["money"] for side in ("left", "right"))
                tables = [reader.catalog().table(f"{side}_side") for side in ("left", "right")]
                sums = [reader.facts(table).columns["money"][Lane.INT].sum_low for table in tables]
                # By its other connections too, while this one is taken.
                streams = [reader.read(table, reader.expected_lanes(table)) for table in tables]
                again = [sum(next(s).column("1:int").to_pylist()) for s in streams]
                for stream in streams:
                    stream.close()  # type: ignore[attr-defined]
            assert sum(left) + sum(right) == 50_000
            assert again == [sum(left), sum(right)]
            assert sum(sum_ or 0 for sum_ in sums) == 50_000
    finally:
        done.set()
        thread.join()


def test_a_large_table_is_read_in_ranges_of_its_key_whole_and_in_one_order(
    connection: Any, database: MySQLDatabase, tmp_path: Path
) -> None:
    execute(
        connection,
        "CREATE TABLE many (id int PRIMARY KEY, t text)",
        "INSERT INTO many SELECT CAST(seq AS SIGNED) * 7 - 100, seq FROM seq_1_to_100000",
    )
    with closing(open_source(database.url).take_snapshot(tmp_path / "s")) as reader:
        table = replace(reader.catalog().table("many"), rows=10_000_000)
        lanes = reader.expected_lanes(table)
        once, again = (
            [batch.column("0:int").to_pylist() for batch in reader.read(table, lanes)]
            for _ in range(2)
        )
        assert once == again and len(once) == 4
        assert once[0][0] == -93 and once[1][0] > 300_000
        assert sorted(n for batch in once for n in batch) == [n * 7 - 100 for n in range(1, 100001)]
        # The rest of both is thrown away when the reading ends early.
        batches = reader.read(table, lanes)
        next(batches)
        batches.close()  # type: ignore[attr-defined]
        assert reader.facts(table).rows == 100_000


def test_values_beyond_max_allowed_packet_come_whole_and_none_is_cut_to_nothing(
    connection: Any, database: MySQLDatabase, tmp_path: Path
) -> None:
    execute(
        connection,
        "CREATE TABLE cut (id int PRIMARY KEY, t longtext CHARACTER SET latin1)",
        "INSERT INTO cut VALUES (1, REPEAT(_latin1 X'e4', 700000))",
        "SET @before = @@global.max_allowed_packet",
        "SET GLOBAL max_allowed_packet = 1048576",
    )
    try:
        with closing(open_source(database.url).take_snapshot(tmp_path / "s")) as reader:
            assert read(reader, "cut")["t"] == [("\u00e4" * 700_000).encode()]
        with closing(connect.connect(parse(database.url))) as limited:
            # The server's functions give NULL for what is too long, and a warning.
            with (
                pytest.raises(InputError, match="max_allowed_packet above the longest value"),
                connect.errors("here"),
            ):
                list(wire.stream(limited, "SELECT REPEAT('x', 2000000)", 10))
            assert connect.rows(limited, "SELECT 1") == [(b"1",)]
    finally:
        execute(connection, "SET GLOBAL max_allowed_packet = @before")


def test_numbers_come_in_their_own_width_with_nulls_anywhere_and_dates_only_as_text(
    connection: Any, database: MySQLDatabase
) -> None:
    integers = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
    columns = {
        **{f"{name}{sign}": f"{name} {sign}" for name in integers for sign in ("", "unsigned")},
        **{"f": "float", "d": "double", "fixed": "double(10,2)", "y": "year", "b": "bit(9)"},
    }
    execute(
        connection,
        "CREATE TABLE widths (" + ", ".join(f"`{n}` {t}" for n, t in columns.items()) + ", t date)",
    )
    least = [v for bits in integers.values() for v in (-(2 ** (bits - 1)), 0)]
    most = [v for bits in integers.values() for v in (2 ** (bits - 1) - 1, 2**bits - 1)]
    rows: list[list[Any]] = [
        [*least, -1.5, 1e-308, -0.25, 1901, 0],
        [*most, 2.0**127, 1.7976931348623157e308, 99999999.99, 2155, 511],
    ]
    # Every column NULL alone, all, and none: the bits of 15 columns lie in three bytes.
    for place in range(len(columns)):
        rows.append([*rows[1][:place], None, *rows[1][place + 1 :]])
    rows.append([None] * len(columns))
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO widths VALUES ({', '.join(['%s'] * len(columns))}, '2024-02-29')", rows
        )
    expected = [
        [*row[:-1], None if row[-1] is None else row[-1].to_bytes(2, "big")] for row in rows
    ]
    names = ", ".join(f"`{name}`" for name in columns)
    with closing(connect.connect(parse(database.url))) as ours:
        found = [
            list(row)
            for chunk in wire.stream(ours, f"SELECT {names} FROM widths", 5)
            for row in zip(*(array.to_pylist() for array in chunk), strict=True)
        ]
        assert found == expected
        with pytest.raises(wire.ProtocolError, match="column t is a date or time"):
            list(wire.stream(ours, "SELECT t FROM widths", 5))


def test_facts_that_are_begun_early_are_the_same_and_nobody_waits_for_them_at_the_end(
    connection: Any, database: MySQLDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "LARGE_ROWS", 0)
    execute(
        connection,
        "CREATE TABLE parents (id int PRIMARY KEY, name varchar(20), KEY (name))",
        "CREATE TABLE children (id int PRIMARY KEY, parent int,"
        " FOREIGN KEY (parent) REFERENCES parents (id))",
        "INSERT INTO parents VALUES (1, 'a'), (2, 'A'), (3, NULL)",
        "SET foreign_key_checks = 0",
        "INSERT INTO children VALUES (1, 1), (2, 9), (3, NULL)",
        "SET foreign_key_checks = 1",
    )
    source = open_source(database.url)
    with closing(source.take_snapshot(tmp_path / "s")) as reader:
        tables = [reader.catalog().table(name) for name in ("parents", "children")]

        def found() -> list[Any]:
            return [
                (reader.facts(table), reader.orphans(table), reader.case_folds(table))
                for table in tables
            ]

        late = found()
        assert late[0][2] == {"name": 2} and late[1][1] == {0: 1}
        reader.begin_facts(tables)
        assert found() == late
    with closing(source.take_snapshot(tmp_path / "again")) as reader:
        tables = [reader.catalog().table("parents")]
        execute(connection, "LOCK TABLES parents WRITE")
        try:
            reader.begin_facts(tables)
            started = time.monotonic()
            while not counting(connection, database) and time.monotonic() < started + 10:
                time.sleep(0.02)
            assert counting(connection, database)
            started = time.monotonic()
            reader.close()
            while counting(connection, database) and time.monotonic() < started + 10:
                time.sleep(0.02)
            with pytest.raises(BrokenOffError, match="was lost"):
                reader.facts(tables[0])
            assert time.monotonic() - started < 10  # of thirty that it would have waited
        finally:
            execute(connection, "UNLOCK TABLES")


def counting(connection: Any, database: MySQLDatabase) -> int:
    """Statements that count rows of the database at this moment."""
    with connection.cursor() as cursor:
        statement = (
            "SELECT 1 FROM information_schema.processlist WHERE db = %s AND id <> connection_id()"
            " AND info LIKE 'SELECT COUNT(*)%%'"
        )
        return int(cursor.execute(statement, (database.name,)))


def test_limits_that_hold_for_all_sessions_cut_nothing_short(
    connection: Any, database: MySQLDatabase, tmp_path: Path
) -> None:
    many = [f"c{number}" for number in range(20)]
    limits = {
        "sql_select_limit": 8,
        "max_error_count": 0,
        "idle_transaction_timeout": 1,
        "idle_readonly_transaction_timeout": 1,
        "max_statement_time": 1,
    }
    execute(
        connection,
        f"CREATE TABLE widest ({', '.join(f'{name} int' for name in many)})",
        f"INSERT INTO widest VALUES {', '.join(['(' + '1,' * 19 + '2)'] * 30)}",
        "CREATE TABLE gbks (id int PRIMARY KEY, v longtext CHARACTER SET gbk)",
        "INSERT INTO gbks VALUES (1, CONCAT(REPEAT('a', 1500000), CONVERT(X'FEFE' USING gbk)))",
        "CREATE TABLE years (y year(2))",
        "INSERT INTO years VALUES (0), (99), (70), (69)",
        "SET @packet = @@global.max_allowed_packet",
        "SET GLOBAL max_allowed_packet = 1048576",
        *(f"SET @{name} = @@global.{name}" for name in limits),
        *(f"SET GLOBAL {name} = {value}" for name, value in limits.items()),
    )
    try:
        with closing(open_source(database.url).take_snapshot(tmp_path / "s")) as reader:
            time.sleep(1.2)  # longer than the server lets others be idle
            assert [column.name for column in reader.catalog().table("widest").columns] == many
            assert read(reader, "widest")["c19"] == [2] * 30
            # The server can not convert it, nor tell: no lossy text is taken for the value.
            with pytest.raises(InputError, match='table "gbks".* max_allowed_packet above'):
                reader.facts(reader.catalog().table("gbks"))
            years = reader.catalog().table("years")
            found = reader.facts(years).columns["y"][Lane.INT]
            values = read(reader, "years")["y"]
            assert (found.minimum, found.maximum) == (repr(min(values)), repr(max(values)))
    finally:
        execute(
            connection,
            "SET GLOBAL max_allowed_packet = @packet",
            *(f"SET GLOBAL {name} = @{name}" for name in limits),
            "DROP TABLE gbks",
        )


def test_a_table_that_took_the_name_of_another_meanwhile_is_not_taken_for_it(
    connection: Any, database: MySQLDatabase, tmp_path: Path
) -> None:
    execute(
        connection,
        "CREATE TABLE stays (id int PRIMARY KEY)",
        "CREATE TABLE swapped (id int PRIMARY KEY)",
        "CREATE TABLE shadow (id int PRIMARY KEY)",
        "INSERT INTO swapped VALUES (1), (2), (3)",
        "INSERT INTO shadow VALUES (1)",
        "DO SLEEP(1.1)",  # the server notes such times by the second
    )
    with closing(open_source(database.url).take_snapshot(tmp_path / "s")) as reader:
        reader.catalog()
        execute(
            connection,
            "INSERT INTO shadow VALUES (2), (3)",
            "INSERT INTO stays VALUES (1)",
            "RENAME TABLE swapped TO away, shadow TO swapped, away TO shadow",
        )
        assert read(reader, "stays") == {"id": []}
        for name in ("swapped", "shadow"):
            with pytest.raises(BrokenOffError, match=f'table "{name}": was renamed, altered or'):
                read(reader, name)


def test_an_account_that_may_have_few_connections_reads_over_one(
    connection: Any, database: MySQLDatabase, tmp_path: Path
) -> None:
    user = f"{database.name}_few"
    execute(
        connection,
        "CREATE TABLE few (id int PRIMARY KEY)",
        "INSERT INTO few VALUES (1), (2)",
        f"CREATE USER {user}@'%' IDENTIFIED BY 'p' WITH MAX_USER_CONNECTIONS 3",
        f"GRANT RELOAD ON *.* TO {user}@'%'",
        f"GRANT SELECT ON {database.name}.* TO {user}@'%'",
    )
    try:
        url = f"mysql://{user}:p@{database.server.host}:{database.server.port}/{database.name}"
        with closing(open_source(url).take_snapshot(tmp_path / "s")) as reader:
            (note,) = (n for n in reader.snapshot.notes if "one connection" in n)
            assert "max_user_connections" in note and ":p@" not in note
            assert read(reader, "few") == {"id": [1, 2]}
    finally:
        execute(connection, f"DROP USER {user}@'%'")


def test_a_snapshot_is_opened_again_only_if_nothing_was_written_since(
    connection: Any, database: MySQLDatabase, tmp_path: Path
) -> None:
    source, path = open_source(database.url), tmp_path / "snapshot.db"
    execute(connection, "CREATE TABLE later (id int PRIMARY KEY)")
    with closing(source.take_snapshot(path)) as reader:
        first = reader.snapshot
    assert first.position is not None and first.notes == ()
    with closing(source.open_snapshot(path)) as reader:
        assert reader.snapshot == first
    execute(connection, "INSERT INTO later VALUES (1)")
    with pytest.raises(SnapshotGoneError, match="written to since"):
        source.open_snapshot(path)
    assert "p%40ss" not in path.read_text()
    # What a replica takes over is not in its own log, so that the position stays.
    execute(connection, "CHANGE MASTER 'other' TO MASTER_HOST = '127.0.0.1'")
    try:
        for name in ("a", "b"):
            with closing(source.take_snapshot(tmp_path / name)) as reader:
                assert reader.snapshot.position is not None
        with pytest.raises(SnapshotGoneError, match=r"nothing tells .* it is a replica"):
            source.open_snapshot(tmp_path / "b")
    finally:
        execute(connection, "RESET SLAVE 'other' ALL")
    first, second = (Record.read(tmp_path / name) for name in ("a", "b"))
    assert first.position == second.position and first.snapshot.id != second.snapshot.id


def test_without_the_right_to_lock_one_connection_reads_it_all_and_says_so(
    connection: Any, database: MySQLDatabase, tmp_path: Path
) -> None:
    execute(
        connection,
        "CREATE USER IF NOT EXISTS 'only_reads'@'%' IDENTIFIED BY 'x'",
        f"GRANT SELECT, SHOW VIEW ON `{database.name}`.* TO 'only_reads'@'%'",
        "CREATE TABLE plain (id int PRIMARY KEY) ENGINE = MyISAM",
        "INSERT INTO plain VALUES (1), (2)",
    )
    server = database.server
    url = f"mysql://only_reads:x@{server.host}:{server.port}/{database.name}"
    with closing(open_source(url).take_snapshot(tmp_path / "s")) as reader:
        assert "RELOAD" in reader.snapshot.notes[0]
        assert "not held still: plain" in reader.snapshot.notes[1]
        assert read(reader, "plain") == {"id": [1, 2]}
    with pytest.raises(SnapshotGoneError, match="the account may not ask"):
        open_source(url).open_snapshot(tmp_path / "s")
    rights = "BINLOG MONITOR", "REPLICA MONITOR"
    for right in rights:
        execute(connection, f"GRANT {right} ON *.* TO 'only_reads'@'%'")
        for path in (tmp_path / right, tmp_path / f"{right} again"):
            open_source(url).take_snapshot(path).close()
        first, second = (Record.read(path) for path in sorted(tmp_path.glob(f"{right}*")))
        assert (first.snapshot.id == second.snapshot.id) is (right == rights[-1]), first.doubt
    execute(connection, "DROP USER 'only_reads'@'%'")


def test_a_server_that_goes_away_in_the_middle_is_named_and_ends_the_run(
    connection: Any, database: MySQLDatabase, tmp_path: Path
) -> None:
    execute(
        connection,
        "CREATE TABLE long_one (id int PRIMARY KEY, t text)",
        "INSERT INTO long_one SELECT seq, REPEAT('x', 1000) FROM seq_1_to_60000",
    )
    with closing(open_source(database.url).take_snapshot(tmp_path / "s")) as reader:
        table = reader.catalog().table("long_one")
        batches = reader.read(table, reader.expected_lanes(table))
        next(batches)
        for (number,) in _reading(connection, database.name):
            execute(connection, f"KILL {number}")
        with pytest.raises(BrokenOffError, match='table "long_one": the source\'s server was lost'):
            list(batches)


def _reading(connection: pymysql.connections.Connection[Any], name: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM information_schema.processlist WHERE db = %s AND id <> CONNECTION_ID()",
            (name,),
        )
        return cursor.fetchall()
