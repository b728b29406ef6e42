"""Workspaces: one directory per project, and the manager that creates and finds them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlops.errors import WorkspaceError

if TYPE_CHECKING:
    from mlops.workspace.bootstrap import BootstrapResult
    from mlops.workspace.manager import WorkspaceManager
    from mlops.workspace.model import ProjectWorkspace

__all__ = ["BootstrapResult", "ProjectWorkspace", "WorkspaceError", "WorkspaceManager"]


_MODULES = {"BootstrapResult": "bootstrap", "ProjectWorkspace": "model", "WorkspaceManager": "manager"}


def __getattr__(name: str) -> Any:
    # Lazily, so that the modules below the manager can be imported without it.
    if name not in _MODULES:
        raise AttributeError(f"module 'mlops.workspace' has no attribute {name!r}")
    return getattr(import_module(f"mlops.workspace.{_MODULES[name]}"), name)
