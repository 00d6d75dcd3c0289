"""What naive times mean: ``source_timezone`` makes instants of them and says where it can not."""

from __future__ import annotations

import json
import random
import sqlite3
import zoneinfo
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.convert import inverse
from migration_assets.convert.zones import Zone
from migration_assets.core.catalog import Catalog, Column, DeclaredType, ForeignKey, Kind, Table
from migration_assets.core.config import PlanConfig
from migration_assets.core.plan import Conversion
from migration_assets.core.planner import build_plan
from migration_assets.core.profile import Lane
from migration_assets.errors import InputError
from migration_assets.launch import RunOutcome, launch
from migration_assets_tests.small_shop import configure, make_migration

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Asia/Kathmandu"]
EPOCH = datetime(1970, 1, 1)
TWICE, NEVER = "2024-10-27 02:30:00", "2024-03-31 02:30:00"
"""In Berlin the one occurs twice and the other never."""


def micros(value: datetime) -> int:
    return (value.replace(tzinfo=None) - EPOCH) // timedelta(microseconds=1)


def meant(zone: ZoneInfo, naive: datetime) -> tuple[datetime, datetime, str]:
    """By Python: the earlier and later instant, and ``twice``, ``never`` or ``once``."""
    early = naive - zone.utcoffset(naive.replace(fold=0))
    late = naive - zone.utcoffset(naive.replace(fold=1))
    return early, late, "once" if early == late else "twice" if early < late else "never"


def near_changes(zone: Zone, years: tuple[int, ...]) -> list[datetime]:
    """Naive times around every change of offset in some years."""
    at = [datetime(year, month, 15) for year in years for month in range(1, 13)]
    zone.instants(pa.array([micros(x) for x in at]).to_numpy())
    found = []
    for change in zone._changes.tolist():
        base = EPOCH + timedelta(microseconds=change)
        local = base.replace(tzinfo=UTC).astimezone(ZoneInfo(zone.name)).replace(tzinfo=None)
        for minutes in (-121, -61, -60, -31, -30, -1, 0, 1, 29, 30, 59, 60, 119):
            found.append(local + timedelta(minutes=minutes, microseconds=minutes % 7))
    return found


@pytest.mark.parametrize("name", ZONES)
def test_instants_are_those_of_python_around_every_change_of_offset(name):
    zone, by_python = Zone(name), ZoneInfo(name)
    times = near_changes(zone, (1916, 1945, 1986, 2007, 2024, 2037, 2038, 2060, 2400))
    found = zone.instants(pa.array([micros(x) for x in times]).to_numpy())
    for row, naive in enumerate(times):
        early, late, kind = meant(by_python, naive)
        assert found.earlier[row] == micros(early), naive
        assert found.ambiguous[row] == (kind == "twice"), naive
        assert found.nonexistent[row] == (kind == "never"), naive
        if kind == "twice":
            assert found.later[row] == micros(late), naive


def test_machine_without_zone_data_has_that_of_the_package() -> None:
    times = [TWICE, NEVER, "1986-07-01 12:00:00", "2060-01-01 00:00:00"]
    at = pa.array([micros(datetime.fromisoformat(text)) for text in times]).to_numpy()
    by_machine = Zone("Europe/Berlin").instants(at)
    zoneinfo.reset_tzpath(to=())
    ZoneInfo.clear_cache()
    try:
        found = Zone("Europe/Berlin").instants(at)
        assert (found.earlier == by_machine.earlier).all()
        assert (found.later == by_machine.later).all()
        assert found.ambiguous.tolist() == [True, False, False, False]
        assert found.nonexistent.tolist() == [False, True, False, False]
    finally:
        zoneinfo.reset_tzpath()
        ZoneInfo.clear_cache()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.lists(st.datetimes(datetime(1890, 1, 1), datetime(2200, 1, 1)), min_size=1, max_size=40),
)
def test_clocks_of_the_zone_show_the_source_time_again(name, times):
    zone = Zone(name)
    values = pa.array([micros(x) for x in times]).to_numpy()
    found = zone.instants(values)
    shown = zone.clock(pa.array(found.earlier).view(pa.timestamp("us", "UTC")))
    for row, naive in enumerate(times):
        assert (shown[row].value == values[row]) == (meant(ZoneInfo(name), naive)[2] != "never")


def test_first_and_last_year_are_instants_without_a_long_search():
    times = pa.array([micros(datetime(1, 1, 1)), micros(datetime(9999, 12, 31, 23, 59, 59))])
    zone = Zone("America/New_York")
    found = zone.instants(times.to_numpy())
    assert found.earlier[1] - times[1].as_py() == 5 * 3600 * 1_000_000
    assert len(zone._years) < 10


def test_wrong_instant_is_found_on_the_way_back():
    texts = pa.array([b"2024-07-01 12:00", None, b"2050-07-01 12:00:00"])
    zone = Zone("Europe/Berlin")
    right = [micros(datetime(2024, 7, 1, 10)), None, micros(datetime(2050, 7, 1, 10))]
    for values, row in ((right, None), ([*right[:2], right[2] + 3_600_000_000], 2)):
        instants = pa.array(values).view(pa.timestamp("us", "UTC"))
        lanes = {Lane.TEXT: texts}
        assert inverse.first_unequal(Conversion.ZONED, lanes, instants, zone) == row


def run(path: Path, url: str, schema: str, script: str, lines: str) -> RunOutcome:
    """Migrate the database that ``script`` makes, with ``lines`` in its ``defs.yaml``."""
    source = path / "times.db"
    connection = sqlite3.connect(source)
    connection.executescript(script)
    connection.close()
    migration = make_migration(path / "home", f"sqlite:///{source}", url, schema)
    return launch(configure(migration, lines), "shop_rehearsal")


def fetched(url: str, query: str) -> list[tuple]:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET timezone TO 'UTC'")
        cursor.execute(query)
        return cursor.fetchall()


def ledger(outcome: RunOutcome) -> list[tuple]:
    rows = pq.read_table(outcome.folder.ledger).to_pylist()
    return sorted((r["key"], r["column"], r["before"], r["after"], r["rule"]) for r in rows)


EVENTS = f"""
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    at DATETIME DEFAULT '2024-07-01 12:00:00',
    made DATETIME,
    sent DATETIME,
    day DATE,
    note TEXT
);
INSERT INTO events VALUES
    (1, '2024-07-01 12:00:00', 1719835200, '2024-07-01T12:00:00+09:00', '2024-07-01', 'x'),
    (2, '{TWICE}.5', 1719835200, '2024-07-01T12:00:00Z', NULL, NULL),
    (3, '{NEVER}', NULL, NULL, NULL, NULL),
    (4, NULL, NULL, NULL, NULL, NULL),
    (5, '2050-07-01 12:00', NULL, NULL, NULL, NULL);
"""


def test_naive_times_become_instants_and_times_at_a_change_of_clocks_are_in_the_ledger(
    tmp_path, pg_url, schema
):
    outcome = run(tmp_path, pg_url, schema, EVENTS, "  source_timezone: Europe/Berlin\n")
    assert outcome.success, outcome.failures
    assert fetched(pg_url, f"SELECT id, at FROM {schema}.events ORDER BY id") == [
        (1, datetime(2024, 7, 1, 10, tzinfo=UTC)),
        (2, datetime(2024, 10, 27, 0, 30, 0, 500000, tzinfo=UTC)),
        (3, datetime(2024, 3, 31, 1, 30, tzinfo=UTC)),
        (4, None),
        (5, datetime(2050, 7, 1, 10, tzinfo=UTC)),
    ]
    assert ledger(outcome) == [
        ("[2]", "at", f"{TWICE}.5", "2024-10-27 00:30:00.5+00", "ambiguous_time"),
        ("[3]", "at", NEVER, "2024-03-31 01:30:00+00", "nonexistent_time"),
    ]
    plan = outcome.folder.plan().table("events")
    assert {c.name: c.type.sql for c in plan.columns if c.name in {"at", "made", "sent"}} == {
        "at": "timestamptz",
        "made": "timestamptz",
        "sent": "timestamptz",
    }
    assert plan.column("at").reason.endswith("meant in Europe/Berlin by source_timezone")
    assert plan.column("sent").source_timezone is None
    assert fetched(pg_url, f"SELECT made, sent FROM {schema}.events WHERE id = 1") == [
        (datetime(2024, 7, 1, 12, tzinfo=UTC), datetime(2024, 7, 1, 3, tzinfo=UTC))
    ]
    with psycopg2.connect(pg_url) as connection, connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {schema}.events (id) VALUES (9) RETURNING at")
        assert cursor.fetchone()[0] == datetime(2024, 7, 1, 10, tzinfo=UTC)


def test_without_a_zone_naive_times_stay_and_the_plan_says_so(tmp_path, pg_url, schema):
    outcome = run(tmp_path, pg_url, schema, EVENTS, "")
    assert outcome.success, outcome.failures
    column = outcome.folder.plan().table("events").column("at")
    assert column.type.sql == "timestamp"
    assert "no offset is given" in column.reason
    assert ledger(outcome) == []


@pytest.mark.parametrize(
    ("policies", "twice", "never"),
    [
        ("ambiguous_time: later", "2024-10-27 01:30:00.5+00", "2024-03-31 01:30:00+00"),
        ("ambiguous_time: null, nonexistent_time: null", None, None),
    ],
)
def test_policies_decide_about_times_that_occur_twice_or_never(
    tmp_path, pg_url, schema, policies, twice, never
):
    script = EVENTS.replace("at DATETIME", "at DATETIME NOT NULL").replace(
        "(4, NULL", "(4, '2000-01-01 00:00'"
    )
    lines = f"  source_timezone: Europe/Berlin\n  policies: {{{policies}}}\n"
    outcome = run(tmp_path, pg_url, schema, script, lines)
    assert outcome.success, outcome.failures
    assert [(row[3], row[4]) for row in ledger(outcome)] == [
        (twice, "ambiguous_time"),
        (never, "nonexistent_time"),
    ]
    stored = fetched(pg_url, f"SELECT at::text FROM {schema}.events WHERE id IN (2, 3) ORDER BY id")
    assert stored == [(twice,), (never,)]
    assert outcome.folder.plan().table("events").column("at").nullable is (never is None)


def test_times_that_do_not_exist_can_be_set_aside(tmp_path, pg_url, schema):
    lines = "  source_timezone: Europe/Berlin\n  max_quarantined: 1\n"
    lines += "  policies: {nonexistent_time: quarantine}\n"
    outcome = run(tmp_path, pg_url, schema, EVENTS, lines)
    assert outcome.success, outcome.failures
    assert fetched(pg_url, f"SELECT id FROM {schema}.events ORDER BY id") == [
        (1,),
        (2,),
        (4,),
        (5,),
    ]
    (row,) = pq.read_table(outcome.folder.quarantine).to_pylist()
    assert row["key"] == "[3]"
    assert json.loads(row["values"])["at"] == NEVER


def test_times_that_occur_twice_can_end_the_run(tmp_path, pg_url, schema):
    lines = "  source_timezone: Europe/Berlin\n  policies: {ambiguous_time: fail}\n"
    outcome = run(tmp_path, pg_url, schema, EVENTS, lines)
    assert not outcome.success
    assert any('column "at", key [2]' in str(failure) for failure in outcome.failures)


def test_the_most_special_zone_holds(tmp_path, pg_url, schema):
    script = """
    CREATE TABLE a (id INTEGER PRIMARY KEY, x DATETIME, y DATETIME);
    CREATE TABLE b (id INTEGER PRIMARY KEY, x DATETIME);
    INSERT INTO a VALUES (1, '2024-07-01 12:00:00', '2024-07-01 12:00:00');
    INSERT INTO b VALUES (1, '2024-07-01 12:00:00');
    """
    lines = """  source_timezone: Europe/Berlin
  overrides:
    a:
      source_timezone: Asia/Kathmandu
      columns:
        y: {source_timezone: UTC}
"""
    outcome = run(tmp_path, pg_url, schema, script, lines)
    assert outcome.success, outcome.failures
    found = fetched(pg_url, f"SELECT a.x, a.y, b.x FROM {schema}.a, {schema}.b")
    assert [value.strftime("%H:%M") for value in found[0]] == ["06:15", "12:00", "10:00"]


def test_times_that_are_keys_keep_their_keys_and_references(tmp_path, pg_url, schema):
    script = f"""
    CREATE TABLE slots (at DATETIME PRIMARY KEY);
    CREATE TABLE visits (id INTEGER PRIMARY KEY, slot DATETIME REFERENCES slots (at));
    INSERT INTO slots VALUES ('2024-07-01 12:00:00'), ('{TWICE}');
    INSERT INTO visits VALUES (1, '{TWICE}'), (2, '2024-07-01 12:00:00');
    """
    outcome = run(tmp_path, pg_url, schema, script, "  source_timezone: Europe/Berlin\n")
    assert outcome.success, outcome.failures
    assert [(row[0], row[1]) for row in ledger(outcome)] == [
        (f'["{TWICE}"]', "at"),
        ("[1]", "slot"),
    ]
    joined = f"SELECT count(*) FROM {schema}.visits JOIN {schema}.slots ON slot = at"
    assert fetched(pg_url, joined) == [(2,)]


def test_five_zones_agree_with_python_and_postgresql(tmp_path, pg_url, schema):
    """Random times and all those around changes of clocks, judged without code of this project."""
    draw = random.Random(7)
    columns = {f"z{number}": name for number, name in enumerate(ZONES)}
    times = [EPOCH + timedelta(seconds=draw.uniform(-2.5e9, 5e9)) for _ in range(400)]
    for name in ZONES:
        times += draw.sample(
            around := near_changes(Zone(name), (1987, 2024, 2051)), min(40, len(around))
        )
    source = tmp_path / "times.db"
    connection = sqlite3.connect(source)
    declared = ", ".join(f"{name} DATETIME" for name in columns)
    connection.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {declared})")
    forms = ["%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S.%f"]
    texts = [x.strftime(draw.choice(forms)) for x in times]
    rows = [(n, *[text] * len(columns)) for n, text in enumerate(texts)]
    connection.executemany(f"INSERT INTO t VALUES (?{', ?' * len(columns)})", rows)
    connection.commit()
    connection.close()
    zones = "".join(f"        {c}: {{source_timezone: {z}}}\n" for c, z in columns.items())
    migration = make_migration(tmp_path / "home", f"sqlite:///{source}", pg_url, schema)
    migration = configure(migration, f"  overrides:\n    t:\n      columns:\n{zones}")
    outcome = launch(migration, "shop_rehearsal")
    assert outcome.success, outcome.failures
    entries = {(row[0], row[1]): row[4] for row in ledger(outcome)}
    names = {"twice": "ambiguous_time", "never": "nonexistent_time"}
    expected_entries = {}
    for column, name in columns.items():
        zone = ZoneInfo(name)
        stored = fetched(
            pg_url,
            f"SELECT (extract(epoch FROM {column}) * 1000000)::bigint,"
            f" {column} AT TIME ZONE '{name}' FROM {schema}.t ORDER BY id",
        )
        for number, (naive, (instant, shown)) in enumerate(zip(times, stored, strict=True)):
            early, _, kind = meant(zone, naive)
            assert instant == micros(early), (name, naive)
            if kind != "once":
                expected_entries[f"[{number}]", column] = names[kind]
            if kind != "never":
                assert shown == naive
    assert entries == expected_entries
    assert set(entries.values()) == set(names.values())


def test_keys_of_two_zones_are_refused():
    time = DeclaredType(Kind.DATETIME)
    parent = Table("p", (Column("at", "DATETIME", time),), ("at",))
    key = ForeignKey(("at",), "p", ("at",))
    child = Table("c", (Column("at", "DATETIME", time),), foreign_keys=(key,))
    config = PlanConfig.model_validate(
        {"source_timezone": "UTC", "overrides": {"c": {"source_timezone": "Europe/Berlin"}}}
    )
    with pytest.raises(InputError, match="tied by a foreign key"):
        build_plan(Catalog("sqlite", (parent, child)), None, config)


def test_unknown_zone_is_bad_input_that_names_its_place(tmp_path, pg_url, schema):
    with pytest.raises(InputError, match=r'overrides\.a\.source_timezone": "Mars/Base" is no time'):
        run(
            tmp_path,
            pg_url,
            schema,
            "CREATE TABLE a (x DATETIME)",
            "  overrides: {a: {source_timezone: Mars/Base}}\n",
        )


def test_zone_of_a_column_without_naive_times_is_said_to_change_nothing(tmp_path, pg_url, schema):
    lines = "  overrides: {events: {columns: {sent: {source_timezone: UTC}}}}\n"
    outcome = run(tmp_path, pg_url, schema, EVENTS, lines)
    assert outcome.success, outcome.failures
    said = [
        d for d in outcome.folder.plan().decisions if d.choice == "source_timezone has no effect"
    ]
    assert [(d.column, d.reason) for d in said] == [
        ("sent", "its times carry an offset of their own")
    ]


def test_the_zone_is_part_of_the_plan_digest():
    catalog = Catalog(
        "sqlite", (Table("t", (Column("at", "DATETIME", DeclaredType(Kind.DATETIME)),)),)
    )
    configs = [PlanConfig(), *(PlanConfig(source_timezone=zone) for zone in ZONES)]
    assert len({build_plan(catalog, None, config).digest for config in configs}) == 6
