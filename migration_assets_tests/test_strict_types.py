"""Types, conversions and defaults of sources that keep only what a column declares, as MySQL."""

from __future__ import annotations

import struct
from contextlib import closing
from datetime import date, timedelta

import psycopg2
import pyarrow as pa
import pytest

from migration_assets.convert import members, octets, times
from migration_assets.convert.anomalies import settle
from migration_assets.convert.column import Convert, UnfitError
from migration_assets.convert.inverse import first_unequal
from migration_assets.core.catalog import Column, DeclaredType, Kind
from migration_assets.core.choose import choose
from migration_assets.core.default_mysql import now
from migration_assets.core.defaults import translate_default
from migration_assets.core.plan import ColumnPlan, Conversion, DefaultTest, TablePlan
from migration_assets.core.policies import read_policies, resolve
from migration_assets.core.profile import ColumnProfile, Lane
from migration_assets.core.translate import UntranslatableError
from migration_assets.core.types import PgType
from migration_assets.postgres import ddl, wire
from migration_assets.postgres.parts import set_schema_of_parts

ENUM = PgType("mood", labels=("sad", "ok", "it's"))


def declared(kind: Kind, **facts: object) -> Column:
    return Column("c", f"{kind}", DeclaredType(kind, strict=True, **facts))  # type: ignore[arg-type]


def texts(*values: str | None) -> dict[Lane, pa.Array]:
    return {Lane.TEXT: pa.array([v if v is None else v.encode() for v in values], pa.binary())}


def blobs(*values: bytes | None) -> dict[Lane, pa.Array]:
    return {Lane.BLOB: pa.array(values, pa.binary())}


@pytest.mark.parametrize(
    ("column", "profile", "identity", "expected"),
    [
        (declared(Kind.INTEGER, bits=8, boolean=True), {"int_max": 1}, False, "boolean"),
        (declared(Kind.INTEGER, bits=8, boolean=True), {"int_max": 2}, False, "smallint"),
        (declared(Kind.INTEGER, bits=8, unsigned=True), {}, False, "smallint"),
        (declared(Kind.INTEGER, bits=16, unsigned=True), {}, False, "integer"),
        (declared(Kind.INTEGER, bits=24, unsigned=True), {}, False, "integer"),
        (declared(Kind.INTEGER, bits=32), {}, False, "integer"),
        (declared(Kind.INTEGER, bits=32, unsigned=True), {}, False, "bigint"),
        (declared(Kind.INTEGER, bits=64, unsigned=True), {}, False, "numeric(20,0)"),
        (declared(Kind.INTEGER, bits=64, unsigned=True), {}, True, "bigint"),
        (declared(Kind.INTEGER, bits=16), {}, True, "smallint"),
        (declared(Kind.FLOAT, bits=32), {}, False, "real"),
        (declared(Kind.DECIMAL, precision=65, scale=30), {}, False, "numeric(65,30)"),
        (declared(Kind.BIT, bits=1), {}, False, "boolean"),
        (declared(Kind.BIT, bits=12), {}, False, "bit(12)"),
        (declared(Kind.YEAR), {}, False, "smallint"),
        (declared(Kind.DATETIME, scale=6), {}, False, "timestamp"),
        (declared(Kind.DATETIME, scale=0, zoned=True), {}, False, "timestamptz(0)"),
        (declared(Kind.SET, values=("a",)), {}, False, "text[]"),
        (declared(Kind.ENUM, values=("a", "x" * 64)), {}, False, "text"),
        (
            declared(Kind.TIME, scale=3),
            {"lanes": {Lane.TEXT: 2}, "text_forms": {"time": 2}},
            False,
            "time(3)",
        ),
        (
            declared(Kind.TIME, scale=3),
            {"lanes": {Lane.TEXT: 2}, "text_forms": {"time": 1}},
            False,
            "interval",
        ),
        (
            declared(Kind.DATE),
            {"lanes": {Lane.TEXT: 3}, "text_forms": {"date": 2}, "text_zero": 1},
            False,
            "date",
        ),
        (
            declared(Kind.DATE),
            {"lanes": {Lane.TEXT: 3}, "text_forms": {"date": 2}, "text_chars": 10},
            False,
            "varchar(10)",
        ),
    ],
)
def test_the_declaration_decides_where_nothing_else_can_be_there(
    column: Column, profile: dict[str, object], identity: bool, expected: str
) -> None:
    facts = ColumnProfile(**profile)  # type: ignore[arg-type]
    assert choose(column, facts, identity).type.sql == expected


def test_enum_labels_keep_their_order() -> None:
    column = declared(Kind.ENUM, values=("b", "a"))
    assert choose(column, None).type == PgType("enum", labels=("b", "a"))


@pytest.mark.parametrize(
    ("conversion", "convert", "kind", "lanes", "expected"),
    [
        (
            Conversion.INTERVAL,
            times.to_interval,
            PgType("interval"),
            texts("838:59:59", "-00:00:01.5", None, "00:00:00", "-838:59:59.999999"),
            [
                timedelta(hours=838, minutes=59, seconds=59),
                timedelta(seconds=-1.5),
                None,
                timedelta(),
                -timedelta(hours=838, minutes=59, seconds=59, microseconds=999_999),
            ],
        ),
        (
            Conversion.BITS,
            octets.to_bits,
            PgType("bit", (10,)),
            blobs(b"\x02\x01", None, b"\0\0", b"\x03\xff"),
            ["1000000001", None, "0000000000", "1111111111"],
        ),
        (
            Conversion.SET,
            members.to_set,
            PgType("text[]"),
            texts("a,c d", "", None, "b"),
            [["a", "c d"], [], None, ["b"]],
        ),
        (Conversion.ENUM, members.to_enum, ENUM, texts("it's", None), ["it's", None]),
        (
            Conversion.GEOMETRY,
            octets.to_ewkb,
            PgType("bytea"),
            blobs(
                struct.pack("<IBIdd", 0, 1, 1, 1.5, -2), struct.pack("<IBIdd", 4326, 1, 1, 8, 47)
            ),
            [
                struct.pack("<BIdd", 1, 1, 1.5, -2),
                struct.pack("<BIIdd", 1, 0x20000001, 4326, 8, 47),
            ],
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, Conversion) else "",
)
def test_values_arrive_and_lead_back(
    conversion: Conversion,
    convert: Convert,
    kind: PgType,
    lanes: dict[Lane, pa.Array],
    expected: list[object],
) -> None:
    converted = convert(lanes, kind)
    assert converted.array.to_pylist() == expected
    assert converted.array.type == kind.arrow
    assert converted.changes == ()
    assert first_unequal(conversion, lanes, converted.array) is None
    spoilt = pa.array([expected[-1], *expected[1:-1], expected[0]], kind.arrow)
    assert first_unequal(conversion, lanes, spoilt) is not None or conversion is Conversion.ENUM


def test_zero_and_partial_dates_and_wrong_labels_are_changes() -> None:
    lanes = texts("2024-02-29", "0000-00-00", "2024-00-10", "2024-10-00", None)
    converted = times.to_date(lanes, PgType("date"))
    assert converted.array.null_count == 4
    [change] = converted.changes
    assert (change.rule, change.before) == ("zero_date", ["0000-00-00", "2024-00-10", "2024-10-00"])
    for policy, day in (("epoch", date(1970, 1, 1)), ("1900-01-01", date(1900, 1, 1))):
        policies = resolve(read_policies({"zero_date": policy}))  # type: ignore[arg-type]
        plan = ColumnPlan("c", "c", "", PgType("date"), Conversion.DATE, policies=policies)
        settled = settle(plan, lanes, converted, ())
        assert settled.array.to_pylist() == [date(2024, 2, 29), day, day, day, None]
        assert settled.changes[0].after == [day.isoformat()] * 3
    with pytest.raises(UnfitError):
        times.to_date(texts("2024-02-31"), PgType("date"))
    with pytest.raises(UnfitError):
        times.to_timestamp(texts("2024-02-01 00:00:00.5"), PgType("timestamp", (0,)))
    [wrong] = members.to_enum(texts("ok", "", "OK"), ENUM).changes
    assert (wrong.rule, wrong.before) == ("invalid_enum", ["", "OK"])


def test_bits_are_sent_left_aligned_behind_their_length() -> None:
    sent = wire.bits(pa.array(["1000000001", None], pa.string())).to_pylist()
    assert sent == [b"\0\0\0\x0a\x80\x40", None]


@pytest.mark.parametrize(
    ("default", "kind", "expected"),
    [
        ("'it''s \\\\ \\n'", PgType("text"), "'it''s \\ \n'"),
        ("'0'", PgType("boolean"), "false"),
        ("b'101'", PgType("bit", (5,)), "B'00101'"),
        ("b'1'", PgType("boolean"), "true"),
        ("0x4142", PgType("bytea"), "'\\x4142'::bytea"),
        ("'a,c d'", PgType("text[]"), '\'{"a","c d"}\'::text[]'),
        ("'ok'", ENUM, "'ok'"),
        ("'-12:00:00'", PgType("interval"), "'-12:00:00'::interval"),
        ("1.5", PgType("numeric", (4, 2)), "1.5"),
        ("NULL", PgType("text"), None),
    ],
)
def test_literal_defaults_of_mysql(default: str, kind: PgType, expected: str | None) -> None:
    assert translate_default(default, kind, "mysql") == (expected, None)


def test_defaults_of_mysql_that_are_no_literals() -> None:
    assert translate_default("current_timestamp()", PgType("timestamptz", (0,)), "mysql") == (
        "date_trunc('second', now())",
        DefaultTest.TIME,
    )
    assert now("CURRENT_TIMESTAMP(6)", PgType("timestamp")) == "localtimestamp"
    text, test = translate_default("(uuid())", PgType("varchar", (36,)), "mysql")
    assert (text, test) == ("(gen_random_uuid()::text)::text", DefaultTest.CHANCE)
    assert translate_default("(1 + 2)", PgType("integer"), "mysql")[1] is DefaultTest.VALUE
    for bad, kind in (
        ("'0000-00-00'", PgType("date")),
        ("'no label'", ENUM),
        ("(sleep(1))", PgType("integer")),
    ):
        with pytest.raises(UntranslatableError):
            translate_default(bad, kind, "mysql")


def test_enum_types_and_trigger_functions_move_with_their_tables(pg_url: str, schema: str) -> None:
    column = ColumnPlan("c", "c", "", PgType("t_c", labels=("a", "b%")), Conversion.ENUM)
    when = ColumnPlan(
        "w", "w", "", PgType("timestamptz"), Conversion.UTC, on_update="now()", nullable=True
    )
    table = TablePlan("t", "t", "t", (column, when))
    other = f"{schema}_2"
    with closing(psycopg2.connect(pg_url)) as connection, connection.cursor() as cursor:
        for name in (schema, other):
            cursor.execute(f"CREATE SCHEMA {name}")
        cursor.execute(ddl.create_table(schema, table))
        cursor.execute(ddl.on_update(schema, table, table.on_update_trigger or ""))
        set_schema_of_parts(cursor, ["t"], schema, other)
        cursor.execute(f"ALTER TABLE {schema}.t SET SCHEMA {other}")
        cursor.execute(f"DROP SCHEMA {schema}")
        cursor.execute(f"INSERT INTO {other}.t VALUES ('a'); UPDATE {other}.t SET c = 'b%'")
        cursor.execute(f"SELECT c::text, w IS NOT NULL FROM {other}.t")
        assert cursor.fetchone() == ("b%", True)
