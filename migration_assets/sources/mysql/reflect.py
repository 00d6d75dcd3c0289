"""What a MySQL database declares, read from ``information_schema`` and SHOW CREATE."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pymysql

from migration_assets.core.catalog import (
    UNREADABLE,
    Catalog,
    Check,
    Column,
    ForeignKey,
    Kind,
    SkippedObject,
    Table,
    View,
)
from migration_assets.sources.mysql.connect import Row, is_denied, line, quote, text
from migration_assets.sources.mysql.declared import declared_type
from migration_assets.sources.mysql.keys import Keys, read_keys
from migration_assets.sources.mysql.objects import skipped_objects

Ask = Callable[[str], list[Row]]

_JSON_CHECK = re.compile(r"json_valid\s*\(\s*`((?:[^`]|``)+)`\s*\)", re.IGNORECASE)
_ON_UPDATE = re.compile(r"on update (current_timestamp(?:\(\d*\))?)", re.IGNORECASE)
_NUMERIC = frozenset({
    "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "bit",
    "year",
})  # fmt: skip
_FOLDING = re.compile(r"_(ci|as_ci|ai_ci)(_|$)|_general_ci|_nopad_ci")


@dataclass(frozen=True)
class Server:
    """What must be known of the server to read its ``information_schema``."""

    mariadb: bool
    version: tuple[int, ...]
    collation: str
    """The database's own."""

    @classmethod
    def of(cls, ask: Ask) -> Server:
        """Ask the server."""
        version, collation = (text(v) for v in ask("SELECT VERSION(), @@collation_database")[0])
        numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
        return cls("mariadb" in version.lower(), numbers, collation)


@dataclass(frozen=True)
class Reflection:
    """A catalog, and what only this adapter needs to know of it.

    Attributes:
        catalog: for all other layers.
        charsets: table -> column -> charset of its texts.
    """

    catalog: Catalog
    charsets: Mapping[str, Mapping[str, str]]


def reflect(ask: Ask) -> Reflection:
    """Read everything that the current database declares.

    Args:
        ask: runs a query and gives its rows.

    Raises:
        pymysql.err.MySQLError: the server refuses, or is lost.
    """
    server = Server.of(ask)
    skipped: list[SkippedObject] = []
    tables = ask(
        "SELECT TABLE_NAME, TABLE_TYPE, ENGINE, TABLE_ROWS, DATA_LENGTH + INDEX_LENGTH,"
        " TABLE_COMMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
        " ORDER BY TABLE_NAME"
    )
    columns = _columns(ask)
    checks = _checks(ask, server)
    keys = read_keys(ask, server.mariadb)
    found: list[Table] = []
    views: list[View] = []
    charsets: dict[str, dict[str, str]] = {}
    for name_, kind, engine, rows, size, comment in tables:
        name = text(name_)
        if kind in {b"VIEW", b"SYSTEM VIEW"}:
            sql = _created(ask, "VIEW", name, 1)
            if sql is None:
                reason = "the account lacks SHOW VIEW, so its definition is not known"
                skipped.append(SkippedObject("view", name, reason))
            else:
                views.append(View(name, sql))
            continue
        if kind == b"SEQUENCE":
            reason = "sequences that stand alone are not moved"
            skipped.append(SkippedObject("sequence", name, reason, sql=_sequence(ask, name)))
            continue
        if (reason_ := _unreadable(ask, name, engine, comment)) is not None:
            skipped.append(SkippedObject(UNREADABLE, name, reason_))
            continue
        sql = _created(ask, "TABLE", name, 1)
        charsets[name] = {c["column"]: c["charset"] for c in columns[name] if c["charset"]}
        found.append(
            _table(
                name,
                columns[name],
                checks.get(name, []),
                keys,
                server,
                rows=int(rows) if rows is not None else None,
                size=int(size) if size is not None else None,
                comment=text(comment) or None,
                sql=sql,
            )
        )
    found = [_with_foreign_keys(table, found, keys, skipped) for table in found]
    names = [table.name for table in found]
    skipped += skipped_objects(ask, server.mariadb, names)
    catalog = Catalog("mysql", tuple(found), tuple(views), tuple(skipped))
    return Reflection(catalog, charsets)


def _unreadable(ask: Ask, name: str, engine: bytes | None, comment: bytes | None) -> str | None:
    """Why the rows of a table cannot be read, None if they can."""
    if engine is None:
        return text(comment) or "its storage engine is not known to the server"
    try:
        ask(f"SELECT * FROM {quote(name)} LIMIT 0")
    except (pymysql.err.OperationalError, pymysql.err.ProgrammingError) as error:
        if is_denied(error):
            return "the account has no right to SELECT all of its columns"
        return line(error)
    except pymysql.err.MySQLError as error:
        return line(error)
    return None


def _created(ask: Ask, kind: str, name: str, place: int) -> str | None:
    """The CREATE statement; None where the account may not see it."""
    try:
        return text(ask(f"SHOW CREATE {kind} {quote(name)}")[0][place])
    except pymysql.err.MySQLError as error:
        if is_denied(error):
            return None
        raise


def _sequence(ask: Ask, name: str) -> str | None:
    return _created(ask, "SEQUENCE", name, 1)


_Declared = dict[str, str]
"""One row of ``information_schema.columns`` by the names used here; NULL is the empty text."""
_FIELDS = {
    "table": "TABLE_NAME",
    "column": "COLUMN_NAME",
    "default": "COLUMN_DEFAULT",
    "nullable": "IS_NULLABLE",
    "data": "DATA_TYPE",
    "type": "COLUMN_TYPE",
    "charset": "CHARACTER_SET_NAME",
    "collation": "COLLATION_NAME",
    "extra": "EXTRA",
    "comment": "COLUMN_COMMENT",
    "generated": "GENERATION_EXPRESSION",
    "has_default": "COLUMN_DEFAULT IS NOT NULL",
}


def _columns(ask: Ask) -> dict[str, list[_Declared]]:
    found: dict[str, list[_Declared]] = defaultdict(list)
    srid = "SRS_ID"
    present = ask(
        "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'information_schema'"
        " AND TABLE_NAME = 'COLUMNS' AND COLUMN_NAME = 'SRS_ID'"
    )[0][0]
    names = [*_FIELDS, "srid"]
    terms = ", ".join([*_FIELDS.values(), srid if present != b"0" else "NULL"])
    for row in ask(
        f"SELECT {terms} FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE()"
        " ORDER BY TABLE_NAME, ORDINAL_POSITION"
    ):
        declared = dict(zip(names, map(text, row), strict=True))
        found[declared["table"]].append(declared)
    return found


def _checks(ask: Ask, server: Server) -> dict[str, list[tuple[str, str, bool]]]:
    """Table -> its checks: name, clause, and whether it belongs to one column."""
    if server.mariadb:
        statement = (
            "SELECT TABLE_NAME, CONSTRAINT_NAME, CHECK_CLAUSE, LEVEL = 'Column'"
            " FROM information_schema.CHECK_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = DATABASE()"
        )
    elif server.version >= (8, 0, 16):
        statement = (
            "SELECT t.TABLE_NAME, c.CONSTRAINT_NAME, c.CHECK_CLAUSE, 0"
            " FROM information_schema.CHECK_CONSTRAINTS AS c"
            " JOIN information_schema.TABLE_CONSTRAINTS AS t"
            " USING (CONSTRAINT_SCHEMA, CONSTRAINT_NAME)"
            " WHERE CONSTRAINT_SCHEMA = DATABASE() AND t.ENFORCED = 'YES'"
        )
    else:
        return {}
    found: dict[str, list[tuple[str, str, bool]]] = defaultdict(list)
    for table, name, clause, of_column in ask(statement):
        found[text(table)].append((text(name), _clause(text(clause)), of_column == b"1"))
    return found


def _clause(clause: str) -> str:
    r"""A condition without MySQL's own ``_utf8mb4\'...\'`` around each string.

    MariaDB writes it as it was given.
    """
    plain = re.sub(r"_(?:utf8mb4|utf8mb3|latin1|ascii)\\'(.*?)\\'", r"'\1'", clause)
    return plain[1:-1] if plain.startswith("(") and _is_whole(plain) else plain


def _is_whole(expression: str) -> bool:
    """Whether the first bracket is closed by the last."""
    depth = 0
    inside = False
    for place, character in enumerate(expression):
        if character == "'":
            inside = not inside
        elif not inside and character in "()":
            depth += 1 if character == "(" else -1
            if depth == 0 and place < len(expression) - 1:
                return False
    return depth == 0


def _table(
    name: str,
    columns: list[_Declared],
    checks: list[tuple[str, str, bool]],
    keys: Keys,
    server: Server,
    *,
    rows: int | None,
    size: int | None,
    comment: str | None,
    sql: str | None,
) -> Table:
    json = {
        match[1].replace("``", "`")
        for _, clause, _ in checks
        if (match := _JSON_CHECK.fullmatch(clause.strip("() ") + ")")) is not None
    }
    auto = next((c["column"] for c in columns if "auto_increment" in c["extra"].lower()), None)
    return Table(
        name=name,
        columns=tuple(_column(column, server, column["column"] in json) for column in columns),
        primary_key=keys.primary.get(name, ()),
        auto_column=auto,
        unique_keys=tuple(keys.uniques.get(name, ())),
        indexes=tuple(keys.indexes.get(name, ())),
        checks=tuple(
            Check(clause, None if of_column else label)
            for label, clause, of_column in checks
            if not _JSON_CHECK.fullmatch(clause.strip("() ") + ")")
        ),
        rows=rows,
        bytes=size,
        comment=comment,
        sql=sql,
    )


def _column(declared: _Declared, server: Server, json: bool) -> Column:
    extra = declared["extra"].upper()
    srid = int(declared["srid"]) if declared["srid"] else None
    kind = declared_type(declared["type"], json=json and declared["data"] == "longtext", srid=srid)
    generated = declared["generated"] or None
    on_update = _ON_UPDATE.search(declared["extra"])
    collation = declared["collation"] or None
    return Column(
        name=declared["column"],
        source_type=declared["type"],
        type=kind,
        not_null=declared["nullable"] == "NO",
        default=None if generated else _default(declared, server),
        generated=generated,
        stored="STORED" in extra or "PERSISTENT" in extra,
        collation=None if collation == server.collation else collation,
        comment=declared["comment"] or None,
        on_update=on_update[1] if on_update else None,
        ignores_case=kind.kind not in {Kind.JSON} and bool(_FOLDING.search(collation or "")),
        invisible="INVISIBLE" in extra,
    )


def _default(declared: _Declared, server: Server) -> str | None:
    """The default as SQL text."""
    if declared["has_default"] != "1":
        return None
    value, extra = declared["default"], declared["extra"].upper()
    if server.mariadb:
        # SQL text already; only expressions in need of brackets lack them.
        return None if value.upper() == "NULL" else _bracketed(value)
    if "DEFAULT_GENERATED" in extra:
        return _bracketed(_clause(value))
    if re.match(r"current_timestamp|b'[01]*'|0x", value, re.IGNORECASE):
        return value
    if declared["data"] in _NUMERIC:
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _bracketed(value: str) -> str:
    plain = re.fullmatch(
        r"-?[\d.]+(e[-+]?\d+)?|'(?:[^'\\]|''|\\.)*'|[xb]'\w*'|0x\w+|current_timestamp(\(\d*\))?"
        r"|true|false|null|\(.*\)",
        value,
        re.IGNORECASE | re.DOTALL,
    )
    if plain is None or (value.startswith("(") and not _is_whole(value)):
        return f"({value})"
    return value


def _with_foreign_keys(
    table: Table, tables: list[Table], keys: Keys, skipped: list[SkippedObject]
) -> Table:
    """Put in the foreign keys; what points out of the database goes to ``skipped``."""
    names = {other.name.lower(): other.name for other in tables}
    kept: list[ForeignKey] = []
    for schema, key in keys.foreign.get(table.name, ()):
        parent = names.get(key.ref_table.lower()) if schema is None else None
        if parent is None:
            where = f'"{schema}"."{key.ref_table}"' if schema else f'"{key.ref_table}"'
            reason = f"it refers to {where}, which does not come along"
            skipped.append(
                SkippedObject("foreign key", key.name or "foreign key", reason, table.name)
            )
            continue
        kept.append(replace(key, ref_table=parent))
    return replace(table, foreign_keys=tuple(kept))
