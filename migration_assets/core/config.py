"""What a user writes in ``defs.yaml``, and nothing else: unknown keys are errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from migration_assets.core.config_base import Identifier, StrictModel, TypeText, ZoneName
from migration_assets.core.cutover_config import PRODUCTION, STAGING, GoingLive
from migration_assets.core.plan import Conversion, Plan
from migration_assets.core.policies import POLICIES, TABLE_POLICIES, read_policies
from migration_assets.errors import InputError


def _column_policies(value: object) -> object:
    return read_policies(value, frozenset(POLICIES) - TABLE_POLICIES)


def _text_keys(value: object) -> object:
    """Keys of a value map as texts: YAML reads ``1:`` as a number."""
    if not isinstance(value, Mapping):
        return value
    for key in value:
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise ValueError(f"write the key {key!r} in quotes, as the text that the source holds")
    return {str(key): item for key, item in value.items()}


def _null_word(value: object) -> object:
    return "null" if value is None else value


Policies = Annotated[dict[str, str], BeforeValidator(read_policies)]
ColumnPolicies = Annotated[dict[str, str], BeforeValidator(_column_policies)]


class TargetConfig(StrictModel):
    """One target environment.

    Attributes:
        url: ``embedded`` for the bundled PostgreSQL, or ``postgresql://user@host:port/database``.
        password_file: a file that holds the password, so that it is in no YAML; relative to the
            migration's folder.
        schema_name: target schema (``schema`` in YAML), None for the migration's name.
        role: the role that owns what is made, None for the one that connects.
        allow_unverified_tls: production may be reached over a network without a verified
            certificate.
        pool: most connections of a run at once, in each of its processes.
        max_quarantined: in place of the migration's.
    """

    url: str = "embedded"
    password_file: str | None = None
    schema_name: str | None = Field(default=None, alias="schema")
    role: Identifier | None = None
    allow_unverified_tls: bool = False
    pool: int = Field(default=20, ge=8, le=100)
    max_quarantined: int | None = Field(default=None, ge=0)

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


class ColumnOverride(StrictModel):
    """What the user wants of one column.

    Attributes:
        type: PostgreSQL type, None for the one that is chosen.
        conversion: how values get there, None for the natural way of type and values.
        rename: target name.
        drop: the column does not come along.
        source_timezone: zone that naive timestamps are meant in.
        policies: anomaly -> choice.
    """

    type: TypeText | None = None
    conversion: Conversion | None = None
    rename: Identifier | None = None
    drop: bool = False
    source_timezone: ZoneName | None = None
    policies: ColumnPolicies = {}

    @model_validator(mode="after")
    def _drop_stands_alone(self) -> ColumnOverride:
        if self.drop and (self.type or self.conversion or self.rename or self.source_timezone):
            raise ValueError("a column with drop: true needs no other key")
        return self


class TableOverride(StrictModel):
    """What the user wants of one table; ``columns`` by source name."""

    rename: Identifier | None = None
    source_timezone: ZoneName | None = None
    policies: Policies = {}
    columns: dict[str, ColumnOverride] = {}


class TransformConfig(StrictModel):
    """One transform of the user's own, of a column or (a function only) of a whole table.

    Attributes:
        column: source column name, None for the whole table.
        name: shown in the ledger as ``transform:<name>``.
        values: value map, by the texts of the source's values.
        otherwise: what becomes of values that ``values`` does not name.
        expression: SQL-like expression over Arrow columns.
        function: ``module:function`` of a RecordBatch.
        type: target type if it changes.
        inverse: value map, expression or function that leads back; true inverts a value map.
    """

    column: str | None = None
    name: str | None = None
    values: Annotated[
        dict[str, str | int | float | bool | None] | None, BeforeValidator(_text_keys)
    ] = None
    otherwise: Annotated[Literal["keep", "null", "fail"], BeforeValidator(_null_word)] = "keep"
    expression: str | None = None
    function: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    type: TypeText | None = None
    inverse: Annotated[
        bool | dict[str, str | int | float | bool | None] | str | None, BeforeValidator(_text_keys)
    ] = None

    @model_validator(mode="after")
    def _one_kind(self) -> TransformConfig:
        kinds = [self.values is not None, self.expression is not None, self.function is not None]
        if sum(kinds) != 1:
            raise ValueError("a transform has exactly one of values, expression and function")
        if self.column is None and self.function is None:
            raise ValueError("a transform without column must be a function")
        if self.column is None and self.type is not None:
            raise ValueError("a type is that of one column: name it with column")
        if self.name is not None and (":" in self.name or not self.name.strip()):
            raise ValueError("a name must have a letter, and no colon")
        if self.values is None and self.otherwise != "keep":
            raise ValueError("otherwise belongs to values")
        return self


class IndexConfig(StrictModel):
    """One index of the user's own, in names and SQL of the target.

    Attributes:
        columns: plain columns; expressions: PostgreSQL SQL. One of both is given.
        where: predicate of a partial index, PostgreSQL SQL.
        name: None for one made of table and columns.
        reason: shown in plan and report.
    """

    columns: list[str] = []
    expressions: list[str] = []
    unique: bool = False
    where: str | None = None
    method: Literal["btree", "hash", "gin", "gist", "spgist", "brin"] = "btree"
    name: Identifier | None = None
    reason: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> IndexConfig:
        if bool(self.columns) == bool(self.expressions):
            raise ValueError("an index has either columns or expressions")
        return self


class ConstraintConfig(StrictModel):
    """One constraint of the user's own, in names and SQL of the target."""

    check: str | None = None
    unique: list[str] = []
    name: Identifier | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> ConstraintConfig:
        if (self.check is not None) == bool(self.unique):
            raise ValueError("a constraint has either check or unique")
        return self


class PlanConfig(StrictModel):
    """The part of the configuration that shapes the plan.

    Attributes:
        tables: which tables come.
        schema_mode: ``create`` the target's tables, or load into ``existing`` ones, which the
            application's own migrations made and whose catalog then decides.
        naming: ``keep`` the source's names, or make them ``snake_case``.
        source_timezone: zone that naive timestamps are meant in, None if nobody knows.
        foreign_key_indexes: every foreign key that no index serves gets one.
        policies: anomaly -> choice, for the whole migration.
        overrides: source table name -> what the user wants of it.
        transforms: source table name -> transforms, in the order in which they are applied.
        indexes: target table name -> indexes beyond the source's.
        constraints: target table name -> constraints beyond the source's.
        sensitive: source table name -> columns whose values are never shown; ``*`` for all.
    """

    tables: TablesConfig = TablesConfig()
    schema_mode: Literal["create", "existing"] = "create"
    naming: Literal["keep", "snake_case"] = "keep"
    source_timezone: ZoneName | None = None
    foreign_key_indexes: bool = True
    policies: Policies = {}
    overrides: dict[str, TableOverride] = {}
    transforms: dict[str, list[TransformConfig]] = {}
    indexes: dict[str, list[IndexConfig]] = {}
    constraints: dict[str, list[ConstraintConfig]] = {}
    sensitive: dict[str, list[str]] = {}

    _modules: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def modules(self) -> Mapping[str, str]:
        """Import path of a function -> hash of its module's source, as far as it was looked for."""
        return self._modules

    def located(self, modules: Mapping[str, str]) -> Self:
        """The same configuration with the hashes of the modules of its functions."""
        copy = self.model_copy()
        copy._modules = dict(modules)
        return copy

    @model_validator(mode="after")
    def _existing_decides(self) -> PlanConfig:
        if self.schema_mode == "existing":
            for key in ("indexes", "constraints"):
                if getattr(self, key):
                    raise ValueError(
                        f"{key} are the application's own with schema_mode: existing; take the key "
                        "out and let its migrations make them"
                    )
            if self.naming != "keep":
                raise ValueError(
                    "names are those of the schema with schema_mode: existing, found but for case "
                    "and underscores; take naming out"
                )
        return self


class MigrationConfig(PlanConfig, GoingLive):
    """One migration.

    What shapes the plan is described in :class:`PlanConfig`, what is about going live in
    :class:`~migration_assets.core.cutover_config.GoingLive`.

    Attributes:
        name: the migration; first part of its asset keys.
        source: source URL (``sqlite:///path``).
        targets: environment name -> target; rehearsals go to ``staging``, cutovers to
            ``production``.
        expectations: target table name -> expectations beyond the derived ones.
        executor: ``in_process`` or ``multiprocess`` (one process per step).
        schedule: cron line of the nightly rehearsal, in UTC.
        keep_runs: run folders kept, the newest first.
        storage: ``pyarrow.fs`` URI for Parquet, None for the run folder.
        max_quarantined: quarantined rows above this make a run not proven.
        schema_command: the application's own migration command, which makes the tables in an
            empty schema; None to load into tables that are there.
        schema_command_timeout: seconds that it may take.
        replace: rows that are in existing tables are replaced.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    source: str
    targets: dict[str, TargetConfig] = {STAGING: TargetConfig()}
    expectations: dict[str, list[ExpectationConfig]] = {}
    executor: Literal["in_process", "multiprocess"] = "in_process"
    schedule: str = "0 2 * * *"
    keep_runs: int = Field(default=3, ge=1)
    storage: str | None = None
    max_quarantined: int = Field(default=0, ge=0)
    schema_command: str | None = Field(default=None, min_length=1)
    schema_command_timeout: int = Field(default=600, ge=1)
    replace: bool = False

    @model_validator(mode="after")
    def _only_of_existing_schemas(self) -> MigrationConfig:
        if self.schema_mode != "existing":
            for key in ("schema_command", "replace"):
                if getattr(self, key):
                    raise ValueError(f"{key} needs schema_mode: existing")
        return self

    @model_validator(mode="after")
    def _two_places(self) -> MigrationConfig:
        for name in self.targets:
            if name not in (STAGING, PRODUCTION):
                raise ValueError(
                    f'targets has "{name}"; there are {STAGING} and {PRODUCTION} for a migration'
                )
        if STAGING not in self.targets:
            raise ValueError(f"targets needs {STAGING}, where rehearsals go")
        staging, production = self.targets[STAGING], self.targets.get(PRODUCTION)
        if (
            production is not None
            and production.url == staging.url
            and self.schema_of(PRODUCTION) == self.schema_of(STAGING)
        ):
            raise ValueError(
                f"{STAGING} and {PRODUCTION} are the same schema of the same database: a rehearsal "
                "would go live; give one of them another schema"
            )
        return self

    @property
    def default_environment(self) -> str:
        """What is meant if nobody says more: where the application is, or will be."""
        return PRODUCTION if PRODUCTION in self.targets else STAGING

    def allowed_in_quarantine(self, target: str) -> int:
        """Rows that may be in quarantine in ``target`` without keeping a run from being proven."""
        own = self.targets[target].max_quarantined
        return self.max_quarantined if own is None else own

    def schema_of(self, target: str) -> str:
        """The schema that ``target`` loads into."""
        return self.targets[target].schema_name or self.name

    def check_tables(self, plan: Plan) -> None:
        """Refuse expectations of a table that is not moved: nothing would ever check them.

        Args:
            plan: what comes, without a profile.

        Raises:
            InputError: there are some, and the first is named.
        """
        names = {planned.name for planned in plan.tables}
        for table in self.expectations:
            if table in names:
                continue
            target = next((planned.name for planned in plan.tables if planned.source == table), "")
            hint = f'it is called "{target}" there' if target else "case included"
            raise InputError(
                f'{self.name}: defs.yaml has expectations of "{table}", which is no table '
                f"that comes along; names are as in PostgreSQL, {hint}"
            )

    @property
    def plan(self) -> PlanConfig:
        """The part that shapes the plan."""
        fields = {name: getattr(self, name) for name in PlanConfig.model_fields}
        return PlanConfig(**fields).located(self._modules)
