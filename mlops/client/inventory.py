"""What one project holds across its tools: states, counts, artifacts and storage."""

from __future__ import annotations

import builtins
import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops.client import model_metrics
from mlops.client.limits import check_limit
from mlops.errors import ConfigError, IntegrationError, IntegrationNotInstalledError
from mlops.files import contained
from mlops.integrations.mlflow_tracking import artifacts as run_files
from mlops.pipelines import catalogue as pipelines
from mlops.pipelines.artifacts import step_outputs
from mlops.workspace import tools
from mlops.workspace.model import ProjectWorkspace

if TYPE_CHECKING:
    from mlops.client.session import ProjectSession

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


def tool_status(
    context: tools.ToolContext, tool: str, *, adapter: tools.ToolAdapter | None = None
) -> dict[str, Any]:
    """Return a tool's state with what the project holds in it; trouble is reported, never raised.

    Args:
        context: The project.
        tool: The tool's name.
        adapter: The project's adapter, if it is loaded already.
    """
    try:
        adapter = adapter or tools.create(tool, context)
        health = adapter.health()
        summary = adapter.summary() if health.state is tools.ToolState.READY else {}
    except IntegrationNotInstalledError as error:
        health, summary = tools.ToolHealth(tool, tools.ToolState.NOT_INSTALLED, error=str(error)), {}
    except (IntegrationError, OSError) as error:
        health, summary = tools.ToolHealth(tool, tools.ToolState.UNAVAILABLE, error=str(error)), {}
    return {**health.to_dict(), "summary": summary}


def statistics(client: ProjectSession) -> dict[str, Any]:
    """Return exact counts of what a project holds."""
    held = {tool: client.adapter(tool).summary() for tool in ("mlflow", "dvc", "bentoml", "evidently")}
    by_status: dict[str, int] = held["mlflow"]["runs_by_status"]
    kinds = Counter(kind for kind, source in _SOURCES.items() if kind != "metrics" for _ in source(client))
    # The values themselves need not be read to count them.
    kinds["metrics"] = client.tracking.measured_runs() + len(model_metrics.recorded(client.workspace))
    kinds.update(output["type"] for output in step_outputs(client.tracking))
    return {
        "project_name": client.project_name,
        "created_at": client.workspace.created_at.isoformat(),
        "total_pipelines": len(pipelines.names(client.workspace)),
        "total_runs": sum(by_status.values()),
        "completed_runs": by_status.get("FINISHED", 0),
        "failed_runs": by_status.get("FAILED", 0),
        "runs_by_status": by_status,
        "total_models": held["mlflow"]["models"],
        "total_model_versions": held["mlflow"]["model_versions"],
        "total_data_versions": held["dvc"]["versions"],
        "total_bentos": held["bentoml"]["bentos"],
        "total_checks": held["evidently"]["checks"],
        "total_artifacts": kinds.total(),
        "artifacts_by_type": {kind: kinds[kind] for kind in ARTIFACT_TYPES},
    }


def artifacts(
    client: ProjectSession, *, artifact_type: str | None = None, limit: int | None = 100
) -> list[dict[str, Any]]:
    """Return what a project produced, newest first.

    Args:
        client: The project.
        artifact_type: One of ``ARTIFACT_TYPES`` or a Python type, or None for all.
        limit: At most so many; None for all.

    Raises:
        ConfigError: The type is none of these, or the limit no whole number of at least 0.
    """
    check_limit(limit, operation="get_artifacts", workspace=client.project_name)
    if artifact_type is not None and not (artifact_type in ARTIFACT_TYPES or _may_be_python(artifact_type)):
        raise ConfigError(
            f"There is no artifact type {artifact_type!r}",
            operation="get_artifacts",
            workspace=client.project_name,
            hint=f"types are: {', '.join(ARTIFACT_TYPES)}, and for what steps returned Python types such as "
            "DataFrame, numpy.ndarray or list",
        )
    found = each_artifact(client, artifact_type, newest=limit)
    if limit is None:
        return sorted(found, key=_time, reverse=True)
    return heapq.nlargest(limit, found, key=_time)


def each_artifact(
    client: ProjectSession, artifact_type: str | None = None, *, newest: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield what a project produced, one type after the other.

    Args:
        client: The project.
        artifact_type: One of ``ARTIFACT_TYPES`` or a Python type, or None for all.
        newest: No older ones are asked for than so many of a type, where that saves work; None for all.
    """
    for output in step_outputs(client.tracking):
        python_type = output["python_type"]
        if artifact_type in (None, output["type"], python_type, python_type.rpartition(".")[2]):
            yield output
    for kind, source in _SOURCES.items():
        if artifact_type in (None, kind):
            found = source(client)
            yield from itertools.islice(found, newest) if kind == "metrics" else found


def path_inside(workspace: ProjectWorkspace, subdir: str | None) -> Path:
    """Return a path in a workspace.

    Raises:
        IsolationError: It leads out of the workspace.
    """
    if subdir is None:
        return workspace.root_path
    path = workspace.root_path / subdir
    contained(path, workspace.root_path, operation="get_workspace_path", workspace=workspace.project_name)
    return path


def _models(client: ProjectSession) -> Iterator[dict[str, Any]]:
    prefix = client.tracking.model_prefix
    for version in client.tracking.model_versions():
        yield {
            "name": f"{version.name.removeprefix(prefix)}:{version.version}",
            "type": "model",
            "created_at": version.created_at,
            "run_id": version.run_id,
            "uri": f"models:/{version.name}/{version.version}",
        }


def _data(client: ProjectSession) -> Iterator[dict[str, Any]]:
    for data in client.data.history():
        yield {
            "name": data.name,
            "type": "data",
            "created_at": data.added_at,
            "run_id": None,
            "uri": f"md5:{data.md5}",
        }


def _metrics(client: ProjectSession) -> Iterator[dict[str, Any]]:
    """Yield the sets of values, newest first: one per run that has any, and what was measured of models."""
    of_runs = (
        {
            "name": run["run_name"],
            "type": "metrics",
            "created_at": run["start_time"],
            "run_id": run["run_id"],
            "uri": f"runs:/{run['run_id']}",
            "metrics": run["metrics"],
        }
        for run in client.tracking.each_run()
        if run["metrics"]
    )
    of_models = (
        {
            "name": record["model_name"],
            "type": "metrics",
            "created_at": record["created_at"],
            "run_id": record["run_id"],
            "uri": f"{model_metrics.FILE_NAME}:{record['model_name']}",
            "metrics": record["metrics"],
        }
        for record in model_metrics.recorded(client.workspace)
    )
    return heapq.merge(of_runs, of_models, key=_time, reverse=True)


def _reports(client: ProjectSession) -> Iterator[dict[str, Any]]:
    for check in client.monitoring.history():
        yield {
            "name": check["snapshot_id"],
            "type": "report",
            "created_at": datetime.fromisoformat(check["checked_at"]),
            "run_id": None,
            "uri": f"snapshot:{check['snapshot_id']}",
        }


def _files(client: ProjectSession) -> Iterator[dict[str, Any]]:
    for file in run_files.files(client.tracking):
        yield {**file, "type": "file"}


_SOURCES: Final[Mapping[str, Callable[[ProjectSession], Iterator[dict[str, Any]]]]] = {
    "model": _models,
    "data": _data,
    "metrics": _metrics,
    "report": _reports,
    "file": _files,
}
ARTIFACT_TYPES: Final = tuple(_SOURCES)


def _may_be_python(name: str) -> bool:
    """Say whether a name looks like a type's, not like a misspelt kind of artifact."""
    return hasattr(builtins, name) or any(letter.isupper() or letter == "." for letter in name)


def _time(artifact: dict[str, Any]) -> datetime:
    created: datetime | None = artifact["created_at"]
    return created or _NEVER
