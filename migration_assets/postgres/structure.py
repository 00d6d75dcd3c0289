"""An application's own schema, read from PostgreSQL's catalog."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from migration_assets.core.naming import quote
from migration_assets.core.structure import (
    Sequence,
    Structure,
    TargetColumn,
    TargetConstraint,
    TargetIndex,
    TargetTable,
)
from migration_assets.core.target_mapping import LOADABLE
from migration_assets.core.types import PgType
from migration_assets.postgres.ddl import ACTIONS

_OWN = """
NOT c.relispartition AND NOT EXISTS (
    SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid
    AND e.deptype = 'e')
"""
"""Neither a partition, which its table stands for, nor a part of an extension."""

TABLES = f"""
SELECT c.relname::text, c.relkind::text, pg_has_role(c.relowner, 'USAGE'),
       c.relforcerowsecurity AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_roles
                                      WHERE rolname = current_user),
       ARRAY(SELECT t.tgname::text FROM pg_trigger t
             WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D' ORDER BY 1),
       ARRAY(SELECT r.rulename::text FROM pg_rewrite r
             WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN' ORDER BY 1)
FROM pg_class c
WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
  AND {_OWN}
ORDER BY 1
"""

COLUMNS = f"""
SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod),
       b.typname::text, b.typnamespace = 'pg_catalog'::regnamespace,
       CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END,
       ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = b.oid ORDER BY enumsortorder),
       a.attnotnull OR t.typnotnull,
       coalesce(pg_get_expr(d.adbin, d.adrelid), t.typdefault), a.attgenerated <> '',
       a.attidentity::text,
       s.relname::text, format_type(q.seqtypid, NULL), q.seqstart, q.seqincrement, q.seqmin,
       q.seqmax, q.seqcache, q.seqcycle
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
LEFT JOIN LATERAL (
    SELECT e.refobjid AS oid FROM pg_depend e JOIN pg_class k ON k.oid = e.refobjid
    WHERE e.classid = 'pg_attrdef'::regclass AND e.objid = d.oid
      AND e.refclassid = 'pg_class'::regclass AND k.relkind = 'S'
    UNION ALL
    SELECT e.objid FROM pg_depend e
    WHERE e.classid = 'pg_class'::regclass AND e.refclassid = 'pg_class'::regclass
      AND e.refobjid = c.oid AND e.refobjsubid = a.attnum AND e.deptype = 'i'
    LIMIT 1) n ON true
LEFT JOIN pg_class s ON s.oid = n.oid AND s.relnamespace = c.relnamespace
LEFT JOIN pg_sequence q ON q.seqrelid = s.oid
WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind IN ('r', 'p', 'f') AND {_OWN}
ORDER BY c.oid, a.attnum
"""

CONSTRAINTS = f"""
SELECT c.relname::text, o.conname::text, o.contype::text, pg_get_constraintdef(o.oid),
       ARRAY(SELECT a.attname::text FROM unnest(o.conkey) WITH ORDINALITY k(number, place)
             JOIN pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = k.number ORDER BY place),
       CASE WHEN r.relnamespace = c.relnamespace THEN r.relname::text END,
       ARRAY(SELECT a.attname::text FROM unnest(o.confkey) WITH ORDINALITY k(number, place)
             JOIN pg_attribute a ON a.attrelid = o.confrelid AND a.attnum = k.number
             ORDER BY place),
       o.confupdtype::text, o.confdeltype::text, o.condeferrable, o.condeferred, o.convalidated
FROM pg_constraint o
JOIN pg_class c ON c.oid = o.conrelid
LEFT JOIN pg_class r ON r.oid = o.confrelid
WHERE c.relnamespace = %(schema)s::regnamespace AND o.contype IN ('p', 'u', 'f', 'c', 'x')
  AND o.conparentid = 0 AND {_OWN}
ORDER BY 1, 2
"""

INDEXES = f"""
SELECT c.relname::text, i.relname::text, x.indisunique,
       substr(pg_get_indexdef(i.oid), strpos(pg_get_indexdef(i.oid), ' USING ') + 1),
       m.amname::text, pg_get_expr(x.indpred, x.indrelid),
       ARRAY(SELECT a.attname::text
             FROM unnest(x.indkey::int2[]) WITH ORDINALITY k(number, place)
             LEFT JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.number
                                     AND k.number <> 0
             WHERE place <= x.indnkeyatts ORDER BY place),
       ARRAY(SELECT pg_get_indexdef(i.oid, place::int, false)
             FROM generate_series(1, x.indnkeyatts) place ORDER BY place)
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class c ON c.oid = x.indrelid
JOIN pg_am m ON m.oid = i.relam
WHERE c.relnamespace = %(schema)s::regnamespace AND x.indisvalid AND {_OWN}
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid
                  AND k.contype IN ('p', 'u', 'x'))
ORDER BY 1, 2
"""

_TYPES = {
    "bool": "boolean",
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "bpchar": "character",
    "_text": "text[]",
    **{
        name: name
        for name in (
            "numeric", "text", "varchar", "bytea", "uuid", "json", "jsonb", "date", "time",
            "timestamp", "timestamptz", "interval", "bit",
        )
    },
}  # fmt: skip
_HEADER = 4
"""What PostgreSQL adds to the modifiers of varchar, char and numeric."""


def read_structure(cursor: Cursor, schema: str, also: Many[str] = ()) -> Structure:
    """Read a schema; what is in it is named without it.

    Args:
        cursor: in a transaction, whose ``search_path`` is changed to its end.
        schema: it must be there.
        also: schemas of which objects are named without it as well.
    """
    look_in(cursor, schema, *also)
    name = {"schema": sql.Identifier(schema).as_string(cursor)}
    cursor.execute(TABLES, name)
    relations = cursor.fetchall()
    columns = _columns(cursor, name)
    constraints = _constraints(cursor, name)
    indexes = _indexes(cursor, name)
    loadable = [table for table, kind, owned, *_ in relations if kind in LOADABLE and owned]
    filled = _filled(cursor, schema, loadable)
    tables = tuple(
        TargetTable(
            name=table,
            kind=kind,
            columns=tuple(columns.get(table, ())),
            constraints=tuple(constraints.get(table, ())),
            indexes=tuple(indexes.get(table, ())),
            triggers=tuple(triggers),
            rules=tuple(rules),
            owned=owned,
            guarded=guarded,
            filled=table in filled,
        )
        for table, kind, owned, guarded, triggers, rules in relations
    )
    views = tuple(table.name for table in tables if table.kind in {"v", "m"})
    return Structure(schema, tables, views)


def look_in(cursor: Cursor, *schemas: str) -> None:
    """Let names without a schema mean what is in ``schemas``, until the transaction ends."""
    path = ", ".join(sql.Identifier(schema).as_string(cursor) for schema in schemas)
    cursor.execute("SELECT set_config('search_path', %s, true)", (path,))


def _columns(cursor: Cursor, name: dict[str, str]) -> dict[str, list[TargetColumn]]:
    cursor.execute(COLUMNS, name)
    found: dict[str, list[TargetColumn]] = {}
    for table, column, shown, base, builtin, modifier, labels, not_null, *rest in cursor:
        default, generated, identity, sequence, *facts = rest
        found.setdefault(table, []).append(
            TargetColumn(
                name=column,
                type_name=shown,
                type=_type(base, builtin, modifier, tuple(labels)),
                not_null=not_null,
                default=None if generated else default,
                generated=default if generated else None,
                identity={"a": "always", "d": "by default"}.get(identity, ""),
                sequence=Sequence(sequence, bool(identity), *facts) if sequence else None,
            )
        )
    return found


def _type(base: str, builtin: bool, modifier: int, labels: tuple[str, ...]) -> PgType | None:
    """The type as one that can be loaded and compared, None if it is no such type."""
    if labels:
        return PgType(base, (), labels)
    name = _TYPES.get(base) if builtin else None
    if name is None:
        return None
    if modifier < 0:
        return PgType(name)
    if name == "interval":
        return None  # of fewer fields or digits than it has by itself
    if name == "numeric":
        scale = (modifier - _HEADER) & 0x7FF
        signed = (scale ^ 1024) - 1024
        # A negative scale rounds whole numbers, for which there is no exact way.
        return PgType(name, ((modifier - _HEADER) >> 16, signed)) if signed >= 0 else None
    return PgType(name, (modifier - _HEADER if name in {"varchar", "character"} else modifier,))


def _constraints(cursor: Cursor, name: dict[str, str]) -> dict[str, list[TargetConstraint]]:
    cursor.execute(CONSTRAINTS, name)
    found: dict[str, list[TargetConstraint]] = {}
    for table, constraint, kind, definition, columns, ref, ref_columns, *rest in cursor:
        on_update, on_delete, deferrable, deferred, valid = rest
        found.setdefault(table, []).append(
            TargetConstraint(
                name=constraint,
                kind=kind,
                definition=definition,
                columns=tuple(columns),
                ref_table=ref,
                ref_columns=tuple(ref_columns),
                on_update=ACTIONS.get(on_update, "NO ACTION"),
                on_delete=ACTIONS.get(on_delete, "NO ACTION"),
                deferrable=deferrable,
                deferred=deferred,
                valid=valid,
            )
        )
    return found


def _indexes(cursor: Cursor, name: dict[str, str]) -> dict[str, list[TargetIndex]]:
    cursor.execute(INDEXES, name)
    found: dict[str, list[TargetIndex]] = {}
    for table, index, unique, definition, method, where, columns, terms in cursor:
        found.setdefault(table, []).append(
            TargetIndex(
                name=index,
                unique=unique,
                definition=definition,
                terms=tuple(
                    quote(column) if column is not None else term
                    for column, term in zip(columns, terms, strict=True)
                ),
                columns=tuple(columns),
                where=where,
                method=method,
            )
        )
    return found


def _filled(cursor: Cursor, schema: str, tables: Many[str]) -> set[str]:
    """The tables that have rows."""
    if not tables:
        return set()
    parts: list[Any] = [
        sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(
            sql.Literal(table), sql.Identifier(schema, table)
        )
        for table in tables
    ]
    cursor.execute(sql.SQL(" UNION ALL ").join(parts))
    return {name for (name,) in cursor.fetchall()}
