"""Dagster's event log on SQLite with open connections.

Dagster's own class connects anew for every statement, which takes most of the time of an event:
a run of 100 tables writes more than a thousand. Files and tables are the same, so that either
class reads what the other wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

_KEPT = "kept_script_directory"

_OPEN_RUNS = 4
"""Files kept open beside the index; the UI reads the logs of many runs."""


class OpenSqliteEventLogStorage(SqliteEventLogStorage):
    """Keeps one connection open to the index and to each of the runs used last."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: dict[str, Engine] = {}
        self._seen_tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock, self._engine(shard).begin() as connection:
            yield connection

    def _engine(self, shard: str) -> Engine:
        engine = self._engines.pop(shard, None)
        if engine is None:
            engine = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=QueuePool,
                pool_size=1,
                connect_args={
                    "timeout": SQLITE_BUSY_TIMEOUT_SECONDS,
                    # One thread at a time, by the lock.
                    "check_same_thread": False,
                },
            )
            event.listen(engine, "connect", _set_up)
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        self._engines[shard] = engine  # now the last used
        while len(self._engines) > _OPEN_RUNS + 1:
            self._engines.pop(next(iter(self._engines))).dispose()
        return engine

    def has_table(self, table_name: str) -> bool:
        """Look for a table of the index; asked at each check, and a table that was made stays."""
        if table_name not in self._seen_tables and super().has_table(table_name):
            self._seen_tables.add(table_name)
        return table_name in self._seen_tables

    def dispose(self) -> None:
        """Close all files."""
        with self._db_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()
        super().dispose()


def _set_up(connection: Any, _record: Any) -> None:
    # Safe with a write-ahead log: a power cut may lose the last events, never the file.
    connection.execute("PRAGMA synchronous = NORMAL")


def _keep_revisions() -> None:
    """Let Alembic keep Dagster's revisions for as long as this process lives.

    They are some 70 files, read again at each look at a database: four times 0.05 s for a run, and
    seven in a new home.
    """
    read = ScriptDirectory.from_config
    if read.__name__ == _KEPT:
        return
    known: dict[str | None, ScriptDirectory] = {}

    def kept(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in known:
            known[place] = read(config)
        return known[place]

    kept.__name__ = _KEPT
    ScriptDirectory.from_config = staticmethod(kept)  # type: ignore[method-assign]


class OpenSqliteStorage(DagsterSqliteStorage):
    """Dagster's storage on SQLite files, with an event log that keeps them open."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        _keep_revisions()
        super().__init__(base_dir, inst_data)
        folder = self._event_log_storage._base_dir
        self._event_log_storage = OpenSqliteEventLogStorage(folder)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> OpenSqliteStorage:
        """Make it as ``dagster.yaml`` says."""
        return cls(inst_data=inst_data, **config_value)
