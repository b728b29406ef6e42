"""Decide, once and for all batches, how each column is compared and what the model does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import ReferenceDataError
from mlops.integrations.evidently_monitoring.conform import to_labels, to_numbers
from mlops.integrations.evidently_monitoring.frames import TOOL
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
# Whole-numbered targets with more values than this are quantities.
MAX_CLASSES: Final = 20
_POSITIVE: Final = ("1", "True", "true", "yes", "Yes", "YES", "y", "Y", "positive", "pos")


def column_schema(name: str, values: pd.Series, *, label: bool = False, number: bool = False) -> ColumnSchema:
    """Decide how a reference column is compared.

    Args:
        name: The column's name.
        values: Its values.
        label: It is the target or the prediction of a classification: every label counts on its own.
        number: It is the target or the prediction of a regression, or a probability.
    """
    import pandas as pd

    dtype = str(values.dtype)
    missing = float(values.isna().mean())

    def ignored(note: str) -> ColumnSchema:
        return ColumnSchema(name, ColumnKind.IGNORED, dtype, missing_share=missing, note=note)

    def numerical() -> ColumnSchema:
        return ColumnSchema(name, ColumnKind.NUMERICAL, dtype, missing_share=missing)

    present = values.dropna()
    if not len(present):
        return ignored("every value is missing")
    if values.dtype.kind in "mM" or pd.api.types.is_datetime64_any_dtype(values.dtype):
        return ignored("dates and durations are not compared")
    if values.dtype.kind == "c":
        return ignored("complex numbers are not compared")
    if number:
        return numerical()
    kinds = pd.api.types.infer_dtype(present, skipna=True)
    if kinds in {"datetime", "date", "time", "timedelta", "datetime64", "timedelta64", "period", "interval"}:
        return ignored("dates and durations are not compared")
    is_boolean = kinds == "boolean" or pd.api.types.is_bool_dtype(values.dtype)
    is_category = isinstance(values.dtype, pd.CategoricalDtype)
    if not (label or is_boolean or is_category) and kinds in {
        "floating",
        "integer",
        "mixed-integer-float",
        "decimal",
    }:
        numbers, bad, _ = to_numbers(values)
        whole = kinds == "integer"
        distinct = numbers.nunique()
        if bad:
            return ignored("some values are numbers and some are not")
        if not numbers.notna().any():
            return ignored("every value is infinite")
        if whole and numbers.abs().max() > MAX_EXACT:
            return ignored("integers this large are identifiers or hashes, and lose digits as numbers")
        is_code = whole and distinct <= MAX_CODES and distinct * ROWS_PER_CODE <= len(present)
        if not is_code:
            return numerical()
    elif not (label or is_category) and kinds in {"mixed", "mixed-integer"}:
        scalar = present.map(lambda v: isinstance(v, str | int | float | bool)).all()
        return ignored(
            "some values are numbers and some are text"
            if scalar
            else "some cells hold lists, dictionaries or other objects"
        )
    try:
        labels = to_labels(values)
    except TypeError:
        return ignored("some cells hold lists, dictionaries or arrays")
    return _categorical(name, dtype, missing, labels, keep_all=label, prose=not (is_category or is_boolean))


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


def task_spec(
    frame: pd.DataFrame,
    *,
    target_column: str | None,
    prediction_column: str | None,
    task: str | None,
    probability_columns: Mapping[Any, str] | Sequence[str] | str | None,
    positive_label: Any,
    operation: str,
    workspace: str,
) -> TaskSpec:
    """Decide the task from the target and the prediction, unless it is given.

    Text, booleans and categories are labels; fractional numbers are quantities, except a prediction between
    0 and 1 beside a two-valued target, which is the probability of the positive label; whole numbers are
    labels up to ``MAX_CLASSES`` values, each with at least two rows.

    Raises:
        ReferenceDataError: The given task or labels do not fit the columns.
    """

    def refuse(message: str, hint: str) -> ReferenceDataError:
        return ReferenceDataError(message, tool=TOOL, operation=operation, workspace=workspace, hint=hint)

    try:
        wanted = Task(str(task).lower()) if task is not None else None
    except ValueError:
        raise refuse(
            f"Unknown task {task!r}", f"use one of: {', '.join(str(t) for t in Task)}, or None to decide"
        ) from None
    main = target_column or prediction_column
    if main is None or wanted is Task.NONE:
        return TaskSpec(target_column=target_column, prediction_column=prediction_column)
    truth, answer = _get(frame, target_column), _get(frame, prediction_column)
    notes: list[str] = []
    scores = answer is not None and _is_fractional(answer)
    if wanted is None:
        wanted = _guess(truth, answer, scores=scores, probabilities=probability_columns is not None)
        if wanted is not Task.NONE:
            notes.append(f"the task was taken to be {wanted} from the values of {main!r}")
    if wanted is Task.NONE:
        return TaskSpec(target_column=target_column, prediction_column=prediction_column)
    if wanted is Task.REGRESSION:
        for column in filter(None, (target_column, prediction_column)):
            _, bad, example = to_numbers(frame[column])
            if bad:
                raise refuse(
                    f"The task is regression, but column {column!r} holds {str(example)[:40]!r}",
                    "pass task='multiclass' or 'binary' for labels, or clean the column",
                )
        return TaskSpec(Task.REGRESSION, target_column, prediction_column, notes=tuple(notes))
    sources = [s for s in (truth, None if scores else answer) if s is not None]
    labels = sorted({value for source in sources for value in to_labels(source).dropna().unique()})
    given = _probabilities(probability_columns, labels, refuse)
    labels = sorted({*labels, *(key for key in given if key != "")})
    positive = str(to_labels(_one(positive_label)).iloc[0]) if positive_label is not None else None
    if wanted is Task.BINARY:
        if len(labels) > 2:
            raise refuse(
                f"The task is binary, but there are {len(labels)} labels: {', '.join(labels[:10])}",
                "pass task='multiclass', or name a column with two labels",
            )
        labels, positive = _positive(labels, positive, refuse, notes)
        if "" in given:
            given = {positive: given[""]}
        if scores and prediction_column is not None and not given:
            given = {positive: prediction_column}
            notes.append(f"{prediction_column!r} was taken to be the probability of {positive!r}, cut at 0.5")
        given = {positive: given[positive]} if positive in given else given
    elif scores:
        raise refuse(
            f"The task is multiclass, but the prediction column {prediction_column!r} holds fractions",
            "name the column with predicted labels, and pass the probabilities as probability_columns",
        )
    return TaskSpec(
        wanted,
        target_column,
        prediction_column,
        given,
        tuple(labels),
        positive if wanted is Task.BINARY else None,
        tuple(notes),
    )


def _guess(truth: pd.Series | None, answer: pd.Series | None, *, scores: bool, probabilities: bool) -> Task:
    labels = [s for s in (truth, answer) if s is not None and not (s is answer and scores)]
    if any(not s.notna().any() for s in labels):
        return Task.NONE
    numeric = all(_is_number(s) for s in labels)
    if not probabilities and numeric:
        two_valued = truth is not None and truth.nunique() <= 2 and not _is_fractional(truth)
        if scores and not (two_valued and _in_unit_interval(answer)):
            return Task.REGRESSION
        if any(_is_fractional(s) for s in labels):
            return Task.REGRESSION
        distinct = max((s.nunique() for s in labels), default=0)
        rows = max((int(s.notna().sum()) for s in labels), default=0)
        if distinct > MAX_CLASSES or (distinct > 2 and distinct * 2 > rows):
            return Task.REGRESSION
    count = len({value for s in labels for value in to_labels(s).dropna().unique()})
    return Task.BINARY if count <= 2 else Task.MULTICLASS


def _probabilities(given: Any, labels: list[str], refuse: Any) -> dict[str, str]:
    """Return label to probability column; the key ``""`` stands for the positive label of a binary task."""
    if given is None:
        return {}
    if isinstance(given, Mapping):
        keys = to_labels(_one(*given)).tolist()
        return dict(zip(keys, (str(column) for column in given.values()), strict=True))
    columns = [given] if isinstance(given, str) else [str(column) for column in given]
    if len(columns) == 1:
        return {"": columns[0]}
    if len(columns) == len(labels):
        # Columns named after the labels need no order; otherwise it is that of predict_proba, sorted labels.
        return (
            {label: label for label in labels}
            if set(columns) == set(labels)
            else dict(zip(labels, columns, strict=True))
        )
    raise refuse(
        f"{len(columns)} probability columns were given for {len(labels)} labels ({', '.join(labels[:10])})",
        "pass a dictionary of label to column",
    )


def _positive(
    labels: list[str], positive: str | None, refuse: Any, notes: list[str]
) -> tuple[list[str], str]:
    if positive is not None and positive not in labels and len(labels) == 2:
        raise refuse(
            f"The positive label {positive!r} is not one of the labels {', '.join(labels)}",
            "pass positive_label as it is in the target column",
        )
    if len(labels) < 2 and set(labels) <= {"0", "1"}:
        labels = ["0", "1"]
    elif len(labels) < 2 and set(labels) <= {"False", "True"}:
        labels = ["False", "True"]
    if positive is None:
        positive = next((label for label in _POSITIVE if label in labels), labels[-1])
        notes.append(f"the positive label was taken to be {positive!r}")
    return sorted({*labels, positive}), positive


def _get(frame: pd.DataFrame, column: str | None) -> pd.Series | None:
    return frame[column] if column is not None else None


def _one(*values: Any) -> pd.Series:
    import pandas as pd

    return pd.Series(list(values))


def _is_number(values: pd.Series) -> bool:
    import pandas as pd

    if values.dtype.kind == "b" or isinstance(values.dtype, pd.CategoricalDtype):
        return False
    return pd.api.types.infer_dtype(values.dropna()) in {
        "floating",
        "integer",
        "mixed-integer-float",
        "decimal",
    }


def _is_fractional(values: pd.Series) -> bool:
    if not _is_number(values):
        return False
    numbers = to_numbers(values)[0].dropna()
    return bool((numbers % 1 != 0).any())


def _in_unit_interval(values: pd.Series | None) -> bool:
    return values is not None and bool(to_numbers(values)[0].dropna().between(0, 1).all())


def frozen_schema(frame: pd.DataFrame, spec: TaskSpec) -> dict[str, ColumnSchema]:
    """Return the schema of reference data by column name.

    Args:
        frame: The data.
        spec: Its task: labels are categories and probabilities numbers, whatever their type.
    """
    probabilities = set(spec.probability_columns.values())
    roles = {spec.target_column, spec.prediction_column} - probabilities
    classes = spec.task in {Task.BINARY, Task.MULTICLASS}
    return {
        name: column_schema(
            name,
            frame[name],
            label=name in roles and classes,
            number=name in probabilities or (name in roles and spec.task is Task.REGRESSION),
        )
        for name in map(str, frame.columns)
    }
