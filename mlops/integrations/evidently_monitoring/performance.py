"""How well the model did, in Evidently's metrics, with undefined numbers left out rather than made up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

from mlops.integrations.evidently_monitoring import classification, ranking, regression
from mlops.integrations.evidently_monitoring.metrics import Performance
from mlops.integrations.evidently_monitoring.schema import Task, TaskSpec

_ORDER: Final = ("accuracy", "precision", "recall", "f1", "roc_auc", "mae", "rmse", "mape", "r2")

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
    result.metrics = {name: result.metrics[name] for name in sorted(result.metrics, key=_place)}
    for reason in dict.fromkeys(result.undefined.values()):
        lacking = [name for name, why in result.undefined.items() if why == reason]
        result.notes.append(
            f"{', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} undefined: {reason}"
        )
    return result


def _place(metric: str) -> int:
    return _ORDER.index(metric) if metric in _ORDER else len(_ORDER)
