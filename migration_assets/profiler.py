"""Facts of a table's values, gathered batch by batch from the one read of the snapshot.

Only facts that the plan can use are computed: the declared kind says which forms a text is probed
for, and a probe that can no longer lead to a type is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from migration_assets.convert import forms
from migration_assets.convert.column import mask_of
from migration_assets.convert.jsonforms import json_forms
from migration_assets.convert.members import is_member
from migration_assets.convert.texts import invalid_rows, nul_rows
from migration_assets.core.catalog import Column, Kind, Table
from migration_assets.core.profile import ColumnProfile, Lane, TableProfile

_DATE_FORMS: dict[str, Callable[[pa.Array], pa.Array]] = {
    "date": forms.is_date,
    "datetime": forms.is_datetime,
    "datetime_tz": forms.is_datetime_tz,
    "time": forms.is_time,
}
_LIKE_A_DATE = r"^[+-]?[0-9]{4,}-[0-9]{2}-[0-9]{2}"


class TableProfiler:
    """Collects the profile of one table.

    Args:
        table: as declared; its columns' positions name the lanes of the raw batches.
    """

    def __init__(self, table: Table) -> None:
        self._columns = [_ColumnProfiler(column) for column in table.columns]
        self._names = [column.name for column in table.columns]
        self._rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        """Take in one raw batch (fields ``<column position>:<lane>``)."""
        self._rows += batch.num_rows
        for field, array in zip(batch.schema, batch.columns, strict=True):
            position, _, lane = field.name.partition(":")
            self._columns[int(position)].update(Lane(lane), array)

    def finish(
        self,
        next_value: int | None = None,
        orphans: Mapping[int, int] | None = None,
        case_folds: Mapping[str, int] | None = None,
    ) -> TableProfile:
        """Return the facts of all batches so far.

        Args:
            next_value: what the source would hand out next in the table's automatic column.
            orphans: foreign key position -> rows whose parent is missing.
            case_folds: column -> values that another one equals but for the case.
        """
        folds = case_folds or {}
        return TableProfile(
            rows=self._rows,
            columns={
                name: column.finish(self._rows, folds.get(name, 0))
                for name, column in zip(self._names, self._columns, strict=True)
            },
            next_value=next_value,
            orphans=dict(orphans or {}),
        )


class _ColumnProfiler:
    """Collects the facts of one column."""

    def __init__(self, column: Column) -> None:
        kind = column.type.kind
        self._lanes: dict[Lane, int] = {}
        self._int: tuple[int, int] | None = None
        self._real: tuple[float, float] | None = None
        self._nonfinite = 0
        self._fractional = 0
        self._decimal = kind is Kind.DECIMAL
        self._digits = [0, 0]
        self._text_digits = [0, 0]
        self._text = {"chars": 0, "bytes": 0, "nul": 0, "invalid": 0, "beyond": 0, "zero": 0}
        self._forms: dict[str, int] = {}
        self._probes = dict(_DATE_FORMS) if kind in {Kind.DATE, Kind.DATETIME, Kind.TIME} else {}
        if kind is Kind.TIME and column.type.strict:
            self._probes["interval"] = forms.is_interval
        # Every time of day is an interval as well.
        self._one_form = "interval" not in self._probes
        self._likely = next(iter(self._probes), "")
        self._labels = column.type.values if kind is Kind.ENUM else ()
        # Any text column can be the other side of a foreign key between UUIDs.
        self._uuid = kind in {Kind.TEXT, Kind.UUID}
        self._json = kind is Kind.JSON
        self._blob_bytes = 0
        self._blob_uuid = 0
        self._example: str | None = None
        self._update: dict[Lane, Callable[[pa.Array], None]] = {
            Lane.INT: self._ints,
            Lane.REAL: self._reals,
            Lane.TEXT: self._texts,
            Lane.BLOB: self._blobs,
        }

    def update(self, lane: Lane, array: pa.Array) -> None:
        """Take in one lane of one batch."""
        values = len(array) - array.null_count
        if values:
            self._lanes[lane] = self._lanes.get(lane, 0) + values
            self._update[lane](array)

    def _ints(self, array: pa.Array) -> None:
        low, high = _extremes(array)
        self._int = (
            (low, high) if self._int is None else (min(self._int[0], low), max(self._int[1], high))
        )
        if self._decimal:
            digits = max(len(str(abs(low))), len(str(abs(high))))
            self._digits[0] = max(self._digits[0], digits)

    def _reals(self, array: pa.Array) -> None:
        array = array.drop_null()
        finite = pc.is_finite(array)
        if bad := pc.sum(pc.invert(finite)).as_py():
            self._nonfinite += bad
            array = array.filter(finite)
            if len(array) == 0:
                return
        low, high = _extremes(array)
        self._real = (
            (low, high)
            if self._real is None
            else (min(self._real[0], low), max(self._real[1], high))
        )
        values = array.to_numpy(zero_copy_only=False)
        self._fractional += int(np.count_nonzero(values != np.trunc(values)))
        if self._decimal:
            digits, scale = forms.real_size(array)
            self._digits = [max(self._digits[0], digits), max(self._digits[1], scale)]

    def _texts(self, array: pa.Array) -> None:
        array = array.drop_null()
        lengths = pc.binary_length(array)
        self._text["bytes"] = max(self._text["bytes"], pc.max(lengths).as_py())
        wrong = np.zeros(0, np.intp)
        try:
            valid = array.cast(pa.string())
        except pa.ArrowInvalid:
            wrong = invalid_rows(array)
            self._text["invalid"] += len(wrong)
            valid = array.filter(pa.array(~mask_of(wrong, len(array)))).cast(pa.string())
        if len(valid):
            chars = pc.max(pc.utf8_length(valid)).as_py()
            self._text["chars"] = max(self._text["chars"], chars)
        self._text["nul"] += len(np.setdiff1d(nul_rows(array), wrong))
        if self._probes:
            self._dates(array)
        if self._decimal:
            fits = forms.is_decimal(array)
            self._count("decimal", pc.sum(fits).as_py() or 0, array)
            numbers = array.filter(fits)
            if len(numbers):
                digits, scale = forms.decimal_size(numbers.cast(pa.string()))
                self._text_digits = [
                    max(self._text_digits[0], digits),
                    max(self._text_digits[1], scale),
                ]
        if self._uuid:
            fits = pc.sum(forms.is_uuid(array)).as_py() or 0
            self._count("uuid", fits, array)
            self._uuid = fits == len(array)
        if self._labels:
            self._count("enum", is_member(array, self._labels).true_count, array)
        if self._json:
            parses, lossless = json_forms(array)
            self._count("json", pc.sum(parses).as_py() or 0, array)
            self._count("jsonb", pc.sum(lossless).as_py() or 0, array)

    def _dates(self, array: pa.Array) -> None:
        """Probe for the forms of dates and times; looks closer only where a text has none."""
        found: dict[str, pa.BooleanArray] = {}
        for name in (self._likely, *(name for name in self._probes if name != self._likely)):
            found[name] = self._probes[name](array)
            if found[name].true_count == len(array) and self._one_form:
                # No text has two of them; the next batch is asked for this one first.
                none = pa.nulls(0, pa.bool_())
                found = {**dict.fromkeys(self._probes, none), name: found[name]}
                self._likely = name
                break
        for name in self._probes:
            fits = found[name]
            self._count(name, pc.sum(fits).as_py() or 0, array)
        if sum(fits.true_count for fits in found.values()) < len(array):
            some = reduce(pc.or_, found.values())
            odd = array.filter(pc.invert(some))
            self._text["beyond"] += pc.match_substring_regex(odd, _LIKE_A_DATE).true_count
            self._text["zero"] += forms.is_zero_date(odd).true_count

    def _count(self, form: str, fits: int, array: pa.Array) -> None:
        self._forms[form] = self._forms.get(form, 0) + fits
        if fits < len(array) and self._example is None:
            self._example = array[0].as_py()[:60].decode(errors="backslashreplace")

    def _blobs(self, array: pa.Array) -> None:
        lengths = pc.binary_length(array)
        self._blob_bytes = max(self._blob_bytes, pc.max(lengths).as_py())
        self._blob_uuid += pc.sum(pc.equal(lengths, 16)).as_py() or 0

    def finish(self, rows: int, case_folds: int = 0) -> ColumnProfile:
        """Return the facts."""
        return ColumnProfile(
            nulls=rows - sum(self._lanes.values()),
            lanes=dict(self._lanes),
            int_min=self._int[0] if self._int else None,
            int_max=self._int[1] if self._int else None,
            real_min=self._real[0] if self._real else None,
            real_max=self._real[1] if self._real else None,
            real_nonfinite=self._nonfinite,
            real_fractional=self._fractional,
            number_digits=self._digits[0],
            number_scale=self._digits[1],
            text_chars=self._text["chars"],
            text_bytes=self._text["bytes"],
            text_nul=self._text["nul"],
            text_invalid=self._text["invalid"],
            text_forms=dict(self._forms),
            blob_bytes=self._blob_bytes,
            blob_uuid=self._blob_uuid,
            text_digits=self._text_digits[0],
            text_scale=self._text_digits[1],
            text_beyond=self._text["beyond"],
            text_zero=self._text["zero"],
            case_folds=case_folds,
            example=self._example,
        )


def _extremes(array: pa.Array) -> tuple[Any, Any]:
    """Least and greatest value of a numeric array that has at least one."""
    both = pc.min_max(array)
    return both["min"].as_py(), both["max"].as_py()
