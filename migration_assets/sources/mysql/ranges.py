"""Large tables are read by several connections of one snapshot, each a range of the primary key."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from itertools import pairwise

import pyarrow as pa

from migration_assets.core.catalog import Kind, Table
from migration_assets.pipeline import ahead
from migration_assets.sources.mysql.connect import Row, quote

Ask = Callable[[str], list[Row]]

LARGE_ROWS = 200_000
"""Rows, by the server's estimate, from which on a table is read in parts."""


def parts(ask: Ask, table: Table, count: int) -> list[str | None]:
    """Conditions that part a table into ranges of its key; one None for the whole of it.

    Args:
        ask: runs a query of the snapshot and gives its rows.
        table: as declared.
        count: of ranges at most.
    """
    if count == 1 or (table.rows or 0) < LARGE_ROWS or len(table.primary_key) != 1:
        return [None]
    column = table.column(table.primary_key[0])
    if column.type.kind is not Kind.INTEGER:
        return [None]
    key = quote(column.name)
    low, high = ask(f"SELECT MIN({key}), MAX({key}) FROM {quote(table.name)}")[0]
    if low is None or high is None:
        return [None]
    least, most = int(low), int(high)
    edges = [least + (most - least) * number // count for number in range(1, count)]
    if len(set(edges)) < len(edges) or edges[0] == least:
        return [None]
    bounds = [None, *edges, None]
    return [
        " AND ".join(
            ([f"{key} >= {after}"] if after is not None else [])
            + ([f"{key} < {before}"] if before is not None else [])
        )
        for after, before in pairwise(bounds)
    ]


def together(
    streams: list[Generator[pa.RecordBatch, None, None]],
) -> Iterator[pa.RecordBatch]:
    """Yield one batch of each stream in turn, each read in a thread of its own.

    The order follows from the streams alone, so that a second reading has the same.
    """
    if len(streams) == 1:
        yield from streams[0]
        return
    with ExitStack() as stack:
        waiting = [stack.enter_context(ahead(stream)) for stream in streams]
        while waiting:
            for stream in list(waiting):
                batch = next(stream, None)
                if batch is None:
                    waiting.remove(stream)
                else:
                    yield batch
