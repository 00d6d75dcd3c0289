"""One schema as PostgreSQL's catalog has it, read with one query for each kind of object."""

from __future__ import annotations

from dataclasses import dataclass, field

from migration_assets.postgres import connect
from migration_assets.postgres.ddl import OWN_FUNCTION

TABLE_KINDS = {"r": "table", "p": "partitioned table", "f": "foreign table"}

RELATIONS = """
SELECT c.relname::text, c.relkind::text, c.relrowsecurity OR c.relforcerowsecurity
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
"""

COLUMNS = """
SELECT c.relname::text, a.attname::text,
       CASE WHEN t.typtype = 'e' AND t.typnamespace = n.oid
            THEN '"' || replace(t.typname, '"', '""') || '"'
            ELSE format_type(a.atttypid, a.atttypmod) END,
       a.attnotnull,
       a.attidentity::text, a.attgenerated::text, a.atthasdef, q.seqincrement, q.seqcycle
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_depend d ON a.attidentity <> '' AND d.refclassid = 'pg_class'::regclass
     AND d.refobjid = c.oid AND d.refobjsubid = a.attnum AND d.deptype = 'i'
     AND d.classid = 'pg_class'::regclass
LEFT JOIN pg_sequence q ON q.seqrelid = d.objid
WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'f')
ORDER BY c.oid, a.attnum
"""

CONSTRAINTS = """
SELECT c.relname::text, o.conname::text, o.contype::text, o.convalidated, o.condeferrable,
       o.condeferred, o.confupdtype::text, o.confdeltype::text, r.relname::text, rn.nspname::text,
       ARRAY(SELECT a.attname::text FROM unnest(o.conkey) WITH ORDINALITY k(number, place)
             JOIN pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = k.number ORDER BY place),
       ARRAY(SELECT a.attname::text FROM unnest(o.confkey) WITH ORDINALITY k(number, place)
             JOIN pg_attribute a ON a.attrelid = o.confrelid AND a.attnum = k.number ORDER BY place)
FROM pg_constraint o
JOIN pg_class c ON c.oid = o.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class r ON r.oid = o.confrelid
LEFT JOIN pg_namespace rn ON rn.oid = r.relnamespace
WHERE n.nspname = %s AND o.contype IN ('p', 'u', 'f', 'c')
"""

INDEXES = """
SELECT c.relname::text, i.relname::text, x.indisunique, x.indisvalid AND x.indisready,
       x.indpred IS NOT NULL,
       ARRAY(SELECT a.attname::text FROM unnest(x.indkey::int2[]) WITH ORDINALITY k(number, place)
             LEFT JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.number
                                     AND k.number <> 0
             WHERE place <= x.indnkeyatts ORDER BY place)
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class c ON c.oid = x.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s
"""

ACTING = """
SELECT c.relname::text, t.tgname::text, 'trigger', t.tgenabled <> 'D',
       obj_description(t.tgfoid, 'pg_proc') IS NOT DISTINCT FROM %(own)s
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND NOT t.tgisinternal
UNION ALL
SELECT c.relname::text, r.rulename::text, 'rule', r.ev_enabled <> 'D', false
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND r.rulename <> '_RETURN'
ORDER BY 1, 2
"""
"""Triggers and rules of tables and views; those of constraints are PostgreSQL's own."""


@dataclass(frozen=True)
class RealColumn:
    """A column as the catalog has it.

    Attributes:
        name, type, not_null: as declared.
        identity: ``d`` for BY DEFAULT, ``a`` for ALWAYS, empty for none.
        generated: by an expression.
        default: it has one.
        increment: by which its identity counts, None without one.
        cycles: its identity begins anew when all values are used up.
    """

    name: str
    type: str
    not_null: bool
    identity: str
    generated: bool
    default: bool
    increment: int | None
    cycles: bool


@dataclass(frozen=True)
class RealAction:
    """A ``trigger`` or a ``rule`` (``kind``); ``own``: a run made it; ``enabled``: it acts."""

    table: str
    name: str
    kind: str
    enabled: bool
    own: bool


@dataclass(frozen=True)
class RealConstraint:
    """A constraint as the catalog has it; ``kind`` is ``pg_constraint.contype``."""

    name: str
    kind: str
    valid: bool
    deferrable: bool
    deferred: bool
    on_update: str
    on_delete: str
    ref_table: str | None
    ref_schema: str | None
    columns: tuple[str, ...]
    ref_columns: tuple[str, ...]


@dataclass(frozen=True)
class RealIndex:
    """An index as the catalog has it; an expression among its ``terms`` is None."""

    name: str
    unique: bool
    valid: bool
    partial: bool
    terms: tuple[str | None, ...]


@dataclass
class RealTable:
    """One table with all that belongs to it."""

    kind: str
    columns: list[RealColumn] = field(default_factory=list)
    constraints: list[RealConstraint] = field(default_factory=list)
    indexes: list[RealIndex] = field(default_factory=list)


@dataclass(frozen=True)
class RealSchema:
    """One schema as the catalog has it; ``secured``: tables with row security."""

    tables: dict[str, RealTable]
    views: frozenset[str]
    actions: tuple[RealAction, ...] = ()
    secured: tuple[str, ...] = ()


def read_schema(target: connect.Target, schema: str) -> RealSchema:
    """Read one schema from the catalog."""
    with (
        connect.session(target, f'reading the catalog of schema "{schema}"') as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(RELATIONS, (schema,))
        relations = cursor.fetchall()
        tables = {name: RealTable(kind) for name, kind, _ in relations if kind in TABLE_KINDS}
        cursor.execute(COLUMNS, (schema,))
        for table, name, kind, not_null, identity, generated, default, step, cycles in cursor:
            tables[table].columns.append(
                RealColumn(
                    name,
                    kind,
                    not_null,
                    identity,
                    bool(generated),
                    default and not generated,
                    step,
                    bool(cycles),
                )
            )
        cursor.execute(CONSTRAINTS, (schema,))
        for table, name, kind, *facts, columns, ref_columns in cursor:
            valid, deferrable, deferred, on_update, on_delete, ref_table, ref_schema = facts
            tables[table].constraints.append(
                RealConstraint(
                    name=name,
                    kind=kind,
                    valid=valid,
                    deferrable=deferrable,
                    deferred=deferred,
                    on_update=on_update,
                    on_delete=on_delete,
                    ref_table=ref_table,
                    ref_schema=ref_schema,
                    columns=tuple(columns),
                    ref_columns=tuple(ref_columns),
                )
            )
        cursor.execute(INDEXES, (schema,))
        for table, name, unique, valid, partial, terms in cursor:
            if table in tables:
                tables[table].indexes.append(RealIndex(name, unique, valid, partial, tuple(terms)))
        cursor.execute(ACTING, {"schema": schema, "own": OWN_FUNCTION})
        actions = tuple(RealAction(*row) for row in cursor)
    return RealSchema(
        tables,
        frozenset(name for name, kind, _ in relations if kind in "vm"),
        actions,
        tuple(sorted(name for name, _, secured in relations if secured)),
    )
