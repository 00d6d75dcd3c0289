"""Keys and indexes of all tables of a MySQL database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from migration_assets.core.catalog import ForeignKey, Index, IndexTerm, UniqueKey
from migration_assets.sources.mysql.connect import Row, quote, text

Ask = Callable[[str], list[Row]]


@dataclass
class Keys:
    """By table.

    ``foreign`` has the parent's database as well, None for the same one.
    """

    primary: dict[str, tuple[str, ...]] = field(default_factory=dict)
    uniques: dict[str, list[UniqueKey]] = field(default_factory=lambda: defaultdict(list))
    indexes: dict[str, list[Index]] = field(default_factory=lambda: defaultdict(list))
    foreign: dict[str, list[tuple[str | None, ForeignKey]]] = field(
        default_factory=lambda: defaultdict(list)
    )


def read_keys(ask: Ask, mariadb: bool) -> Keys:
    """Read all keys and indexes of the current database.

    Raises:
        pymysql.err.MySQLError: the server refuses, or is lost.
    """
    keys = Keys()
    groups: dict[tuple[str, str], list[tuple[IndexTerm, bool, str]]] = defaultdict(list)
    expression = "NULL" if mariadb or not _has_expressions(ask) else "EXPRESSION"
    for row in ask(
        "SELECT TABLE_NAME, INDEX_NAME, NON_UNIQUE, COLUMN_NAME, COLLATION, SUB_PART, INDEX_TYPE,"
        f" {expression} FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE()"
        " ORDER BY TABLE_NAME, INDEX_NAME = 'PRIMARY' DESC, INDEX_NAME, SEQ_IN_INDEX"
    ):
        table, name, non_unique, column, order, prefix, method, expression_ = row
        term = IndexTerm(
            column=text(column) if column is not None else None,
            expression=text(expression_).replace("\\'", "'") if expression_ is not None else None,
            descending=order == b"D",
            prefix=int(prefix) if prefix is not None and method != b"SPATIAL" else None,
        )
        unique = non_unique == b"0"
        groups[text(table), text(name)].append((term, unique, text(method).lower()))
    for (of, label), members in groups.items():
        _add(keys, of, label, members)
    _foreign_keys(ask, keys)
    return keys


def _has_expressions(ask: Ask) -> bool:
    rows = ask(
        "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'information_schema'"
        " AND TABLE_NAME = 'STATISTICS' AND COLUMN_NAME = 'EXPRESSION'"
    )
    return rows[0][0] != b"0"


def _add(keys: Keys, table: str, name: str, members: Sequence[tuple[IndexTerm, bool, str]]) -> None:
    terms = tuple(term for term, _, _ in members)
    _, unique, method = members[0]
    plain = all(term.column and term.prefix is None for term in terms)
    columns = tuple(term.column or "" for term in terms)
    if name == "PRIMARY":
        # A prefix of a column, as MySQL allows it, is a stronger key than the whole column.
        keys.primary[table] = columns
    elif unique and plain:
        keys.uniques[table].append(UniqueKey(columns, name))
    else:
        method = method if method in {"fulltext", "spatial"} else "btree"
        keys.indexes[table].append(
            Index(name, terms, unique, sql=_sql(table, name, terms, unique, method), method=method)
        )


def _sql(table: str, name: str, terms: Sequence[IndexTerm], unique: bool, method: str) -> str:
    """The statement that makes the index: MySQL keeps none."""
    word = "UNIQUE " if unique else "" if method == "btree" else f"{method.upper()} "
    parts = [
        (quote(term.column) if term.column else f"({term.expression})")
        + (f"({term.prefix})" if term.prefix else "")
        + (" DESC" if term.descending else "")
        for term in terms
    ]
    return f"CREATE {word}INDEX {quote(name)} ON {quote(table)} ({', '.join(parts)})"


def _foreign_keys(ask: Ask, keys: Keys) -> None:
    groups: dict[tuple[str, str], list[tuple[str, ...]]] = defaultdict(list)
    for row in ask(
        "SELECT k.TABLE_NAME, k.CONSTRAINT_NAME, k.COLUMN_NAME, k.REFERENCED_COLUMN_NAME,"
        " IF(k.REFERENCED_TABLE_SCHEMA = DATABASE(), '', k.REFERENCED_TABLE_SCHEMA),"
        " k.REFERENCED_TABLE_NAME, r.UPDATE_RULE, r.DELETE_RULE"
        " FROM information_schema.KEY_COLUMN_USAGE AS k"
        " JOIN information_schema.REFERENTIAL_CONSTRAINTS AS r"
        " ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.TABLE_NAME = k.TABLE_NAME"
        " AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME"
        " WHERE k.TABLE_SCHEMA = DATABASE() AND k.REFERENCED_TABLE_NAME IS NOT NULL"
        " ORDER BY k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION"
    ):
        table, name, *rest = (text(value) for value in row)
        groups[table, name].append(tuple(rest))
    for (table, name), members in groups.items():
        _, _, schema, parent, on_update, on_delete = members[0]
        key = ForeignKey(
            columns=tuple(member[0] for member in members),
            ref_table=parent,
            ref_columns=tuple(member[1] for member in members),
            on_update=on_update,
            on_delete=on_delete,
            name=name,
        )
        keys.foreign[table].append((schema or None, key))
