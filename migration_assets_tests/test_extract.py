from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from migration_assets import extract, ledger
from migration_assets.begun import Begun
from migration_assets.convert import TableConverter
from migration_assets.convert.table import ConvertedBatch
from migration_assets.core.catalog import Catalog, Table
from migration_assets.core.config import PlanConfig
from migration_assets.core.naming import slugs
from migration_assets.core.plan import Plan, TablePlan
from migration_assets.core.planner import build_plan
from migration_assets.core.profile import Lane, Profile, TableProfile
from migration_assets.core.results import Manifest
from migration_assets.errors import BrokenOffError
from migration_assets.pipeline import ahead
from migration_assets.progress import Progress, read_tasks
from migration_assets.run_folder import RunFolder
from migration_assets.sources.base import SnapshotReader, SourceFacts
from migration_assets.sources.sqlite import SQLiteSource

ITEMS = """
CREATE TABLE items (
    id INTEGER PRIMARY KEY, name VARCHAR(40) NOT NULL, price DECIMAL(8, 2), weight REAL,
    active BOOLEAN, made DATE, changed DATETIME, extra JSON, image BLOB, loose
);
"""


@dataclasses.dataclass
class Run:
    """One snapshot of a database, and the folder of its run."""

    reader: SnapshotReader
    catalog: Catalog
    folder: RunFolder
    slugs: Mapping[str, str]

    def profile(self, *, spill: bool = True) -> Profile:
        wanted = list(self.slugs) if spill else []
        progress = Progress(self.folder.path / "progress")
        profile, _ = extract.read_profile(
            self.reader, self.catalog, self.folder, self.slugs, wanted, progress
        )
        progress.flush()
        return profile

    def plan(self, profile: Profile) -> Plan:
        return build_plan(self.catalog, profile, PlanConfig())

    def write(self, plan: Plan, name: str) -> Manifest:
        table_plan = next(table for table in plan.tables if table.source == name)
        return extract.write_table(
            self.reader, self.catalog.table(name), table_plan, self.folder, Progress()
        )

    def extract(self, name: str, *, spill: bool = True) -> Manifest:
        return self.write(self.plan(self.profile(spill=spill)), name)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Make a database by a script (and rows for it), take its snapshot and open a run."""
    readers = []

    def make(script: str, rows: Mapping[str, list[tuple]] | None = None) -> Run:
        path = tmp_path / f"source{len(readers)}.db"
        connection = sqlite3.connect(path)
        connection.executescript(script)
        for name, values in (rows or {}).items():
            marks = ", ".join("?" * len(values[0]))
            connection.executemany(f'INSERT INTO "{name}" VALUES ({marks})', values)
        connection.commit()
        connection.close()
        folder = RunFolder(tmp_path / f"run{len(readers)}").create()
        reader = SQLiteSource(path).take_snapshot(folder.snapshot)
        readers.append(reader)
        catalog = reader.catalog()
        return Run(reader, catalog, folder, slugs(table.name for table in catalog.tables))

    yield make
    for reader in readers:
        reader.close()


def items(count: int) -> list[tuple]:
    return [
        (
            n,
            f"item {n}",
            None if n % 7 == 0 else round(n * 0.01, 2),
            n / 3 if n % 2 else -float(n),
            n % 2,
            f"2024-01-{n % 28 + 1:02}",
            f"2024-01-{n % 28 + 1:02} 10:00:00.{n % 1000:03}",
            json.dumps({"n": n}),
            n.to_bytes(4, "big"),
            None,
        )
        for n in range(1, count + 1)
    ]


def test_parquet_holds_the_rows_of_the_table_in_the_planned_types(start) -> None:
    run = start(ITEMS, {"items": items(1000)})
    manifest = run.extract("items")
    assert (manifest.rows, manifest.source_rows, manifest.mismatches) == (1000, 1000, ())
    assert manifest.ledger == {}
    with extract.open_parquet(run.folder, manifest.path) as file:
        table = file.read()
    assert [str(field.type) for field in table.schema] == [
        "int64", "string", "decimal128(8, 2)", "double", "bool", "date32[day]", "timestamp[us]",
        "string", "binary", "string",
    ]  # fmt: skip
    assert table["id"].to_pylist() == list(range(1, 1001))
    assert table["weight"].to_pylist() == [row[3] for row in items(1000)]
    assert table["image"].to_pylist() == [row[8] for row in items(1000)]
    assert str(table["price"][0].as_py()) == "0.01"
    assert str(table["changed"][4].as_py()) == "2024-01-06 10:00:00.005000"


def test_manifest_has_the_facts_and_the_digest_of_the_file(start) -> None:
    run = start(ITEMS, {"items": items(100)})
    manifest = run.extract("items")
    path = run.folder.path / "extract" / manifest.path
    assert manifest.digest == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert manifest.bytes == path.stat().st_size
    assert manifest.facts["id"].sum_low == sum(range(1, 101))
    assert (manifest.facts["id"].minimum, manifest.facts["id"].maximum) == ("1", "100")
    assert manifest.facts["price"].values == 86
    assert (manifest.facts["price"].minimum, manifest.facts["price"].maximum) == ("0.01", "1.00")
    assert manifest.facts["image"].bytes == 400
    assert manifest.facts["active"].sum_low == 50


def test_spill_is_gone_after_the_parquet_file_stands(start) -> None:
    run = start(ITEMS, {"items": items(10)})
    profile = run.profile()
    assert run.folder.raw("items").exists()
    run.write(run.plan(profile), "items")
    assert list((run.folder.path / "raw").iterdir()) == []
    assert [p.name for p in (run.folder.path / "extract").iterdir()] == ["items.parquet"]


def test_file_is_the_same_with_and_without_a_spill(start) -> None:
    run = start(ITEMS, {"items": items(500)})
    first = run.extract("items")
    again = run.extract("items", spill=False)
    run.folder.write_profile(run.profile(spill=False))
    known = run.extract("items", spill=False)
    assert first.digest == again.digest == known.digest


def test_storage_may_be_any_file_system(start, tmp_path: Path) -> None:
    run = start(ITEMS, {"items": items(10)})
    run.folder = RunFolder(run.folder.path, f"file://{tmp_path}/elsewhere").create()
    manifest = run.extract("items")
    assert (tmp_path / "elsewhere" / run.folder.path.name / "items.parquet").exists()
    assert extract.open_parquet(run.folder, manifest.path).metadata.num_rows == 10


def test_empty_table_has_a_file_without_rows(start) -> None:
    manifest = start(ITEMS).extract("items")
    assert (manifest.rows, manifest.source_rows, manifest.mismatches) == (0, 0, ())


def test_column_of_many_storage_classes_is_read_whole(start) -> None:
    rows = items(3000)
    odd: dict[int, object] = {5: 1, 1500: "text", 2000: 2.5, 2999: b"\0blob", 3000: "caf\u00e9"}
    rows = [(*row[:-1], odd.get(row[0])) for row in rows]
    run = start(ITEMS, {"items": rows})
    profile = run.profile()
    loose = profile.tables["items"].columns["loose"]
    assert loose.lanes == {Lane.INT: 1, Lane.REAL: 1, Lane.TEXT: 2, Lane.BLOB: 1}
    manifest = run.write(run.plan(profile), "items")
    assert manifest.mismatches == ()
    values = pq.read_table(run.folder.path / "extract/items.parquet")["loose"].drop_null()
    assert values.to_pylist() == [b"1", b"text", b"2.5", b"\0blob", "café".encode()]


def test_dirty_values_are_in_the_ledger_and_leave_no_mismatch(start) -> None:
    run = start(
        "CREATE TABLE notes (code TEXT PRIMARY KEY, body TEXT, amount NUMERIC);"
        "INSERT INTO notes VALUES ('a', 'one' || char(0) || 'two', 1.5),"
        " ('b', CAST(x'636166e9' AS TEXT), 2.25), ('c', 'clean', -0.0);"
    )
    manifest = run.extract("notes")
    assert manifest.mismatches == ()
    assert manifest.ledger["nul_removed:body"] == 1
    assert manifest.ledger["invalid_utf8:body"] == 1
    entries, _ = ledger.merge(run.folder, "ledger")
    assert entries == sum(manifest.ledger.values())
    found = {e["rule"]: e for e in pq.read_table(run.folder.ledger).to_pylist()}
    assert found["nul_removed"] == {
        "table": "notes", "key": '["a"]', "column": "body", "before": "one\0two",
        "after": "onetwo", "rule": "nul_removed",
    }  # fmt: skip
    assert (found["invalid_utf8"]["before"], found["invalid_utf8"]["after"]) == (
        "\\x636166e9", r"caf\xe9",
    )  # fmt: skip


def test_10_000_dirty_values_are_each_in_the_ledger(start) -> None:
    rows = [(n, f"row{chr(0)}{n}" if n % 10 == 0 else f"row {n}") for n in range(100_000)]
    run = start("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)", {"t": rows})
    manifest = run.extract("t")
    assert manifest.ledger == {"nul_removed:body": 10_000}
    assert (manifest.rows, manifest.mismatches) == (100_000, ())
    keys = pq.read_table(run.folder.ledger_part("t"))["key"].to_pylist()
    assert keys == [f"[{n}]" for n in range(0, 100_000, 10)]


def test_table_without_a_key_is_told_by_row_numbers_over_all_batches(start) -> None:
    rows = [("x\0" if n == 69_999 else "x",) for n in range(70_000)]
    run = start("CREATE TABLE t (body TEXT)", {"t": rows})
    assert run.extract("t").rows == 70_000
    assert pq.read_table(run.folder.ledger_part("t"))["key"].to_pylist() == ["[70000]"]


class Lying:
    """A reader that hands out other values than its engine counts."""

    def __init__(self, reader: SnapshotReader, spoil: Callable[[pa.RecordBatch], object]) -> None:
        self._reader = reader
        self._spoil = spoil

    def __getattr__(self, name: str) -> object:
        return getattr(self._reader, name)

    def read(self, table: Table, lanes: object) -> Iterator[pa.RecordBatch]:
        for batch in self._reader.read(table, lanes):
            yield self._spoil(batch)


def _set(batch: pa.RecordBatch, name: str, value: object) -> pa.RecordBatch:
    place = batch.schema.get_field_index(name)
    values = [value, *batch.column(place).to_pylist()[1:]]
    return batch.set_column(place, name, pa.array(values, batch.schema.field(place).type))


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda b: b.slice(1), 'table "items": the source counts 20 rows, 19 were read'),
        (lambda b: _set(b, "0:int", 50), 'column "id", int values: the sum of the low 32 bits'),
        (lambda b: _set(b, "3:real", 99.5), 'column "weight", real values: the greatest'),
        (lambda b: _set(b, "1:text", b"items 1"), 'column "name", text values: the length'),
        (lambda b: _set(b, "8:blob", b""), 'column "image", blob values: the length in bytes'),
        (lambda b: _set(b, "5:text", None), 'column "made": the source counts 20 values, 19'),
    ],
)
def test_value_lost_or_changed_in_reading_is_a_mismatch(start, spoil, line: str) -> None:
    run = start(ITEMS, {"items": items(20)})
    run.reader = Lying(run.reader, spoil)
    mismatches = run.extract("items").mismatches
    assert any(line in mismatch for mismatch in mismatches), mismatches
    assert all('table "items"' in mismatch for mismatch in mismatches)


def test_value_changed_in_conversion_is_a_mismatch(start, monkeypatch) -> None:
    convert = TableConverter.convert_whole

    def spoiled(self: TableConverter, raw: pa.RecordBatch) -> ConvertedBatch:
        out = convert(self, raw)
        batch = _set(_set(out.batch, "name", "?"), "price", None)
        return dataclasses.replace(out, batch=batch)

    run = start(ITEMS, {"items": items(20)})
    monkeypatch.setattr(TableConverter, "convert_whole", spoiled)
    assert [line.partition(" as read")[0] for line in run.extract("items").mismatches] == [
        'table "items", column "name": the length in bytes',
        'table "items", column "price": the count',
        'table "items", column "price": the least',
    ]


def test_failure_while_reading_names_the_table_and_leaves_nothing(start) -> None:
    def fail(batch: pa.RecordBatch) -> object:
        raise OSError("the disk is gone\nsecond line")

    run = start(ITEMS, {"items": items(20)})
    run.reader = Lying(run.reader, fail)
    with pytest.raises(BrokenOffError, match='^table "items": .*the disk is gone'):
        run.profile()
    assert list((run.folder.path / "raw").iterdir()) == []


def test_value_outside_the_plan_sets_its_row_aside(start) -> None:
    run = start(ITEMS, {"items": items(20)})
    plan = run.plan(run.profile())
    run.folder.raw("items").unlink()
    run.reader = Lying(run.reader, lambda b: _set(b, "5:text", b"yesterday"))
    manifest = run.write(plan, "items")
    assert (manifest.rows, manifest.quarantined) == (19, 1)
    assert manifest.set_aside == {"unfit:made": 1}
    (row,) = pq.read_table(run.folder.quarantine_part("items")).to_pylist()
    assert (row["table"], row["key"]) == ("items", "[1]")
    assert row["error"] == 'column "made": the value is not an ISO date, but the type is date'
    assert json.loads(row["values"])["made"] == "yesterday"


def test_source_that_counts_otherwise_is_a_mismatch(start) -> None:
    run = start(ITEMS, {"items": items(20)})
    facts = run.reader.facts

    class Reader(Lying):
        def facts(self, table: Table) -> SourceFacts:
            return dataclasses.replace(facts(table), rows=21)

    run.reader = Reader(run.reader, lambda batch: batch)
    assert run.extract("items").mismatches == (
        'table "items": the source counts 21 rows, 20 were read',
    )


def test_progress_shows_every_table_in_both_stages(start) -> None:
    run = start(ITEMS, {"items": items(20)})
    run.profile()
    (task,) = read_tasks(run.folder.path / "progress")
    assert (task.stage, task.table, task.rows, task.total) == ("profile", "items", 20, 20)


def test_step_that_runs_ahead_gives_items_in_order_and_passes_its_error_on() -> None:
    def numbers() -> Iterator[int]:
        yield from range(5)
        raise ValueError("after five")

    seen = []
    with pytest.raises(ValueError, match="after five"), ahead(numbers()) as items:
        for item in items:
            seen.append(item)
    assert seen == [0, 1, 2, 3, 4]


def test_step_that_runs_ahead_ends_with_the_block() -> None:
    closed = []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    with ahead(endless()) as items:
        assert next(items) == 1
    assert closed == [True]


class Repeating:
    """A reader that gives the table many times over, and looks at the memory meanwhile."""

    def __init__(self, reader: SnapshotReader, times: int) -> None:
        self._reader = reader
        self._times = times
        self.peak = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._reader, name)

    def read(self, table: Table, lanes: object) -> Iterator[pa.RecordBatch]:
        for _ in range(self._times):
            yield from self._reader.read(table, lanes)
            self.peak = max(self.peak, pa.default_memory_pool().bytes_allocated())


def test_memory_does_not_grow_with_the_rows(start) -> None:
    rows = [(n, random.Random(n).randbytes(500)) for n in range(4000)]
    peaks = []
    for times in (10, 60):
        run = start("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)", {"t": rows})
        run.reader = reader = Repeating(run.reader, times)
        assert run.extract("t", spill=times == 60).rows == times * 4000
        peaks.append(reader.peak)
    # One batch is 2 MB, so holding on to the table would show as 100 MB more.
    assert peaks[1] < peaks[0] + 20_000_000


@pytest.fixture
def small_batches(monkeypatch) -> None:
    """Batches of 8 rows, so that a table of 20 has three."""
    monkeypatch.setattr("migration_assets.sources.sqlite.read.BATCH_ROWS", 8)


def begin(run: Run) -> tuple[Profile, dict[str, Begun]]:
    """Read the tables of a run, converting those of several batches meanwhile."""

    def suggest(name: str, first: TableProfile) -> TablePlan:
        return run.plan(Profile({name: first})).by_slug(run.slugs[name])

    return extract.read_profile(
        run.reader, run.catalog, run.folder, run.slugs, list(run.slugs), Progress(), suggest
    )


def finish(run: Run, plan: Plan, begun: Begun) -> Manifest:
    table = next(table for table in plan.tables if table.source == "items")
    settled = begun.settled(table, run.folder)
    return extract.write_table(
        run.reader, run.catalog.table("items"), table, run.folder, Progress(), settled
    )


def test_large_table_is_converted_while_it_is_read(start, small_batches) -> None:
    run = start(ITEMS, {"items": items(20)})
    profile, begun = begin(run)
    assert not run.folder.raw("items").exists()  # so nothing else can have been converted
    run.reader = Lying(run.reader, lambda b: pytest.fail("read again"))
    manifest = finish(run, run.plan(profile), begun["items"])
    again = start(ITEMS, {"items": items(20)})
    expected = again.extract("items")
    assert (manifest.rows, manifest.mismatches) == (20, ())
    assert (manifest.digest, manifest.facts) == (expected.digest, expected.facts)


def test_late_value_that_changes_the_plan_is_converted_by_the_new_one(start, small_batches) -> None:
    rows = items(20)
    late = "no date at all"
    run = start(ITEMS, {"items": [*rows[:19], (*rows[19][:5], late, *rows[19][6:])]})
    profile, begun = begin(run)
    plan = run.plan(profile)
    assert plan.tables[0].column("made").type.name == "text"
    manifest = finish(run, plan, begun["items"])
    assert (manifest.rows, manifest.quarantined, manifest.mismatches) == (20, 0, ())
    written = extract.open_parquet(run.folder, manifest.path).read()
    assert written["made"].to_pylist()[19] == late
    assert not run.folder.quarantine_part("items").exists()


def test_conversion_under_another_plan_leaves_nothing_behind(start, small_batches) -> None:
    run = start(ITEMS, {"items": items(20)})
    _, begun = begin(run)
    begun["items"].settled(None, run.folder)
    assert [p.name for p in (run.folder.path / "extract").iterdir()] == []


def test_reading_that_fails_late_leaves_no_conversion(start, small_batches) -> None:
    seen = []

    def fail(batch: pa.RecordBatch) -> pa.RecordBatch:
        seen.append(batch)
        if len(seen) == 3:
            raise OSError("the disk is gone")
        return batch

    run = start(ITEMS, {"items": items(20)})
    run.reader = Lying(run.reader, fail)
    with pytest.raises(BrokenOffError, match='^table "items": .*the disk is gone'):
        begin(run)
    for part in ("extract", "raw", "ledger", "quarantine"):
        assert list((run.folder.path / part).iterdir()) == []


def test_value_lost_while_a_large_table_is_read_is_a_mismatch(start, small_batches) -> None:
    run = start(ITEMS, {"items": items(20)})
    run.reader = Lying(run.reader, lambda b: _set(b, "1:text", b"items 1"))
    profile, begun = begin(run)
    (line, *_) = finish(run, run.plan(profile), begun["items"]).mismatches
    assert 'column "name", text values: the length' in line
