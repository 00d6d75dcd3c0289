"""Rows that PostgreSQL refused go to the quarantine, and what is left becomes the table's extract.

The Parquet file of the extract stays as it is. Beside it a second one is written without these
rows, with a manifest of its own: what is loaded, checked and counted from here on.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from migration_assets import ledger
from migration_assets.convert.column import Rows, mask_of
from migration_assets.convert.rows import lanes_of, row_keys, source_rows
from migration_assets.core.catalog import Table
from migration_assets.core.plan import TablePlan
from migration_assets.core.results import Manifest
from migration_assets.core.sensitive import shown_facts
from migration_assets.errors import NotProvenError
from migration_assets.extract import Lanes, known_lanes, widened
from migration_assets.facts import FactsCollector, unequal_facts
from migration_assets.ledger import QuarantineWriter
from migration_assets.parquet_file import Sink, parquet_writer
from migration_assets.refusals import Refusal
from migration_assets.run_folder import RunFolder
from migration_assets.sources.base import LanesMissing, SnapshotReader

CAUSE = "load_refused"


def set_aside(
    reader: SnapshotReader,
    table: Table,
    plan: TablePlan,
    manifest: Manifest,
    parquet: pq.ParquetFile,
    refused: Sequence[Refusal],
    folder: RunFolder,
) -> Manifest:
    """Move refused rows of one table to the quarantine of the run in ``folder``.

    Args:
        reader: the snapshot of the extract, for the rows as the source has them.
        table: as declared.
        plan: what becomes of it.
        manifest: the extract.
        parquet: its file.
        refused: the rows, in order.
        folder: the run that loads; it holds the table's parts of ledger and quarantine, and gets
            the part ``refused``, the file without the rows and its manifest.

    Returns:
        the manifest of what is left, which is also kept as stage ``loaded``.

    Raises:
        NotProvenError: what is left and what was set aside are together not the extract.
    """
    started = time.monotonic()
    positions = np.array([refusal.position for refusal in refused], np.intp)
    left = _write_left(plan, manifest, parquet, positions, folder)
    path = folder.refused_part(plan.slug)
    numbers = _source_numbers(positions, folder, plan.slug)
    with QuarantineWriter(path, table.name) as quarantine:
        _write_rows(reader, table, plan, numbers, refused, folder, quarantine)
    entries = ledger.counts_without(folder.ledger_part(plan.slug), ledger.refused_keys(path))
    if quarantine.rows != len(refused):
        raise NotProvenError(
            f'table "{plan.source}": PostgreSQL refused {len(refused)} rows, '
            f"{quarantine.rows} of them were found in the source again"
        )
    left = replace(
        left,
        quarantined=manifest.quarantined + len(refused),
        set_aside=dict(Counter(manifest.set_aside) + Counter(quarantine.counts)),
        ledger=entries,
        seconds=manifest.seconds + time.monotonic() - started,
    )
    folder.write_result("loaded", plan.slug, left)
    return left


def _write_left(
    plan: TablePlan,
    manifest: Manifest,
    parquet: pq.ParquetFile,
    positions: Rows,
    folder: RunFolder,
) -> Manifest:
    """Write the Parquet file without some rows; its facts and theirs must be the extract's."""
    filesystem, root = folder.filesystem()
    name = f"{plan.slug}.loaded.parquet"
    names = [column.name for column in plan.stored_columns]
    kept = [FactsCollector() for _ in names]
    gone = [FactsCollector() for _ in names]
    rows = 0
    with (
        Sink(filesystem, f"{root}/{name}.part") as sink,
        parquet_writer(sink, plan) as writer,
    ):
        for batch, mask in _masked(parquet, positions):
            if mask is not None:
                out = batch.filter(pa.array(mask))
                for collector, array in zip(gone, out.columns, strict=True):
                    collector.add(array)
                batch = batch.filter(pa.array(~mask))
            for collector, array in zip(kept, batch.columns, strict=True):
                collector.add(array)
            if batch.num_rows:
                writer.write_batch(batch)
                rows += batch.num_rows
    filesystem.move(f"{root}/{name}.part", f"{root}/{name}")
    facts = {name: collector.finish() for name, collector in zip(names, kept, strict=True)}
    for column, collector, other in zip(names, kept, gone, strict=True):
        collector.merge(other)
        for fact, was, now in unequal_facts(
            plan, plan.column(column), manifest.facts[column], collector.finish()
        ):
            raise NotProvenError(
                f'table "{plan.source}", column "{column}": {fact} of the extract is {was}, {now} '
                "of what is left and what was set aside"
            )
    return replace(
        manifest,
        path=name,
        rows=rows,
        bytes=sink.bytes,
        digest=sink.digest,
        facts=shown_facts(plan, facts),
    )


def _masked(
    parquet: pq.ParquetFile, positions: Rows
) -> Iterator[tuple[pa.RecordBatch, np.typing.NDArray[np.bool_] | None]]:
    """The row groups as batches, each with a mask of the rows at ``positions``, if it has any."""
    first = 0
    for group in range(parquet.num_row_groups):
        for batch in parquet.read_row_group(group, use_threads=False).to_batches():
            low, high = np.searchsorted(positions, (first, first + batch.num_rows))
            mask = mask_of(positions[low:high] - first, batch.num_rows) if high > low else None
            yield batch, mask
            first += batch.num_rows


def _source_numbers(positions: Rows, folder: RunFolder, slug: str) -> Rows:
    """Rows of the Parquet file -> their numbers in the source, from 0."""
    part = folder.quarantine_part(slug)
    if not part.exists():
        return positions
    before = pq.read_table(part, columns=["row"], memory_map=False)["row"].to_numpy()
    # The n-th row that was set aside has (its number - n) rows before it that stayed.
    stayed = before - np.arange(len(before))
    return positions + np.searchsorted(stayed, positions, side="right")


def _write_rows(
    reader: SnapshotReader,
    table: Table,
    plan: TablePlan,
    numbers: Rows,
    refused: Sequence[Refusal],
    folder: RunFolder,
    quarantine: QuarantineWriter,
) -> None:
    """Write the source's rows ``numbers``; the table is read again up to the last of them."""
    lanes: Lanes = known_lanes(reader, folder, table)
    while True:
        try:
            # A list, so that a second reading does not write rows twice.
            found = list(_read_rows(reader, table, plan, numbers, lanes))
            break
        except LanesMissing as missing:
            lanes = widened(lanes, missing)
    sources = {column.name: column.source for column in plan.columns}
    for keys, values, start in found:
        these = refused[start : start + len(keys)]
        columns = [sources.get(refusal.column or "", "") for refusal in these]
        quarantine.add(
            keys,
            [
                (f'column "{column}": ' if column else "") + f"PostgreSQL: {refusal.message}"
                for column, refusal in zip(columns, these, strict=True)
            ],
            values,
            [f"{CAUSE}:{column}" for column in columns],
            numbers[start : start + len(keys)].tolist(),
        )


def _read_rows(
    reader: SnapshotReader,
    table: Table,
    plan: TablePlan,
    numbers: Rows,
    lanes: Mapping[str, tuple[object, ...]],
) -> Iterator[tuple[list[str], list[str], int]]:
    """Keys and values of the rows ``numbers``, and how many of them came before."""
    places = {column.name: place for place, column in enumerate(table.columns)}
    key = [places[plan.column(name).source] for name in plan.key]
    first = 0
    for raw in reader.read(table, lanes):  # type: ignore[arg-type]
        low, high = np.searchsorted(numbers, (first, first + raw.num_rows))
        if high > low:
            here, rows = lanes_of(raw), numbers[low:high] - first
            yield row_keys(here, key, first, rows), source_rows(table, here, rows), int(low)
        first += raw.num_rows
