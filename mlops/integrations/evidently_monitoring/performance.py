"""How well the model did, in Evidently's metrics, with undefined numbers left out rather than made up.

Evidently computes some numbers that do not exist: precision 1.0 for a batch without a positive, a percentage
error of 10^17 for a target of zero, label metrics from probabilities when both are declared together. What is
asked of it here is only what the rows define.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from mlops.integrations.evidently_monitoring import runtime
from mlops.integrations.evidently_monitoring.conform import boolean_labels, to_labels, to_numbers
from mlops.integrations.evidently_monitoring.frames import sample
from mlops.integrations.evidently_monitoring.schema import Task, TaskSpec

if TYPE_CHECKING:
    import pandas as pd

PROBABILITY_CUT: Final = 0.5
# Evidently copies every value of a regression or a ROC curve through Python objects, 30 s per million rows;
# at this many, chance moves these metrics by a few tenths of a percent. Label metrics always use all rows.
MAX_ROWS: Final = 100_000
# From here on labels are passed as numbers: sorting a million texts takes ten times as long. The confusion
# matrix of the report then shows the numbers, in the order of the sorted labels.
CODED_ROWS: Final = 20_000
_LABEL_METRICS: Final = ("accuracy", "precision", "recall", "f1")
_REGRESSION_METRICS: Final = ("mae", "rmse", "mape", "r2")
_MACRO_OF: Final = {"PrecisionByLabel": "precision", "RecallByLabel": "recall", "F1ByLabel": "f1"}
_NAMES: Final = {
    "Accuracy": "accuracy",
    "Precision": "precision",
    "Recall": "recall",
    "F1Score": "f1",
    "RocAuc": "roc_auc",
    "MAE": "mae",
    "RMSE": "rmse",
    "MAPE": "mape",
    "R2Score": "r2",
}


@dataclass(slots=True)
class Performance:
    """The metrics of one frame.

    Args:
        metrics: Metric to value, None where the rows do not define it.
        notes: Why a metric is undefined, and which rows were left out.
        snapshots: The Evidently snapshots the values come from.
    """

    metrics: dict[str, float | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    snapshots: list[Any] = field(default_factory=list)


def measure(evidently: SimpleNamespace, frame: pd.DataFrame, spec: TaskSpec) -> Performance:
    """Compute the metrics of every row that has a target and a prediction.

    Args:
        evidently: What ``runtime.load`` returned; the caller is inside ``runtime.running``.
        frame: The rows, with the columns that ``spec`` names, as the user brought them.
        spec: The task.
    """
    result = Performance()
    target, prediction = spec.target_column, spec.prediction_column
    if spec.task is Task.NONE or target is None or target not in frame.columns:
        return result
    if spec.task is Task.REGRESSION:
        if prediction is not None and prediction in frame.columns:
            _regression(evidently, frame, target, prediction, result)
        return result
    truth = boolean_labels(to_labels(frame[target]), spec.labels)
    if spec.prediction_is_probability or (prediction is not None and prediction in frame.columns):
        answer = _answers(frame, spec)
        if answer is not None:
            _labels(evidently, truth, answer, spec, result)
    if spec.probability_columns:
        _probabilities(evidently, frame, truth, spec, result)
    return result


def _answers(frame: pd.DataFrame, spec: TaskSpec) -> pd.Series | None:
    """Return the predicted labels; a probability is cut at 0.5."""
    import numpy as np
    import pandas as pd

    column = spec.prediction_column
    if column is None or column not in frame.columns:
        return None
    if not spec.prediction_is_probability:
        return boolean_labels(to_labels(frame[column]), spec.labels)
    score = to_numbers(frame[column])[0]
    negative = next((label for label in spec.labels if label != spec.positive_label), None)
    cut = np.where(score >= PROBABILITY_CUT, spec.positive_label, negative)
    return pd.Series(cut, index=frame.index, dtype=object).where(score.notna(), None)


def _labels(
    evidently: SimpleNamespace, truth: pd.Series, answer: pd.Series, spec: TaskSpec, result: Performance
) -> None:
    import pandas as pd

    rows = pd.DataFrame({"target": truth, "prediction": answer})
    rows = _complete(rows, result)
    result.metrics |= dict.fromkeys(_LABEL_METRICS)
    if not len(rows):
        return
    metrics = evidently.metrics
    seen = {*rows["target"].unique(), *rows["prediction"].unique()}
    if unknown := sorted(seen - set(spec.labels)):
        result.notes.append(f"labels that the reference does not have: {', '.join(unknown[:10])}")
    if spec.task is Task.BINARY:
        wanted = [metrics.Accuracy()]
        if len(seen | set(spec.labels)) > 2:
            result.notes.append(
                "precision, recall and f1 are undefined for more than the two labels of the task"
            )
        else:
            wanted += _positive_metrics(metrics, rows, str(spec.positive_label), result)
        task = evidently.BinaryClassification(
            target="target", prediction_labels="prediction", pos_label=spec.positive_label
        )
    else:
        task = evidently.MulticlassClassification(target="target", prediction_labels="prediction")
        if absent := sorted(set(spec.labels) - set(rows["target"].unique())):
            result.notes.append(
                f"no row of class {', '.join(absent[:10])}: macro averages are over the classes that occur"
            )
        # Two classes in the batch make Evidently treat it as binary and look for a positive label "1".
        wanted = [metrics.Accuracy()] + (
            [metrics.PrecisionByLabel(), metrics.RecallByLabel(), metrics.F1ByLabel()]
            if len(seen) == 2
            else [metrics.Precision(), metrics.Recall(), metrics.F1Score()]
        )
    if len(seen) == 2 and spec.task is Task.MULTICLASS:
        # The positive label only picks which class comes first; the values of both are averaged.
        task = evidently.BinaryClassification(
            target="target", prediction_labels="prediction", pos_label=sorted(seen)[0]
        )
    elif len(rows) > CODED_ROWS:
        rows, task = _coded(evidently, rows, spec, sorted(seen))
    definition = evidently.DataDefinition(categorical_columns=["target", "prediction"], classification=[task])
    _collect(evidently, wanted, rows, definition, result)


def _coded(
    evidently: SimpleNamespace, rows: pd.DataFrame, spec: TaskSpec, seen: list[str]
) -> tuple[pd.DataFrame, Any]:
    """Return the rows with numbers for labels, and the task in those numbers."""
    codes = {label: code for code, label in enumerate(sorted({*seen, *spec.labels}))}
    coded = rows.apply(lambda column: column.map(codes).astype("int64"))
    if spec.task is Task.BINARY:
        return coded, evidently.BinaryClassification(
            target="target", prediction_labels="prediction", pos_label=codes[str(spec.positive_label)]
        )
    return coded, evidently.MulticlassClassification(target="target", prediction_labels="prediction")


def _positive_metrics(metrics: Any, rows: pd.DataFrame, positive: str, result: Performance) -> list[Any]:
    true, predicted = (rows["target"] == positive).any(), (rows["prediction"] == positive).any()
    wanted = []
    if predicted:
        wanted.append(metrics.Precision())
    else:
        result.notes.append(f"precision is undefined: no row is predicted to be {positive!r}")
    if true:
        wanted.append(metrics.Recall())
    else:
        result.notes.append(f"recall is undefined: no row is {positive!r}")
    if true or predicted:
        wanted.append(metrics.F1Score())
    return wanted


def _probabilities(
    evidently: SimpleNamespace, frame: pd.DataFrame, truth: pd.Series, spec: TaskSpec, result: Performance
) -> None:
    """Add ROC AUC: a task of its own, or Evidently would compute the label metrics from the probabilities."""
    import pandas as pd

    result.metrics["roc_auc"] = None
    missing = [column for column in spec.probability_columns.values() if column not in frame.columns]
    if missing:
        result.notes.append(f"roc_auc is undefined: column {missing[0]!r} is not in the batch")
        return
    scores = {label: to_numbers(frame[column])[0] for label, column in spec.probability_columns.items()}
    target = "target"
    while target in scores:
        target += "_"
    rows = _complete(pd.DataFrame({**scores, target: truth}), result if len(scores) > 1 else None)
    rows = _limited(rows, "roc_auc", result)
    present = set(rows[target].unique())
    if spec.task is Task.BINARY:
        if len(present) != 2 or spec.positive_label not in present:
            result.notes.append("roc_auc is undefined: it needs rows of both labels")
            return
        rows = rows.rename(columns={str(spec.positive_label): "probability"})
        task = evidently.BinaryClassification(
            name="probabilities",
            target=target,
            prediction_probas="probability",
            pos_label=spec.positive_label,
        )
        numerical = ["probability"]
    else:
        if present != set(scores) or len(present) < 3:
            result.notes.append("roc_auc is undefined: it needs rows of every class that has probabilities")
            return
        task = evidently.MulticlassClassification(
            name="probabilities", target=target, prediction_probas=list(scores)
        )
        numerical = list(scores)
    definition = evidently.DataDefinition(
        numerical_columns=numerical, categorical_columns=[target], classification=[task]
    )
    _collect(
        evidently, [evidently.metrics.RocAuc(classification_name="probabilities")], rows, definition, result
    )


def _regression(
    evidently: SimpleNamespace, frame: pd.DataFrame, target: str, prediction: str, result: Performance
) -> None:
    import pandas as pd

    columns = {}
    for role, column in (("target", target), ("prediction", prediction)):
        numbers, bad, example = to_numbers(frame[column])
        if bad:
            result.notes.append(
                f"column {column!r}: {bad} values are not numbers, such as {str(example)[:40]!r}"
            )
        columns[role] = numbers
    rows = _complete(pd.DataFrame(columns), result)
    result.metrics |= dict.fromkeys(_REGRESSION_METRICS)
    if not len(rows):
        return
    rows = _limited(rows, "the regression metrics", result)
    metrics = evidently.metrics
    wanted = [metrics.MAE(), metrics.RMSE()]
    if (rows["target"] == 0).any():
        result.notes.append("mape is undefined: the target is zero in some rows")
    else:
        wanted.append(metrics.MAPE())
    if rows["target"].nunique() > 1:
        wanted.append(metrics.R2Score())
    else:
        result.notes.append("r2 is undefined: the target has only one value")
    definition = evidently.DataDefinition(
        numerical_columns=["target", "prediction"],
        regression=[evidently.Regression(target="target", prediction="prediction")],
    )
    _collect(evidently, wanted, rows, definition, result)


def _complete(rows: pd.DataFrame, result: Performance | None) -> pd.DataFrame:
    complete = rows.dropna().reset_index(drop=True)
    if result is not None and (lost := len(rows) - len(complete)):
        result.notes.append(f"{lost} of {len(rows)} rows have no target or prediction and were left out")
    return complete


def _limited(rows: pd.DataFrame, what: str, result: Performance) -> pd.DataFrame:
    if len(rows) > MAX_ROWS:
        result.notes.append(f"{what}: computed on {MAX_ROWS} of {len(rows)} rows, always the same ones")
    return sample(rows, MAX_ROWS)


def _collect(
    evidently: SimpleNamespace, wanted: list[Any], rows: pd.DataFrame, definition: Any, result: Performance
) -> None:
    dataset = evidently.Dataset.from_pandas(rows, definition)
    snapshot = evidently.Report(wanted).run(dataset, None, timestamp=runtime.EPOCH)
    for metric in runtime.numbers(snapshot)["metrics"]:
        kind, value = metric["config"]["type"].rsplit(":", 1)[1], metric["value"]
        if name := _MACRO_OF.get(kind):
            result.metrics[name] = sum(value.values()) / len(value)
        elif name := _NAMES.get(kind):
            result.metrics[name] = float(value["mean"] if isinstance(value, dict) else value)
    result.snapshots.append(snapshot)
