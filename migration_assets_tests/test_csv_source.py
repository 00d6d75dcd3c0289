"""Folders of CSV files as a source: what is read, what is inferred, and what is refused where."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migration_assets import csv_text
from migration_assets.convert import TableConverter
from migration_assets.core.catalog import Kind
from migration_assets.core.config import PlanConfig
from migration_assets.core.csv_manifest import FILE, FORMAT, CsvColumn, CsvManifest, CsvTable
from migration_assets.core.planner import build_plan
from migration_assets.core.profile import Profile
from migration_assets.core.types import PgType, parse_type
from migration_assets.errors import InputError
from migration_assets.ledger import LedgerWriter, QuarantineWriter
from migration_assets.profiler import TableProfiler
from migration_assets.sources import absolute_url, open_source
from migration_assets.sources.csv import files
from migration_assets.sources.csv.reader import CsvReader
from migration_assets.sources.csv.refresh import refresh_manifest

COLUMNS: dict[str, list[dict[str, Any]]] = {
    "parents": [{"name": "id", "type": "bigint", "nullable": False}, {"name": "t", "type": "text"}],
    "children": [
        {"name": "id", "type": "integer"},
        {"name": "parent", "type": "bigint"},
        {"name": "born", "type": "date"},
        {"name": "code", "type": "varchar(3)"},
        {"name": "data", "type": "jsonb"},
    ],
}
KEYS: dict[str, dict[str, Any]] = {
    "parents": {"primary_key": {"name": "parents_pkey", "columns": ["id"]}},
    "children": {
        "unique_keys": [{"name": "children_code_key", "columns": ["code"]}],
        "foreign_keys": [
            {
                "name": "children_parent_fkey",
                "columns": ["parent"],
                "ref_table": "parents",
                "ref_columns": ["id"],
            }
        ],
    },
}
PARENTS = "id,t\n1,one\n2,\\N\n"
CHILDREN = 'id,parent,born,code,data\n1,1,2024-02-29,a,"{""k"": 1}"\n2,\\N,\\N,\\N,\\N\n'

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A function that writes a folder; text is written as UTF-8."""

    def write(**contents: str | bytes) -> Path:
        folder = tmp_path / "csv"
        folder.mkdir(exist_ok=True)
        for name, content in contents.items():
            data = content.encode() if isinstance(content, str) else content
            (folder / f"{name}.csv").write_bytes(data)
        return folder

    return write


def described(folder: Path, **changes: Any) -> Path:
    """Write a manifest of the two tables, that takes the files as they are."""
    tables = [
        {"name": name, "file": f"{name}.csv", "null": "\\N", "columns": columns, **KEYS[name]}
        for name, columns in COLUMNS.items()
    ]
    whole = {"format": FORMAT, "version": 1, "exported_at": "", "run": "", "source": ""}
    document = {**whole, "snapshot": "", "tables": tables, **changes}
    (folder / FILE).write_text(json.dumps(document))
    return folder


def snapshot(folder: Path, options: str = "") -> CsvReader:
    """Take a snapshot beside the folder."""
    source = open_source(f"csv:///{folder}{options}")
    source.check()
    source.reflect()
    reader = source.take_snapshot(folder.parent / "snapshot.db")
    assert isinstance(reader, CsvReader)
    return source.open_snapshot(folder.parent / "snapshot.db")  # type: ignore[return-value]


def rows(reader: CsvReader, name: str) -> list[dict[str, Any]]:
    """All rows, by the fields of the raw batches."""
    table = reader.catalog().table(name)
    batches = list(reader.read(table, reader.expected_lanes(table)))
    facts = reader.facts(table)
    found = [row for batch in batches for row in batch.to_pylist()]
    assert facts.rows == len(found)
    return found


def test_types_are_inferred_from_all_values(make: Make) -> None:
    folder = make(
        things="﻿id,zip,price,rate,ok,day,at,zoned,clock,key,note,empty\r\n"
        "1,00501,9.90,1e-7,true,2024-01-31,2024-01-31 10:00:00,2024-01-31T10:00:00Z,10:30,"
        '00000000-0000-4000-8000-00000000000a,"a,""b""\r\nc",\r\n'
        "-2,10001,12345678901234567890.5,2.5,False,0001-01-01,2024-01-31T10:00:00.5,"
        '2024-01-31 10:00+02,10:30:01,ffffffff-0000-4000-8000-00000000000a,"",\r\n'
        "\r\n"
        ",,,,,,,,,,,\r\n"
    )
    reader = snapshot(folder)
    [table] = reader.catalog().tables
    kinds = {column.name: column.type.kind for column in table.columns}
    assert kinds == {
        "id": Kind.INTEGER, "zip": Kind.TEXT, "price": Kind.DECIMAL, "rate": Kind.FLOAT,
        "ok": Kind.BOOLEAN, "day": Kind.DATE, "at": Kind.DATETIME, "zoned": Kind.DATETIME,
        "clock": Kind.TIME, "key": Kind.UUID, "note": Kind.TEXT, "empty": Kind.TEXT,
    }  # fmt: skip
    assert [column.type.zoned for column in table.columns][6:8] == [False, True]
    found = rows(reader, "things")
    assert len(found) == 3
    assert (found[0]["0:int"], found[0]["4:int"], found[0]["10:text"]) == (1, 1, b'a,"b"\r\nc')
    assert (found[1]["10:text"], found[2]["10:text"], found[2]["0:int"]) == (b"", None, None)
    assert [absolute_url(f"csv:///{folder}?null=NA")] == [f"csv:///{folder}?null=NA"]


def test_files_of_other_dialects_are_read_by_options(make: Make) -> None:
    folder = make(things="name;n\nZoë;1\nNA;2\n".encode("latin-1"))
    reader = snapshot(folder, "?delimiter=semicolon&encoding=latin-1&null=NA")
    found = rows(reader, "things")
    assert found == [{"0:text": "Zoë".encode(), "1:int": 1}, {"0:text": None, "1:int": 2}]


def test_rows_larger_than_a_block_and_files_of_many_batches_are_read_whole(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BLOCK", 1000)
    monkeypatch.setattr(files, "BATCH_ROWS", 7)
    values = [f"{n}\n" * (n % 900) for n in range(1000)]
    text = "n,t\n" + "".join(f'{n},"{value}"\n' for n, value in enumerate(values))
    found = rows(snapshot(make(big=text)), "big")
    assert [row["0:int"] for row in found] == list(range(1000))
    assert [row["1:text"].decode() for row in found] == values


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_file_with_nothing_but_its_first_line_is_an_empty_table(make: Make, end: str) -> None:
    assert rows(snapshot(make(things=f"a,b{end}")), "things") == []


REFUSED: Mapping[str, tuple[dict[str, str | bytes], str]] = {
    "ragged": ({"a": "x,y\n1,2\n\n3\n"},
        'a.csv, line 4: has 1 fields, the first line 2: column "y" and what follows'),
    "too long": ({"a": 'x,y\n1,"2\n"\n3,4,5\n'}, "a.csv, line 4: has 3 fields"),
    "twice": ({"a": "x,y,x\n1,2,3\n"}, 'a.csv, line 1, column 3: the name "x" is there twice'),
    "no name": ({"a": "x,,z\n1,2,3\n"}, "a.csv, line 1, column 2: has no name"),
    "empty": ({"a": ""}, "a.csv: is empty"),
    "no file": ({}, "holds no file that ends in .csv"),
    "bytes": ({"a": b"x,y\n1,2\n3,\xff\n"}, 'a.csv, line 3, column "y": is not UTF-8'),
    "header bytes": ({"a": b"x,\xe9\n1,2\n"}, "a.csv, line 1, column 2: is not UTF-8"),
    "quote": ({"a": 'x,y\n1,2\n3,"4\n5,6\n'}, 'a.csv, line 3: a quote (") is opened'),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_wrong_is_refused_by_line_and_column(make: Make, case: str) -> None:
    contents, message = REFUSED[case]
    with pytest.raises(InputError) as caught:
        snapshot(make(**contents))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


WRONG: Mapping[str, tuple[str, str, str]] = {
    "no integer": (PARENTS + "x,y\n", CHILDREN,
        'parents.csv, line 4, column "id": \'x\' is no bigint'),
    "out of range": (PARENTS, CHILDREN + "3000000000,1,\\N,\\N,\\N\n", 'line 4, column "id"'),
    "no date": (PARENTS, CHILDREN + "3,1,2023-02-29,\\N,\\N\n", "'2023-02-29' is no date"),
    "too long": (PARENTS, CHILDREN + "3,1,\\N,four,\\N\n", "'four' is no varchar(3)"),
    "no JSON": (PARENTS, CHILDREN + "3,1,\\N,b,{\n", "'{' is no jsonb"),
    "NULL": (PARENTS + "\\N,y\n", CHILDREN, 'parents.csv, line 4, column "id": is NULL'),
    "key twice": (PARENTS + '3,"a\nb"\n1,y\n', CHILDREN,
        'parents.csv, line 6: violates "parents_pkey" of table "parents": (id) = (1) is in line 2'),
    "unique twice": (PARENTS, CHILDREN + "3,1,\\N,a,\\N\n", 'violates "children_code_key"'),
    "no parent": (PARENTS, CHILDREN + "3,9,\\N,\\N,\\N\n",
        'children.csv, line 4: violates "children_parent_fkey" of table "children": '
        '(parent) = (9) is not in "parents" (id)'),
    "column missing": (PARENTS, "id,parent,born,code\n",
        'children.csv, line 1: the column "data" of table "children" is missing'),
    "column unknown": ("id,t,new\n", CHILDREN, 'column 3: the manifest knows no column "new"'),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_an_edit_that_breaks_what_the_manifest_says_is_refused(make: Make, case: str) -> None:
    parents, children, message = WRONG[case]
    folder = described(make(parents=parents, children=children))
    before = (folder / FILE).read_text()
    for look in (snapshot, refresh_manifest):
        with pytest.raises(InputError) as caught:
            look(folder)  # type: ignore[operator]
        assert message in str(caught.value)
    assert (folder / FILE).read_text() == before


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("3,1,canary,b,\\N", r'line 4, column "born": \*\*\* is no date'),
        ("3,1,\\N,a,\\N", r"line 4: violates .*: \(code\) = \(\*\*\*\) is in line 2"),
        ("3,7777,\\N,b,\\N", r"violates .*: \(parent\) = \(\*\*\*\) is not in"),
    ],
)
def test_a_wrong_value_of_a_sensitive_column_is_refused_and_not_shown(
    make: Make, row: str, problem: str
) -> None:
    folder = described(make(parents=PARENTS, children=f"{CHILDREN}{row}\n"))
    source = open_source(f"csv:///{folder}", None, {"children": ["born", "code", "parent"]})
    with pytest.raises(InputError, match=problem) as caught:
        source.take_snapshot(folder.parent / "snapshot.db")
    assert "canary" not in str(caught.value) and "7777" not in str(caught.value)


def test_an_edit_is_refused_until_the_manifest_is_refreshed(make: Make) -> None:
    folder = described(make(parents=PARENTS, children=CHILDREN))
    refresh_manifest(folder)
    assert len(rows(snapshot(folder), "parents")) == 2
    # Columns in another order and a value in quotes, as a spreadsheet might leave them.
    make(parents='t,id\n"one","1"\n"\\N","2"\n"",3\n')
    with pytest.raises(InputError, match="export-csv --refresh-manifest"):
        snapshot(folder)
    manifest, changed = refresh_manifest(folder)
    assert changed == ["parents.csv"]
    assert manifest.table("parents").rows == 3
    assert rows(snapshot(folder), "parents")[1:] == [
        {"0:text": None, "1:int": 2},
        {"0:text": b"", "1:int": 3},
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, 'key "format" must be'),
        ({"version": 2}, "is of version 2"),
        ({"tables": [{"name": "a"}]}, 'key "tables.0'),
        ({"tables": [{"name": "a", "file": "b.csv", "null": "", "columns": []}]}, "is missing"),
        ({"tables": [{"name": "a", "file": "../a.csv", "null": "", "columns": []}]}, "is missing"),
    ],
)
def test_a_manifest_that_is_none_is_refused(
    make: Make, change: dict[str, Any], message: str
) -> None:
    folder = described(make(parents=PARENTS, children=CHILDREN), **change)
    with pytest.raises(InputError, match=message):
        snapshot(folder)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("csv://folder", "csv:///path/to/folder"),
        ("csv:////nowhere", "there is no such folder"),
        (f"csv:///{__file__}", "is a file"),
        ("csv:////tmp?sep=x", "unknown option 'sep'"),
        ("csv:////tmp?delimiter=xx", "one character"),
        ("csv:////tmp?encoding=klingon", "no encoding"),
    ],
)
def test_a_url_that_names_no_folder_is_refused(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(url).check()


def micros(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


def single(value: float) -> float:
    """The nearest number of four bytes."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
WORDS = st.one_of(TEXT, st.sampled_from(["", "\\N", "NULL", '"', ",", "\r", "\n", " a ", "\\x"]))
FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.booleans(),
    "double precision": st.floats(),
    "real": st.floats(width=32).map(single),
    "numeric(38,12)": st.decimals(-(10**25), 10**25, places=12),
    "numeric": st.one_of(
        st.sampled_from(["Infinity", "-Infinity", "NaN", "0", "0.000000001"]),
        st.integers().map(str),
    ),
    "text": WORDS,
    "varchar(6)": TEXT,
    "bytea": st.binary(max_size=5),
    "uuid": st.binary(min_size=16, max_size=16),
    "jsonb": st.sampled_from(["null", "{}", '{"a": [1, "x\\ny"]}', "1.50", '"\\\\N"']),
    "date": st.dates(),
    "time": st.times(),
    "timestamp": micros(FIRST, LAST),
    "timestamptz": micros(FIRST, LAST),
    "timestamp(3)": micros(FIRST // 1000, LAST // 1000).map(lambda n: n * 1000),
    "interval": micros(-3_020_399_000_000, 3_020_399_000_000),
    "bit(11)": st.integers(0, 2**11 - 1).map(lambda n: f"{n:011b}"),
    "mood": st.sampled_from(["so so", "good, even", ""]),
    "text[]": st.lists(st.sampled_from(["a", "b c", '"']), max_size=3),
}
LABELS = ("so so", "good, even", "")


def pg_type(name: str) -> PgType:
    if name == "mood":
        return PgType("enum", labels=LABELS)
    return PgType(name) if name == "text[]" else parse_type(name)


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[Any]]:
    count = draw(st.integers(1, 6))
    return {
        name: draw(st.lists(st.none() | values, min_size=count, max_size=count))
        for name, values in VALUES.items()
    }


def _same(a: Any, b: Any) -> bool:
    return a == b or (isinstance(a, float) and repr(a) == repr(b))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables())
def test_every_value_of_every_type_reads_back_identical(
    tmp_path: Path, table: dict[str, list[Any]]
) -> None:
    kinds = {name: pg_type(name) for name in table}
    arrays = {
        name: pa.array([v for v in values], type=pa.int64()).cast(kinds[name].arrow)
        if name.startswith(("timestamp", "interval"))
        else pa.array(values, kinds[name].arrow)
        for name, values in table.items()
    }
    texts = [csv_text.text_of(arrays[name], kinds[name]) for name in table]
    folder = tmp_path / "round"
    folder.mkdir(exist_ok=True)
    null = "\\N"
    while any(null in text.to_pylist() for text in texts):
        null += "_"
    (folder / "t.csv").write_bytes(
        csv_text.header(list(table)) + bytes(csv_text.lines(texts, null))
    )
    columns = tuple(
        CsvColumn(name, name, labels=LABELS if name == "mood" else ()) for name in table
    )
    manifest = CsvManifest(FORMAT, 1, "", "", "", "", (CsvTable("t", "t.csv", null, columns),))
    (folder / FILE).write_text(manifest.to_json())

    reader = snapshot(folder)
    declared = reader.catalog().table("t")
    raws = list(reader.read(declared, reader.expected_lanes(declared)))
    profiler = TableProfiler(declared)
    for raw in raws:
        profiler.update(raw)
    plan = build_plan(reader.catalog(), Profile({"t": profiler.finish()}), PlanConfig()).table("t")
    with (
        LedgerWriter(tmp_path / "ledger", "t") as ledger,
        QuarantineWriter(tmp_path / "quarantine", "t") as quarantine,
    ):
        converter = TableConverter(declared, plan, ledger, quarantine, tmp_path)
        read = pa.Table.from_batches([converter.convert_whole(raw).batch for raw in raws])
        changes = dict(ledger.counts)
    changes.pop("negative_zero:numeric", None)
    assert changes == {}
    assert quarantine.rows == 0
    for name, array in arrays.items():
        assert plan.column(name).type.plain == kinds[name].plain
        found = read.column(name).to_pylist()
        assert all(map(_same, found, array.to_pylist())), (name, found, array.to_pylist())
