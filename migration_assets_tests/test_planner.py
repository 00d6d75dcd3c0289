"""Plans are pure: catalogs and profiles are written by hand, no database is needed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migration_assets.core.catalog import (
    UNREADABLE,
    Catalog,
    Check,
    Column,
    DeclaredType,
    ForeignKey,
    Index,
    IndexTerm,
    Kind,
    SkippedObject,
    Table,
    UniqueKey,
    View,
)
from migration_assets.core.config import PlanConfig, TablesConfig
from migration_assets.core.plan import Plan
from migration_assets.core.planner import build_plan
from migration_assets.core.profile import ColumnProfile, Lane, Profile, TableProfile
from migration_assets.errors import InputError

INTEGER = DeclaredType(Kind.INTEGER)
TEXT = DeclaredType(Kind.TEXT)


def column(name: str, source_type: str, kind: Kind, **details: object) -> Column:
    known = {"bits", "length", "precision", "scale", "zoned"}
    declared = {k: v for k, v in details.items() if k in known}
    rest = {k: v for k, v in details.items() if k not in known}
    return Column(name, source_type, DeclaredType(kind, **declared), **rest)  # type: ignore[arg-type]


def chosen(declared: Column, facts: ColumnProfile) -> str:
    table = Table("t", (declared,))
    profile = Profile({"t": TableProfile(rows=10, columns={declared.name: facts})})
    plan = build_plan(Catalog("sqlite", (table,)), profile, PlanConfig())
    return plan.tables[0].columns[0].type.sql


def ints(low: int, high: int) -> ColumnProfile:
    return ColumnProfile(lanes={Lane.INT: 10}, int_min=low, int_max=high)


def texts(chars: int = 5, **forms: int) -> ColumnProfile:
    return ColumnProfile(
        lanes={Lane.TEXT: 10}, text_chars=chars, text_bytes=chars, text_forms=forms
    )


@pytest.mark.parametrize(
    ("declared", "facts", "expected"),
    [
        (column("c", "INTEGER", Kind.INTEGER), ints(0, 3), "bigint"),
        (column("c", "SMALLINT", Kind.INTEGER, bits=16), ints(0, 32767), "smallint"),
        (column("c", "SMALLINT", Kind.INTEGER, bits=16), ints(-32769, 0), "integer"),
        (column("c", "INT4", Kind.INTEGER, bits=32), ints(0, 2**31), "bigint"),
        (column("c", "BOOLEAN", Kind.BOOLEAN), ints(0, 1), "boolean"),
        (column("c", "BOOLEAN", Kind.BOOLEAN), ints(0, 2), "bigint"),
        (column("c", "VARCHAR(5)", Kind.TEXT, length=5), texts(5), "varchar(5)"),
        (column("c", "VARCHAR(5)", Kind.TEXT, length=5), texts(6), "text"),
        (column("c", "CHAR(36)", Kind.TEXT, length=36), texts(36, uuid=10), "uuid"),
        (column("c", "CHAR(36)", Kind.TEXT, length=36), texts(36, uuid=9), "varchar(36)"),
        (column("c", "DATE", Kind.DATE), texts(10, date=10), "date"),
        (column("c", "DATETIME", Kind.DATETIME), texts(19, datetime=10), "timestamp"),
        (column("c", "DATETIME", Kind.DATETIME), texts(20, datetime_tz=10), "timestamptz"),
        (column("c", "DATETIME", Kind.DATETIME), texts(20, datetime=9, datetime_tz=1), "text"),
        (column("c", "DATETIME", Kind.DATETIME), ints(1_600_000_000, 1_700_000_000), "timestamptz"),
        (column("c", "DATETIME", Kind.DATETIME), ints(2020, 20_240_101), "bigint"),
        (column("c", "DATETIME", Kind.DATETIME), ints(5, 1_700_000_000), "bigint"),
        (column("c", "JSON", Kind.JSON), texts(json=10, jsonb=10), "jsonb"),
        (column("c", "JSON", Kind.JSON), texts(json=10, jsonb=9), "json"),
        (column("c", "JSON", Kind.JSON), texts(json=9, jsonb=9), "text"),
        (column("c", "", Kind.ANY), ints(0, 1), "bigint"),
        (column("c", "", Kind.ANY), ColumnProfile(), "text"),
    ],
)
def test_a_type_is_taken_only_if_every_value_fits(
    declared: Column, facts: ColumnProfile, expected: str
) -> None:
    assert chosen(declared, facts) == expected


@pytest.mark.parametrize(
    ("lanes", "expected"),
    [
        ({Lane.INT: 1, Lane.REAL: 1}, "double precision"),
        ({Lane.INT: 1, Lane.TEXT: 1}, "text"),
        ({Lane.REAL: 1, Lane.TEXT: 1}, "text"),
        ({Lane.TEXT: 1, Lane.BLOB: 1}, "bytea"),
        ({Lane.INT: 1, Lane.BLOB: 1}, "bytea"),
    ],
)
def test_mixed_storage_classes_become_what_holds_all_of_them(
    lanes: dict[Lane, int], expected: str
) -> None:
    facts = ColumnProfile(lanes=lanes, int_min=1, int_max=1)
    assert chosen(column("c", "INTEGER", Kind.INTEGER), facts) == expected


def test_an_integer_no_double_holds_beside_reals_makes_numeric() -> None:
    facts = ColumnProfile(lanes={Lane.INT: 1, Lane.REAL: 1}, int_min=0, int_max=2**53 + 1)
    assert chosen(column("c", "INTEGER", Kind.INTEGER), facts) == "numeric"


@pytest.mark.parametrize(
    ("digits", "scale", "nonfinite", "expected"),
    [
        (6, 2, 0, "numeric(8,2)"),
        (7, 2, 0, "numeric"),
        (6, 3, 0, "numeric"),
        (1, 0, 1, "numeric"),
    ],
)
def test_a_decimal_keeps_its_precision_only_if_every_number_fits(
    digits: int, scale: int, nonfinite: int, expected: str
) -> None:
    facts = ColumnProfile(
        lanes={Lane.REAL: 10}, number_digits=digits, number_scale=scale, real_nonfinite=nonfinite
    )
    declared = column("c", "DECIMAL(8,2)", Kind.DECIMAL, precision=8, scale=2)
    assert chosen(declared, facts) == expected


def shop(child: ColumnProfile, child_type: DeclaredType = INTEGER) -> Plan:
    users = Table(
        "users",
        (Column("id", "INTEGER", INTEGER, not_null=True),),
        primary_key=("id",),
        auto_column="id",
    )
    orders = Table(
        "orders",
        (Column("user_id", "INT", child_type),),
        foreign_keys=(ForeignKey(("user_id",), "users", ("id",)),),
    )
    profile = Profile(
        {
            "users": TableProfile(rows=1, columns={"id": ints(1, 1)}),
            "orders": TableProfile(rows=1, columns={"user_id": child}, orphans={0: 1}),
        }
    )
    return build_plan(Catalog("sqlite", (users, orders)), profile, PlanConfig())


def test_both_sides_of_a_foreign_key_get_one_type() -> None:
    plan = shop(ints(1, 1), DeclaredType(Kind.INTEGER, bits=16))
    assert plan.table("orders").columns[0].type.sql == "bigint"
    assert len(plan.table("orders").foreign_keys) == 1


def test_a_foreign_key_with_orphans_is_not_valid_and_the_plan_says_so() -> None:
    plan = shop(ints(1, 1))
    assert not plan.table("orders").foreign_keys[0].valid
    assert any(d.choice == "NOT VALID" and d.value == "1 rows" for d in plan.decisions)


def test_a_foreign_key_whose_sides_hold_no_common_type_is_reported() -> None:
    facts = ColumnProfile(lanes={Lane.INT: 1, Lane.TEXT: 1}, int_min=1, int_max=1)
    plan = shop(facts)
    assert plan.table("users").columns[0].type.sql == "bigint"
    assert plan.table("orders").foreign_keys == ()
    assert [(s.kind, s.table) for s in plan.skipped] == [("foreign key", "orders")]


def test_a_foreign_key_to_a_key_that_does_not_come_as_one_is_reported() -> None:
    folded = Table(
        "folded",
        (Column("x", "TEXT", TEXT),),
        indexes=(Index("i", (IndexTerm("x", collation="NOCASE"),), unique=True),),
    )
    long = Table("long", (Column("x", "TEXT", TEXT),), unique_keys=(UniqueKey(("x",)),))
    child = Table(
        "child",
        (Column("a", "TEXT", TEXT), Column("b", "TEXT", TEXT)),
        foreign_keys=(ForeignKey(("a",), "folded", ("x",)), ForeignKey(("b",), "long", ("x",))),
    )
    wide = ColumnProfile(lanes={Lane.TEXT: 1}, text_chars=9000, text_bytes=9000)
    profile = Profile({"long": TableProfile(rows=1, columns={"x": wide})})
    plan = build_plan(Catalog("sqlite", (folded, long, child)), profile, PlanConfig())
    assert plan.table("child").foreign_keys == ()
    reasons = [s.reason for s in plan.skipped if s.kind == "foreign key"]
    assert reasons == [
        'its parent columns in "folded" are not a key',
        'its parent key in "long" does not come along: values of up to 9000 bytes may not fit an '
        "index entry (2600)",
    ]


def test_uuids_are_taken_along_the_whole_chain_of_foreign_keys() -> None:
    parent = Table("p", (Column("id", "TEXT", TEXT),), primary_key=("id",))
    child = Table(
        "c",
        (column("pid", "CHAR(36)", Kind.TEXT, length=36),),
        foreign_keys=(ForeignKey(("pid",), "p", ("id",)),),
    )
    facts = texts(36, uuid=10)
    profile = Profile(
        {
            "p": TableProfile(rows=10, columns={"id": facts}),
            "c": TableProfile(rows=10, columns={"pid": facts}),
        }
    )
    plan = build_plan(Catalog("sqlite", (parent, child)), profile, PlanConfig())
    assert [t.columns[0].type.sql for t in plan.tables] == ["uuid", "uuid"]


def test_a_primary_key_with_nulls_becomes_a_unique_constraint() -> None:
    table = Table("t", (Column("k", "TEXT", TEXT),), primary_key=("k",))
    facts = replace(texts(), nulls=2)
    profile = Profile({"t": TableProfile(rows=12, columns={"k": facts})})
    plan = build_plan(Catalog("sqlite", (table,)), profile, PlanConfig())
    assert plan.tables[0].primary_key == ()
    assert [u.columns for u in plan.tables[0].uniques] == [("k",)]
    assert [s.kind for s in plan.skipped] == ["primary key"]


def test_two_names_equal_in_63_bytes_stop_the_plan() -> None:
    long = "n" * 63
    tables = (
        Table(long + "a", (Column("c", "TEXT", TEXT),)),
        Table(long + "b", (Column("c", "TEXT", TEXT),)),
    )
    with pytest.raises(InputError, match="63 bytes"):
        build_plan(Catalog("sqlite", tables), None, PlanConfig())


def test_relations_that_would_share_a_name_get_a_number() -> None:
    tables = (
        Table("t", (Column("id", "INT", INTEGER),), primary_key=("id",)),
        Table("t_pkey", (Column("id", "INT", INTEGER),)),
    )
    plan = build_plan(Catalog("sqlite", tables), None, PlanConfig())
    assert plan.table("t").primary_key_name == "t_pkey_1"


def test_keys_that_ignore_case_become_indexes_over_folded_values() -> None:
    table = Table(
        "t",
        (
            Column("name", "TEXT", TEXT, collation="NOCASE"),
            Column("sort", "TEXT", TEXT, collation="phonebook"),
            Column("plain", "TEXT", TEXT),
        ),
        unique_keys=(UniqueKey(("name",)),),
    )
    plan = build_plan(Catalog("sqlite", (table,)), None, PlanConfig())
    index = plan.tables[0].indexes[0]
    assert index.unique
    assert index.terms == ('lower("name" COLLATE "C")',)
    # Comparisons elsewhere change, so the plan says where.
    told = [d for d in plan.decisions if d.choice == "compared exactly"]
    assert [(d.column, d.reason.split(" takes")[0]) for d in told] == [
        ("name", "the source's collation NOCASE"),
        (
            "sort",
            "the source's collation phonebook has its own order and equality; PostgreSQL compares "
            "the exact text",
        ),
    ]


def test_expressions_are_translated_with_the_true_names_and_types() -> None:
    table = Table(
        "T",
        (Column("Active", "BOOLEAN", DeclaredType(Kind.BOOLEAN)), Column("Name", "TEXT", TEXT)),
        indexes=(Index("i", (IndexTerm("Name"),), where='active = 1 AND name <> "x"'),),
        checks=(Check("ACTIVE IN (0, 1)"), Check("nosuchfunction(name) = 1")),
    )
    plan = build_plan(Catalog("sqlite", (table,)), None, PlanConfig())
    assert plan.tables[0].indexes[0].where == '"Active" = TRUE AND "Name" <> \'x\''
    assert [c.expression for c in plan.tables[0].checks] == ['"Active" IN (FALSE, TRUE)']
    assert [(s.kind, s.sql) for s in plan.skipped] == [("check", "nosuchfunction(name) = 1")]


def test_views_come_after_those_they_read() -> None:
    table = Table("Items", (Column("Id", "INT", INTEGER),))
    views = (
        View("a", "CREATE VIEW a AS SELECT id FROM b"),
        View("b", "CREATE VIEW b AS SELECT items.ID FROM items"),
        View("broken", "CREATE VIEW broken AS SELECT x FROM gone"),
        View("on_both", "CREATE VIEW on_both AS SELECT id FROM both"),
        View("both", "CREATE VIEW both AS SELECT id FROM a UNION ALL SELECT id FROM b"),
    )
    plan = build_plan(Catalog("sqlite", (table,), views), None, PlanConfig())
    assert [v.name for v in plan.views] == ["b", "a", "both", "on_both"]
    assert plan.views[0].sql == 'SELECT "Items"."Id" FROM "Items"'
    assert [(s.kind, s.name) for s in plan.skipped] == [("view", "broken")]


@pytest.mark.parametrize(
    ("default", "declared", "expected"),
    [
        ("0", column("c", "BOOLEAN", Kind.BOOLEAN), "false"),
        ("(1)", column("c", "INTEGER", Kind.INTEGER), "1"),
        ("'it''s'", column("c", "TEXT", Kind.TEXT), "'it''s'"),
        ('"x"', column("c", "TEXT", Kind.TEXT), "'x'"),
        ("CURRENT_TIMESTAMP", column("c", "DATETIME", Kind.DATETIME), "timezone('UTC', now())"),
        ("x'00ff'", column("c", "BLOB", Kind.BINARY), "'\\x00ff'::bytea"),
        ("1.5", column("c", "JSON", Kind.JSON), "'1.5'::jsonb"),
        ("NULL", column("c", "TEXT", Kind.TEXT), None),
    ],
)
def test_defaults_become_values_of_the_columns_type(
    default: str, declared: Column, expected: str | None
) -> None:
    table = Table("t", (replace(declared, default=default),))
    plan = build_plan(Catalog("sqlite", (table,)), None, PlanConfig())
    assert plan.tables[0].columns[0].default == expected
    assert plan.skipped == ()


def test_a_default_that_is_no_value_of_the_type_is_reported() -> None:
    declared = column("c", "DATETIME", Kind.DATETIME, default="''")
    plan = build_plan(Catalog("sqlite", (Table("t", (declared,)),)), None, PlanConfig())
    assert plan.tables[0].columns[0].default is None
    assert [(s.kind, s.name, s.sql) for s in plan.skipped] == [("default", "c", "''")]


def test_the_digest_follows_the_shape_and_not_the_counts() -> None:
    declared = column("c", "VARCHAR(5)", Kind.TEXT, length=5)

    def digest(facts: ColumnProfile) -> str:
        profile = Profile({"t": TableProfile(rows=10, columns={"c": facts})})
        return build_plan(
            Catalog("sqlite", (Table("t", (declared,)),)), profile, PlanConfig()
        ).digest

    assert digest(texts(3)) == digest(texts(5))
    assert digest(texts(3)) != digest(texts(6))


def test_a_plan_survives_its_file() -> None:
    plan = shop(ints(1, 1))
    assert Plan.from_json(plan.to_json()) == plan
    assert Plan.from_json(plan.to_json()).digest == plan.digest


def test_tables_left_out_by_pattern_are_listed() -> None:
    tables = (Table("a", (Column("c", "INT", INTEGER),)), Table("tmp_b", ()))
    config = PlanConfig(tables=TablesConfig(exclude=["tmp_*"]))
    plan = build_plan(Catalog("sqlite", tables), None, config)
    assert [t.source for t in plan.tables] == ["a"]
    assert [s.name for s in plan.skipped] == ["tmp_b"]


def test_an_unreadable_table_can_be_left_out_by_pattern() -> None:
    broken = SkippedObject(UNREADABLE, "broken", "SQLite cannot read it")
    catalog = Catalog("sqlite", (Table("a", (Column("c", "INT", INTEGER),)),), (), (broken,))
    assert build_plan(catalog, None, PlanConfig()).skipped == (broken,)
    config = PlanConfig(tables=TablesConfig(exclude=["bro*"]))
    assert [item.kind for item in build_plan(catalog, None, config).skipped] == ["table"]


def test_patterns_that_leave_no_table_are_refused() -> None:
    catalog = Catalog("sqlite", (Table("a", (Column("c", "INT", INTEGER),)),))
    with pytest.raises(InputError, match="leave none"):
        build_plan(catalog, None, PlanConfig(tables=TablesConfig(include=["b*"])))
