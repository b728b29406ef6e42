"""Verbs for monitoring: freeze reference data, check a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mlops.client.session import ProjectSession
from mlops.errors import ModelNotFoundError

if TYPE_CHECKING:
    from mlops.integrations.bentoml_serving import Deployment
    from mlops.integrations.evidently_monitoring import MonitoringResult, ReferenceData
    from mlops.integrations.mlflow_tracking.versions import ModelVersion

# The alias of the version that is in use.
_IN_USE: Final = "production"


class CheckVerbs(ProjectSession):
    """What watches a model in use."""

    def set_reference_data(
        self,
        df: Any,
        *,
        target_column: str | None = None,
        prediction_column: str | None = None,
        model: ModelVersion | Deployment | str | None = None,
    ) -> ReferenceData:
        """Freeze the data that later batches are compared with; it stays with the project.

        Args:
            df: A data frame, table or list of rows.
            target_column: The column with the true values.
            prediction_column: The column with the model's predictions.
            model: The model it belongs to, as ``monitor_predictions`` takes it; the project's default
                reference otherwise.

        Raises:
            ReferenceDataError: It is empty, or a named column is missing.
        """
        reference = self.monitoring.set_reference_data(
            df,
            target_column=target_column,
            prediction_column=prediction_column,
            model=self._model_version(model),
        )
        self._record(self.monitoring.links_of(reference), operation="set_reference_data")
        return reference

    def monitor_predictions(
        self,
        df: Any,
        *,
        target_column: str | None = None,
        prediction_column: str | None = None,
        latency_ms: Any = None,
        memory_mb: Any = None,
        model: ModelVersion | Deployment | str | None = None,
    ) -> MonitoringResult:
        """Compare a batch with the reference data: drift, performance, missing values.

        A snapshot is stored in the project's Evidently workspace; the numbers become metrics of the active
        run, if there is one.

        Args:
            df: The batch: a data frame, table or list of rows.
            target_column: The column with the true values; the reference's by default.
            prediction_column: The column with the predictions; the reference's by default.
            latency_ms: One value or one per row, in milliseconds.
            memory_mb: One value or several, in megabytes.
            model: The model that made the predictions: what ``log_model`` or ``deploy_model`` returned, or
                ``name:version``, ``name@alias`` or ``name``. A name alone stands for the version with the
                alias ``production``, else the newest.

        Raises:
            ReferenceDataError: There is no reference data, or a named column is missing.
        """
        tracking = self._loaded_tracking
        run = tracking.active_run if tracking is not None else None
        result = self.monitoring.monitor(
            df,
            target_column=target_column,
            prediction_column=prediction_column,
            latency_ms=latency_ms,
            memory_mb=memory_mb,
            model=self._model_version(model),
            metadata={"run_id": run.run_id} if run else None,
        )
        if tracking is not None and run is not None:
            tracking.log_metrics(result.metrics())
            tracking.set_tags({"mlops.snapshot": result.snapshot_id})
        self._record(self.monitoring.links_of(result), operation="monitor_predictions")
        return result

    def _model_version(self, model: ModelVersion | Deployment | str | None) -> str | None:
        """Return ``name:version``, or the name alone of a model that is not registered."""
        if model is None:
            return None
        if not isinstance(model, str):
            name = model.model if hasattr(model, "model") else model.name
            return f"{name}:{model.version}" if model.version else name
        name, at, alias = model.partition("@")
        if ":" in name:
            return model
        prefix = self.tracking.model_prefix
        full = name if name.startswith(prefix) else f"{prefix}{name}"
        rows = [row for row in self.tracking.model_versions() if row.name == full]
        chosen = [row for row in rows if (alias or _IN_USE) in row.aliases]
        if at and not chosen:
            raise ModelNotFoundError(
                f"No version of the model {name!r} has the alias {alias!r}",
                tool="mlflow",
                operation="monitor_predictions",
                workspace=self.project_name,
                hint=f"set it with client.promote({name!r}, {alias!r}), or name a version",
            )
        rows = chosen or rows
        return f"{name}:{max((row.version for row in rows), key=int)}" if rows else name
