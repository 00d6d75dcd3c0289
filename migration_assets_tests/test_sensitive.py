"""Values of sensitive columns are in the data files, and nowhere else."""

from __future__ import annotations

import sqlite3
import stat
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from migration_assets import generated, launch, ledger
from migration_assets import home as homes
from migration_assets.core.catalog import Catalog, Column, DeclaredType, Kind, Table
from migration_assets.core.choose import choose
from migration_assets.core.config import ColumnOverride, PlanConfig, TableOverride
from migration_assets.core.planner import build_plan
from migration_assets.core.profile import ColumnProfile, Lane, Profile, TableProfile
from migration_assets.core.sensitive import columns_of, likely, shown_detail, shown_profile
from migration_assets.errors import InputError
from migration_assets.load import RowRefusedError, load_table, prepare
from migration_assets.postgres import embedded
from migration_assets.postgres.connect import Target
from migration_assets.progress import Progress
from migration_assets.sources import open_source
from migration_assets.verify import content
from migration_assets_tests.live_shop import command, cut_over, make_live
from migration_assets_tests.postgres_tables import ask, column, parquet, table

MAIL = "canary7f3a@private.example"
CARD = 4929123498765432
SALARY = 777123.25
BORN = "1903-02-17"
PHOTO = bytes.fromhex("c0ffee5eaf00d1")
WORD = "canarysecretword"
CANARIES = [MAIL, str(CARD), "777123.25", BORN, PHOTO.hex(), WORD]

SCRIPT = f"""
CREATE TABLE people (
    id INTEGER PRIMARY KEY, email TEXT UNIQUE, card BIGINT, salary REAL, born DATE,
    photo BLOB, word TEXT, size SMALLINT, nick TEXT);
CREATE TABLE logins (email TEXT PRIMARY KEY REFERENCES people (email), count INTEGER, at TEXT);
CREATE TABLE extra (id INTEGER PRIMARY KEY, word TEXT, nick TEXT);
INSERT INTO extra VALUES (1, '{WORD}', 'a');
INSERT INTO people VALUES
    (1, '{MAIL}', {CARD}, {SALARY}, '{BORN}', x'{PHOTO.hex()}', '{WORD}' || char(0), {CARD}, 'a'),
    (2, 'b@x', NULL, NULL, '{WORD}', NULL, '{WORD}', 3, 'b');
INSERT INTO logins VALUES ('{MAIL}', 5, 'x' || char(0)), ('b@x', 1, 'y');
"""
HIDDEN = {
    "people": ["email", "card", "salary", "born", "photo", "word", "size"],
    "extra": ["word"],
}
DATA = ("*.parquet", "*.arrow", "snapshot.db*", "source.db", "replay.sql")
"""Files that hold rows; the values belong there."""


class Home:
    """A migration whose every trace is searched for canaries."""

    def __init__(self, folder: Path, url: str, schema: str) -> None:
        connection = sqlite3.connect(folder / "shop.db")
        connection.executescript(SCRIPT)
        connection.close()
        self.home = folder / "home"
        source = f"sqlite:///{folder / 'shop.db'}"
        gate = "  gate: {rehearsals: 1}\n"
        self.definition = make_live(self.home, source, url, schema, gate).defs_yaml
        self._text = self.definition.read_text()

    def run(self, config: dict[str, Any]) -> launch.RunOutcome:
        """A rehearsal under this configuration."""
        document = yaml.safe_load(self._text)
        document["attributes"] |= {"sensitive": HIDDEN, "keep_runs": 20} | config
        self.definition.write_text(yaml.safe_dump(document))
        migration = homes.load(self.home, "shop")
        return launch.launch(migration, "shop_rehearsal", run_id=str(uuid.uuid4()))

    def traces(self) -> Iterator[tuple[Path, bytes]]:
        """Every file but the data, the databases of Dagster included."""
        for path in self.home.rglob("*"):
            data = any(path.match(pattern) for pattern in DATA)
            if path.is_file() and not data and path != self.definition:
                yield path, path.read_bytes()


def found_in(traces: Iterator[tuple[Path, bytes]]) -> list[str]:
    return [
        f"{canary} in {path}: {text[max(at - 200, 0) : at + 80]!r}"
        for path, text in traces
        for canary in CANARIES
        if (at := text.find(canary.encode())) >= 0
    ]


def test_canaries_of_good_and_failing_runs_are_in_data_files_only(
    tmp_path: Path,
    pg_home: Path,
    pg_url: str,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    home = Home(tmp_path, pg_url, schema)
    good = home.run({})
    assert good.success, good.failures
    migration = homes.load(home.home, "shop")
    assert command(migration, "approve", "shop", "--accept-as-rehearsed") == 0
    outcome, evidence = cut_over(migration)
    assert outcome.success, evidence.run.reasons
    ask(pg_url, f"UPDATE {schema}.people SET word = 'new'; DELETE FROM {schema}.logins")
    assert command(migration, "rollback", "shop") == 0
    entries = ledger.count(good.folder, "ledger")
    assert entries and MAIL.encode() in good.folder.ledger.read_bytes()

    messages = []

    def fails(config: dict[str, Any]) -> str:
        outcome = home.run(config)
        assert not outcome.success
        said = "; ".join(failure.message for failure in outcome.failures)
        messages.append(said)
        return said + outcome.folder.evidence.read_text()

    strict = {"logins": {"policies": {"nul_characters": "fail"}}}
    mapped = {"column": "nick", "values": {"a": "A"}, "otherwise": "fail"}
    divided = {"column": "nick", "expression": "cast(word as integer)", "name": "bad"}
    said = fails({"overrides": strict, "transforms": {"people": [mapped], "extra": [divided]}})
    assert 'column "at", key ["***"]: the value has a NUL' in said
    assert "the value *** is not in its values" in said and "expression: ***" in said
    own = {
        "constraints": {
            "people": [{"unique": ["nick", "word"]}, {"check": "length(email) < 5", "name": "c"}]
        },
        "indexes": {"people": [{"expressions": ["(word::integer)"], "name": "i"}]},
        "transforms": {
            "people": [
                {"column": "nick", "expression": "'same'"},
                {"column": "word", "expression": f"'{WORD[:3]}' || substr(word, 4)"},
            ]
        },
    }
    said = fails(own)
    assert "(nick, word)=(***)" in said and "the row with id = 1" in said
    assert 'invalid input syntax for type integer: \\"***\\"' in said
    expected = [{"type": "expect_column_values_to_be_in_set", "kwargs": {}}]
    expected[0]["kwargs"] = {"column": "email", "value_set": ["x@y"]}
    said = fails({"expectations": {"people": expected}})
    assert '"expectation": "expect_column_values_to_be_in_set"' in said

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"no room for {MAIL}") from ValueError(WORD)

    with monkeypatch.context() as patch:
        patch.setattr(generated, "load_table", broken)
        assert '"people": RuntimeError at test_sensitive.py:' in fails({})

    captured = capfd.readouterr()
    traces = [*home.traces(), (Path("output"), (captured.out + captured.err).encode())]
    assert len(traces) > 100 and any(path.suffix == ".db" for path, _ in traces)
    assert found_in(iter(traces)) == []
    assert not any(canary in message for canary in CANARIES for message in messages)
    log = embedded.data_folder(pg_home).parent
    server = [(p, p.read_bytes()) for p in log.rglob("*log") if p.is_file()]
    assert server and found_in(iter(server)) == []
    # What is in a closed folder as a whole may have any mode.
    assert stat.S_IMODE((home.home / "dagster").stat().st_mode) == 0o700
    users = {home.definition, home.home / "shop" / "app.log", home.home / "shop" / "app.env"}
    for path in {home.home / "shop", *(home.home / "shop").rglob("*")} - users:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_what_postgres_refuses_and_what_differs_names_no_value(
    tmp_path: Path, pg_url: str, schema: str
) -> None:
    plan = table(
        "t",
        column("mail", "text", nullable=False),
        column("word", "varchar", 20),
        column("n", "bigint"),
        key=("mail",),
        sensitive=("mail", "word"),
    )
    target, incoming = Target(pg_url, schema), f"{schema}__in_run00001"
    prepare(target, incoming, "run00001", "shop")
    file = parquet(tmp_path, plan, [MAIL, "b"], [WORD, "w"], [1, 2])
    with pytest.raises(RowRefusedError, match=r"row with mail = \*\*\*, column word") as caught:
        word = column("word", "varchar", 5)
        short = replace(plan, columns=(plan.columns[0], word, plan.columns[2]))
        load_table(target, incoming, short, file, Progress())
    assert not any(canary in str(caught.value) for canary in CANARIES)
    load_table(target, incoming, plan, file, Progress())
    with psycopg2.connect(pg_url) as connection, connection.cursor() as cursor:
        cursor.execute(f"UPDATE {incoming}.t SET word = 'other', n = 7 WHERE n = 1")
    result = content.compare_table(target, incoming, plan, file, Progress())
    shown = [(d.key, d.column, d.expected, d.found) for d in result.differences]
    assert shown == [('["***"]', "word", "***", "***"), ('["***"]', "n", "1", "7")]


def test_a_detail_keeps_what_is_no_sensitive_value() -> None:
    detail = 'Key (id, email)=(5, a) b@x) is not present in table "t"'
    assert shown_detail(detail, {"email"}) == 'Key (id, email)=(***) is not present in table "t"'
    assert shown_detail(detail, {"other"}) == detail
    assert shown_detail("Failing row contains (5, a@x)", {"email"}) is None
    assert shown_detail("Failing row contains (5, a@x)", ()) is not None


def test_keys_of_sensitive_name_what_is_there_and_reach_along_references(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "shop.db")
    connection.executescript(SCRIPT)
    connection.close()
    catalog = open_source(f"sqlite:///{tmp_path / 'shop.db'}").reflect()
    assert columns_of(catalog, {"logins": ["email"]}) == {("logins", "email"), ("people", "email")}
    assert len(columns_of(catalog, {"people": ["*"]})) == 10
    with pytest.raises(InputError, match='"sensitive": there is no table "persons"'):
        columns_of(catalog, {"persons": ["email"]})
    with pytest.raises(InputError, match='no column "mail"; it has id, email, card'):
        columns_of(catalog, {"people": ["mail"]})
    known = columns_of(catalog, {"people": ["email"]})
    assert likely(catalog.tables, known) == [("people", "salary"), ("people", "born")]
    plain, hidden = (
        build_plan(catalog, None, PlanConfig(sensitive=columns)) for columns in ({}, HIDDEN)
    )
    assert plain.digest == hidden.digest


WHOLE = st.integers(-(2**63), 2**63 - 1)
EDGES = st.sampled_from(
    [s * (b**e) + d for b, e in [(2, 15), (2, 31), (2, 53), (10, 8), (10, 11), (10, 14), (10, 17)]
     for s in (1, -1) for d in (-2, -1, 0, 1, 2)]
)  # fmt: skip


@given(
    low=WHOLE | EDGES | st.integers(-3, 3),
    high=WHOLE | EDGES | st.integers(-3, 3),
    kind=st.sampled_from([Kind.INTEGER, Kind.BOOLEAN, Kind.DATETIME, Kind.ANY, Kind.DECIMAL]),
    bits=st.sampled_from([16, 32, 64]),
    real=st.booleans(),
    wanted=st.sampled_from([None, "numeric(10,0)", "varchar(9)", "integer", "boolean"]),
)
def test_a_profile_without_values_leads_to_the_same_plan(
    low: int, high: int, kind: Kind, bits: int, real: bool, wanted: str | None
) -> None:
    low, high = sorted((low, high))
    declared = Column("c", "X", DeclaredType(kind, bits=bits))
    lanes = {Lane.INT: 2} | ({Lane.REAL: 1} if real else {})
    facts = ColumnProfile(lanes=lanes, int_min=low, int_max=high, example="canary")
    profile = Profile({"t": TableProfile(2, {"c": facts})})
    rough = shown_profile(profile, frozenset({("t", "c")}))
    shown = rough.tables["t"].columns["c"]
    assert shown.example is None
    exact, roughly = choose(declared, facts, False), choose(declared, shown, False)
    assert (exact.type, exact.conversion) == (roughly.type, roughly.conversion)
    override = {"c": ColumnOverride(type=wanted)} if wanted else {}
    config = PlanConfig(overrides={"t": TableOverride(columns=override)})
    catalog = Catalog(None, (Table("t", (declared,)),))
    digests = {build_plan(catalog, each, config).digest for each in (profile, rough)}
    assert len(digests) == 1
