"""What a user writes in ``defs.yaml``, and nothing else: unknown keys are errors."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from migration_assets.errors import InputError


class StrictModel(BaseModel):
    """A record whose unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class TargetConfig(StrictModel):
    """One target environment.

    Attributes:
        url: ``embedded`` for the bundled PostgreSQL, or ``postgresql://user@host:port/database``.
        password_file: a file that holds the password, so that it is in no YAML; relative to the
            migration's folder.
        schema_name: target schema (``schema`` in YAML), None for the migration's name.
    """

    url: str = "embedded"
    password_file: str | None = None
    schema_name: str | None = Field(default=None, alias="schema")

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class TablesConfig(StrictModel):
    """Which tables come: shell patterns against source names; ``exclude`` wins."""

    include: list[str] = ["*"]
    exclude: list[str] = []


class ExpectationConfig(StrictModel):
    """One expectation of the user's own: a Great Expectations type in snake case and its arguments.

    Columns are named as in PostgreSQL.
    """

    type: str
    kwargs: dict[str, Any] = {}


class PlanConfig(StrictModel):
    """The part of the configuration that shapes the plan."""

    tables: TablesConfig = TablesConfig()


class MigrationConfig(StrictModel):
    """One migration.

    Attributes:
        name: the migration; first part of its asset keys.
        source: source URL (``sqlite:///path``).
        targets: environment name -> target; ``staging`` is where rehearsals go.
        tables: which tables come.
        expectations: source table name -> expectations beyond the derived ones.
        executor: ``in_process`` or ``multiprocess`` (one process per step).
        schedule: cron line of the nightly rehearsal, in UTC.
        keep_runs: run folders kept, the newest first.
        storage: ``pyarrow.fs`` URI for Parquet, None for the run folder.
        max_quarantined: quarantined rows above this make a run not proven.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    source: str
    targets: dict[str, TargetConfig] = {"staging": TargetConfig()}
    tables: TablesConfig = TablesConfig()
    expectations: dict[str, list[ExpectationConfig]] = {}
    executor: Literal["in_process", "multiprocess"] = "in_process"
    schedule: str = "0 2 * * *"
    keep_runs: int = Field(default=3, ge=1)
    storage: str | None = None
    max_quarantined: int = Field(default=0, ge=0)

    def schema_of(self, target: str) -> str:
        """The schema that ``target`` loads into."""
        return self.targets[target].schema_name or self.name

    def check_tables(self, planned: Collection[str]) -> None:
        """Refuse expectations of a table that is not moved: nothing would ever check them.

        Args:
            planned: source names of the tables that come.

        Raises:
            InputError: there are some, and the first is named.
        """
        for table in self.expectations:
            if table not in planned:
                raise InputError(
                    f'{self.name}: defs.yaml has expectations of "{table}", which is no table '
                    "that comes along; names are as in the source, case included"
                )

    @property
    def plan(self) -> PlanConfig:
        """The part that shapes the plan."""
        return PlanConfig(tables=self.tables)
