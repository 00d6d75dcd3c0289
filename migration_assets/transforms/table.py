"""The transforms of one table, applied to converted batches, each change found and declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.convert.anomalies import SetAside
from migration_assets.convert.column import Change, Mask, Rows, where
from migration_assets.convert.fit import Fitted, fitted, text_of
from migration_assets.core import sensitive
from migration_assets.core.plan import ColumnPlan, Plan, Recipe, TablePlan, TransformPlan
from migration_assets.core.types import PgType
from migration_assets.errors import InputError, MigrationError, NotProvenError
from migration_assets.transforms import function
from migration_assets.transforms.expression import Expression, ExpressionError

Keys = Callable[[Rows], list[str]]
"""Keys of a few rows, as the ledger shows them."""

UNFIT = "unfit"


@dataclass
class Transformed:
    """What became of one batch.

    Attributes:
        columns: source column -> its values now.
        changes: (source column, change) for the ledger.
        aside: (column, rows that do not stay and why).
        led_back: (``<rule>:<source column>``, values changed that the inverse leads back).
    """

    columns: dict[str, pa.Array]
    changes: list[tuple[str, Change]] = field(default_factory=list)
    aside: list[tuple[ColumnPlan, SetAside]] = field(default_factory=list)
    led_back: list[tuple[str, Mask]] = field(default_factory=list)


class TableTransforms:
    """Applies a table's transforms in their order.

    Args:
        plan: the table; nothing is imported that its transforms do not need.
        folder: the migration's, where its functions may be.

    Raises:
        InputError: an expression or function can not be used; names table and transform.
    """

    def __init__(self, plan: TablePlan, folder: Path | None) -> None:
        self._plan = plan
        self._columns = {column.source: column for column in plan.stored_columns}
        types = {name: column.converted_type for name, column in self._columns.items()}
        self._steps: list[_Step] = []
        for transform in plan.transforms:
            step = _Step(plan.source, transform, types, folder, bool(sensitive.names(plan)))
            self._steps.append(step)
            types = step.types_after

    def apply(self, batch: pa.RecordBatch, keys: Keys) -> Transformed:
        """Transform one batch.

        Args:
            batch: stored columns in the plan's order, converted.
            keys: of rows of the batch.

        Raises:
            NotProvenError: a value whose policy, or ``otherwise``, is ``fail``, a transform that
                failed on a value, or a function that gave something else than was agreed.
        """
        out = Transformed(dict(zip(self._columns, batch.columns, strict=True)))
        gone = np.zeros(batch.num_rows, np.bool_)
        if batch.num_rows == 0:
            for step in self._steps:
                for name, kind in step.types_after.items():
                    out.columns[name] = pa.nulls(0, kind.arrow)
            return out
        for step in self._steps:
            self._step(step, out, gone, keys)
        # A later transform may have set a row aside.
        out.led_back = [(name, mask & ~gone) for name, mask in out.led_back]
        return out

    def _step(self, step: _Step, out: Transformed, gone: Mask, keys: Keys) -> None:
        before = dict(out.columns)
        made = step.forward(before, keys)
        for name, result in made.items():
            out.columns[name] = self._settled(step, name, result, out, gone, keys)
        shown = step.backward(out.columns, keys) if step.reversible else {}
        for name in made:
            changed = _differs(before[name], out.columns[name])
            if name in shown and name not in step.fixed:
                back = shown[name]
                wrong = _differs(before[name], back.array)
                for rows, _ in back.unfit:
                    wrong[rows] = True
                out.led_back.append((f"{step.rule}:{name}", changed & ~wrong))
                changed = wrong
            changed &= ~gone
            rows = np.flatnonzero(changed)
            if len(rows):
                if name in step.fixed:
                    problem = f"{step.label}: must not change a key that others refer to"
                    raise step.error(problem, keys(rows[:1])[0], NotProvenError, name)
                texts = [_texts(column[name], rows) for column in (before, out.columns)]
                out.changes.append((name, Change(step.rule, rows, *texts)))

    def _settled(
        self, step: _Step, name: str, made: Fitted, out: Transformed, gone: Mask, keys: Keys
    ) -> pa.Array:
        """A column after the policy for values that its type can not hold."""
        column = self._columns[name]
        kind = step.types_after[name]
        policy = column.policy(UNFIT)
        for found, reason in made.unfit:
            rows = found[~gone[found]]
            if len(rows) == 0:
                continue
            problem = f"{step.label}: the value it made {reason}, but the type is {kind.sql}"
            if policy == "fail":
                raise step.error(problem, keys(rows[:1])[0], NotProvenError, name)
            if policy == "quarantine":
                out.aside.append((column, SetAside(UNFIT, rows, problem)))
                gone[rows] = True
        if not column.nullable:
            missing = where(made.array.is_null())
            missing = missing[~gone[missing]]
            if len(missing):
                problem = f"{step.label}: made NULL in a column that is NOT NULL"
                if policy == "fail":
                    raise step.error(problem, keys(missing[:1])[0], NotProvenError, name)
                out.aside.append((column, SetAside(UNFIT, missing, problem)))
                gone[missing] = True
        return made.array


def check(plan: Plan, folder: Path) -> None:
    """Prepare all transforms of a plan, before a row is moved.

    Args:
        plan: made from a whole profile, so that columns have their types.
        folder: the migration's.

    Raises:
        InputError: one can not be used; names table and transform.
    """
    for table in plan.tables:
        transforms_of(table, folder)


def transforms_of(plan: TablePlan, folder: Path | None) -> TableTransforms | None:
    """The transforms of a table, None where it has none.

    Raises:
        InputError: one can not be used.
    """
    return TableTransforms(plan, folder) if plan.transforms else None


class _Step:
    """One transform, ready to work.

    Attributes:
        types_after: source column -> its type when this transform is done.
        fixed: columns that it must leave as they are.
        rule, label: its name in the ledger, and in errors.
        reversible: it has an inverse.

    With ``hidden`` no message names a value of the table.
    """

    def __init__(
        self,
        table: str,
        plan: TransformPlan,
        types: dict[str, PgType],
        folder: Path | None,
        hidden: bool,
    ) -> None:
        self._table = table
        self._hidden = hidden
        self._plan = plan
        self._types = types
        self.types_after = dict(types)
        if plan.column is not None and plan.type is not None:
            self.types_after[plan.column] = plan.type
        self.rule = plan.rule
        self.fixed = plan.fixed
        self.label = f'transform "{plan.name}"'
        self.reversible = plan.inverse is not None
        self._maker = self._prepared(plan.recipe, types, folder, "")
        self._back = (
            self._prepared(plan.inverse, self.types_after, folder, "its inverse ")
            if plan.inverse is not None
            else None
        )

    def error(
        self,
        problem: str,
        key: str | None,
        kind: type[MigrationError] = NotProvenError,
        column: str | None = None,
    ) -> MigrationError:
        """An error that names table, column, key and transform."""
        where_ = f'table "{self._table}"'
        if column or self._plan.column:
            where_ += f', column "{column or self._plan.column}"'
        if key is not None:
            where_ += f", key {key}"
        return kind(f"{where_}: {problem}")

    def forward(self, columns: dict[str, pa.Array], keys: Keys) -> dict[str, Fitted]:
        """What the transform makes, in the types after it."""
        return self._made(self._plan.recipe, self._maker, columns, keys, self.types_after, "")

    def backward(self, columns: dict[str, pa.Array], keys: Keys) -> dict[str, Fitted]:
        """What its inverse makes of that, in the types before it."""
        assert self._plan.inverse is not None and self._back is not None
        return self._made(
            self._plan.inverse, self._back, columns, keys, self._types, "its inverse "
        )

    def _prepared(
        self, recipe: Recipe, types: dict[str, PgType], folder: Path | None, what: str
    ) -> Any:
        if recipe.expression is not None:
            schema = pa.schema([(name, kind.arrow) for name, kind in types.items()])
            try:
                return Expression(recipe.expression, schema)
            except ExpressionError as error:
                problem = f"{self.label}: {what}expression: {error}"
                raise self.error(problem, None, InputError) from None
        if recipe.function is not None:
            try:
                return function.load(recipe.function, folder, recipe.module_hash)
            except InputError as error:
                raise self.error(f"{self.label}: {what}{error}", None, InputError) from error
        assert recipe.values is not None and self._plan.column is not None
        made = _ValueMap(recipe.values)
        kind = (self._types if what else self.types_after)[self._plan.column]
        unfit = made.first_unfit(kind)
        if unfit is not None:
            problem = f"{self.label}: {what}value {unfit!r} is no {kind.sql}"
            problem += "" if what else "; name the type that it leads to with type:"
            raise self.error(problem, None, InputError)
        return made

    def _made(
        self,
        recipe: Recipe,
        maker: Any,
        columns: dict[str, pa.Array],
        keys: Keys,
        types: dict[str, PgType],
        what: str,
    ) -> dict[str, Fitted]:
        name = self._plan.column
        if isinstance(maker, _ValueMap):
            assert name is not None
            otherwise = "keep" if what else self._plan.otherwise
            result, missing = maker.apply(columns[name], types[name], otherwise)
            if missing is not None:
                shown = repr(text_of(columns[name].slice(missing, 1))[0].as_py())
                problem = f"{self.label}: the value {self._shown(shown)} is not in its values"
                raise self.error(problem, keys(np.array([missing]))[0])
            return {name: result}
        batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
        if isinstance(maker, Expression):
            assert name is not None
            try:
                made = {name: maker.compute(batch)}
            except ExpressionError as error:
                row = _first_failing(maker, batch)
                problem = f"{self.label}: {what}expression: {self._shown(str(error))}"
                raise self.error(problem, keys(np.array([row]))[0]) from None
        else:
            made = self._called(maker, batch, keys, what)
        return {column: fitted(array, types[column]) for column, array in made.items()}

    def _shown(self, text: str) -> str:
        return sensitive.MASK if self._hidden else text

    def _called(
        self, maker: function.Function, batch: pa.RecordBatch, keys: Keys, what: str
    ) -> dict[str, pa.Array]:
        """What a function gives, by source column."""
        label = f"{self.label}: {what}function"
        first = keys(np.array([0]))[0]
        try:
            result = maker(batch)
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            problem = f"{label} failed in the batch that begins with this row: "
            problem += type(error).__name__ if self._hidden else reason
            raise self.error(problem, first) from error
        name = self._plan.column
        if name is not None and isinstance(result, pa.Array | pa.ChunkedArray):
            made = {name: result}
        elif isinstance(result, pa.RecordBatch):
            if result.schema.names != batch.schema.names:
                missing = sorted(set(batch.schema.names) ^ set(result.schema.names))
                problem = f"{label} must give the columns it got, in their order"
                problem += f"; different: {', '.join(missing)}" if missing else ""
                raise self.error(problem, None)
            wanted = batch.schema.names if name is None else [name]
            made = {column: result.column(column) for column in wanted}
            for column in set(batch.schema.names) - set(wanted):
                if _differs(batch.column(column), result.column(column)).any():
                    problem = f'{label} changed "{column}" as well; leave out column: for that'
                    raise self.error(problem, first)
        else:
            raise self.error(f"{label} gave a {type(result).__name__}, not a RecordBatch", None)
        for column, array in made.items():
            if len(array) != batch.num_rows:
                problem = f"{label} gave {len(array)} rows for {batch.num_rows}"
                raise self.error(problem, first, NotProvenError, column)
        return made


class _ValueMap:
    """A value map over the texts of values."""

    def __init__(self, values: tuple[tuple[str, Any], ...]) -> None:
        self._keys = pa.array([key for key, _ in values], pa.string())
        words = [
            None if word is None else str(word).lower() if isinstance(word, bool) else str(word)
            for _, word in values
        ]
        self._words = pa.array(words, pa.string())

    def first_unfit(self, kind: PgType) -> str | None:
        """The first value it makes that is none of ``kind``, None if all are."""
        wrong = [int(rows[0]) for rows, _ in fitted(self._words, kind).unfit if len(rows)]
        return str(self._words[min(wrong)]) if wrong else None

    def apply(self, array: pa.Array, kind: PgType, otherwise: str) -> tuple[Fitted, int | None]:
        """Map a column; also the first row without an entry where that is not allowed.

        NULL stays NULL.
        """
        texts = source_text(array)
        places = pc.index_in(texts, self._keys)
        mapped = places.is_valid()
        stray = pc.and_not(array.is_valid(), mapped)
        strays = bool(pc.any(stray, min_count=0).as_py())
        if strays and otherwise == "fail":
            return Fitted(array), int(pc.index(stray, True).as_py())
        # A map has few values, so that these are fitted and not each row of the column.
        words = fitted(self._words, kind)
        out = words.array.take(places)
        wrong = [(np.flatnonzero(np.isin(_places(places), rows)), why) for rows, why in words.unfit]
        if strays and otherwise == "keep":
            kept = fitted(pc.if_else(stray, array, pa.scalar(None, array.type)), kind)
            out = pc.if_else(mapped, out, kept.array)
            wrong += kept.unfit
        return Fitted(out, tuple((rows, why) for rows, why in wrong if len(rows))), None


def source_text(array: pa.Array) -> pa.StringArray:
    """The texts that a value map names: booleans are 1 and 0 there, as in the source."""
    if pa.types.is_boolean(array.type):
        return array.cast(pa.int8()).cast(pa.string())
    return text_of(array)


def _places(places: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(pc.fill_null(places.cast(pa.int64()), -1))


def _differs(one: pa.Array, other: pa.Array) -> Mask:
    """Which values differ; doubles by their bits, other types than the first's by their texts."""
    if isinstance(other, pa.ChunkedArray):
        other = other.combine_chunks()
    if one.type != other.type:
        one, other = text_of(one), text_of(other)
    elif pa.types.is_float64(one.type):
        one, other = one.view(pa.int64()), other.view(pa.int64())
    unequal = pc.fill_null(pc.not_equal(one, other), False)
    lost = pc.xor(one.is_valid(), other.is_valid())
    found: Mask = np.array(pc.or_(unequal, lost).to_numpy(zero_copy_only=False))
    return found


def _texts(array: pa.Array, rows: Rows) -> list[str | None]:
    texts: list[str | None] = text_of(array.take(pa.array(rows))).to_pylist()
    return texts


def _first_failing(expression: Expression, batch: pa.RecordBatch) -> int:
    """The first row of which the expression can not be computed."""
    start, stop = 0, batch.num_rows
    while stop - start > 1:
        middle = (start + stop) // 2
        try:
            expression.compute(batch.slice(start, middle - start))
            start = middle
        except ExpressionError:
            stop = middle
    return start
