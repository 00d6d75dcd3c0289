"""Types, nullability and rows agree with what the authors made for PostgreSQL themselves."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from migration_assets.cli import run
from migration_assets_tests.fixture_databases import FOLDER
from migration_assets_tests.truth_maps import (
    DEVIATIONS,
    NULLABILITY,
    PAIRED_BY,
    TRUTHS,
    declared_required,
    deviations,
    load_truth,
    same,
    truth_map,
)

SCHEMA = "ours"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "fidelity.md"

pytestmark = pytest.mark.skipif(
    not (FOLDER / "postgres_truth").is_dir(), reason=f"no public databases in {FOLDER}"
)


@pytest.fixture(scope="module")
def classes_met() -> set[str]:
    """Classes of deviations that the databases before this test showed, and their names."""
    return set()


@pytest.mark.parametrize("name", TRUTHS)
def test_types_nullability_and_rows_agree_with_the_authors_own_edition(
    name: str,
    database: str,
    classes_met: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MIGRATION_HOME", str(tmp_path / "home"))
    source = FOLDER / "sqlite" / TRUTHS[name][0]
    load_truth(name, database, tmp_path)
    assert run(["migrate", f"sqlite:///{source}", "--target", database, "--schema", SCHEMA]) == 0
    faults: list[str] = []
    with closing(psycopg2.connect(database)) as connection:
        for table, truth in truth_map(name).items():
            required = declared_required(source, table, tmp_path)
            faults += _column_faults(connection, table, truth, required, classes_met)
            faults += _row_faults(connection, table, truth)
    assert faults == []
    classes_met.add(name)


def test_every_class_of_deviation_occurs_and_is_on_the_fidelity_page(
    classes_met: set[str],
) -> None:
    names = {NULLABILITY, *(deviation.name for deviation in DEVIATIONS)}
    if not TRUTHS.keys() <= classes_met:
        pytest.skip("not every database was compared before this")
    assert names == classes_met - TRUTHS.keys()
    page = PAGE.read_text()
    assert [name for name in names if f"| {name} |" not in page] == []


def _column_faults(
    connection: Any,
    table: str,
    truth: dict[str, Any],
    declared: dict[str, bool],
    classes_met: set[str],
) -> list[str]:
    ours = _columns(connection, SCHEMA, table)
    theirs = _columns(connection, "public", truth["truth"])
    faults = []
    for column, entry in truth["columns"].items():
        where = f"{table}.{column}"
        type_, required = ours[column]
        other, other_required = theirs[entry["pg_name"]]
        if type_ != other:
            classes = deviations(entry["source"], type_, other)
            classes_met.update(classes)
            if len(classes) != 1:
                faults.append(f"{where}: declared {entry['source']} is {type_}, not {other}")
        if required != other_required and required == declared[column]:
            classes_met.add(NULLABILITY)
        elif required != other_required:
            faults.append(f"{where}: NOT NULL is {required}, the authors' is {other_required}")
    return faults


def _row_faults(connection: Any, table: str, truth: dict[str, Any]) -> list[str]:
    """Differences beyond those that the two editions' own data have."""
    columns = list(truth["columns"])
    names = [truth["columns"][column]["pg_name"] for column in columns]
    key = PAIRED_BY.get(table) or _primary_key(connection, truth["truth"])
    places = [names.index(part) for part in key]
    ours = _rows(connection, SCHEMA, table, columns, places)
    theirs = _rows(connection, "public", truth["truth"], names, places)
    differing: set[str] = set()
    identical = 0
    for pair in ours.keys() & theirs.keys():
        unequal = {
            column
            for column, mine, other in zip(columns, ours[pair], theirs[pair], strict=True)
            if not same(mine, other)
        }
        differing |= unequal
        identical += not unequal
    faults = [
        f"{table}.{column} differs from the authors' rows, though not between the two editions"
        for column in sorted(differing - truth.get("differing_columns", {}).keys())
    ]
    if (len(ours), len(theirs)) != (truth["rows_source"], truth["rows_truth"]):
        faults.append(f"{table}: {len(ours)} rows, the authors' edition has {len(theirs)}")
    if identical < truth["rows_identical"]:
        faults.append(f"{table}: {identical} rows are identical, not {truth['rows_identical']}")
    return faults


def _columns(connection: Any, schema: str, table: str) -> dict[str, tuple[str, bool]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull"
            " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped",
            (schema, table),
        )
        return {name: (type_, required) for name, type_, required in cursor.fetchall()}


def _primary_key(connection: Any, table: str) -> Sequence[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
            " AND a.attnum = ANY (i.indkey) WHERE i.indisprimary AND i.indrelid = %s::regclass",
            (f"public.{table}",),
        )
        return [name for (name,) in cursor.fetchall()]


def _rows(
    connection: Any, schema: str, table: str, columns: Sequence[str], key: Sequence[int]
) -> dict[tuple[str, ...], tuple[Any, ...]]:
    """Rows by the text of their key, which is the same for an integer of any width."""
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("SELECT {} FROM {}").format(
                sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(schema, table)
            )
        )
        rows = cursor.fetchall()
    return {tuple(str(row[place]) for place in key): row for row in rows}
