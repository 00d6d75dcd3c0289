"""Sequences of tables that come back go on where those of the live tables have got to."""

from __future__ import annotations

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

_PAIRS = """
WITH found AS (
    SELECT n.nspname, s.oid, s.relname, t.relname AS of_table, a.attname AS of_column
    FROM pg_class s
    JOIN pg_namespace n ON n.oid = s.relnamespace
    LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid
         AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    LEFT JOIN pg_class t ON t.oid = d.refobjid
    LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
    WHERE s.relkind = 'S' AND n.nspname IN (%(live)s, %(former)s)
)
SELECT l.relname, f.relname, q.seqincrement, q.seqmin, q.seqmax
FROM found l
JOIN found f ON l.of_table = f.of_table AND l.of_column = f.of_column
     OR l.of_table IS NULL AND f.of_table IS NULL AND l.relname = f.relname
JOIN pg_sequence q ON q.seqrelid = f.oid
WHERE l.nspname = %(live)s AND f.nspname = %(former)s
ORDER BY f.relname
"""


def advance(cursor: Cursor, live: str, former: str) -> list[str]:
    """Let sequences of ``former`` give no number that those of ``live`` have given.

    Rows that were written to the live tables can so be put beside those that come back.
    Sequences of one column are paired, others by name.

    Returns:
        one line for each sequence that has no number left after that, which stays as it is.
    """
    cursor.execute(_PAIRS, {"live": live, "former": former})
    pairs = cursor.fetchall()
    if not pairs:
        return []
    state = sql.SQL("SELECT {}::int, last_value, is_called FROM {}")
    cursor.execute(
        sql.SQL(" UNION ALL ").join(
            state.format(sql.Literal(2 * at + side), sql.Identifier(schema, pair[side]))
            for at, pair in enumerate(pairs)
            for side, schema in enumerate((live, former))
        )
    )
    states = {number: (last, called) for number, last, called in cursor.fetchall()}
    notes = []
    for at, (_, name, step, least, most) in enumerate(pairs):
        now, then = (
            last + step if called else last for last, called in (states[2 * at], states[2 * at + 1])
        )
        if (now - then) * step <= 0:
            continue
        if not least <= now <= most:
            notes.append(f'sequence "{name}" has no number left after those given since')
            continue
        # Not setval, which a rollback does not undo.
        cursor.execute(
            sql.SQL("ALTER SEQUENCE {} RESTART WITH {}").format(
                sql.Identifier(former, name), sql.Literal(now)
            )
        )
    return notes
