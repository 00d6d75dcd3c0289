"""Where a source stood when it was read, and what has moved in it since."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Position:
    """Where a source stands; two positions are the same if either of their parts is.

    Attributes:
        token: cheap to have, and another one after each write; perhaps also after none.
        content: the same for the same content, None where only reading all of it would tell.
    """

    token: str
    content: str | None = None

    def same_as(self, other: Position) -> bool:
        """Whether nothing was written between the two."""
        return self.token == other.token or (
            self.content is not None and self.content == other.content
        )


@dataclass(frozen=True)
class TableState:
    """One table as it was: its rows and a digest of all its values, None where not known."""

    rows: int | None
    digest: str | None = None


@dataclass(frozen=True)
class Standing:
    """What a snapshot leaves behind, to be held against the source when the snapshot is gone.

    Attributes:
        location: the source without credentials.
        snapshot_id: of the snapshot.
        taken_at: ISO 8601 in UTC.
        position: where the source stood, None if the snapshot is older than this record.
        tables: by source name.
    """

    location: str
    snapshot_id: str
    taken_at: str
    position: Position | None = None
    tables: dict[str, TableState] = field(default_factory=dict)


@dataclass(frozen=True)
class TableMovement:
    """One table that is not as it was.

    Attributes:
        table: source name.
        kind: ``changed``, ``added`` or ``dropped``.
        rows_before, rows_now: None where they are not known.
    """

    table: str
    kind: str
    rows_before: int | None = None
    rows_now: int | None = None

    @property
    def line(self) -> str:
        """In words: the table and how many rows more or less."""
        name = f'table "{self.table}"'
        before, now = self.rows_before, self.rows_now
        if self.kind != "changed":
            rows = now if self.kind == "added" else before
            return f"{name} was {self.kind}" + (f" ({rows:,} rows)" if rows is not None else "")
        if before is None or now is None:
            return f"{name} holds other values"
        if before == now:
            return f"{name} holds other values in as many rows ({now:,})"
        more = f"{now - before:,} rows more" if now > before else f"{before - now:,} rows less"
        return f"{name} holds {more} ({before:,} before, {now:,} now)"


@dataclass(frozen=True)
class Movement:
    """What has moved in a source, or what keeps one from saying that nothing has.

    Attributes:
        reasons: readable lines about the source as a whole.
        tables: those that are not as they were.
    """

    reasons: tuple[str, ...] = ()
    tables: tuple[TableMovement, ...] = ()

    @property
    def line(self) -> str:
        """All of it in one line."""
        return "; ".join([*self.reasons, *(table.line for table in self.tables)])


def movement(reasons: list[str], tables: list[TableMovement]) -> Movement | None:
    """The movement that these make, None without any."""
    return Movement(tuple(reasons), tuple(tables)) if reasons or tables else None


def held_against(before: dict[str, TableState], now: dict[str, TableState]) -> list[TableMovement]:
    """The tables that differ in rows or digest, where both sides know them."""

    def differ(one: str | int | None, other: str | int | None) -> bool:
        return one is not None and other is not None and one != other

    found = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old is None or new is None:
            kind = "added" if old is None else "dropped"
            found.append(
                TableMovement(name, kind, old.rows if old else None, new.rows if new else None)
            )
        elif differ(old.rows, new.rows) or differ(old.digest, new.digest):
            found.append(TableMovement(name, "changed", old.rows, new.rows))
    return found
