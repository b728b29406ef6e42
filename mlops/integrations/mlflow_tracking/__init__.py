"""MLflow in one project: runs, metrics, artifacts and models, in a store of the project's own."""

from __future__ import annotations

from mlops.integrations.mlflow_tracking.adapter import MLflowTracking
from mlops.integrations.mlflow_tracking.runs import Run

__all__ = ["MLflowTracking", "Run"]
