"""Verbs for monitoring: freeze reference data, check a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from mlops.client import alerting
from mlops.client.session import ProjectSession
from mlops.errors import ModelNotFoundError

if TYPE_CHECKING:
    from mlops.client.alerting import OnAlert
    from mlops.integrations.bentoml_serving import Deployment
    from mlops.integrations.evidently_monitoring import Alert, MonitoringResult, ReferenceData
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
        task: str | None = None,
        probability_columns: Mapping[Any, str] | Sequence[str] | str | None = None,
        positive_label: Any = None,
        group_column: str | None = None,
        cutoff: int = 10,
        embeddings: Mapping[str, Sequence[str]] | None = None,
    ) -> ReferenceData:
        """Freeze the data that later batches are compared with; it stays with the project.

        Args:
            df: A data frame, table or list of rows.
            target_column: The column with the true values.
            prediction_column: The column with the model's predictions.
            model: The model it belongs to, as ``monitor_predictions`` takes it; the project's default
                reference otherwise.
            task: ``binary``, ``multiclass``, ``regression``, ``ranking`` or ``none``; decided from the values
                otherwise.
            probability_columns: Label to column; or the columns in the order of the sorted labels; or, for a
                binary task, the column of the positive label.
            positive_label: The label that precision and recall are about.
            group_column: The column that says which rows a ranking puts in order together, as the query.
            cutoff: How many of a ranking's first places count.
            embeddings: Name to the columns an embedding is spread over, in order.

        Raises:
            ReferenceDataError: It is empty, a named column is missing, or the task does not fit.
        """
        reference = self.monitoring.set_reference_data(
            df,
            target_column=target_column,
            prediction_column=prediction_column,
            model=self._model_version(model),
            task=task,
            probability_columns=probability_columns,
            positive_label=positive_label,
            group_column=group_column,
            cutoff=cutoff,
            embeddings=embeddings,
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
        tokens: Any = None,
        model: ModelVersion | Deployment | str | None = None,
        thresholds: Mapping[str, Any] | None = None,
        on_alert: OnAlert | None = None,
    ) -> MonitoringResult:
        """Compare a batch with the reference data: drift, performance, missing values.

        A snapshot is stored in the project's Evidently workspace; the numbers become metrics of the active
        run, if there is one. A check with alerts goes to the monitoring run of the model otherwise.

        Args:
            df: The batch: a data frame, table or list of rows.
            target_column: The column with the true values; the reference's by default.
            prediction_column: The column with the predictions; the reference's by default.
            latency_ms: One value or one per row, in milliseconds.
            memory_mb: One value or several, in megabytes.
            tokens: The number of generated tokens, one value or one per row.
            model: The model that made the predictions: what ``log_model`` or ``deploy_model`` returned, or
                ``name:version``, ``name@alias`` or ``name``. A name alone stands for the version with the
                alias ``production``, else the newest.
            thresholds: Thresholds by name that win over those of ``workspace.yaml``; see ``Thresholds``.
            on_alert: A function that is called with the new alerts once everything is stored; or a pipeline,
                itself or by name, that is run then and keeps the snapshot as its cause. An alert that goes
                on since an earlier check is not new.

        Raises:
            ReferenceDataError: There is no reference data, or a named column is missing.
            ConfigError: A threshold makes no sense, or ``on_alert`` cannot be called.
        """
        return self._check(
            df,
            on_alert=alerting.action(self, on_alert, operation="monitor_predictions"),
            target_column=target_column,
            prediction_column=prediction_column,
            latency_ms=latency_ms,
            memory_mb=memory_mb,
            tokens=tokens,
            model=self._model_version(model),
            thresholds=thresholds,
        )

    def _check(
        self,
        df: Any,
        *,
        on_alert: Callable[[Sequence[Alert]], object] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> MonitoringResult:
        """Check a batch, log what was found to MLflow, record where it came from, and act on new alerts."""
        tracking = self._loaded_tracking
        run = tracking.active_run if tracking is not None else None
        facts = {**(metadata or {}), **({"run_id": run.run_id} if run else {})}
        result = self.monitoring.monitor(df, metadata=facts, **options)
        if tracking is not None and run is not None:
            tracking.set_tags({alerting.SNAPSHOT_TAG: result.snapshot_id})
        self._record(self.monitoring.links_of(result), operation="monitor_predictions")
        alerting.log(self, model=result.model, metrics=result.metrics(), alerts=result.alerts)
        if on_alert is not None and result.new_alerts:
            on_alert(result.new_alerts)
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
