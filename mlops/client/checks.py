"""Verbs for monitoring: freeze reference data, check a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops.client.session import ProjectSession

if TYPE_CHECKING:
    from mlops.integrations.evidently_monitoring import MonitoringResult, ReferenceData


class CheckVerbs(ProjectSession):
    """What watches a model in use."""

    def set_reference_data(
        self,
        df: Any,
        *,
        target_column: str | None = None,
        prediction_column: str | None = None,
        model: str | None = None,
    ) -> ReferenceData:
        """Freeze the data that later batches are compared with; it stays with the project.

        Args:
            df: A data frame, table or list of rows.
            target_column: The column with the true values.
            prediction_column: The column with the model's predictions.
            model: The model it belongs to; the project's default reference otherwise.

        Raises:
            ReferenceDataError: It is empty, or a named column is missing.
        """
        return self.monitoring.set_reference_data(
            df, target_column=target_column, prediction_column=prediction_column, model=model
        )

    def monitor_predictions(
        self,
        df: Any,
        *,
        target_column: str | None = None,
        prediction_column: str | None = None,
        latency_ms: Any = None,
        memory_mb: Any = None,
        model: str | None = None,
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
            model: The model that made the predictions.

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
            model=model,
            metadata={"run_id": run.run_id} if run else None,
        )
        if tracking is not None and run is not None:
            tracking.log_metrics(result.metrics())
            tracking.set_tags({"mlops.snapshot": result.snapshot_id})
        return result
