"""Checkpoints inside the load of a large table: the table itself says what was committed of it.

The note is a comment on the incoming table, written in the transaction whose rows it counts, so
that it can not be wrong. It names the Parquet file's digest and the table's shape: a load of
anything else begins anew. Vacuum stays away until the table is whole, so that its rows keep the
order in which they were sent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.plan import TablePlan
from migration_assets.postgres import ddl

PIECE_BYTES = 2 << 30
"""Bytes of Parquet, not compressed, from which on the rows before them are committed."""

_KEY = "migration_assets_load"


@dataclass(frozen=True)
class Piece:
    """Row groups that are committed together.

    Attributes:
        groups: their numbers.
        before: rows of all earlier groups.
        rows: of these.
    """

    groups: Sequence[int]
    before: int
    rows: int


def pieces(parquet: pq.ParquetFile, plan: TablePlan) -> list[Piece]:
    """What of a file is loaded in one transaction each; an application's own table in one."""
    found, groups, before, rows, size = [], [], 0, 0, 0
    for number in range(parquet.num_row_groups):
        group = parquet.metadata.row_group(number)
        groups.append(number)
        rows, size = rows + group.num_rows, size + group.total_byte_size
        if size >= PIECE_BYTES and not plan.existing:
            found.append(Piece(groups, before, rows))
            groups, before, rows, size = [], before + rows, 0, 0
    return [*found, Piece(groups, before, rows)] if groups or not found else found


def identity(cursor: Cursor, plan: TablePlan, digest: str) -> str:
    """What a load goes on by: the same file into the same table."""
    shape = ddl.create_table("", plan).as_string(cursor)
    return hashlib.sha256(f"{digest} {shape}".encode()).hexdigest()


def committed(cursor: Cursor, schema: str, plan: TablePlan, name: str) -> int:
    """Rows of an earlier attempt that are there already, 0 if it was one of something else."""
    cursor.execute(
        "SELECT obj_description(c.oid, 'pg_class') FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
        (schema, plan.name),
    )
    row = cursor.fetchone()
    try:
        note = json.loads(row[0]) if row and row[0] else {}
        return int(note["rows"]) if note[_KEY] == name else 0
    except (ValueError, KeyError, TypeError):
        return 0


def note(cursor: Cursor, schema: str, plan: TablePlan, name: str, rows: int) -> None:
    """Write how many rows are there when this transaction is committed."""
    table = sql.Identifier(schema, plan.name)
    text = json.dumps({_KEY: name, "rows": rows})
    cursor.execute(
        sql.SQL(
            "COMMENT ON TABLE {0} IS {1}; ALTER TABLE {0} SET (autovacuum_enabled = off)"
        ).format(table, sql.Literal(text))
    )


def clear(cursor: Cursor, schema: str, plan: TablePlan) -> None:
    """Take the note away: the table is whole when this transaction is committed."""
    cursor.execute(
        sql.SQL("COMMENT ON TABLE {0} IS NULL; ALTER TABLE {0} RESET (autovacuum_enabled)").format(
            sql.Identifier(schema, plan.name)
        )
    )
