"""The account of what was written to the target since a cutover: nothing of it gets lost.

Every table is compared, by key and content, with the Parquet file that it was loaded from. A table
that still holds just that is seen at the speed of the run's own check; of another one the file is
loaded once more, beside it, and PostgreSQL says which rows are new, changed or gone.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from migration_assets import load, private
from migration_assets.core.naming import shorten
from migration_assets.core.plan import ColumnPlan, TablePlan
from migration_assets.core.results import Manifest
from migration_assets.core.rollback import Account, TableWrites
from migration_assets.core.source_literals import DIALECTS, NoLiteralError
from migration_assets.extract import open_parquet
from migration_assets.home import Migration
from migration_assets.postgres import marker, written_since
from migration_assets.postgres.connect import Target, adbc, session
from migration_assets.postgres.marker import Mark, Role
from migration_assets.postgres.written_since import DELETED, INSERTED, Values, Write
from migration_assets.progress import Progress
from migration_assets.replay import Replay, TableReplay, changed_values, time_forms
from migration_assets.run_folder import RunFolder
from migration_assets.verify import content

STATEMENTS = "replay.sql"


def account(
    migration: Migration, target: Target, schema: str, run: str, account_id: str, out: Path
) -> Account:
    """Find all that was written to the tables of a run since they were loaded.

    The tables in ``schema`` are only read; what they are compared with is loaded into a schema
    of its own for as long as it takes.

    Args:
        migration: whose tables they are.
        target: the database.
        schema: holds the tables as they are, whatever it is called now.
        run: the root run that loaded them.
        account_id: names the schema that is made.
        out: gets one Parquet file a table with writes, and ``replay.sql``; 0700.

    Raises:
        BrokenOffError: the target was lost.
    """
    started = time.monotonic()
    place = migration.run_folder(run)
    if not place.has_plan:
        note = (
            f"the folder of run {run} is gone, so that what was written since can not be told from "
            f'what it loaded; all of it is in schema "{schema}"'
        )
        return Account(run=run, schema_name=schema, complete=False, notes=(note,))
    accountant = _Accountant(migration, target, schema, place, run, account_id, out)
    tables = accountant.tables()
    return Account(
        run=run,
        schema_name=schema,
        complete=accountant.complete,
        tables=tuple(tables),
        compared=accountant.compared,
        folder=str(out),
        statements=STATEMENTS if accountant.statements else None,
        seconds=time.monotonic() - started,
        notes=tuple(accountant.notes),
    )


class _Accountant:
    """One account in the making."""

    def __init__(
        self,
        migration: Migration,
        target: Target,
        schema: str,
        place: RunFolder,
        run: str,
        account_id: str,
        out: Path,
    ) -> None:
        self.notes: list[str] = []
        self.complete = True
        self.compared = 0
        self.statements = 0
        self._migration = migration
        self._target = target
        self._schema = schema
        self._place = place
        self._plan = place.kept_plan()
        self._manifests = place.manifests()
        self._dialect = place.catalog().dialect
        self._beside = shorten(f"{target.schema}__in_{account_id[:8]}")
        self._mark = Mark(migration.name, account_id, Role.INCOMING)
        self._run = run
        self._out = out

    def tables(self) -> list[TableWrites]:
        """Compare all tables; returns those with writes."""
        private.make_folder(self._out)
        found = []
        with ExitStack() as stack:
            connection = stack.enter_context(session(self._target, "the account of writes"))
            reader = stack.enter_context(adbc(self._target))
            replay = None
            if self._dialect in DIALECTS:
                title = (
                    f'What was written to schema "{self._target.schema}" at '
                    f"{self._target.location} since run {self._run} went live.",
                    "All or nothing: let your client stop at the first error "
                    "(sqlite3 -bail; mysql does).",
                )
                replay = stack.enter_context(
                    Replay(self._out / STATEMENTS, str(self._dialect), title)
                )
            else:
                self.notes.append("the source takes no statements: see the Parquet files")
            stack.callback(self._clear, connection)
            for table in self._plan.tables:
                try:
                    writes = self._table(connection, reader, table, replay)
                except psycopg2.ProgrammingError as error:
                    connection.rollback()
                    self._incomplete(table, f"can not be compared: {error.diag.message_primary}")
                else:
                    if writes is not None:
                        found.append(writes)
            self._others(connection)
        self.statements = replay.statements if replay else 0
        return found

    def _table(
        self, connection: Connection, reader: object, table: TablePlan, replay: Replay | None
    ) -> TableWrites | None:
        """What was written to one table; None if nothing was, or it can not be told."""
        with connection.cursor() as cursor:
            there = written_since.columns_of(cursor, self._schema, table.name)
        connection.rollback()
        if not there:
            self._incomplete(table, "is not there any more; its rows are in the run's extract")
            return None
        opened = self._parquet(table)
        if opened is None:
            return None
        columns = [c for c in table.columns if c.generated is None and c.name in there]
        gone = sorted({c.name for c in table.columns} - set(there))
        new = sorted(set(there) - {c.name for c in table.columns})
        if gone:
            self._incomplete(table, f"has lost column {', '.join(gone)}, which is not compared")
        if new:
            self._incomplete(table, f"has got column {', '.join(new)}, which is not compared")
        with opened as parquet:
            self.compared += 1
            if not gone and content.is_unchanged(
                self._target, self._schema, table, parquet, reader
            ):
                return None
            self._load(connection, table, parquet)
        return self._written(connection, table, columns, replay)

    def _parquet(self, table: TablePlan) -> pq.ParquetFile | None:
        """What the table was loaded from."""
        slug = table.slug
        manifest, place = self._manifests.get(slug), self._place
        pin = place.path / "origin" / slug
        if pin.exists() and place.read_result("loaded", slug, Manifest) is None:
            place = RunFolder(Path(pin.read_text()), place.storage)
        try:
            if manifest is not None:
                return open_parquet(place, manifest.path)
        except FileNotFoundError:
            pass
        self._incomplete(table, f"was loaded from a file of run {self._run} that is gone")
        return None

    def _load(self, connection: Connection, table: TablePlan, parquet: pq.ParquetFile) -> None:
        """Make the table as it was loaded, in a schema of its own."""
        with connection, connection.cursor() as cursor:
            if not marker.schema_exists(cursor, self._beside):
                cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(self._beside)))
                marker.write_mark(cursor, self._beside, self._mark)
        plain = tuple(replace(c, default=None, identity=False) for c in table.columns)
        bare = replace(table, columns=plain, existing=False)
        load.load_table(self._target, self._beside, bare, parquet, Progress(), connection)
        with connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(self._beside, table.name)))

    def _written(
        self,
        connection: Connection,
        table: TablePlan,
        columns: list[ColumnPlan],
        replay: Replay | None,
    ) -> TableWrites | None:
        counts: Counter[str] = Counter()
        left_out: Counter[str] = Counter()
        repeated = None
        if replay is not None:
            forms = time_forms(self._migration.source(), self._place, table)
            changed = changed_values(self._place, table)
            repeated = TableReplay(table, columns, str(self._dialect), forms, changed)
        path = self._out / f"{table.slug}.parquet"
        names = [column.name for column in columns]
        with connection.cursor() as cursor:
            # That of the loaded rows, since PostgreSQL has counted them just now.
            at_once = written_since.rows_at_once(cursor, self._beside, table.name)
        with _Writes(path, names, at_once) as file:
            for write in written_since.writes(
                connection, table, columns, self._schema, self._beside, at_once
            ):
                counts[write.change] += 1
                file.add(write)
                if replay is None or repeated is None:
                    continue
                try:
                    statement = repeated.statement(write)
                except NoLiteralError as error:
                    left_out[str(error)] += 1
                else:
                    if statement is not None:
                        replay.add(write.change, statement)
        with connection, connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("DROP TABLE {}").format(sql.Identifier(self._beside, table.name))
            )
        if not counts:
            path.unlink(missing_ok=True)
            return None
        return TableWrites(
            table=table.name,
            source=table.source,
            inserted=counts[INSERTED],
            updated=counts[written_since.UPDATED],
            deleted=counts[DELETED],
            file=path.name,
            left_out=dict(left_out),
        )

    def _others(self, connection: Connection) -> None:
        """Tables that the run did not load, such as those that the application made since."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid ="
                " c.relnamespace WHERE n.nspname = %s AND c.relkind IN ('r', 'p')"
                " AND NOT c.relispartition AND NOT c.relname = ANY(%s) ORDER BY 1",
                (self._schema, [table.name for table in self._plan.tables]),
            )
            self.notes += [
                f'table "{name}" is none of the migration: it is in schema "{self._schema}" only'
                for (name,) in cursor.fetchall()
            ]
        connection.rollback()

    def _incomplete(self, table: TablePlan, why: str) -> None:
        self.complete = False
        self.notes.append(f'table "{table.name}" {why}; all of it is in schema "{self._schema}"')

    def _clear(self, connection: Connection) -> None:
        if not connection.closed:
            connection.rollback()
            marker.drop_schema(connection, self._beside)


class _Writes:
    """The Parquet file with the writes to one table, readable by its owner only.

    Columns: ``change``; ``columns``, those whose value changed; ``before`` and ``after``, the row
    as it was loaded and as it was last, in PostgreSQL's own texts of the values.
    """

    def __init__(self, path: Path, names: list[str], at_once: int) -> None:
        row = pa.struct([pa.field(name, pa.string()) for name in names])
        self._names = names
        self._schema = pa.schema(
            [
                ("change", pa.string()),
                ("columns", pa.list_(pa.string())),
                ("before", row),
                ("after", row),
            ]
        )
        self._path = path
        self._at_once = at_once
        self._waiting: list[Write] = []

    def __enter__(self) -> _Writes:
        os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        self._writer = pq.ParquetWriter(self._path, self._schema, compression="zstd")
        return self

    def add(self, write: Write) -> None:
        """Take in one."""
        self._waiting.append(write)
        if len(self._waiting) >= self._at_once:
            self._flush()

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        rows = [
            {
                "change": write.change,
                "columns": list(self._changed(write)),
                "before": self._row(write.before),
                "after": self._row(write.after),
            }
            for write in self._waiting
        ]
        if rows:
            self._writer.write_table(pa.Table.from_pylist(rows, schema=self._schema))
        self._waiting = []

    def _changed(self, write: Write) -> Iterator[str]:
        if write.before is not None and write.after is not None:
            for name, before, after in zip(self._names, write.before, write.after, strict=True):
                if before != after:
                    yield name

    def _row(self, values: Values | None) -> dict[str, str | None] | None:
        return None if values is None else dict(zip(self._names, values, strict=True))
