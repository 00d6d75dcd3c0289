"""Identity values, proved by a real insert that is rolled back.

For each table one row is inserted that leaves the identity column to PostgreSQL; the value it
gets must be the one that the source would have handed out next. The row is a copy of an existing
one with its unique columns changed, or made of the cheapest values in an empty table. ``nextval``
is not undone by a rollback, so the sequence is set back, under a lock that keeps writers out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import errors, sql

from migration_assets.core.plan import ColumnPlan, ForeignKeyPlan, TablePlan
from migration_assets.core.profile import Profile
from migration_assets.postgres import connect

LOCK_TIMEOUT = "2s"
"""A table that others write to for longer than this is not proved by an insert."""

REFUSALS = (
    errors.LockNotAvailable,
    errors.InsufficientPrivilege,
    errors.ReadOnlySqlTransaction,
)
"""The table may not, or not now, be written to; its sequence is looked at instead."""

LARGEST = 2**63 - 1
USED_UP = "identity values are used up"

INSERT = "insert"
INSERT_TO_REFERENCE = "insert, refused by a foreign key after the value was accepted"
SEQUENCE = "sequence state"

SEQUENCES = """
SELECT c.relname::text, a.attname::text, s.relname::text, q.seqincrement
FROM pg_depend d
JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
JOIN pg_sequence q ON q.seqrelid = s.oid
JOIN pg_class c ON c.oid = d.refobjid
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
  AND d.deptype = 'i' AND n.nspname = %(schema)s AND s.relnamespace = c.relnamespace
UNION ALL
SELECT c.relname, a.attname, s.relname, q.seqincrement
FROM pg_attrdef f
JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
 AND d.refclassid = 'pg_class'::regclass
JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
JOIN pg_sequence q ON q.seqrelid = s.oid
JOIN pg_class c ON c.oid = f.adrelid
JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND s.relnamespace = c.relnamespace
"""
"""Table, column, sequence and its step: of identity columns, and where a default takes a number."""

UNIQUE_VALUES = {
    "text": "gen_random_uuid()::text",
    "uuid": "gen_random_uuid()",
    "bytea": "uuid_send(gen_random_uuid())",
    "smallint": "(SELECT max({column}) + 1 FROM {table})::smallint",
    "integer": "(SELECT max({column}) + 1 FROM {table})",
    "bigint": "(SELECT max({column}) + 1 FROM {table})",
    "numeric": "(SELECT max({column}) + 1 FROM {table})",
    "real": "(SELECT max({column}) + 1 FROM {table})",
    "double precision": "(SELECT max({column}) + 1 FROM {table})",
    "boolean": "NOT {column}",
    "date": "(SELECT max({column}) + 1 FROM {table})",
    "timestamp": "(SELECT max({column}) + interval '1 day' FROM {table})",
    "timestamptz": "(SELECT max({column}) + interval '1 day' FROM {table})",
    "time": "{column} + interval '1 second'",
}
"""Type -> a value that no row has, most likely; where it is not, the sequence's state is proof."""

CHEAP_VALUES = {
    "boolean": "false",
    "bytea": "''::bytea",
    "uuid": "gen_random_uuid()",
    "text": "''",
    "varchar": "''",
    "json": "'{}'::json",
    "jsonb": "'{}'::jsonb",
    "date": "date '2000-01-01'",
    "time": "time '00:00'",
    "timestamp": "timestamp '2000-01-01'",
    "timestamptz": "timestamptz '2000-01-01 00:00+00'",
    "interval": "interval '0'",
    "text[]": "'{}'::text[]",
}
"""Type -> a value for an empty table; 0 for numbers."""


@dataclass(frozen=True)
class IdentityProof:
    """How the next value of one identity column was shown.

    Attributes:
        table, column: target names.
        next_value: the value the next insert gets; None if there is no sequence or it is used up.
        method: INSERT, INSERT_TO_REFERENCE or SEQUENCE.
        problem: what is wrong, None if the value is the source's next one and free.
    """

    table: str
    column: str
    next_value: int | None
    method: str
    problem: str | None = None


@dataclass(frozen=True)
class _State:
    """A sequence's row as PostgreSQL keeps it."""

    last_value: int
    is_called: bool
    increment: int

    @property
    def next_value(self) -> int:
        return self.last_value + self.increment if self.is_called else self.last_value


def prove(
    target: connect.Target, schema: str, tables: Sequence[TablePlan], profile: Profile
) -> list[IdentityProof]:
    """Prove the next value of every identity column, leaving no trace.

    Args:
        target: the database.
        schema: where the tables are.
        tables: plans of tables that exist with their columns.
        profile: gives each table's next value by its source name.

    Raises:
        InputError: the target can not be reached.
        BrokenOffError: the target was lost in the middle.
    """
    planned = [(table, c) for table in tables for c in table.columns if c.identity]
    if not planned:
        return []
    with connect.session(target, "the proof of identity values") as connection:
        with connection.cursor() as cursor:
            cursor.execute(SEQUENCES, {"schema": schema})
            sequences = {(t, c): (s, step) for t, c, s, step in cursor.fetchall()}
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", (LOCK_TIMEOUT,))
        connection.commit()
        proofs = []
        for table, column in planned:
            sequence = sequences.get((table.name, column.name))
            if sequence is None:
                problem = "identity column has no sequence"
                proofs.append(IdentityProof(table.name, column.name, None, SEQUENCE, problem))
                continue
            facts = profile.tables.get(table.source)
            proof = _Proof(connection, schema, table, column, *sequence)
            proofs.append(proof.run(facts.next_value if facts else None))
        return proofs


class _Proof:
    """The proof of one column, in transactions of its own that are always rolled back."""

    def __init__(
        self,
        connection: Any,
        schema: str,
        table: TablePlan,
        column: ColumnPlan,
        sequence: str,
        increment: int,
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._table = table
        self._column = column
        self._name = sql.Identifier(schema, table.name)
        self._sequence = sql.Identifier(schema, sequence)
        self._increment = increment

    def run(self, wanted: int | None) -> IdentityProof:
        """Insert if possible, else look at the sequence; ``wanted`` is the source's next value."""
        try:
            method, value, problem = self._insert()
        except REFUSALS:
            self._connection.rollback()
            with self._connection.cursor() as cursor:
                cursor.execute(self._state_query())
                method, value, problem = SEQUENCE, self._state(cursor).next_value, None
        if method == SEQUENCE and problem is None:
            problem = self._taken(value)
        if wanted is not None and wanted > LARGEST and problem == USED_UP:
            # The source has no number left either.
            return IdentityProof(self._table.name, self._column.name, None, method)
        if wanted is not None and value is not None and value != wanted:
            mismatch = f"next identity value is {value}, the source's is {wanted}"
            problem = mismatch if problem is None else f"{mismatch}; {problem}"
        return IdentityProof(self._table.name, self._column.name, value, method, problem)

    def _insert(self) -> tuple[str, int | None, str | None]:
        """Returns method, value, problem; the transaction is over and the sequence as it was."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                sql.SQL(
                    "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE; SET CONSTRAINTS ALL DEFERRED;"
                    " SAVEPOINT proof; {}"
                ).format(self._name, self._state_query())
            )
            state = self._state(cursor)
            try:
                return self._try_insert(cursor, state.next_value)
            finally:
                if not self._connection.closed:
                    cursor.execute("ROLLBACK TO SAVEPOINT proof")
                    self._put_back(cursor, state)
                    self._connection.rollback()

    def _state(self, cursor: Any) -> _State:
        last_value, is_called = cursor.fetchone()
        return _State(last_value, is_called, self._increment)

    def _state_query(self) -> sql.Composed:
        return sql.SQL("SELECT last_value, is_called FROM {}").format(self._sequence)

    def _try_insert(self, cursor: Any, expected: int) -> tuple[str, int | None, str | None]:
        for filled in (True, False):
            try:
                cursor.execute(self._statement(filled))
            except errors.ForeignKeyViolation:
                # Raised after the row is in all unique indexes: its value is free.
                return INSERT_TO_REFERENCE, expected, None
            except errors.SequenceGeneratorLimitExceeded:
                return SEQUENCE, None, USED_UP
            except errors.UniqueViolation as error:
                if self._is_own_key(error.diag.constraint_name):
                    problem = f"next identity value {expected} is taken"
                    return INSERT, expected, problem
                return SEQUENCE, expected, None
            except (
                psycopg2.IntegrityError,
                psycopg2.DataError,
                psycopg2.ProgrammingError,
                errors.RaiseException,
            ):
                # A check, a type or a trigger refuses the row; that says nothing of the value.
                return SEQUENCE, expected, None
            returned = cursor.fetchone()
            if returned is not None:
                return INSERT, int(returned[0]), None
        return SEQUENCE, expected, None

    def _put_back(self, cursor: Any, before: _State) -> None:
        """Set the sequence to what it was, unless someone else has moved it on meanwhile."""
        cursor.execute(self._state_query())
        after = self._state(cursor)
        if after != before and after == _State(before.next_value, True, self._increment):
            cursor.execute(
                "SELECT setval(%s::regclass, %s, %s)",
                (self._sequence.as_string(cursor), before.last_value, before.is_called),
            )

    def _statement(self, copy: bool) -> sql.Composable:
        """INSERT of a copied row, or of a made-up one."""
        columns = [
            c for c in self._table.columns if c.generated is None and c.name != self._column.name
        ]
        returning = sql.SQL(" RETURNING {}").format(sql.Identifier(self._column.name))
        if not columns:
            return sql.SQL("INSERT INTO {} DEFAULT VALUES").format(self._name) + returning
        names = sql.SQL(", ").join(sql.Identifier(c.name) for c in columns)
        head = sql.SQL("INSERT INTO {} ({}) SELECT ").format(self._name, names)
        if copy:
            changed = self._unique_columns()
            values: list[sql.Composable] = [
                self._changed(c) if c.name in changed else sql.Identifier(c.name) for c in columns
            ]
            source: sql.Composable = sql.SQL(" FROM {} LIMIT 1").format(self._name)
        else:
            values = [self._cheap(c) for c in columns]
            source = sql.SQL("")
        return head + sql.SQL(", ").join(values) + source + returning

    def _unique_columns(self) -> set[str]:
        """One column of each unique key that does not hold the identity column."""
        keys = [list(unique.columns) for unique in self._table.uniques]
        if self._table.primary_key:
            keys.append(list(self._table.primary_key))
        for index in self._table.indexes:
            if index.unique:
                keys.append(_names_in([*index.terms, index.where or ""], self._table))
        chosen: set[str] = set()
        for key in keys:
            if key and self._column.name not in key and not chosen & set(key):
                chosen.add(min(key, key=self._trouble))
        return chosen

    def _trouble(self, name: str) -> int:
        """How unwelcome a change of the column is: NULL is easiest, a reference worst."""
        column = self._table.column(name)
        if column.nullable and name not in self._table.primary_key:
            return 0
        if self._reference(name):
            return 3
        return 1 if column.type.name in {"text", "varchar", "uuid", "bytea"} else 2

    def _changed(self, column: ColumnPlan) -> sql.Composable:
        if column.nullable and column.name not in self._table.primary_key:
            return sql.SQL("NULL")
        if column.type.name == "varchar":
            length = column.type.args[0] if column.type.args else 36
            return sql.SQL("left(gen_random_uuid()::text, {})").format(sql.Literal(length))
        template = UNIQUE_VALUES.get(column.type.name, "{column}")
        return sql.SQL(template).format(column=sql.Identifier(column.name), table=self._name)

    def _cheap(self, column: ColumnPlan) -> sql.Composable:
        if column.nullable and column.name not in self._table.primary_key:
            return sql.SQL("NULL")
        reference = self._reference(column.name)
        if reference is not None and reference.ref_table != self._table.name:
            parent = reference.ref_columns[reference.columns.index(column.name)]
            return sql.SQL("(SELECT {} FROM {} LIMIT 1)").format(
                sql.Identifier(parent), sql.Identifier(self._schema, reference.ref_table)
            )
        if column.type.labels:
            return sql.Literal(column.type.labels[0])
        if column.type.name == "bit":
            return sql.SQL("0::") + sql.SQL(column.type.sql)
        return sql.SQL(CHEAP_VALUES.get(column.type.name, "0"))

    def _reference(self, name: str) -> ForeignKeyPlan | None:
        return next((key for key in self._table.foreign_keys if name in key.columns), None)

    def _is_own_key(self, constraint: str | None) -> bool:
        """True if the violated unique key is one that holds the identity column."""
        holding = {u.name for u in self._table.uniques if self._column.name in u.columns}
        if self._column.name in self._table.primary_key:
            holding.add(self._table.primary_key_name or f"{self._table.name}_pkey")
        holding |= {
            i.name
            for i in self._table.indexes
            if i.unique and self._column.name in _names_in(i.terms, self._table)
        }
        return constraint in holding

    def _taken(self, value: int | None) -> str | None:
        """What is wrong with ``value`` by the rows that are there."""
        column = sql.Identifier(self._column.name)
        with self._connection.cursor() as cursor:
            cursor.execute(sql.SQL("SELECT max({}) FROM {}").format(column, self._name))
            (highest,) = cursor.fetchone()
            taken = False
            if highest is not None and value is not None and highest >= value:
                cursor.execute(
                    sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} = %s)").format(
                        self._name, column
                    ),
                    (value,),
                )
                (taken,) = cursor.fetchone()
        self._connection.rollback()
        return f"next identity value {value} is taken" if taken else None


def _names_in(terms: Sequence[str], table: TablePlan) -> list[str]:
    """The table's columns that occur in SQL with quoted identifiers."""
    quoted = {
        name.replace('""', '"') for term in terms for name in re.findall(r'"((?:[^"]|"")+)"', term)
    }
    return [column.name for column in table.columns if column.name in quoted]
