"""What ``defs.yaml`` says about a table or column, the most special level first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from migration_assets.core.catalog import Catalog, Table
from migration_assets.core.config import ColumnOverride, PlanConfig, TableOverride
from migration_assets.core.plan import Decision
from migration_assets.core.policies import TABLE_POLICIES, Resolved, default, resolve
from migration_assets.errors import InputError

_NO_TABLE = TableOverride()
_NO_COLUMN = ColumnOverride()


class Overrides:
    """The levels of a configuration: column, table, migration.

    Args:
        config: what the user wants.
    """

    def __init__(self, config: PlanConfig) -> None:
        self._config = config

    def table(self, table: str) -> TableOverride:
        """What is written about a table of the source; an empty record for nothing."""
        return self._config.overrides.get(table, _NO_TABLE)

    def column(self, table: str, column: str) -> ColumnOverride:
        """What is written about a column of the source; an empty record for nothing."""
        return self.table(table).columns.get(column, _NO_COLUMN)

    def dropped(self, table: Table) -> tuple[str, ...]:
        """The columns of a table that do not come along, in its order."""
        return tuple(c.name for c in table.columns if self.column(table.name, c.name).drop)

    def renamed_columns(self, table: str) -> dict[str, str]:
        """Source column name -> target name, of those that the user renames."""
        columns = self.table(table).columns
        return {name: column.rename for name, column in columns.items() if column.rename}

    def renamed_tables(self) -> dict[str, str]:
        """Source table name -> target name, of those that the user renames."""
        tables = self._config.overrides
        return {name: table.rename for name, table in tables.items() if table.rename}

    def typed(self, table: str, column: str) -> bool:
        """Whether the user fixes the type or conversion of a column."""
        override = self.column(table, column)
        return override.type is not None or override.conversion is not None

    def source_timezone(self, table: str, column: str) -> str | None:
        """The zone that naive timestamps of a column are meant in, None if nobody knows."""
        return (
            self.column(table, column).source_timezone
            or self.table(table).source_timezone
            or self._config.source_timezone
        )

    def table_policies(self, table: str) -> Resolved:
        """The choices about whole rows and keys of a table."""
        levels = (self._config.policies, self.table(table).policies)
        return resolve(*(_only(level, True) for level in levels))

    def column_policies(self, table: str, column: str) -> Resolved:
        """The choices about the values of a column."""
        levels = (self._config.policies, self.table(table).policies)
        special = self.column(table, column).policies
        return resolve(*(_only(level, False) for level in levels), special)

    def policy_decisions(self, tables: Iterable[Table]) -> Iterator[Decision]:
        """One decision for each choice that is made somewhere and is not what held there before."""
        above = self._config.policies
        yield from _decisions(None, None, above, {}, "the migration")
        for table in tables:
            override = self.table(table.name)
            yield from _decisions(table.name, None, override.policies, above, "the table")
            merged = above | override.policies
            for name, column in override.columns.items():
                yield from _decisions(table.name, name, column.policies, merged, "the column")

    def check(self, catalog: Catalog, wanted: Iterable[str]) -> None:
        """Refuse what is written about tables and columns that there are not.

        Args:
            catalog: what the source declares.
            wanted: source names of the tables that come along.

        Raises:
            InputError: names the place in ``defs.yaml``.
        """
        coming = set(wanted)
        for place, named in (
            ("overrides", self._config.overrides),
            ("transforms", self._config.transforms),
        ):
            for name in named:
                if name not in coming:
                    raise InputError(_unknown(place, name, coming))
        for name, override in self._config.overrides.items():
            columns = [column.name for column in catalog.table(name).columns]
            for column in override.columns:
                if column not in columns:
                    place = f"overrides.{name}.columns"
                    raise InputError(_unknown(place, column, columns, f'column of "{name}"'))
        for name, transforms in self._config.transforms.items():
            columns = [column.name for column in catalog.table(name).columns]
            for number, transform in enumerate(transforms):
                if transform.column is not None and transform.column not in columns:
                    place = f"transforms.{name}.{number}.column"
                    raise InputError(
                        _unknown(place, transform.column, columns, f'column of "{name}"')
                    )


def _unknown(
    place: str, name: str, known: Iterable[str], what: str = "table that comes along"
) -> str:
    alike = [other for other in known if other.lower() == name.lower()]
    hint = f'; did you mean "{alike[0]}"?' if alike else "; names are the source's, case included"
    return f'defs.yaml, key "{place}": "{name}" is no {what}{hint}'


def _only(level: Mapping[str, str], of_tables: bool) -> dict[str, str]:
    return {a: c for a, c in level.items() if (a in TABLE_POLICIES) is of_tables}


def _decisions(
    table: str | None,
    column: str | None,
    level: Mapping[str, str],
    above: Mapping[str, str],
    what: str,
) -> Iterator[Decision]:
    for anomaly, choice in level.items():
        if choice != above.get(anomaly, default(anomaly)):
            reason = f"policies: of {what} in defs.yaml"
            yield Decision(table, column, f"{anomaly}: {choice}", reason)
