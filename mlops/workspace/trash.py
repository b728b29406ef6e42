"""Deleted workspaces: moved aside in one rename, brought back by another, removed for good on request."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlops.errors import WorkspaceCorruptError, WorkspaceExistsError, WorkspaceNotFoundError
from mlops.files import STATE_DIRECTORY, sync_directory
from mlops.settings import resolve
from mlops.workspace import tools
from mlops.workspace.model import ProjectWorkspace, now

_STAMP = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True, slots=True)
class TrashEntry:
    """One deleted workspace.

    Args:
        project_name: The name it had.
        path: Where it lies now.
        deleted_at: When it was deleted.
    """

    project_name: str
    path: Path
    deleted_at: datetime


def discard(root: Path, *, purge: bool) -> None:
    """Move a workspace to the trash; the caller holds its lock.

    Args:
        root: The workspace's directory.
        purge: Remove it from the disk afterwards.
    """
    try:
        workspace = ProjectWorkspace.load_metadata(root, project_name=root.name)
    except WorkspaceCorruptError:
        workspace = None
    if workspace is not None:
        # MLflow caches an engine per database file: left open, it would go on writing to the deleted one.
        tools.close_loaded(tools.ToolContext(workspace, resolve().settings))
    directory = _directory(root)
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / f"{root.name}.{now().strftime(_STAMP)}.{uuid.uuid4().hex[:8]}"
    root.rename(target)
    sync_directory(root.parent)
    if purge:
        shutil.rmtree(target)


def entries(base: Path) -> list[TrashEntry]:
    """Return what is in the trash of a base, newest first."""
    found = []
    directory = base / STATE_DIRECTORY / "trash"
    for path in directory.iterdir() if directory.is_dir() else ():
        name, stamp, _ = path.name.split(".")
        deleted_at = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
        found.append(TrashEntry(name, path, deleted_at))
    return sorted(found, key=lambda entry: entry.deleted_at, reverse=True)


def restore(root: Path) -> None:
    """Move the newest deleted workspace of a name back; the caller holds its lock.

    Raises:
        WorkspaceNotFoundError: There is none in the trash.
        WorkspaceExistsError: The name is in use again.
    """
    candidates = of_name(root, "restore_workspace")
    if root.exists():
        raise WorkspaceExistsError(
            f"Workspace already exists: {root.name!r}, so the deleted one is not brought back",
            operation="restore_workspace",
            workspace=root.name,
            hint="delete or rename the present one first",
        )
    candidates[0].path.rename(root)
    sync_directory(root.parent)


def purge(root: Path) -> int:
    """Remove every deleted workspace of a name and return how many there were.

    Raises:
        WorkspaceNotFoundError: There is none in the trash.
    """
    candidates = of_name(root, "purge_workspace")
    for entry in candidates:
        shutil.rmtree(entry.path)
    return len(candidates)


def _directory(root: Path) -> Path:
    return root.parent / STATE_DIRECTORY / "trash"


def of_name(root: Path, operation: str) -> list[TrashEntry]:
    """Return the deleted workspaces of a name, newest first.

    Raises:
        WorkspaceNotFoundError: There is none in the trash.
    """
    found = [entry for entry in entries(root.parent) if entry.project_name == root.name]
    if not found:
        raise WorkspaceNotFoundError(
            f"Workspace does not exist in the trash: {root.name!r}",
            operation=operation,
            workspace=root.name,
            hint=f"look into {_directory(root)}",
        )
    return found
