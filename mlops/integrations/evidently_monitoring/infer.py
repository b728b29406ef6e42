"""Decide, once and for all batches, how each column is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from mlops.integrations.evidently_monitoring import embeddings
from mlops.integrations.evidently_monitoring.conform import to_labels, to_numbers
from mlops.integrations.evidently_monitoring.schema import OTHER, ColumnKind, ColumnSchema, Task, TaskSpec

if TYPE_CHECKING:
    import pandas as pd

# Integers with at most this many values are codes; Evidently draws the line at the same place
# (evidently/core/datasets.py). It needs ROWS_PER_CODE rows for each, or any short frame would be all codes.
MAX_CODES: Final = 10
# Above this, float64 no longer tells neighbouring integers apart.
MAX_EXACT: Final = 2**53
ROWS_PER_CODE: Final = 5
# Categories beyond this many, or with fewer rows than Cochran's five, are counted together.
MAX_CATEGORIES: Final = 100
MIN_CATEGORY_ROWS: Final = 5
# A text column whose values are nearly all different is prose if it has spaces, and an identifier if not.
DISTINCT_SHARE: Final = 0.5
# Cells looked at to tell a column of vectors.
_LOOKED_AT: Final = 100
_DATES: Final = frozenset({"datetime", "date", "time", "datetime64", "period"})
_DURATIONS: Final = frozenset({"timedelta", "timedelta64"})
_NUMBERS: Final = frozenset({"floating", "integer", "mixed-integer-float", "decimal"})


def frozen_schema(
    frame: pd.DataFrame, spec: TaskSpec, spread: Mapping[str, Sequence[str]] | None = None
) -> dict[str, ColumnSchema]:
    """Return the schema of reference data by column name.

    Args:
        frame: The data.
        spec: Its task: labels are categories and scores numbers, whatever their type.
        spread: Name of an embedding to the columns that hold its numbers, in order.
    """
    probabilities = set(spec.probability_columns.values())
    roles = {spec.target_column, spec.prediction_column} - probabilities
    classes = spec.task in {Task.BINARY, Task.MULTICLASS}
    quantities = spec.task in {Task.REGRESSION, Task.RANKING}
    spread = spread or {}
    taken = {part for parts in spread.values() for part in parts}
    columns = {
        name: ColumnSchema(
            name,
            ColumnKind.IGNORED,
            str(frame[name].dtype),
            missing_share=float(frame[name].isna().mean()),
            note="it only says which rows a ranking puts in order together",
        )
        if name == spec.group_column
        else column_schema(
            name,
            frame[name],
            label=name in roles and classes,
            number=name in probabilities or (name in roles and quantities),
        )
        for name in map(str, frame.columns)
        if name not in taken
    }
    for name, parts in spread.items():
        missing = float(frame[list(parts)].isna().any(axis=1).mean())
        columns[name] = ColumnSchema(
            name,
            ColumnKind.EMBEDDING,
            str(frame[parts[0]].dtype),
            missing_share=missing,
            dimension=len(parts),
            parts=tuple(parts),
        )
    return columns


def column_schema(name: str, values: pd.Series, *, label: bool = False, number: bool = False) -> ColumnSchema:
    """Decide how a reference column is compared.

    Args:
        name: The column's name.
        values: Its values.
        label: It is the target or the prediction of a classification: every label counts on its own.
        number: It is the target or the prediction of a regression or a ranking, or a probability.
    """
    import pandas as pd

    dtype = str(values.dtype)
    missing = float(values.isna().mean())

    def ignored(note: str) -> ColumnSchema:
        return ColumnSchema(name, ColumnKind.IGNORED, dtype, missing_share=missing, note=note)

    def numerical(numbers: pd.Series) -> ColumnSchema:
        if not numbers.notna().any():
            return ignored("every value is infinite")
        low, high = float(numbers.min()), float(numbers.max())
        return ColumnSchema(
            name, ColumnKind.NUMERICAL, dtype, missing_share=missing, minimum=low, maximum=high
        )

    present = values.dropna()
    if not len(present):
        return ignored("every value is missing")
    if values.dtype.kind == "M" or isinstance(values.dtype, pd.PeriodDtype):
        return ignored("dates are not compared: later ones are always different")
    if values.dtype.kind == "c":
        return ignored("complex numbers are not compared")
    if number or values.dtype.kind == "m":
        return numerical(to_numbers(values)[0])
    kinds = pd.api.types.infer_dtype(present, skipna=True)
    if kinds in _DATES:
        return ignored("dates are not compared: later ones are always different")
    if kinds in _DURATIONS:
        return numerical(to_numbers(values)[0])
    if kinds == "interval" or isinstance(getattr(values.dtype, "categories", None), pd.IntervalIndex):
        return ignored("intervals are not compared; add the column they were cut from")
    if kinds == "bytes":
        return ignored("bytes are not compared; add a column with an embedding of them")
    if present.head(_LOOKED_AT).map(embeddings.is_vector).all():
        return _embedding(name, values, missing)
    is_boolean = kinds == "boolean" or pd.api.types.is_bool_dtype(values.dtype)
    is_category = isinstance(values.dtype, pd.CategoricalDtype)
    if not (label or is_boolean or is_category) and kinds in _NUMBERS:
        numbers, bad, _ = to_numbers(values)
        if bad:
            return ignored("some values are numbers and some are not")
        whole, distinct = kinds == "integer", numbers.nunique()
        if whole and numbers.abs().max() > MAX_EXACT:
            return ignored("integers this large are identifiers or hashes, and lose digits as numbers")
        is_code = whole and distinct <= MAX_CODES and distinct * ROWS_PER_CODE <= len(present)
        if not is_code:
            return numerical(numbers)
    elif not (label or is_category) and kinds in {"mixed", "mixed-integer"}:
        types = sorted({type(value).__name__ for value in present})
        return ignored(f"its values are of the types {', '.join(types[:5])}")
    try:
        labels = to_labels(values)
    except TypeError:
        return ignored("some cells hold lists, dictionaries or arrays")
    return _categorical(name, dtype, missing, labels, keep_all=label, prose=not (is_category or is_boolean))


def _embedding(name: str, values: pd.Series, missing: float) -> ColumnSchema:
    matrix, bad = embeddings.to_matrix(values)
    dtype = str(values.dtype)
    if matrix.shape[1] == 0 or bad > len(values) / 2:
        note = "its cells hold lists that are no vectors of one length"
        return ColumnSchema(name, ColumnKind.IGNORED, dtype, missing_share=missing, note=note)
    return ColumnSchema(
        name, ColumnKind.EMBEDDING, dtype, missing_share=missing, dimension=int(matrix.shape[1])
    )


def _categorical(
    name: str, dtype: str, missing: float, labels: pd.Series, *, keep_all: bool, prose: bool
) -> ColumnSchema:
    counts = labels.value_counts()
    present = int(counts.sum())
    if keep_all:
        return ColumnSchema(
            name, ColumnKind.CATEGORICAL, dtype, tuple(sorted(counts.index)), missing_share=missing
        )
    if prose and len(counts) > MAX_CODES and len(counts) > DISTINCT_SHARE * present:
        spaced = labels.dropna().map(lambda v: " " in v.strip()).mean()
        if spaced > DISTINCT_SHARE:
            return ColumnSchema(name, ColumnKind.TEXT, dtype, missing_share=missing)
        return ColumnSchema(
            name,
            ColumnKind.IGNORED,
            dtype,
            missing_share=missing,
            note="nearly every value is different, as in an identifier",
        )
    frequent = counts[counts >= MIN_CATEGORY_ROWS][:MAX_CATEGORIES]
    # A column without any frequent value (a short reference) is compared as it is.
    kept = sorted(frequent.index) if len(frequent) else sorted(counts.index[:MAX_CATEGORIES])
    if len(kept) < len(counts):
        kept.append(OTHER)
    return ColumnSchema(name, ColumnKind.CATEGORICAL, dtype, tuple(kept), missing_share=missing)
