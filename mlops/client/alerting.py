"""What becomes of alerts: they are logged to MLflow, listed, and can start what puts things right."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import ConfigError, MLOpsError
from mlops.integrations.evidently_monitoring import AlertRecord, EvidentlyMonitoring
from mlops.integrations.mlflow_tracking.queries import MONITORING_TAG
from mlops.workspace.opening import resolve_for
from mlops.workspace.tools import ToolContext

if TYPE_CHECKING:
    from mlops.client.session import ProjectSession
    from mlops.integrations.evidently_monitoring import Alert
    from mlops.integrations.mlflow_tracking import MLflowTracking
    from mlops.pipelines.pipeline import Pipeline
    from mlops.pipelines.results import PipelineRun
    from mlops.workspace import WorkspaceManager

    OnAlert = Callable[[Sequence[Alert]], object] | Pipeline | str

SNAPSHOT_TAG: Final = "mlops.snapshot"
ALERTS_TAG: Final = "mlops.alerts"


def log(
    session: ProjectSession, *, model: str | None, metrics: Mapping[str, float], alerts: Sequence[Alert]
) -> None:
    """Log what was found to the active run, or, if that is an alert, to the monitoring run of the model.

    The number of alerts is the metric ``alerts``; the tag ``mlops.alerts`` names them.

    Args:
        session: The project.
        model: The model's short name, or None.
        metrics: Numbers by name.
        alerts: What crossed a threshold.
    """
    tracking = session._loaded_tracking
    run = tracking.active_run if tracking is not None else None
    if tracking is not None and run is not None:
        _log(tracking, metrics, alerts)
    elif alerts:
        tracking = session.tracking
        label = model or session.project_name
        tags = {MONITORING_TAG: label}
        with tracking.start_run(f"monitoring {label}", run_id=_monitoring_run(tracking, label), tags=tags):
            _log(tracking, metrics, alerts)


def action(
    session: ProjectSession, on_alert: OnAlert | None, *, operation: str
) -> Callable[[Sequence[Alert]], object] | None:
    """Return what to call with new alerts.

    Args:
        session: The project.
        on_alert: A function that takes the new alerts; or a pipeline of the project to run, itself or by
            name. Its run keeps the snapshot that the first of the alerts was found in.
        operation: The calling method, for errors.

    Raises:
        ConfigError: It is none of these.
        PipelineError: There is no such pipeline.
    """
    if on_alert is None or callable(on_alert):
        return on_alert
    from mlops.client.pipelines import PipelineVerbs
    from mlops.pipelines.pipeline import Pipeline

    pipeline = on_alert
    if isinstance(pipeline, str) and isinstance(session, PipelineVerbs):
        pipeline = session.get_pipeline(pipeline)
    if isinstance(pipeline, Pipeline):
        return functools.partial(retrain, pipeline)
    raise ConfigError(
        f"on_alert={on_alert!r} cannot be called and is no pipeline",
        operation=operation,
        workspace=session.project_name,
        hint="pass a function that takes the new alerts, a pipeline, or a pipeline's name",
    )


def retrain(pipeline: Pipeline, alerts: Sequence[Alert]) -> PipelineRun:
    """Run a pipeline because of alerts; its run keeps the snapshot that the first was found in.

    Raises:
        StepError: A step failed.
    """
    # Silence is found by no check, so such an alert has no snapshot.
    snapshot = next((alert.snapshot_id for alert in alerts if alert.snapshot_id), None)
    return pipeline.run(cause=f"snapshot:{snapshot}" if snapshot else None)


def collect(
    manager: WorkspaceManager, project: str | None = None, *, open_only: bool = False
) -> tuple[list[tuple[str, AlertRecord]], dict[str, str]]:
    """Return the alerts of a project or of all with its name, newest first, and what could not be read.

    Args:
        manager: The base.
        project: One project.
        open_only: Only those that go on and that nobody acknowledged.

    Raises:
        WorkspaceNotFoundError: There is no project of that name.
        MLOpsError: The one project that was asked for cannot be read.
    """
    found: list[tuple[str, AlertRecord]] = []
    errors: dict[str, str] = {}
    workspaces = manager.list_workspaces() if project is None else [manager.get_workspace(project)]
    for workspace in workspaces:
        if workspace.error:
            errors[workspace.project_name] = workspace.error
            continue
        try:
            context = ToolContext(workspace, resolve_for(workspace, root=manager.location.root).settings)
        except MLOpsError as error:
            if project is not None:
                raise
            errors[workspace.project_name] = str(error)
            continue
        alerts = EvidentlyMonitoring(context).alerts(open_only=open_only)
        found += [(workspace.project_name, alert) for alert in alerts]
    found.sort(key=lambda each: each[1].first_seen, reverse=True)
    return found, errors


def _log(tracking: MLflowTracking, metrics: Mapping[str, float], alerts: Sequence[Alert]) -> None:
    tags: dict[str, Any] = {}
    if alerts:
        tags[ALERTS_TAG] = ", ".join(
            f"{alert.metric} of {alert.column}" if alert.column else alert.metric for alert in alerts
        )
    if alerts and alerts[0].snapshot_id:
        tags[SNAPSHOT_TAG] = alerts[0].snapshot_id
    tracking.log_metrics({**metrics, "alerts": float(len(alerts))})
    if tags:
        tracking.set_tags(tags)


def _monitoring_run(tracking: MLflowTracking, label: str) -> str | None:
    """Return the id of the run that has what was found about a model before, or None."""
    with tracking.translated("monitor_predictions"):
        runs = tracking.client(operation="monitor_predictions").search_runs(
            [tracking.experiment_id], f"tags.`{MONITORING_TAG}` = '{label}'", max_results=1
        )
    return str(runs[0].info.run_id) if runs else None
