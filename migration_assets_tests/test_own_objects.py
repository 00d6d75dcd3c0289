"""Indexes and constraints beyond the source's: for foreign keys, and those of defs.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration_assets_tests.command import again, migrate

SCRIPT = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, mail TEXT UNIQUE);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    customer INTEGER REFERENCES customers (id),
    agent INTEGER REFERENCES customers (id),
    mail TEXT UNIQUE REFERENCES customers (mail),
    status TEXT, total REAL, note TEXT, doc JSON
);
CREATE INDEX by_agent ON orders (agent DESC, status);
CREATE INDEX open_orders ON orders (customer) WHERE status = 'open';
INSERT INTO customers VALUES (1, 'a'), (2, 'b');
INSERT INTO orders VALUES (10, 1, 1, 'a', 'open', 5, 'red fox', '{"k": 1}'),
    (11, 1, 2, NULL, 'done', -1, 'blue', '{"k": 2}');
"""
OWN = """
  indexes:
    orders:
      - {columns: [customer, status], unique: true, reason: one of each}
      - {columns: [status], where: "status <> 'done'", name: to_do}
      - {expressions: ["to_tsvector('simple', note)"], method: gin, name: words}
      - {columns: [doc], method: gin, name: documents}
      - {expressions: ["lower(note) text_pattern_ops", "(total * 2) DESC"]}
  constraints:
    orders:
      - {check: "total >= -1", name: not_too_low}
      - {unique: [customer, note]}
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATION_HOME", str(tmp_path / "home"))


def test_foreign_keys_that_nothing_serves_get_an_index_and_defs_yaml_adds_more(
    pg_url: str, schema: str, tmp_path: Path
) -> None:
    done = migrate(SCRIPT, pg_url, schema, tmp_path, OWN)
    assert done.code == 0, done.evidence["run"]["reasons"]
    indexes = {
        name: (text, valid)
        for name, text, valid in done.ask(
            "SELECT c.relname, pg_get_indexdef(c.oid), x.indisvalid FROM pg_index x"
            " JOIN pg_class c ON c.oid = x.indexrelid WHERE x.indrelid = 'orders'::regclass"
        )
    }
    assert all(valid for _, valid in indexes.values())
    assert set(indexes) == {
        "orders_pkey", "orders_mail_key", "by_agent", "open_orders", "orders_customer_status_idx",
        "to_do", "words", "documents", "orders_expression_idx", "orders_customer_note_key",
    }  # fmt: skip
    assert "USING gin (to_tsvector('simple'" in indexes["words"][0]
    assert indexes["to_do"][0].endswith("WHERE (status <> 'done'::text)")
    choices = [d["choice"] for d in done.evidence["plan"]["decisions"]]
    assert any(choice.startswith("index words (gin on to_tsvector") for choice in choices)
    assert {s["name"] for s in done.evidence["constraints"]} >= {"words", "not_too_low"}
    assert "not_too_low" in done.refused("INSERT INTO orders (total) VALUES (-2)")


def test_index_for_a_foreign_key_says_for_which(pg_url: str, schema: str, tmp_path: Path) -> None:
    done = migrate(SCRIPT, pg_url, schema, tmp_path)
    assert done.code == 0
    made = [s["name"] for s in done.evidence["constraints"] if s["kind"] == "index"]
    assert sorted(made) == ["by_agent", "open_orders", "orders_customer_idx"]
    [why] = [
        d["reason"]
        for d in done.evidence["plan"]["decisions"]
        if d["choice"] == "index orders_customer_idx"
    ]
    assert "orders_customer_fkey" in why


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("  indexes:\n    orders: [{expressions: ['lower(note']}]\n", "orders_expression_idx"),
        ("  indexes:\n    orders: [{columns: [nope]}]\n", 'no column "nope"'),
        ("  indexes:\n    nope: [{columns: [id]}]\n", '"nope" is no table'),
        ("  constraints:\n    orders: [{check: 'total >= now', name: c}]\n", 'check "c"'),
        ("  indexes:\n    orders: [{columns: [id], name: by_agent}]\n", '"by_agent" is taken'),
    ],
)
def test_bad_definition_is_bad_input_before_the_load(
    config: str,
    said: str,
    pg_url: str,
    schema: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = migrate(SCRIPT, pg_url, schema, tmp_path, config)
    assert done.code == 2
    assert said in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{check: 'total > 0', name: positive}", 'check "positive" of table "orders"'),
        ("{unique: [customer], name: once}", 'unique "once" of table "orders"'),
    ],
)
def test_rows_that_violate_an_own_constraint_make_the_run_not_proven_and_are_named(
    config: str, said: str, pg_url: str, schema: str, tmp_path: Path
) -> None:
    done = migrate(SCRIPT, pg_url, schema, tmp_path, f"  constraints:\n    orders: [{config}]\n")
    assert done.code == 1
    [reason] = [r for r in done.evidence["run"]["reasons"] if said in r]
    assert "id = 11" in reason or "(customer)=(1)" in reason
    assert again(pg_url, schema, tmp_path).code == 1
