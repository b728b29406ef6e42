"""How well labels and their probabilities were predicted, as two tasks that never mix.

Evidently computes label metrics from the probabilities when both are declared together, and a precision of
1.0 for a batch without a positive. What is asked of it here is only what the rows define.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from mlops.integrations.evidently_monitoring.conform import boolean_labels, to_labels
from mlops.integrations.evidently_monitoring.metrics import Performance, complete, limited, numbers_of
from mlops.integrations.evidently_monitoring.schema import Task, TaskSpec

if TYPE_CHECKING:
    import pandas as pd

PROBABILITY_CUT: Final = 0.5
# From here on labels are passed as numbers: sorting a million texts takes ten times as long. The confusion
# matrix of the report then shows the numbers, in the order of the sorted labels.
CODED_ROWS: Final = 20_000
_LABEL_METRICS: Final = ("accuracy", "precision", "recall", "f1")
# Rounding in float32 puts probabilities this far beyond 0 and 1.
_ROUNDING: Final = 1e-6


def measure(evidently: SimpleNamespace, frame: pd.DataFrame, spec: TaskSpec, result: Performance) -> None:
    """Add accuracy, precision, recall, F1 and ROC AUC, as far as the columns there define them."""
    predicted = spec.prediction_column is not None and spec.prediction_column in frame.columns
    truth = _labels_of(frame, str(spec.target_column), spec, result)
    if predicted:
        answer = _answers(frame, spec, result) if truth is not None else None
        if truth is None or answer is None:
            column = spec.target_column if truth is None else spec.prediction_column
            result.lack(f"column {column!r} holds no {_held(spec, truth is None)}", *_LABEL_METRICS)
        else:
            _labels(evidently, truth, answer, spec, result)
    if spec.probability_columns:
        if truth is None:
            result.lack(f"column {spec.target_column!r} holds no labels", "roc_auc")
        else:
            _probabilities(evidently, frame, truth, spec, result)


def _held(spec: TaskSpec, target: bool) -> str:
    return "probabilities from 0 to 1" if spec.prediction_is_probability and not target else "labels"


def _labels_of(frame: pd.DataFrame, column: str, spec: TaskSpec, result: Performance) -> pd.Series | None:
    try:
        return boolean_labels(to_labels(frame[column]), spec.labels)
    except TypeError:
        result.notes.append(f"column {column!r}: some cells hold lists, dictionaries or arrays")
        return None


def _answers(frame: pd.DataFrame, spec: TaskSpec, result: Performance) -> pd.Series | None:
    """Return the predicted labels; a probability is cut at 0.5."""
    import numpy as np
    import pandas as pd

    column = str(spec.prediction_column)
    if not spec.prediction_is_probability:
        return _labels_of(frame, column, spec, result)
    score = numbers_of(frame[column], result)
    if score is None or _outside(score):
        return None
    negative = next((label for label in spec.labels if label != spec.positive_label), None)
    cut = np.where(score >= PROBABILITY_CUT, spec.positive_label, negative)
    return pd.Series(cut, index=frame.index, dtype=object).where(score.notna(), None)


def _labels(
    evidently: SimpleNamespace, truth: pd.Series, answer: pd.Series, spec: TaskSpec, result: Performance
) -> None:
    import pandas as pd

    rows = complete(pd.DataFrame({"target": truth, "prediction": answer}), result)
    if not len(rows):
        result.lack("no row has both a target and a prediction", *_LABEL_METRICS)
        return
    seen = {*rows["target"].unique(), *rows["prediction"].unique()}
    if unknown := sorted(seen - set(spec.labels)):
        result.notes.append(f"labels that the reference does not have: {', '.join(unknown[:10])}")
    if spec.task is Task.BINARY:
        _binary(evidently, rows, spec, bool(unknown), result)
    else:
        _multiclass(evidently, rows, spec, sorted(seen), result)


def _binary(
    evidently: SimpleNamespace, rows: pd.DataFrame, spec: TaskSpec, unknown: bool, result: Performance
) -> None:
    metrics, positive = evidently.metrics, str(spec.positive_label)
    about = {}
    true, predicted = (rows["target"] == positive).any(), (rows["prediction"] == positive).any()
    if predicted:
        about["precision"] = metrics.Precision()
    else:
        result.lack(f"no row is predicted to be {positive!r}", "precision")
    if true:
        about["recall"] = metrics.Recall()
    else:
        result.lack(f"no row is {positive!r}", "recall")
    if true or predicted:
        about["f1"] = metrics.F1Score()
    else:
        result.lack(f"no row is {positive!r} or predicted to be", "f1")
    if not unknown:
        _collect(evidently, {"accuracy": metrics.Accuracy(), **about}, rows, spec, positive, result)
        return
    # Whether a label is the positive one is defined for every label, and so is whether it was hit.
    _collect(evidently, {"accuracy": metrics.Accuracy()}, rows, spec, None, result)
    negative = next(label for label in spec.labels if label != positive)
    _collect(evidently, about, rows.where(rows == positive, negative), spec, positive, result)


def _multiclass(
    evidently: SimpleNamespace, rows: pd.DataFrame, spec: TaskSpec, seen: list[str], result: Performance
) -> None:
    metrics = evidently.metrics
    if absent := sorted(set(spec.labels) - set(rows["target"].unique())):
        result.notes.append(
            f"no row of class {', '.join(absent[:10])}: macro averages are over the classes that occur"
        )
    if missed := sorted(set(rows["target"].unique()) - set(rows["prediction"].unique())):
        result.notes.append(
            f"class {', '.join(missed[:10])} is never predicted: its precision counts as 0 in the average"
        )
    wanted = {"accuracy": metrics.Accuracy()}
    if len(seen) == 2:
        # Two classes make Evidently take the task for a binary one, of which these ask both sides.
        wanted |= {
            "precision": metrics.PrecisionByLabel(),
            "recall": metrics.RecallByLabel(),
            "f1": metrics.F1ByLabel(),
        }
        _collect(evidently, wanted, rows, spec, seen[0], result)
    else:
        wanted |= {"precision": metrics.Precision(), "recall": metrics.Recall(), "f1": metrics.F1Score()}
        _collect(evidently, wanted, rows, spec, None, result)


def _collect(
    evidently: SimpleNamespace,
    wanted: dict[str, Any],
    rows: pd.DataFrame,
    spec: TaskSpec,
    positive: str | None,
    result: Performance,
) -> None:
    """Compute label metrics; ``positive`` makes the task a binary one."""
    if not wanted:
        return
    codes: dict[str, Any] = {}
    if len(rows) > CODED_ROWS:
        labels = {*rows["target"].unique(), *rows["prediction"].unique(), *spec.labels}
        codes = {label: code for code, label in enumerate(sorted(labels))}
        rows = rows.apply(lambda column: column.map(codes).astype("int64"))
    columns = {"target": "target", "prediction_labels": "prediction"}
    task = {}
    if positive is not None:
        pos_label = codes.get(positive, positive)
        task["classification"] = [evidently.BinaryClassification(**columns, pos_label=pos_label)]
    else:
        task["classification"] = [evidently.MulticlassClassification(**columns)]
    result.collect(
        evidently,
        wanted,
        rows,
        evidently.DataDefinition(categorical_columns=["target", "prediction"], **task),
    )


def _probabilities(
    evidently: SimpleNamespace, frame: pd.DataFrame, truth: pd.Series, spec: TaskSpec, result: Performance
) -> None:
    """Add ROC AUC: a task of its own, or Evidently would compute the label metrics from the probabilities."""
    import pandas as pd

    scores: dict[str, pd.Series] = {}
    for label, column in spec.probability_columns.items():
        score = numbers_of(frame[column], result) if column in frame.columns else None
        if score is None:
            missing = "holds no numbers" if column in frame.columns else "is not in the batch, or not once"
            result.lack(f"column {column!r} {missing}", "roc_auc")
            return
        if outside := _outside(score):
            result.lack(f"{outside} values of column {column!r} are not between 0 and 1", "roc_auc")
            return
        scores[label] = score.clip(0, 1)
    target = "target"
    while target in scores:
        target += "_"
    rows = complete(pd.DataFrame({**scores, target: truth}), result if len(scores) > 1 else None)
    rows = limited(rows, "roc_auc", result)
    present = set(rows[target].unique())
    if spec.task is Task.BINARY:
        if len(present) != 2 or spec.positive_label not in present:
            result.lack("it needs rows of both labels, and of no other, with probabilities", "roc_auc")
            return
        rows = rows.rename(columns={str(spec.positive_label): "probability"})
        numerical = ["probability"]
        task = evidently.BinaryClassification(
            name="probabilities", target=target, prediction_probas=numerical[0], pos_label=spec.positive_label
        )
    else:
        if present != set(scores) or len(present) < 3:
            result.lack("it needs rows of every class that has probabilities", "roc_auc")
            return
        numerical = list(scores)
        task = evidently.MulticlassClassification(
            name="probabilities", target=target, prediction_probas=numerical
        )
    definition = evidently.DataDefinition(
        numerical_columns=numerical, categorical_columns=[target], classification=[task]
    )
    wanted = {"roc_auc": evidently.metrics.RocAuc(classification_name="probabilities")}
    result.collect(evidently, wanted, rows, definition)


def _outside(score: pd.Series) -> int:
    return int(((score < -_ROUNDING) | (score > 1 + _ROUNDING)).sum())
