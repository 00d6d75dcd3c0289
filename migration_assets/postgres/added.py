"""What others have added to our schema, or built on it: a swap would leave it behind."""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor

from migration_assets.postgres.ddl import OWN_FUNCTION


def relations(cursor: Cursor, schema: str, known: list[int]) -> list[str]:
    """Relations in ``schema`` that are neither ``known`` nor an extension's, for people."""
    cursor.execute(
        """
        SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                              WHEN 'S' THEN 'sequence' ELSE 'table' END || ' "' || c.relname || '"'
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
          AND NOT c.oid = ANY(%s::oid[])
          AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                          AND d.objid = c.oid AND d.deptype IN ('e', 'i', 'a'))
        ORDER BY c.relkind = 'S', c.relname
        """,
        (schema, known),
    )
    return [row[0] for row in cursor.fetchall()]


def attached(cursor: Cursor, known: list[int]) -> list[str]:
    """Triggers and rules on the ``known`` relations, for people."""
    cursor.execute(
        """
        SELECT 'trigger "' || t.tgname || '" on table "' || c.relname || '"'
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE NOT t.tgisinternal AND c.oid = ANY(%(known)s::oid[])
          AND obj_description(t.tgfoid, 'pg_proc') IS DISTINCT FROM %(own)s
        UNION ALL
        SELECT 'rule "' || r.rulename || '" on table "' || c.relname || '"'
        FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
        WHERE r.rulename <> '_RETURN' AND c.oid = ANY(%(known)s::oid[])
        ORDER BY 1
        """,
        {"known": known, "own": OWN_FUNCTION},
    )
    return [row[0] for row in cursor.fetchall()]


def routines_and_types(cursor: Cursor, schema: str, known: list[int]) -> list[str]:
    """Functions, procedures and standalone types in ``schema`` but an extension's, for people.

    Enum types of columns of the ``known`` relations and our own functions are not among them.
    """
    cursor.execute(
        """
        SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate'
                              ELSE 'function' END
               || ' "' || p.proname || '"(' || pg_get_function_identity_arguments(p.oid) || ')'
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = %(schema)s
          AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
                          AND d.objid = p.oid AND d.deptype IN ('e', 'i'))
          AND obj_description(p.oid, 'pg_proc') IS DISTINCT FROM %(own)s
        UNION ALL
        SELECT CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'type' END || ' "' || t.typname || '"'
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        LEFT JOIN pg_class c ON c.oid = t.typrelid
        WHERE n.nspname = %(schema)s
          AND (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND c.relkind = 'c')
          AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.deptype = 'e'
                          AND (d.classid = 'pg_type'::regclass AND d.objid = t.oid
                               OR d.classid = 'pg_class'::regclass AND d.objid = c.oid))
          AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.atttypid = t.oid
                          AND a.attrelid = ANY(%(known)s::oid[]))
        ORDER BY 1
        """,
        {"schema": schema, "known": known, "own": OWN_FUNCTION},
    )
    return [row[0] for row in cursor.fetchall()]


def outside_dependents(cursor: Cursor, schema: str) -> list[str]:
    """Views, foreign keys, functions and policies elsewhere that need relations of ``schema``."""
    cursor.execute(
        """
        SELECT DISTINCT pg_describe_object(d.classid, d.objid, 0)
        FROM pg_depend d
        JOIN pg_class r ON d.refclassid = 'pg_class'::regclass AND r.oid = d.refobjid
        JOIN pg_namespace n ON n.oid = r.relnamespace
        LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
        LEFT JOIN pg_policy y ON d.classid = 'pg_policy'::regclass AND y.oid = d.objid
        LEFT JOIN pg_class v ON v.oid = coalesce(w.ev_class, y.polrelid)
        LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
        LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
        WHERE n.nspname = %s AND d.deptype = 'n'
          AND coalesce(v.relnamespace, k.connamespace, p.pronamespace) <> n.oid
        ORDER BY 1
        """,
        (schema,),
    )
    return [row[0] for row in cursor.fetchall()]
