"""The cross-project table: one row per project, one state per tool."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlops.client.inventory import tool_status
from mlops.files import measure
from mlops.workspace import tools
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.opening import resolve_for

if TYPE_CHECKING:
    from rich.console import Group

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


def render(rows: list[ProjectStatus]) -> Group:
    """Return the status of projects as a table for people, with what is wrong below it."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in _COLUMNS:
        table.add_column(
            column, justify="right" if column in _NUMBERS else "left", no_wrap=column == "project"
        )
    for row in rows:
        table.add_row(*map(Text, _cells(row) if row.error is None else [row.project_name]))
    return Group(table, *(Text(line, style="red") for line in problems(rows)))


def problems(rows: list[ProjectStatus]) -> list[str]:
    """Return one line for every corrupt project and every tool in trouble."""
    lines = []
    for row in rows:
        if row.error:
            lines.append(f"{row.project_name}: {row.error}")
        for tool, held in row.tools.items():
            if held["error"]:
                lines.append(f"{row.project_name}: {tool} is {held['state']}: {held['error']}")
    return lines


_COLUMNS = ("project", "runs", "last run", "data", "models", "bentos", "drifted columns", "disk")
_NUMBERS = ("runs", "data", "models", "bentos", "disk")


def _cells(row: ProjectStatus) -> list[str]:
    held = {tool: status["summary"] for tool, status in row.tools.items()}
    runs, data = held.get("mlflow", {}), held.get("dvc", {})
    bentos, checks = held.get("bentoml", {}), held.get("evidently", {})
    by_status: dict[str, int] = runs.get("runs_by_status", {})
    failed, unpushed = by_status.get("FAILED", 0), data.get("unpushed", 0)
    return [
        row.project_name,
        f"{runs.get('runs', 0)}" + (f", {failed} failed" if failed else ""),
        _last_run(runs.get("last_run")),
        f"{data.get('versions', 0)}" + (f", {unpushed} unpushed" if unpushed else ""),
        f"{runs.get('model_versions', 0)}",
        f"{bentos.get('bentos', 0)}",
        _drift(checks.get("last_check")),
        f"{row.total_bytes / 1e6:.1f} MB",
    ]


def _last_run(run: dict[str, Any] | None) -> str:
    if not run:
        return "-"
    started = run["start_time"]
    moment = datetime.fromisoformat(started) if isinstance(started, str) else started
    ended_well = run["status"] == "FINISHED"
    return _ago(moment) if ended_well else f"{run['status']}, {_ago(moment)}"


def _ago(moment: datetime) -> str:
    seconds = max((datetime.now(UTC) - moment).total_seconds(), 0)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"


def _drift(check: dict[str, Any] | None) -> str:
    if check is None:
        return "-"
    count = f"{check['n_drifted']} of {check['n_columns']}"
    return f"{count}, DRIFT" if check["drift_detected"] else count


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
