from __future__ import annotations

import stat
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from migration_assets import ledger
from migration_assets.ledger import LedgerWriter
from migration_assets.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run").create()


def write(folder: RunFolder, slug: str, *keys: str, rule: str = "nul_removed") -> None:
    with LedgerWriter(folder.ledger_part(slug), slug) as writer:
        for key in keys:
            writer.add([key], "note", ["a\0"], ["a"], rule)


def test_entry_is_written_as_text_columns(folder: RunFolder) -> None:
    with LedgerWriter(folder.ledger_part("users"), "users") as writer:
        writer.add(["[1]", "[2]"], "note", ["a\0", None], ["a", "b"], "nul_removed")
        writer.add(["[2]"], "name", ["\\xff"], [None], "invalid_utf8")
        assert writer.counts == {"nul_removed:note": 2, "invalid_utf8:name": 1}
    file = pq.read_table(folder.ledger_part("users"))
    assert file.schema == ledger.LEDGER
    assert file.column_names == ["table", "key", "column", "before", "after", "rule"]
    assert file.to_pylist()[1:] == [
        {"table": "users", "key": "[2]", "column": "note", "before": None, "after": "b",
         "rule": "nul_removed"},
        {"table": "users", "key": "[2]", "column": "name", "before": "\\xff", "after": None,
         "rule": "invalid_utf8"},
    ]  # fmt: skip


def test_table_without_changes_has_no_file_and_an_older_one_goes(folder: RunFolder) -> None:
    write(folder, "users", "[1]")
    write(folder, "users")
    assert not folder.ledger_part("users").exists()


def test_broken_off_table_leaves_no_part(folder: RunFolder) -> None:
    with pytest.raises(ValueError), LedgerWriter(folder.ledger_part("users"), "users") as writer:
        for _ in range(3):
            writer.add(["[1]"] * 40_000, "note", ["x"] * 40_000, ["y"] * 40_000, "nul_removed")
        raise ValueError
    assert list((folder.path / "ledger").iterdir()) == []


@pytest.mark.parametrize("kind", ["ledger", "quarantine"])
def test_run_without_changes_has_an_empty_ledger_and_quarantine(
    folder: RunFolder, kind: str
) -> None:
    entries, digest = ledger.merge(folder, kind)
    assert (entries, digest) == (0, "0" * 32)
    file = pq.read_table(folder.path / f"{kind}.parquet")
    assert file.num_rows == 0
    assert file.schema == (ledger.LEDGER if kind == "ledger" else ledger.QUARANTINE)


def test_parts_are_merged_in_order_of_their_slugs(folder: RunFolder) -> None:
    for slug in ("orders", "Users", "accounts"):
        write(folder, slug, "[1]", "[2]")
    assert ledger.merge(folder, "ledger")[0] == 6
    tables = pq.read_table(folder.ledger)["table"].to_pylist()
    assert tables == ["Users", "Users", "accounts", "accounts", "orders", "orders"]
    assert stat.S_IMODE(folder.ledger.stat().st_mode) == 0o600


def test_digest_is_of_the_entries_whatever_their_order(tmp_path: Path) -> None:
    def digest(name: str, *parts: tuple[str, ...], rule: str = "nul_removed") -> str:
        folder = RunFolder(tmp_path / name).create()
        for number, keys in enumerate(parts):
            with LedgerWriter(folder.ledger_part(f"part{number}"), "users") as writer:
                for key in keys:
                    writer.add([key], "note", ["a\0"], ["a"], rule)
        return ledger.merge(folder, "ledger")[1]

    first = digest("first", ("[1]", "[2]", "[3]"))
    assert digest("other order", ("[3]", "[1]", "[2]")) == first
    assert digest("other parts", ("[3]",), ("[2]", "[1]")) == first
    assert digest("one less", ("[1]", "[2]")) != first
    assert digest("one twice", ("[1]", "[2]", "[3]", "[3]")) != first
    assert digest("other rule", ("[1]", "[2]", "[3]"), rule="invalid_utf8") != first


def test_100_000_entries_cost_little(folder: RunFolder) -> None:
    started = time.perf_counter()
    with LedgerWriter(folder.ledger_part("users"), "users") as writer:
        for start in range(0, 100_000, 1000):
            keys = [f"[{n}]" for n in range(start, start + 1000)]
            writer.add(keys, "note", keys, keys, "nul_removed")
    assert ledger.merge(folder, "ledger")[0] == 100_000
    # About 0.4 s on an idle machine; the bound only catches work that grows with the square.
    assert time.perf_counter() - started < 10
