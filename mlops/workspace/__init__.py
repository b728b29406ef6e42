"""Workspaces: one directory per project, and the manager that creates and finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops.errors import WorkspaceError

if TYPE_CHECKING:
    from mlops.workspace.bootstrap import BootstrapResult
    from mlops.workspace.manager import WorkspaceManager
    from mlops.workspace.model import ProjectWorkspace

__all__ = ["BootstrapResult", "ProjectWorkspace", "WorkspaceError", "WorkspaceManager"]


def __getattr__(name: str) -> Any:
    # Lazily, so that the modules below can be imported without the manager above them.
    if name == "WorkspaceManager":
        from mlops.workspace.manager import WorkspaceManager as value
    elif name == "ProjectWorkspace":
        from mlops.workspace.model import ProjectWorkspace as value  # type: ignore[assignment]
    elif name == "BootstrapResult":
        from mlops.workspace.bootstrap import BootstrapResult as value  # type: ignore[assignment]
    else:
        raise AttributeError(f"module 'mlops.workspace' has no attribute {name!r}")
    return value
