"""Measured values of models by environment, such as accuracy in production: what no training run can know.

Each call appends one line to ``model_metrics.jsonl`` in the workspace; MLflow has no place for a value that
belongs to a model in an environment rather than to a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops import jsonlines, names
from mlops.client.limits import check_limit
from mlops.errors import ConfigError, WorkspaceCorruptError
from mlops.workspace.model import ProjectWorkspace

if TYPE_CHECKING:
    from mlops.client.session import ProjectSession

FILE_NAME: Final = "model_metrics.jsonl"


def record(
    client: ProjectSession,
    model_name: str,
    metrics: Mapping[str, float],
    *,
    run_id: str | None,
    environment: str | None,
    tags: Mapping[str, str] | None,
) -> None:
    """Append one set of values.

    Args:
        client: The project.
        model_name: The model's short name; it need not be registered.
        metrics: Numbers by name, at least one.
        run_id: The run that measured them.
        environment: Where they were measured, such as ``production``.
        tags: Text by name.

    Raises:
        InvalidModelNameError: The model's name breaks the rule.
        IntegrationError: A value is no number.
        DataNotFoundError: The project has no such run.
        ConfigError: There are no values, or a tag is not text.
    """
    from mlops.integrations.mlflow_tracking import metrics as numbers

    operation, project = "log_model_metrics", client.project_name
    names.validate_model_name(model_name, project=project, operation=operation)
    if not metrics:
        raise ConfigError(
            f"There are no metrics to record for {model_name!r}",
            operation=operation,
            workspace=project,
            hint='pass numbers by name, such as {"accuracy": 0.93}',
        )
    values = {
        numbers.name(key, operation=operation, workspace=project): numbers.number(
            key, value, operation=operation, workspace=project
        )
        for key, value in metrics.items()
    }
    if bad := [key for key, value in (tags or {}).items() if not isinstance(value, str)]:
        raise ConfigError(
            f"tag {bad[0]!r} is not text", operation=operation, workspace=project, hint="use text for both"
        )
    if run_id is not None:
        client.tracking.get_run(run_id)
    line = {
        "at": datetime.now(UTC).isoformat(),
        "model_name": model_name,
        # As text where JSON has no such number.
        "metrics": {key: value if abs(value) < float("inf") else str(value) for key, value in values.items()},
        "run_id": run_id,
        "environment": environment,
        "tags": dict(tags or {}),
    }
    workspace = client.workspace
    # The lock that renaming and deleting take, so that nothing is written into the place they left.
    with workspace.lock(timeout=client.settings.lock_timeout, operation=operation):
        workspace.require_present(operation=operation)
        jsonlines.append(_file(workspace), [line])


def recorded(
    workspace: ProjectWorkspace,
    *,
    model_name: str | None = None,
    environment: str | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Return the sets of values, newest first.

    Args:
        workspace: The project.
        model_name: Only this model's.
        environment: Only those measured there.
        limit: At most so many; None for all.

    Raises:
        ConfigError: The limit is no whole number of at least 0.
        WorkspaceCorruptError: A line of the file cannot be understood.
    """
    check_limit(limit, operation="list_model_metrics", workspace=workspace.project_name)
    found: list[dict[str, Any]] = []
    for line in jsonlines.read(_file(workspace)):
        try:
            found.append(_entry(line))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WorkspaceCorruptError(
                f"Line {line.number} of {_file(workspace)} cannot be understood: {line.error or error!r}",
                operation="list_model_metrics",
                workspace=workspace.project_name,
                hint="restore the file from a backup, or remove the line",
            ) from error
    chosen = [
        entry
        for entry in reversed(found)
        if model_name in (None, entry["model_name"]) and environment in (None, entry["environment"])
    ]
    return chosen[:limit]


def _entry(line: jsonlines.Line) -> dict[str, Any]:
    value = line.value or {}
    return {
        "model_name": str(value["model_name"]),
        "metrics": {key: float(number) for key, number in value["metrics"].items()},
        "run_id": value["run_id"],
        "environment": value["environment"],
        "tags": dict(value["tags"]),
        "created_at": datetime.fromisoformat(value["at"]),
    }


def _file(workspace: ProjectWorkspace) -> Path:
    return workspace.root_path / FILE_NAME
