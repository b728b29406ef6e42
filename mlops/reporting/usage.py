"""What the projects of a base cost on disk, against their limits, and what clean-up would free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops.client.reclaimable import Reclaimable, ReclaimableSpace, reclaimable, reclaimable_beside
from mlops.client.usage import storage
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.opening import resolve_for
from mlops.workspace.tools import ToolContext

if TYPE_CHECKING:
    from mlops.workspace import WorkspaceManager


@dataclass(frozen=True, slots=True)
class ProjectUsage:
    """One project.

    Args:
        project_name: The project.
        storage: What ``client.get_storage_usage`` returns.
        reclaimable: What clean-up would free, or None if that was not asked for, or of a corrupt project.
    """

    project_name: str
    storage: Mapping[str, Any]
    reclaimable: ReclaimableSpace | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values = {"project_name": self.project_name, **self.storage}
        return values if self.reclaimable is None else {**values, "reclaimable": self.reclaimable.to_dict()}


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Projects of one base.

    Args:
        base_path: The base.
        projects: The projects, by name.
        beside: What could go beside them: deleted projects, and unfinished work.
    """

    base_path: str
    projects: tuple[ProjectUsage, ...]
    beside: tuple[Reclaimable, ...] = field(default=())

    @property
    def total_bytes(self) -> int:
        """What the projects cost together, without the trash."""
        return sum(project.storage["total_bytes"] for project in self.projects)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "base_path": self.base_path,
            "total_bytes": self.total_bytes,
            "projects": [project.to_dict() for project in self.projects],
            "beside": [row.to_dict() for row in self.beside],
        }


def collect(manager: WorkspaceManager, project_name: str | None = None, *, gc: bool = False) -> UsageReport:
    """Measure one project or all; nothing is created or changed.

    Args:
        manager: The base.
        project_name: One project; what could go beside it is of no interest then.
        gc: Find out what clean-up would free, which takes longer.

    Raises:
        WorkspaceNotFoundError: There is no project of that name.
    """
    workspaces = manager.list_workspaces() if project_name is None else [manager.get_workspace(project_name)]
    projects = tuple(_usage(workspace, manager, gc=gc) for workspace in workspaces)
    beside = reclaimable_beside(manager.base_path) if gc and project_name is None else ()
    return UsageReport(str(manager.base_path), projects, beside)


def _usage(workspace: ProjectWorkspace, manager: WorkspaceManager, *, gc: bool) -> ProjectUsage:
    found = storage(workspace)
    if not gc or workspace.error:
        return ProjectUsage(workspace.project_name, found)
    context = ToolContext(workspace, resolve_for(workspace, root=manager.location.root).settings)
    return ProjectUsage(workspace.project_name, found, reclaimable(context))
