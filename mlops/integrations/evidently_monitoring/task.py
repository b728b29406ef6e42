"""Decide what a model does from its target and its prediction, and which labels and scores it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import ReferenceDataError
from mlops.integrations.evidently_monitoring.conform import to_labels, to_numbers
from mlops.integrations.evidently_monitoring.frames import TOOL
from mlops.integrations.evidently_monitoring.schema import CUTOFF, Task, TaskSpec

if TYPE_CHECKING:
    import pandas as pd

# Whole-numbered targets with more values than this are quantities.
MAX_CLASSES: Final = 20
_POSITIVE: Final = ("1", "True", "true", "yes", "Yes", "YES", "y", "Y", "positive", "pos")


def task_spec(
    frame: pd.DataFrame,
    *,
    target_column: str | None,
    prediction_column: str | None,
    task: str | None,
    probability_columns: Mapping[Any, str] | Sequence[str] | str | None,
    positive_label: Any,
    group_column: str | None = None,
    cutoff: int = CUTOFF,
    operation: str,
    workspace: str,
) -> TaskSpec:
    """Decide the task from the target and the prediction, unless it is given.

    Text, booleans and categories are labels; fractional numbers are quantities, except a prediction between
    0 and 1 beside a two-valued target, which is the probability of the positive label; whole numbers are
    labels up to ``MAX_CLASSES`` values, each with at least two rows. A group column makes it a ranking.

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
    if group_column is not None or wanted is Task.RANKING:
        return _ranking(frame, wanted, target_column, prediction_column, group_column, cutoff, refuse)
    main = target_column or prediction_column
    if main is None or wanted is Task.NONE:
        return TaskSpec(target_column=target_column, prediction_column=prediction_column)
    for column in filter(None, (target_column, prediction_column)):
        if frame[column].dtype.kind != "O":
            continue
        try:
            to_labels(frame[column])
        except TypeError:
            raise refuse(
                f"Some cells of column {column!r} hold lists, dictionaries or arrays",
                "name a column of labels or numbers",
            ) from None
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
            _numbers(frame, column, "regression", refuse)
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
        notes=tuple(notes),
    )


def _ranking(
    frame: pd.DataFrame,
    wanted: Task | None,
    target: str | None,
    prediction: str | None,
    group: str | None,
    cutoff: int,
    refuse: Any,
) -> TaskSpec:
    if wanted not in (None, Task.RANKING):
        raise refuse(
            f"The task is {wanted}, but a group column was given: {group!r}",
            "leave the group column out, or pass task='ranking'",
        )
    if group is None:
        raise refuse(
            "A ranking needs to know which rows it puts in order together",
            "pass group_column, such as the column of the query or the user",
        )
    if isinstance(cutoff, bool) or not isinstance(cutoff, int) or cutoff < 1:
        raise refuse(f"The cutoff must be a whole number of places, not {cutoff!r}", "pass cutoff=10")
    for column in filter(None, (target, prediction)):
        numbers = _numbers(frame, column, "ranking", refuse)
        if column == target and (numbers < 0).any():
            raise refuse(
                f"The task is ranking, but the relevance {column!r} has negative values",
                "grade relevance from 0, not relevant, upwards",
            )
    return TaskSpec(Task.RANKING, target, prediction, group_column=group, cutoff=cutoff)


def _numbers(frame: pd.DataFrame, column: str, task: str, refuse: Any) -> pd.Series:
    try:
        numbers, bad, example = to_numbers(frame[column])
    except TypeError as error:
        raise refuse(
            f"The task is {task}, but of column {column!r} {error}", "name a numeric column"
        ) from None
    if bad:
        raise refuse(
            f"The task is {task}, but column {column!r} holds {str(example)[:40]!r}",
            "pass task='multiclass' or 'binary' for labels, or clean the column",
        )
    return numbers


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
