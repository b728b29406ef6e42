"""What the projects of a base cost on disk, against their limits, and what clean-up would free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.client.reclaimable import Reclaimable, ReclaimableSpace, reclaimable
from mlops.client.usage import storage
from mlops.files import STATE_DIRECTORY, measure_removal
from mlops.reporting.doctor.crashes import abandoned_claims
from mlops.reporting.doctor.leftovers import is_abandoned
from mlops.workspace import trash
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
    beside: tuple[Reclaimable, ...] = ()
    if gc and project_name is None:
        beside = (*_deleted(manager.base_path), *_unfinished(manager.base_path, workspaces))
    return UsageReport(str(manager.base_path), projects, beside)


def _deleted(base: Path) -> Iterator[Reclaimable]:
    by_name: dict[str, list[Path]] = {}
    for entry in trash.entries(base):
        by_name.setdefault(entry.project_name, []).append(entry.path)
    for name, paths in sorted(by_name.items()):
        size = measure_removal(paths).bytes
        how = f"mlops purge {name} --force"
        yield Reclaimable("workspaces", f"deleted project {name}", len(paths), size, how)


def _unfinished(base: Path, workspaces: Sequence[ProjectWorkspace]) -> Iterator[Reclaimable]:
    staging = base / STATE_DIRECTORY / "staging"
    copies = staging / "workspaces"
    claimed = [copies, *(workspace.models_path / "staging" for workspace in workspaces)]
    prepared = [path for path in staging.iterdir() if path != copies] if staging.is_dir() else []
    found = [
        *(path for path in prepared if is_abandoned(path)),
        *(path for directory in claimed for path in abandoned_claims(directory)),
    ]
    if found:
        size = measure_removal(found).bytes
        what = "unfinished work of killed processes"
        yield Reclaimable("workspaces", what, len(found), size, "mlops doctor --fix")


def _usage(workspace: ProjectWorkspace, manager: WorkspaceManager, *, gc: bool) -> ProjectUsage:
    found = storage(workspace)
    if not gc or workspace.error:
        return ProjectUsage(workspace.project_name, found)
    context = ToolContext(workspace, resolve_for(workspace, root=manager.location.root).settings)
    return ProjectUsage(workspace.project_name, found, reclaimable(context))
