"""Plan keys, indexes, checks and foreign keys, with names that are free in the schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from migration_assets.core import naming
from migration_assets.core.catalog import (
    POSTGRES,
    Catalog,
    Check,
    ForeignKey,
    Index,
    SkippedObject,
    Table,
)
from migration_assets.core.index_terms import FOLDED, prefix_term, words_index
from migration_assets.core.plan import (
    CheckPlan,
    Decision,
    ForeignKeyPlan,
    IndexPlan,
    TablePlan,
    UniquePlan,
)
from migration_assets.core.profile import ColumnProfile, Profile, TableProfile
from migration_assets.core.translate import Relation, UntranslatableError, expression

MAX_INDEX_COLUMNS = 32
"""Columns of an index or key (PostgreSQL manual, "PostgreSQL Limits")."""
MAX_INDEXED_BYTES = 2600
"""A b-tree entry must fit a third of a page (PostgreSQL manual, "B-Tree Indexes")."""
_UNORDERED = {"json"}


class ConstraintPlanner:
    """Plans the constraints of all tables.

    Args:
        catalog: what the source declares.
        tables: source table name -> plan with its columns, without constraints.
        profile: what the values are, None if not read.
        skipped: is added to.
        decisions: is added to.
        style: how names of the source are written, ``keep`` or ``snake_case``.
    """

    def __init__(
        self,
        catalog: Catalog,
        tables: Mapping[str, TablePlan],
        profile: Profile | None,
        skipped: list[SkippedObject],
        decisions: list[Decision],
        style: str = "keep",
    ) -> None:
        self._catalog = catalog
        self._tables = tables
        self._profile = profile
        self._skipped = skipped
        self._decisions = decisions
        self._styled = naming.styled(style)
        self.relation_names = {table.name for table in tables.values()}
        """Names in use by tables, keys, indexes and views, which share one name space."""

    def table(self, table: Table) -> TablePlan:
        """Return the plan of ``table`` with its constraints."""
        plan = self._with_primary_key(self._tables[table.name], table)
        plan = self._with_uniques(plan, table)
        plan = self._with_indexes(plan, table)
        plan = self._with_checks(plan, table)
        plan = self._with_foreign_keys(plan, table)
        return replace(plan, key=self._telling_key(plan, table))

    def free(self, name: str) -> str:
        """A relation name that is free, as near to ``name`` as can be; takes it."""
        number, candidate = 0, naming.shorten(name)
        while candidate in self.relation_names:
            number += 1
            candidate = naming.shorten(f"{name}_{number}")
        self.relation_names.add(candidate)
        return candidate

    def _facts(self, table: str) -> TableProfile:
        empty = TableProfile(rows=0, columns={})
        return self._profile.tables.get(table, empty) if self._profile else empty

    def _nulls(self, table: str, column: str) -> int:
        return self._facts(table).columns.get(column, ColumnProfile()).nulls

    def _key_nulls(self, plan: TablePlan, column: str) -> int:
        """NULLs that a key would have to hold: none where the policy sets their rows aside."""
        policies = {c.source: c.policy("null_in_not_null") for c in plan.columns}
        return self._nulls(plan.source, column) if policies[column] == "nullable" else 0

    def _skip(
        self, kind: str, name: str, reason: str, table: Table, sql: str | None = None
    ) -> None:
        self._skipped.append(SkippedObject(kind, name, reason, table.name, sql))

    def _targets(self, plan: TablePlan, columns: tuple[str, ...]) -> tuple[str, ...]:
        names = {column.source: column.name for column in plan.columns}
        return tuple(names[column] for column in columns)

    def _refusal(self, table: Table, columns: tuple[str, ...]) -> str | None:
        """Why PostgreSQL cannot hold a b-tree over ``columns``, None if it can."""
        if len(columns) > MAX_INDEX_COLUMNS:
            return f"has {len(columns)} columns, PostgreSQL's limit is {MAX_INDEX_COLUMNS}"
        plan = self._tables[table.name]
        gone = [column for column in columns if column in plan.dropped]
        if gone:
            return f'its column "{gone[0]}" is dropped by overrides: of defs.yaml'
        size = 0
        for column in columns:
            kind = next(c for c in plan.columns if c.source == column).type.name
            if kind in _UNORDERED:
                return f'column "{column}" is {kind}, which has no order'
            facts = self._facts(table.name).columns.get(column, ColumnProfile())
            variable = kind in {"text", "varchar", "bytea", "jsonb"}
            size += max(facts.text_bytes, facts.blob_bytes) if variable else 16
        if size > MAX_INDEXED_BYTES:
            return f"values of up to {size} bytes may not fit an index entry ({MAX_INDEXED_BYTES})"
        return None

    def _folds_case(self, table: Table, columns: tuple[str, ...]) -> bool:
        """Whether a key holds values for one that differ in case, or in spaces at their end."""
        return any((table.column(c).collation or "").upper() in FOLDED for c in columns)

    def _with_primary_key(self, plan: TablePlan, table: Table) -> TablePlan:
        columns = table.primary_key
        if not columns:
            return plan
        label = ", ".join(columns)
        if (refusal := self._refusal(table, columns)) is not None:
            self._skip("primary key", label, refusal, table)
            return plan
        nulls = [c for c in columns if c != table.auto_column and self._key_nulls(plan, c)]
        if nulls:
            self._skip(
                "primary key",
                label,
                f'column "{nulls[0]}" has NULLs, which a PostgreSQL key cannot hold; '
                "a unique constraint stands in its place",
                table,
            )
            return self._with_unique(plan, table, columns, f"{plan.name}_key")
        if self._folds_case(table, columns):
            plan = self._with_unique(plan, table, columns, f"{plan.name}_nocase_key")
        targets = self._targets(plan, columns)
        return replace(
            plan,
            primary_key=targets,
            primary_key_name=self.free(table.primary_key_name or f"{plan.name}_pkey"),
            columns=tuple(
                replace(c, nullable=False) if c.name in targets else c for c in plan.columns
            ),
        )

    def _with_uniques(self, plan: TablePlan, table: Table) -> TablePlan:
        for key in table.unique_keys:
            if key.columns == table.primary_key:
                continue
            if set(key.columns) & set(plan.dropped):
                name = ""
            elif key.name:
                name = self._styled(key.name)
            else:
                name = "_".join((plan.name, *self._targets(plan, key.columns), "key"))
            plan = self._with_unique(plan, table, key.columns, name)
        return plan

    def _with_unique(
        self, plan: TablePlan, table: Table, columns: tuple[str, ...], name: str
    ) -> TablePlan:
        """Add a unique key; one whose collation folds values becomes a unique index over these."""
        if (refusal := self._refusal(table, columns)) is not None:
            self._skip("unique key", ", ".join(columns), refusal, table)
            return plan
        targets = self._targets(plan, columns)
        if self._folds_case(table, columns):
            terms = tuple(
                self._term(plan, table, column, table.column(column).collation)
                for column in columns
            )
            index = IndexPlan(self.free(name), terms, unique=True, reason="unique by its collation")
            return replace(plan, indexes=(*plan.indexes, index))
        if any(unique.columns == targets for unique in plan.uniques):
            return plan
        return replace(plan, uniques=(*plan.uniques, UniquePlan(self.free(name), targets)))

    def _term(
        self, plan: TablePlan, table: Table, column: str, collation: str | None, suffix: str = ""
    ) -> str:
        """One index term, folded as the collation compares."""
        target = next(c for c in plan.columns if c.source == column)
        quoted = naming.quote(target.name)
        folded = FOLDED.get((collation or "").upper())
        if folded is not None and target.type.name in {"text", "varchar"}:
            return folded.format(quoted) + suffix
        return f"{quoted}{suffix}"

    def _with_indexes(self, plan: TablePlan, table: Table) -> TablePlan:
        for index in table.indexes:
            try:
                planned = self._index(plan, table, index)
            except UntranslatableError as error:
                self._skip("index", index.name, str(error), table, index.sql)
                continue
            plan = replace(plan, indexes=(*plan.indexes, planned))
        return plan

    def _index(self, plan: TablePlan, table: Table, index: Index) -> IndexPlan:
        if index.method != "btree":
            return words_index(plan, index, self.free(self._styled(index.name)))
        relation = Relation.of(plan)
        dialect = self._catalog.dialect or ""
        plain = tuple(term.column for term in index.terms if term.column is not None)
        prefixes = {t.column: t.prefix for t in index.terms if t.prefix and t.column}
        whole = tuple(column for column in plain if column not in prefixes)
        refusal = self._refusal(table, plain)
        if refusal is None and not index.unique:
            prefixes = {}  # The whole value finds all that its beginning finds.
        elif prefixes:
            refusal = self._refusal(table, whole) if whole else None
        if refusal is not None:
            raise UntranslatableError(refusal)
        terms = []
        for term in index.terms:
            # SQLite and MySQL hold NULL to be the smallest value, PostgreSQL the greatest.
            suffix = " DESC NULLS LAST" if term.descending else ""
            if term.column in prefixes:
                terms.append(prefix_term(plan, term.column or "", term.prefix or 0) + suffix)
            elif term.column is not None:
                terms.append(self._term(plan, table, term.column, term.collation, suffix))
            else:
                translated = expression(term.expression or "", dialect, relation)
                terms.append(f"({translated}){suffix}")
        where = expression(index.where, dialect, relation) if index.where else None
        return IndexPlan(
            self.free(self._styled(index.name)),
            tuple(terms),
            index.unique,
            where,
            "declared in the source",
            translated=bool(prefixes)
            or where is not None
            or any(t.column is None for t in index.terms),
            source_where=index.where,
            source_sql=index.sql,
            method=index.method if dialect == POSTGRES else "btree",
        )

    def _with_checks(self, plan: TablePlan, table: Table) -> TablePlan:
        taken = {unique.name for unique in plan.uniques} | {plan.primary_key_name}
        for number, check in enumerate(table.checks, start=1):
            try:
                translated = self._check(plan, check)
            except UntranslatableError as error:
                self._skip(
                    "check", check.name or f"check {number}", str(error), table, check.expression
                )
                continue
            if translated is None:
                continue
            wanted = (
                check.name and self._styled(check.name)
            ) or f"{plan.name}_check{number if number > 1 else ''}"
            name, suffix = naming.shorten(wanted), 0
            while name in taken:
                suffix += 1
                name = naming.shorten(f"{wanted}_{suffix}")
            taken.add(name)
            plan = replace(
                plan, checks=(*plan.checks, CheckPlan(name, translated, check.expression))
            )
        return plan

    def _check(self, plan: TablePlan, check: Check) -> str | None:
        """Translate a check; None if the column's type already says it."""
        folded = "".join(check.expression.lower().split())
        for column in plan.columns:
            name = column.source.lower()
            spellings = {name, f'"{name}"', f"`{name}`", f"[{name}]"}
            if column.type.name in {"json", "jsonb"} and folded in {
                f"json_valid({spelling})" for spelling in spellings
            }:
                self._decisions.append(
                    Decision(
                        plan.source, column.source, "no check", "the type itself allows only JSON"
                    )
                )
                return None
        return expression(check.expression, self._catalog.dialect or "", Relation.of(plan))

    def _with_foreign_keys(self, plan: TablePlan, table: Table) -> TablePlan:
        taken = {
            plan.primary_key_name,
            *(c.name for c in plan.checks),
            *(u.name for u in plan.uniques),
        }
        for position, key in enumerate(table.foreign_keys):
            label = key.name or f"({', '.join(key.columns)}) -> {key.ref_table}"
            parent = self._tables.get(key.ref_table)
            reason = self._unfit(plan, table, key, parent)
            if reason is not None or parent is None:
                self._skip(
                    "foreign key", label, reason or "its parent table does not come along", table
                )
                continue
            orphans = self._facts(table.name).orphans.get(position, 0)
            if orphans and plan.policy("orphans") == "drop_key":
                dangling = f"{orphans} rows have no parent, and the policy orphans is drop_key"
                self._skip("foreign key", label, dangling, table)
                continue
            columns = self._targets(plan, key.columns)
            wanted = (key.name and self._styled(key.name)) or "_".join(
                (plan.name, *columns, "fkey")
            )
            name, suffix = naming.shorten(wanted), 0
            while name in taken:
                suffix += 1
                name = naming.shorten(f"{wanted}_{suffix}")
            taken.add(name)
            if orphans:
                self._decisions.append(
                    Decision(
                        table.name,
                        ", ".join(key.columns),
                        "NOT VALID",
                        f'rows without a parent in "{key.ref_table}"',
                        f"{orphans} rows",
                    )
                )
            plan = replace(
                plan,
                foreign_keys=(
                    *plan.foreign_keys,
                    ForeignKeyPlan(
                        name=name,
                        columns=columns,
                        ref_table=parent.name,
                        ref_columns=self._targets(parent, key.ref_columns),
                        on_update=key.on_update,
                        on_delete=key.on_delete,
                        deferrable=key.deferrable,
                        initially_deferred=key.initially_deferred,
                        valid=not orphans,
                    ),
                ),
            )
        return plan

    def _unfit(
        self, plan: TablePlan, table: Table, key: ForeignKey, parent: TablePlan | None
    ) -> str | None:
        """Why a foreign key cannot be made, None if it can."""
        if parent is None:
            return "its parent table does not come along"
        for of, columns in ((plan, key.columns), (parent, key.ref_columns)):
            gone = [column for column in columns if column in of.dropped]
            if gone:
                return f'the column "{gone[0]}" of "{of.source}" is dropped by overrides:'
        children = {c.source: c.type for c in plan.columns}
        parents = {c.source: c.type for c in parent.columns}
        for child, column in zip(key.columns, key.ref_columns, strict=True):
            if children[child].name != parents[column].name:
                return (
                    f'"{child}" is {children[child].sql} and "{column}" of its parent '
                    f"{parents[column].sql}: no type holds the values of both"
                )
        declared = self._catalog.table(key.ref_table)
        wanted = set(key.ref_columns)
        unique = [set(declared.primary_key), *(set(u.columns) for u in declared.unique_keys)]
        unique += [
            {t.column for t in i.terms if t.column}
            for i in declared.indexes
            if i.unique
            and i.where is None
            and all(t.column and (t.collation or "").upper() not in FOLDED for t in i.terms)
        ]
        if wanted not in unique:
            return f'its parent columns in "{key.ref_table}" are not a key'
        if (refusal := self._refusal(declared, key.ref_columns)) is not None:
            return f'its parent key in "{key.ref_table}" does not come along: {refusal}'
        if self._folds_case(declared, key.ref_columns) and wanted != set(declared.primary_key):
            return f'its parent key in "{key.ref_table}" ignores case or spaces'
        return None

    def _telling_key(self, plan: TablePlan, table: Table) -> tuple[str, ...]:
        """The columns that tell rows apart for people: the first key without NULLs."""
        if plan.primary_key:
            return plan.primary_key
        nullable = {c.name for c in plan.columns if self._nulls(table.name, c.source)}
        for unique in plan.uniques:
            if not nullable & set(unique.columns):
                return unique.columns
        return ()
