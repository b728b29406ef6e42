"""MLflow in one project: runs, metrics, artifacts and models, in a store of the project's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.lazy import exporter

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.adapter import MLflowTracking as MLflowTracking
    from mlops.integrations.mlflow_tracking.runs import Run as Run

__all__ = ["MLflowTracking", "Run"]

__getattr__ = exporter(
    __name__,
    {
        "mlops.integrations.mlflow_tracking.adapter": ("MLflowTracking",),
        "mlops.integrations.mlflow_tracking.runs": ("Run",),
    },
)
