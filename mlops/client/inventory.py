"""What one project holds across its tools: states, counts, artifacts, storage, and all of it as one file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import ConfigError, IntegrationError, IntegrationNotInstalledError
from mlops.files import contained, measure, write_atomic
from mlops.integrations.mlflow_tracking import artifacts as run_files
from mlops.workspace import tools
from mlops.workspace.model import DIRECTORIES, ProjectWorkspace

if TYPE_CHECKING:
    from mlops.client.session import ProjectSession

EXPORT_SCHEMA: Final = 1
ARTIFACT_TYPES: Final = ("model", "data", "report", "file")


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
    kinds = dict.fromkeys(ARTIFACT_TYPES, 0)
    for artifact in _all_artifacts(client):
        kinds[artifact["type"]] += 1
    return {
        "project_name": client.project_name,
        "created_at": client.workspace.created_at.isoformat(),
        "total_runs": sum(by_status.values()),
        "completed_runs": by_status.get("FINISHED", 0),
        "failed_runs": by_status.get("FAILED", 0),
        "runs_by_status": by_status,
        "total_models": held["mlflow"]["models"],
        "total_model_versions": held["mlflow"]["model_versions"],
        "total_data_versions": held["dvc"]["versions"],
        "total_bentos": held["bentoml"]["bentos"],
        "total_checks": held["evidently"]["checks"],
        "total_artifacts": sum(kinds.values()),
        "artifacts_by_type": kinds,
    }


def artifacts(
    client: ProjectSession, *, artifact_type: str | None = None, limit: int | None = 100
) -> list[dict[str, Any]]:
    """Return what a project produced, newest first.

    Args:
        client: The project.
        artifact_type: One of ``ARTIFACT_TYPES``, or None for all.
        limit: At most so many; None for all.

    Raises:
        ConfigError: The type is unknown.
    """
    if artifact_type is not None and artifact_type not in ARTIFACT_TYPES:
        raise ConfigError(
            f"There is no artifact type {artifact_type!r}",
            operation="get_artifacts",
            workspace=client.project_name,
            hint=f"types are: {', '.join(ARTIFACT_TYPES)}",
        )
    found = [a for a in _all_artifacts(client) if artifact_type in (None, a["type"])]
    found.sort(key=lambda artifact: artifact["created_at"], reverse=True)
    return found[:limit]


def storage(workspace: ProjectWorkspace) -> dict[str, Any]:
    """Return the bytes of each part of a workspace and of the whole, hard links counted once in each."""
    parts = {directory: measure(workspace.root_path / directory).bytes for directory in DIRECTORIES}
    total = measure(workspace.root_path).bytes
    return {**{f"{part}_bytes": size for part, size in parts.items()}, "total_bytes": total}


def export_metadata(client: ProjectSession, path: Path) -> Path:
    """Write a project's configuration, runs, artifacts and counts as one JSON file, whole or not at all."""
    document = {
        "schema": EXPORT_SCHEMA,
        "exported_at": datetime.now(UTC).isoformat(),
        "workspace": client.workspace.to_dict(),
        "stats": statistics(client),
        "runs": client.tracking.list_runs(limit=None),
        "artifacts": artifacts(client, limit=None),
        "checks": client.monitoring.history(),
    }
    target = path.expanduser().absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, json.dumps(document, indent=2, default=_plain, ensure_ascii=False) + "\n")
    return target


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


def _all_artifacts(client: ProjectSession) -> Iterator[dict[str, Any]]:
    for version in client.tracking.models.list():
        yield {
            "name": f"{version.name}:{version.version}",
            "type": "model",
            "created_at": version.created_at,
            "run_id": version.run_id,
            "uri": version.uri,
        }
    for data in client.data.history():
        yield {
            "name": data.name,
            "type": "data",
            "created_at": data.added_at,
            "run_id": None,
            "uri": f"md5:{data.md5}",
        }
    for check in client.monitoring.history():
        yield {
            "name": check["snapshot_id"],
            "type": "report",
            "created_at": datetime.fromisoformat(check["checked_at"]),
            "run_id": None,
            "uri": f"snapshot:{check['snapshot_id']}",
        }
    for file in run_files.files(client.tracking):
        yield {**file, "type": "file"}


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
