"""The cross-project table: one row per project, one state per tool."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlops.client.inventory import tool_status
from mlops.files import measure
from mlops.workspace import tools
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.opening import resolve_for

if TYPE_CHECKING:
    from rich.table import Table

    from mlops.workspace import WorkspaceManager


@dataclass(frozen=True, slots=True)
class ProjectStatus:
    """What one project holds.

    Args:
        project_name: The project.
        state: ``ready`` or ``corrupt``.
        tools: Per tool: its state, location, version, error and summary.
        total_bytes: What the workspace costs on disk, hard links counted once.
        error: Why it is corrupt.
    """

    project_name: str
    state: str
    tools: dict[str, dict[str, Any]] = field(default_factory=dict)
    total_bytes: int = 0
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "project_name": self.project_name,
            "state": self.state,
            "tools": self.tools,
            "total_bytes": self.total_bytes,
            "error": self.error,
        }


def collect(manager: WorkspaceManager, project_name: str | None = None) -> list[ProjectStatus]:
    """Return the status of one project or of all, sorted by name.

    Args:
        manager: The base.
        project_name: One project.

    Raises:
        WorkspaceNotFoundError: There is no project of that name.
    """
    workspaces = manager.list_workspaces() if project_name is None else [manager.get_workspace(project_name)]
    return [_status(workspace, manager) for workspace in workspaces]


def render(rows: list[ProjectStatus]) -> Table:
    """Return the status of projects as a table for people."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for column in (
        "project",
        "runs",
        "last run",
        "data versions",
        "models",
        "bentos",
        "checks",
        "drift",
        "disk",
    ):
        table.add_column(column, justify="right" if column in _NUMBERS else "left")
    for row in rows:
        if row.error:
            table.add_row(Text(row.project_name), Text(row.error, style="red"))
            continue
        table.add_row(*map(Text, _cells(row)))
        for tool, held in row.tools.items():
            if held["error"]:
                table.add_row(Text(""), Text(f"{tool} {held['state']}: {held['error']}", style="red"))
    return table


_NUMBERS = ("runs", "data versions", "models", "bentos", "checks", "disk")


def _cells(row: ProjectStatus) -> list[str]:
    held = {tool: status["summary"] for tool, status in row.tools.items()}
    runs, data = held.get("mlflow", {}), held.get("dvc", {})
    bentos, checks = held.get("bentoml", {}), held.get("evidently", {})
    by_status: dict[str, int] = runs.get("runs_by_status", {})
    failed = by_status.get("FAILED", 0)
    unpushed = data.get("unpushed", 0)
    last_check = checks.get("last_check") or {}
    return [
        row.project_name,
        f"{runs.get('runs', 0)}" + (f" ({failed} failed)" if failed else ""),
        _last_run(runs.get("last_run")),
        f"{data.get('versions', 0)}" + (f" ({unpushed} unpushed)" if unpushed else ""),
        f"{runs.get('model_versions', 0)}",
        f"{bentos.get('bentos', 0)}",
        f"{checks.get('checks', 0)}",
        _drift(last_check),
        f"{row.total_bytes / 1e6:.1f} MB",
    ]


def _last_run(run: dict[str, Any] | None) -> str:
    if not run:
        return "-"
    started = run["start_time"]
    moment = datetime.fromisoformat(started) if isinstance(started, str) else started
    return f"{run['run_name']} {run['status']} {moment:%Y-%m-%d %H:%M}"


def _drift(check: dict[str, Any]) -> str:
    if not check:
        return "-"
    share = f"{check['drift_share']:.0%} of columns"
    return f"DRIFT, {share}" if check["drift_detected"] else f"none, {share}"


def _status(workspace: ProjectWorkspace, manager: WorkspaceManager) -> ProjectStatus:
    if workspace.error:
        return ProjectStatus(workspace.project_name, workspace.state, error=workspace.error)
    context = tools.ToolContext(workspace, resolve_for(workspace, root=manager.location.root).settings)
    return ProjectStatus(
        workspace.project_name,
        workspace.state,
        {tool: tool_status(context, tool) for tool in tools.registered()},
        measure(workspace.root_path).bytes,
    )
