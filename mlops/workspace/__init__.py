"""Workspaces: one directory per project, and the manager that creates and finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.errors import WorkspaceError
from mlops.lazy import exporter

if TYPE_CHECKING:
    from mlops.workspace.bootstrap import BootstrapResult
    from mlops.workspace.manager import WorkspaceManager
    from mlops.workspace.model import ProjectWorkspace

__all__ = ["BootstrapResult", "ProjectWorkspace", "WorkspaceError", "WorkspaceManager"]

__getattr__ = exporter(
    __name__,
    {
        "mlops.workspace.bootstrap": ("BootstrapResult",),
        "mlops.workspace.manager": ("WorkspaceManager",),
        "mlops.workspace.model": ("ProjectWorkspace",),
    },
)
