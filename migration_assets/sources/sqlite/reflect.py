"""The catalog of a SQLite file: PRAGMAs first, the CREATE statement for what they do not tell."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from migration_assets.core.catalog import (
    UNREADABLE,
    Catalog,
    Check,
    Column,
    DeclaredType,
    Kind,
    SkippedObject,
    Table,
    View,
)
from migration_assets.core.naming import quote
from migration_assets.sources.sqlite.declared import declared_type
from migration_assets.sources.sqlite.keys import (
    IndexRow,
    indexes_of,
    unique_keys,
    with_foreign_keys,
)
from migration_assets.sources.sqlite.scan import scan_by_name
from migration_assets.sources.sqlite.statement import (
    ParsedTable,
    parse_table,
    table_options,
    tokens,
)

_SHADOWS = {
    "fts3": ("content", "segments", "segdir", "docsize", "stat"),
    "fts4": ("content", "segments", "segdir", "docsize", "stat"),
    "fts5": ("data", "idx", "content", "docsize", "config"),
    "rtree": ("node", "parent", "rowid"),
    "rtree_i32": ("node", "parent", "rowid"),
    "geopoly": ("node", "parent", "rowid"),
    "spellfix1": ("vocab",),
}
"""Virtual table module -> endings of its shadow tables, for files whose module is not built in."""

_DEFERRED_REASON = "SQLite runs it, PostgreSQL has no equivalent that could be made from its text"


@dataclass(frozen=True)
class _Object:
    """One row of sqlite_schema."""

    type: str
    name: str
    table: str
    sql: str | None


def reflect(connection: sqlite3.Connection) -> Catalog:
    """Read everything that ``connection``'s main database declares; no rows are counted.

    Raises:
        sqlite3.Error: the schema itself cannot be read.
    """
    objects = [
        _Object(*row)
        for row in connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid"
        )
    ]
    kinds = _kinds(connection, objects)
    skipped: list[SkippedObject] = []
    tables: dict[str, Table] = {}
    virtual = {o.name: _module(o.sql) for o in objects if o.type == "table" and _is_virtual(o.sql)}
    shadows = _shadow_names(virtual)
    for item in objects:
        if item.type == "trigger":
            skipped.append(
                SkippedObject("trigger", item.name, _DEFERRED_REASON, item.table, item.sql)
            )
        if item.type != "table" or item.name.lower().startswith("sqlite_"):
            continue
        kind, without_rowid, strict = kinds.get(item.name, ("", False, False))
        if item.name in virtual:
            reason = f"virtual table of the module {virtual[item.name]}; it has no rows of its own"
            skipped.append(SkippedObject("virtual table", item.name, reason, None, item.sql))
        elif kind == "shadow" or item.name.lower() in shadows:
            owner = shadows.get(item.name.lower())
            reason = "storage of a virtual table" + (f', "{owner}"' if owner else "")
            skipped.append(SkippedObject("shadow table", item.name, reason, None, item.sql))
        else:
            table = _table(connection, item, objects, skipped, without_rowid, strict)
            if table is not None:
                tables[item.name] = table
    resolved = [with_foreign_keys(connection, table, tables, skipped) for table in tables.values()]
    views = _views(connection, objects, skipped)
    return Catalog("sqlite", tuple(resolved), tuple(views), tuple(skipped))


def table_bytes(connection: sqlite3.Connection) -> dict[str, int]:
    """The bytes of the pages of every table, by looking at all of them; empty if unknown."""
    try:
        return dict(
            connection.execute("SELECT name, pgsize FROM dbstat WHERE aggregate = TRUE").fetchall()
        )
    except sqlite3.Error:
        # SQLite built without dbstat, or a damaged file, which is found elsewhere.
        return {}


def with_sizes(
    connection: sqlite3.Connection,
    catalog: Catalog,
    scans: Mapping[str, str],
    pages: Mapping[str, int],
    file_bytes: int,
) -> Catalog:
    """Add the rows (counted) and bytes (pages, or a bound where they are not known).

    Args:
        connection: the one that ``catalog`` came from.
        catalog: without sizes.
        scans: name of a table -> what stands behind FROM to read it.
        pages: as from :func:`table_bytes`.
        file_bytes: size of the whole file.

    Raises:
        sqlite3.Error: a table cannot be read.
    """
    tables = []
    for table in catalog.tables:
        (rows,) = connection.execute(f"SELECT count(*) FROM {scans[table.name]}").fetchone()
        tables.append(replace(table, rows=rows, bytes=pages.get(table.name, file_bytes)))
    return replace(catalog, tables=tuple(tables))


def _kinds(
    connection: sqlite3.Connection, objects: Iterable[_Object]
) -> dict[str, tuple[str, bool, bool]]:
    """Name -> (kind of table, WITHOUT ROWID, STRICT)."""
    if sqlite3.sqlite_version_info >= (3, 37):
        rows = connection.execute(
            "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main'"
        )
        return {name: (kind, bool(wr), bool(strict)) for name, kind, wr, strict in rows}
    # Older ones have no table_list and know no STRICT, but the text tells.
    options = {item.name: table_options(item.sql or "") for item in objects}
    return {
        name: ("", "WITHOUT ROWID" in words, "STRICT" in words) for name, words in options.items()
    }


def _table(
    connection: sqlite3.Connection,
    item: _Object,
    objects: Iterable[_Object],
    skipped: list[SkippedObject],
    without_rowid: bool,
    strict: bool,
) -> Table | None:
    parsed = parse_table(item.sql or "")
    try:
        facts = connection.execute(
            'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)',
            (item.name,),
        ).fetchall()
        source = scan_by_name(connection, item.name, without_rowid=without_rowid)
        readable, problems = _readable(connection, source, facts)
    except sqlite3.OperationalError as error:
        reason = f"SQLite cannot read it: {error}"
        skipped.append(SkippedObject(UNREADABLE, item.name, reason, None, item.sql))
        return None
    if not readable:
        reason = "SQLite cannot read its definition"
        skipped.append(SkippedObject(UNREADABLE, item.name, reason, None, item.sql))
        return None
    for column, reason in problems:
        skipped.append(SkippedObject("generated column", column, reason, item.name, item.sql))
    indexes = connection.execute(
        'SELECT name, "unique", origin, partial FROM pragma_index_list(?) ORDER BY seq DESC',
        (item.name,),
    ).fetchall()
    key = [name for name, *_, pk, _ in sorted(facts, key=lambda fact: fact[4]) if pk]
    auto = _rowid_alias(facts, key, indexes, without_rowid)
    json = _json_columns(parsed)
    columns = tuple(
        _column(
            fact,
            parsed,
            json,
            strict,
            implied=fact[0] == auto or (bool(fact[4]) and (without_rowid or strict)),
        )
        for fact in facts
        if fact[0] in readable
    )
    statements = {other.name: other.sql for other in objects if other.type == "index"}
    return Table(
        name=item.name,
        columns=columns,
        primary_key=tuple(key),
        auto_column=auto,
        unique_keys=unique_keys(connection, parsed, indexes),
        indexes=indexes_of(connection, item.name, statements, indexes, auto, skipped),
        checks=tuple(Check(check.expression, check.name) for check in parsed.checks),
        sql=item.sql,
    )


def _readable(
    connection: sqlite3.Connection, source: str, facts: list[tuple[object, ...]]
) -> tuple[set[str], list[tuple[str, str]]]:
    """Columns that a SELECT may name, and (column, reason) of the generated ones it may not."""
    names = [str(fact[0]) for fact in facts]
    problems: list[tuple[str, str]] = []
    if not names:
        return set(), problems
    try:
        _prepare(connection, source, names)
        return set(names), problems
    except sqlite3.OperationalError:
        # One generated column whose function is missing makes a SELECT of all fail.
        plain = [str(fact[0]) for fact in facts if not fact[5]]
        _prepare(connection, source, plain)
    readable = set(plain)
    for name in names:
        if name in readable:
            continue
        try:
            _prepare(connection, source, [name])
            readable.add(name)
        except sqlite3.OperationalError as error:
            problems.append((name, f"SQLite cannot compute it: {error}"))
    return readable, problems


def _prepare(connection: sqlite3.Connection, source: str, columns: Iterable[str]) -> None:
    names = ", ".join(quote(column) for column in columns)
    connection.execute(f"SELECT {names} FROM {source} LIMIT 0").fetchall()


def _column(
    fact: tuple[object, ...], parsed: ParsedTable, json: set[str], strict: bool, *, implied: bool
) -> Column:
    name, declared, not_null, default, _, hidden = fact
    text = parsed.columns.get(str(name).lower())
    type_ = declared_type(str(declared or ""), strict=strict)
    if str(name).lower() in json and type_.kind in (Kind.TEXT, Kind.ANY):
        type_ = DeclaredType(Kind.JSON)
    collation = text.collation if text else None
    generated = hidden in (2, 3)
    return Column(
        name=str(name),
        source_type=_source_type(str(declared or ""), generated),
        type=type_,
        not_null=bool(not_null) or implied,
        default=None if default is None else str(default),
        generated=(text.generated if text else None) or "?" if generated else None,
        stored=hidden == 3,
        collation=None if collation is None or collation.upper() == "BINARY" else collation,
    )


def _source_type(declared: str, generated: bool) -> str:
    """The type without the words GENERATED ALWAYS, which SQLite takes for a part of it."""
    upper = declared.upper()
    if generated and upper.endswith("GENERATED ALWAYS"):
        return declared[: -len("GENERATED ALWAYS")].rstrip()
    return declared


def _rowid_alias(
    facts: list[tuple[object, ...]],
    key: list[str],
    indexes: list[IndexRow],
    without_rowid: bool,
) -> str | None:
    """The INTEGER PRIMARY KEY that is the rowid ("CREATE TABLE", section 5).

    Every other primary key of a rowid table has an index of its own, ``INTEGER PRIMARY KEY
    DESC`` too, so its absence decides.
    """
    if without_rowid or len(key) != 1 or any(origin == "pk" for *_, origin, _ in indexes):
        return None
    declared = next(str(fact[1]) for fact in facts if fact[0] == key[0])
    return key[0] if declared.upper() == "INTEGER" else None


def _json_columns(parsed: ParsedTable) -> set[str]:
    """Lower-case names of columns under a CHECK with json_valid(column)."""
    found = set()
    for check in parsed.checks:
        words = list(tokens(check.expression))
        for function, opening, column, closing in zip(
            words, words[1:], words[2:], words[3:], strict=False
        ):
            if (function.word, opening.word, closing.word) == ("JSON_VALID", "(", ")"):
                found.add(column.name.lower())
    return found


def _views(
    connection: sqlite3.Connection, objects: Iterable[_Object], skipped: list[SkippedObject]
) -> list[View]:
    views = []
    for item in objects:
        if item.type != "view":
            continue
        try:
            connection.execute(f"SELECT * FROM {quote(item.name)} LIMIT 0").fetchall()
            views.append(View(item.name, item.sql or ""))
        except sqlite3.OperationalError as error:
            reason = f"SQLite itself cannot run it: {error}"
            skipped.append(SkippedObject("view", item.name, reason, None, item.sql))
    return views


def _is_virtual(sql: str | None) -> bool:
    words = [token.word for _, token in zip(range(3), tokens(sql or ""), strict=False)]
    return words[:3] == ["CREATE", "VIRTUAL", "TABLE"]


def _module(sql: str | None) -> str:
    """The module of a virtual table, the name after USING."""
    following = False
    for token in tokens(sql or ""):
        if following:
            return token.name
        following = token.word == "USING"
    return "?"


def _shadow_names(virtual: dict[str, str]) -> dict[str, str]:
    """Lower-case shadow table name -> its virtual table, for the modules known here."""
    return {
        f"{name}_{ending}".lower(): name
        for name, module in virtual.items()
        for ending in _SHADOWS.get(module.lower(), ())
    }
