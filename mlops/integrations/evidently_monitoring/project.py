"""The one Evidently project of a workspace and its dashboard, written as Evidently reads them.

The files are written without importing Evidently, which takes seconds, and a whole project directory is put
in place at once: Evidently refuses to open a workspace in which one project is half written.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import DataIntegrityError
from mlops.files import sync_directory, write_atomic
from mlops.integrations.evidently_monitoring.frames import TOOL

if TYPE_CHECKING:
    from mlops.workspace.model import ProjectWorkspace

PROJECT_FILE: Final = "metadata.json"
DASHBOARD_FILE: Final = "dashboard.json"
SNAPSHOTS: Final = "snapshots"
# Version 2 of Evidently's project files, as of Evidently 0.7.
_PROJECT_VERSION: Final = "2"
_UUID: Final = re.compile(r"\A[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)


def project_id(workspace: ProjectWorkspace) -> str:
    """Return the id of the workspace's Evidently project; an id that is not a UUID gets one of its own."""
    value = workspace.evidently_project_id or workspace.id
    return value.lower() if _UUID.match(value) else str(uuid.uuid5(uuid.NAMESPACE_URL, f"evidently:{value}"))


def project_path(workspace: ProjectWorkspace) -> Path:
    """Return the directory of the workspace's Evidently project."""
    return workspace.monitoring_path / project_id(workspace)


def project_directories(monitoring: Path) -> Iterator[Path]:
    """Yield the directories of the Evidently projects in a monitoring directory, sorted by id.

    Args:
        monitoring: The directory; one that does not exist holds none.
    """
    try:
        found = sorted(monitoring.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from (path for path in found if _UUID.match(path.name) and path.is_dir())


def is_current(workspace: ProjectWorkspace, *, operation: str) -> bool:
    """Say whether the project is there under the workspace's present name.

    Raises:
        DataIntegrityError: Its file cannot be read.
    """
    try:
        values = json.loads((project_path(workspace) / PROJECT_FILE).read_bytes())
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise _unreadable(project_path(workspace) / PROJECT_FILE, error, workspace, operation) from error
    return isinstance(values, dict) and values.get("name") == workspace.project_name


def ensure(workspace: ProjectWorkspace, *, lock_timeout: float, operation: str) -> None:
    """Create the project and its dashboard, or give them the workspace's present id and name.

    Args:
        workspace: The workspace.
        lock_timeout: Seconds to wait for another process that does the same.
        operation: The calling method, for errors.
    """
    if is_current(workspace, operation=operation):
        return
    target = project_path(workspace)
    with workspace.lock(TOOL, timeout=lock_timeout, operation=operation):
        workspace.monitoring_path.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            adopt(workspace.monitoring_path, workspace, operation=operation)
        if not target.exists():
            staging = workspace.state_path / "staging" / f"evidently-{uuid.uuid4().hex}"
            (staging / SNAPSHOTS).mkdir(parents=True)
            try:
                _write_files(staging, workspace)
                staging.rename(target)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
            sync_directory(workspace.monitoring_path)
        elif not is_current(workspace, operation=operation):
            _write_files(target, workspace)
        (target / SNAPSHOTS).mkdir(exist_ok=True)


def adopt(monitoring: Path, workspace: ProjectWorkspace, *, operation: str) -> None:
    """Give a copied project's directory the id and name of the workspace it is in now.

    Args:
        monitoring: The directory that holds the project's; nothing happens if it holds none or several.
        workspace: The workspace it belongs to now.
        operation: The calling method, for errors.

    Raises:
        DataIntegrityError: The project's file cannot be read.
    """
    found = list(project_directories(monitoring))
    identifier = project_id(workspace)
    if len(found) != 1 or found[0].name == identifier:
        return
    path = found[0] / PROJECT_FILE
    try:
        values = json.loads(path.read_bytes()) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, workspace, operation) from error
    write_atomic(path, json.dumps({**values, **_project(workspace)}, indent=2))
    found[0].rename(monitoring / identifier)


def dashboard(identifier: str) -> dict[str, Any]:
    """Return the dashboard of a project: drift, performance, resources and missing values over time."""

    def metric(kind: str, legend: str, **labels: str) -> dict[str, Any]:
        return {
            "legend": legend,
            "tags": [],
            "metadata": {},
            "metric": f"evidently:metric_v2:{kind}",
            "metric_labels": labels,
            "view_params": {},
        }

    def panel(title: str, size: str, *values: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": str(uuid.uuid5(uuid.UUID(identifier), title)),
            "title": title,
            "subtitle": None,
            "size": size,
            "values": list(values),
            "plot_params": {"plot_type": "line"},
        }

    panels = [
        panel("Drifted columns", "half", metric("DriftedColumnsCount", "share", value_type="share")),
        panel("Rows per batch", "half", metric("RowCount", "rows")),
        panel("Drift score per column", "full", metric("ValueDrift", "{{column}}")),
        # One for all tasks: a panel for each would be empty in most projects.
        panel(
            "Performance",
            "full",
            metric("Accuracy", "accuracy"),
            metric("Precision", "precision"),
            metric("Recall", "recall"),
            metric("F1Score", "f1"),
            metric("RocAuc", "roc auc"),
            metric("MAE", "mae", value_type="mean"),
            metric("RMSE", "rmse"),
            metric("R2Score", "r2"),
            metric("ExternalValue", "ndcg", name="ndcg"),
            metric("ExternalValue", "map", name="map"),
            metric("ExternalValue", "mrr", name="mrr"),
        ),
        panel(
            "Latency, ms",
            "half",
            metric("ExternalValue", "mean", name="latency_ms"),
            metric("ExternalValue", "95 %", name="latency_ms_p95"),
        ),
        panel(
            "Memory, MB",
            "half",
            metric("ExternalValue", "mean", name="memory_mb"),
            metric("ExternalValue", "95 %", name="memory_mb_p95"),
        ),
        panel("Missing cells", "half", metric("DatasetMissingValueCount", "cells", value_type="count")),
        panel("Tokens per answer", "half", metric("ExternalValue", "mean", name="tokens")),
    ]
    # A single tab: Evidently's pages show all tabs as one, and do not save a dashboard with more.
    tab = {
        "id": str(uuid.uuid5(uuid.UUID(identifier), "tab")),
        "title": "Checks",
        "panels": [p["id"] for p in panels],
    }
    return {"tabs": [tab], "panels": panels}


def _write_files(directory: Path, workspace: ProjectWorkspace) -> None:
    identifier = project_id(workspace)
    if not (directory / DASHBOARD_FILE).exists():
        write_atomic(directory / DASHBOARD_FILE, json.dumps(dashboard(identifier), indent=2))
    write_atomic(directory / PROJECT_FILE, json.dumps(_project(workspace), indent=2))


def _project(workspace: ProjectWorkspace) -> dict[str, Any]:
    return {
        "id": project_id(workspace),
        "name": workspace.project_name,
        "description": workspace.description or None,
        "org_id": None,
        "version": _PROJECT_VERSION,
    }


def _unreadable(
    path: Path, error: Exception, workspace: ProjectWorkspace, operation: str
) -> DataIntegrityError:
    return DataIntegrityError(
        f"The Evidently project file {path} cannot be read: {error}",
        tool=TOOL,
        operation=operation,
        workspace=workspace.project_name,
        details={"path": str(path)},
        hint=f"remove {path} and call ensure(): it holds nothing but the project's name",
    )
