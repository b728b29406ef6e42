"""How well the model did, in Evidently's metrics, with undefined numbers left out rather than made up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

from mlops.integrations.evidently_monitoring import classification, ranking, regression
from mlops.integrations.evidently_monitoring.metrics import Performance
from mlops.integrations.evidently_monitoring.schema import Task, TaskSpec

if TYPE_CHECKING:
    import pandas as pd


def measure(evidently: SimpleNamespace, frame: pd.DataFrame, spec: TaskSpec) -> Performance:
    """Compute the metrics of every row that has a target and a prediction.

    Args:
        evidently: What ``runtime.load`` returned; the caller is inside ``runtime.running``.
        frame: The rows, with the columns that ``spec`` names once each, as the user brought them.
        spec: The task.
    """
    result = Performance()
    target, prediction = spec.target_column, spec.prediction_column
    if spec.task is Task.NONE or target is None or target not in frame.columns:
        return result
    if spec.task in {Task.BINARY, Task.MULTICLASS}:
        classification.measure(evidently, frame, spec, result)
    elif prediction is not None and prediction in frame.columns:
        module = regression if spec.task is Task.REGRESSION else ranking
        module.measure(evidently, frame, spec, result)
    result.notes += [f"{metric} is undefined: {reason}" for metric, reason in result.undefined.items()]
    return result
