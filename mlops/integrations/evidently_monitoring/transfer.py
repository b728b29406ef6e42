"""Monitoring data copied out of a workspace, and put back in place of what another one holds."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import IntegrationError
from mlops.files import sync_directory
from mlops.integrations.evidently_monitoring import project
from mlops.integrations.evidently_monitoring.frames import TOOL

if TYPE_CHECKING:
    from mlops.workspace.model import ProjectWorkspace


def export(workspace: ProjectWorkspace, destination: Path, *, lock_timeout: float) -> None:
    """Copy everything into an existing empty directory while no check is being stored.

    Args:
        workspace: The workspace.
        destination: The directory.
        lock_timeout: Seconds to wait for a writer.
    """
    source = workspace.monitoring_path
    if not source.is_dir():
        return
    with workspace.lock(TOOL, timeout=lock_timeout, operation="export"):
        shutil.copytree(source, destination, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*.tmp"))


def restore(workspace: ProjectWorkspace, source: Path, *, lock_timeout: float) -> None:
    """Replace everything by an exported copy, under this workspace's own project id and name.

    Args:
        workspace: The workspace.
        source: The directory ``export`` wrote; it is left as it is.
        lock_timeout: Seconds to wait for a writer.

    Raises:
        IntegrationError: There is no such directory.
    """
    operation = "restore"
    if not source.is_dir():
        raise IntegrationError(
            f"There is no exported monitoring data at {source}",
            tool=TOOL,
            operation=operation,
            workspace=workspace.project_name,
            hint="pass the directory that export() wrote",
        )
    target = workspace.monitoring_path
    staging = workspace.state_path / "staging" / f"restore-{uuid.uuid4().hex}"
    staging.mkdir(parents=True)
    try:
        shutil.copytree(source, staging / "new")
        project.adopt(staging / "new", workspace, operation=operation)
        with workspace.lock(TOOL, timeout=lock_timeout, operation=operation):
            if target.exists():
                target.rename(staging / "old")
            (staging / "new").rename(target)
            sync_directory(target.parent)
    except BaseException:
        # Between the two renames the former data is only in staging: put it back.
        if (staging / "old").exists() and not target.exists():
            (staging / "old").rename(target)
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    if project.project_path(workspace).exists():
        project.ensure(workspace, lock_timeout=lock_timeout, operation=operation)


def adopt(workspace: ProjectWorkspace, *, lock_timeout: float) -> None:
    """Give the Evidently project the workspace's present id and name, if there is one.

    Args:
        workspace: The workspace.
        lock_timeout: Seconds to wait for a writer.
    """
    if any(workspace.monitoring_path.glob(f"*/{project.PROJECT_FILE}")):
        project.ensure(workspace, lock_timeout=lock_timeout, operation="adopt")
