"""Extract: the lanes of one snapshot become Parquet files, each beside a manifest.

Every table is read once. While its lanes are profiled they are kept on local disk (the *spill*,
Arrow IPC with lz4), because the plan needs the whole profile before it is known how to convert
the first value. A table of many batches is converted meanwhile by the plan that its first rows
suggest (``begun``); if the plan of the whole profile is another one, the spill is converted by
that. The spill is gone when the Parquet file stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from migration_assets import private
from migration_assets.begun import Beginning, Begun, Suggest
from migration_assets.core.catalog import Catalog, Table
from migration_assets.core.plan import TablePlan
from migration_assets.core.profile import Lane, Profile, TableProfile
from migration_assets.core.results import Manifest
from migration_assets.core.sensitive import Columns, names, shown_facts, shown_profile
from migration_assets.errors import BrokenOffError, MigrationError
from migration_assets.facts import source_mismatches
from migration_assets.parquet_file import write_parquet
from migration_assets.pipeline import ahead
from migration_assets.profiler import TableProfiler
from migration_assets.progress import Progress
from migration_assets.run_folder import RunFolder
from migration_assets.sources.base import LanesMissing, SnapshotReader, SourceFacts

Lanes = dict[str, tuple[Lane, ...]]


def read_profile(
    reader: SnapshotReader,
    catalog: Catalog,
    folder: RunFolder,
    slugs: Mapping[str, str],
    spill: Collection[str],
    progress: Progress,
    suggest: Suggest | None = None,
    sensitive: Columns = frozenset(),
) -> tuple[Profile, dict[str, Begun]]:
    """Read every table of a snapshot once.

    Args:
        reader: the snapshot.
        catalog: the tables it holds.
        folder: takes the spills.
        slugs: source name -> slug. Tables without one are left out.
        spill: source names of the tables whose lanes are kept for :func:`write_table`.
        progress: shown as stage ``profile``.
        suggest: the plan of a table by the profile of its first rows, None where there is none;
            without it no table is converted while it is read.
        sensitive: columns whose values are in no message, and not in the facts.

    Returns:
        The facts of all values, and what was begun of tables that are large, by source name.

    Raises:
        MigrationError: a table could not be read; names it.
    """
    tables: dict[str, TableProfile] = {}
    begun: dict[str, Begun] = {}
    with ExitStack() as undo:
        for table in catalog.tables:
            if table.name not in slugs:
                continue
            path = folder.raw(slugs[table.name]) if table.name in spill else None
            hidden = any(name == table.name for name, _ in sensitive)
            with (
                _naming(table, hidden),
                progress.task("profile", table.name, table.rows) as advance,
            ):
                lanes = dict(reader.expected_lanes(table))
                while table.name not in tables:
                    try:
                        with Beginning(reader, table, lanes, folder, suggest) as beginning:
                            profile = _profile(reader, table, lanes, path, beginning, advance)
                            tables[table.name] = profile
                    except LanesMissing as missing:
                        lanes = widened(lanes, missing)
                if beginning.begun is not None:
                    begun[table.name] = beginning.begun
                    undo.callback(beginning.begun.settled, None, folder)
        undo.pop_all()
    return shown_profile(Profile(tables), sensitive), begun


def write_table(
    reader: SnapshotReader,
    table: Table,
    plan: TablePlan,
    folder: RunFolder,
    progress: Progress,
    begun: Begun | None = None,
) -> Manifest:
    """Convert one table into its Parquet file and prove the file against the source.

    The proof has three links. The source's own engine counts and sums the table (beside the
    rest, in a connection of its own); the same facts are computed of the lanes that were
    read, and of the very batches that were handed to the Parquet writer; and the finished file's
    metadata is read back for its count of rows. The file's values are not decoded again here:
    the content check decodes all of them against what was loaded.

    Args:
        reader: the snapshot.
        table: as declared.
        plan: what becomes of it.
        folder: holds the spill, if there is one (else the table is read again), and takes the
            Parquet file and the parts of ledger and quarantine.
        progress: shown as stage ``extract``.
        begun: what :func:`read_profile` has done already, settled by this plan.

    Raises:
        MigrationError: the table could not be read or converted; names it.
    """
    started = time.monotonic()
    spill = folder.raw(plan.slug)
    out = begun.written if begun else None
    with _naming(table, bool(names(plan))), ThreadPoolExecutor(1) as beside:
        counting: Callable[[], SourceFacts] = (
            (lambda: begun.facts) if begun else beside.submit(reader.facts, table).result
        )
        lanes = {} if out or spill.exists() else known_lanes(reader, folder, table)
        while out is None:
            try:
                with (
                    progress.task("extract", table.name, table.rows) as advance,
                    # A spill is read so fast that a thread of its own would only hold memory.
                    ahead(reader.read(table, lanes)) if lanes else _spilled(spill) as raws,
                ):
                    out = write_parquet(raws, table, plan, folder, advance)
            except LanesMissing as missing:
                lanes = widened(lanes, missing)
        source = counting()
    spill.unlink(missing_ok=True)
    mismatches = (
        *source_mismatches(plan, source, out.lanes, out.read),
        *out.mismatches,
    )
    return Manifest(
        slug=plan.slug,
        source=plan.source,
        target=plan.name,
        path=out.path,
        rows=out.rows,
        source_rows=source.rows,
        quarantined=sum(out.set_aside.values()),
        set_aside=out.set_aside,
        ledger=out.ledger,
        led_back=out.led_back,
        digest=out.digest,
        facts=shown_facts(plan, out.facts),
        mismatches=mismatches,
        bytes=out.bytes,
        seconds=time.monotonic() - started,
    )


def open_parquet(folder: RunFolder, manifest_path: str) -> pq.ParquetFile:
    """Open a table's Parquet file by ``Manifest.path``, to be read in streams.

    Raises:
        FileNotFoundError: there is no such file.
    """
    filesystem, root = folder.filesystem()
    # Read by chunks, not mapped: a mapped file would count as the process's memory.
    return pq.ParquetFile(f"{root}/{manifest_path}", filesystem=filesystem, buffer_size=1 << 20)


def _profile(
    reader: SnapshotReader,
    table: Table,
    lanes: Lanes,
    path: Path | None,
    beginning: Beginning,
    advance: Callable[[int], None],
) -> TableProfile:
    """Read a table with these lanes; raises LanesMissing, and then leaves no spill."""
    profiler = TableProfiler(table)
    with _Spill(path) as spill, ahead(reader.read(table, lanes)) as batches:
        for raw in batches:
            # In the rare case that another plan comes of it, the table is read again.
            if beginning.add(raw, profiler):
                spill.drop()
            else:
                spill.write(raw)
            profiler.update(raw)
            advance(raw.num_rows)
    return profiler.finish(
        reader.next_value(table), reader.orphans(table), reader.case_folds(table)
    )


@contextmanager
def _spilled(path: Path) -> Iterator[Iterator[pa.RecordBatch]]:
    """Open the raw batches that were kept while the table was profiled."""
    # Not mapped: the pages of a mapped file would count as the process's memory.
    with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as batches:
        yield (batches.get_batch(number) for number in range(batches.num_record_batches))


def known_lanes(reader: SnapshotReader, folder: RunFolder, table: Table) -> Lanes:
    """The lanes to read a table again with: those of its profile, else those expected."""
    lanes = dict(reader.expected_lanes(table))
    try:
        columns = folder.profile().tables[table.name].columns
    except (FileNotFoundError, KeyError):
        return lanes
    return {name: tuple(columns[name].lanes) or lanes[name] for name in lanes}


def widened(lanes: Mapping[str, tuple[Lane, ...]], missing: LanesMissing) -> Lanes:
    """The same lanes with all of them for the columns that need more; raises if all were asked."""
    every = tuple(Lane)
    if not missing.columns or all(lanes.get(name) == every for name in missing.columns):
        raise missing
    return {name: every if name in missing.columns else lanes[name] for name in lanes}


@contextmanager
def _naming(table: Table, hidden: bool) -> Iterator[None]:
    """Let every failure of the block name the table; ``hidden``: no message of others is shown."""
    try:
        yield
    except MigrationError as error:
        if f'table "{table.name}"' in str(error):
            raise
        raise type(error)(f'table "{table.name}": {error}') from error
    except Exception as error:
        said = "" if hidden else str(error).partition("\n")[0]
        reason = said or type(error).__name__
        raise BrokenOffError(
            f'table "{table.name}": the extract broke off ({reason}); run it again'
        ) from error


class _Spill:
    """The Arrow IPC file that keeps raw batches; without a path it keeps nothing.

    The file comes into being when the block ends without an error. It holds values of the source,
    so only its owner may read it.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part") if path else None
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        return self

    def drop(self) -> None:
        """Keep nothing, not even what was written."""
        if self._writer is not None and self._part is not None:
            self._writer.close()
            self._part.unlink()
        self._writer = self._part = None

    def write(self, raw: pa.RecordBatch) -> None:
        """Keep one batch."""
        if self._part is None:
            return
        if self._writer is None:
            options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
            private.make_file(self._part)
            self._writer = pa.ipc.new_file(str(self._part), raw.schema, options=options)
        self._writer.write_batch(raw)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is None or self._part is None or self._path is None:
            return
        self._writer.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)
