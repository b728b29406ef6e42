"""The workspaces below one base path, read: what there is, where, and how it is locked."""

from __future__ import annotations

import contextlib
import difflib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlops import names, settings
from mlops.errors import WorkspaceCorruptError, WorkspaceNotFoundError
from mlops.files import locked, measure
from mlops.workspace import base
from mlops.workspace.model import DIRECTORIES, ProjectWorkspace, lock_file

logger = logging.getLogger(__name__)


class WorkspaceCatalog:
    """The reading half of ``WorkspaceManager``.

    Args:
        base_path: The directory that holds the workspaces.
        repo_root: A repository; its base is ``mlops/workspace`` below it.
    """

    def __init__(self, base_path: Path | str | None = None, repo_root: Path | str | None = None) -> None:
        self.location = settings.find_base(base_path=base_path, repo_root=repo_root)
        self.workspaces: dict[str, ProjectWorkspace] = {}

    @property
    def base_path(self) -> Path:
        """The directory that holds the workspaces; it is created with the first of them."""
        return self.location.path

    def get_workspace(self, project_name: str) -> ProjectWorkspace:
        """Open an existing workspace.

        Raises:
            WorkspaceNotFoundError: There is none of that name.
            WorkspaceCorruptError: Its file cannot be read.
        """
        return self._remember(self._load(project_name, "get_workspace"))

    def list_workspaces(self) -> list[ProjectWorkspace]:
        """Return every workspace, sorted by name.

        One whose file cannot be read is listed too, with ``state == "corrupt"`` and the reason in ``error``.
        """
        found: list[ProjectWorkspace] = []
        for root in base.project_directories(self.base_path):
            try:
                found.append(self._remember(ProjectWorkspace.load_metadata(root, project_name=root.name)))
            except WorkspaceNotFoundError:  # removed since the directory was listed
                continue
            except WorkspaceCorruptError as error:
                logger.warning("%s", error)
                self.workspaces.pop(root.name, None)
                found.append(ProjectWorkspace(root.name, root, error=str(error)))
        return found

    def get_workspace_status(self, project_name: str) -> dict[str, Any]:
        """Return a workspace's configuration with what each of its directories holds.

        ``directory_stats`` has ``<directory>_exists``, ``<directory>_files`` and ``<directory>_bytes`` (hard
        links counted once per directory); ``total_bytes`` is the whole workspace, hard links counted once.
        A workspace whose file cannot be read has ``state`` "corrupt" and the reason in ``error``.

        Raises:
            WorkspaceNotFoundError: There is no such workspace.
        """
        operation = "get_workspace_status"
        try:
            workspace = self._remember(self._load(project_name, operation))
        except WorkspaceCorruptError as error:
            root = base.project_root(self.base_path, project_name, operation=operation)
            workspace = ProjectWorkspace(project_name, root, error=str(error))
        return _status(workspace)

    def get_all_workspaces_status(self) -> list[dict[str, Any]]:
        """Return ``get_workspace_status`` of every workspace, sorted by name; corrupt ones included."""
        return [_status(workspace) for workspace in self.list_workspaces()]

    def _load(self, project_name: str, operation: str) -> ProjectWorkspace:
        root = base.project_root(self.base_path, project_name, operation=operation)
        try:
            return ProjectWorkspace.load_metadata(root, project_name=project_name)
        except WorkspaceNotFoundError:
            raise self._not_found(project_name, operation) from None
        except WorkspaceCorruptError as error:
            error.operation = operation
            raise

    def _remember(self, workspace: ProjectWorkspace) -> ProjectWorkspace:
        self.workspaces[workspace.project_name] = workspace
        return workspace

    def _require_present(self, project_name: str, root: Path, operation: str) -> None:
        if not (root / "workspace.yaml").exists():
            raise self._not_found(project_name, operation)

    def _not_found(self, project_name: str, operation: str) -> WorkspaceNotFoundError:
        known = [root.name for root in base.project_directories(self.base_path)]
        near = difflib.get_close_matches(project_name, known, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        return WorkspaceNotFoundError(
            f"Workspace does not exist: {project_name!r} in {self.base_path}{meant}",
            operation=operation,
            workspace=project_name,
            details={"known": known},
            hint=f"create it with create_workspace({project_name!r}), or pass another base_path",
        )

    def _lock_order(self, *projects: str) -> list[str]:
        """Return projects in the one order in which several are locked; those that share a lock once."""
        by_lock = {names.slug(name): name for name in projects}
        return [by_lock[slug] for slug in sorted(by_lock)]

    @contextlib.contextmanager
    def _lock(self, project_name: str, operation: str) -> Iterator[None]:
        timeout = settings.resolve().settings.lock_timeout
        path = lock_file(self.base_path / names.validate_project_name(project_name))
        with locked(path, timeout=timeout, operation=operation, workspace=project_name):
            yield


def _status(workspace: ProjectWorkspace) -> dict[str, Any]:
    statistics: dict[str, Any] = {}
    for directory in DIRECTORIES:
        path = workspace.root_path / directory
        usage = measure(path)
        statistics[f"{directory}_exists"] = path.is_dir()
        statistics[f"{directory}_files"] = usage.files
        statistics[f"{directory}_bytes"] = usage.bytes
    total = measure(workspace.root_path).bytes
    return {**workspace.to_dict(), "directory_stats": statistics, "total_bytes": total}
