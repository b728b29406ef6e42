"""How far predicted numbers are from the true ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

from mlops.integrations.evidently_monitoring.metrics import Performance, complete, limited, numbers_of
from mlops.integrations.evidently_monitoring.schema import TaskSpec

if TYPE_CHECKING:
    import pandas as pd

_METRICS: Final = ("mae", "rmse", "mape", "r2")


def measure(evidently: SimpleNamespace, frame: pd.DataFrame, spec: TaskSpec, result: Performance) -> None:
    """Add the mean absolute and squared errors, the absolute percentage error and the explained variance."""
    import numpy as np
    import pandas as pd

    columns = {}
    for role, column in (("target", spec.target_column), ("prediction", spec.prediction_column)):
        numbers = numbers_of(frame[column], result)
        if numbers is None:
            result.lack(f"column {column!r} holds no numbers", *_METRICS)
            return
        columns[role] = numbers
    rows = complete(pd.DataFrame(columns), result)
    if not len(rows):
        result.lack("no row has both a target and a prediction", *_METRICS)
        return
    rows = limited(rows, "the regression metrics", result)
    metrics = evidently.metrics
    wanted = {"mae": metrics.MAE(), "rmse": metrics.RMSE()}
    if rows["target"].nunique() > 1:
        wanted["r2"] = metrics.R2Score()
    else:
        result.lack("the target has only one value", "r2")
    percentage = {"mape": metrics.MAPE()}
    if (rows["target"] == 0).any():
        result.lack("the target is zero in some rows", "mape")
        percentage = {}
    if not rows["target"].any():
        # Evidently fails for a target that is zero throughout; errors do not change when both are moved.
        rows = rows + 1.0
    definition = evidently.DataDefinition(
        numerical_columns=["target", "prediction"],
        regression=[evidently.Regression(target="target", prediction="prediction")],
    )
    if percentage and (rows["target"] < 0).any():
        # Evidently divides by the target where it is positive and by almost nothing where it is negative.
        # Both signs turned around leave the percentage as it is.
        turned = rows.mul(np.sign(rows["target"]), axis=0)
        result.collect(evidently, percentage, turned, definition)
        percentage = {}
    result.collect(evidently, wanted | percentage, rows, definition)
