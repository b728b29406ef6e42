"""What a project costs on disk, against its limits."""

from __future__ import annotations

from typing import Any

from mlops.errors import ConfigError, WorkspaceError
from mlops.files import measure_parts
from mlops.workspace.model import DIRECTORIES, ProjectWorkspace
from mlops.workspace.quota import assess, limits_of


def storage(workspace: ProjectWorkspace) -> dict[str, Any]:
    """Return what a workspace costs on disk, in one walk.

    Args:
        workspace: The workspace.

    Returns:
        Bytes: ``mlflow_bytes``, ``dvc_bytes``, ``monitoring_bytes``, ``models_bytes``, ``outputs_bytes``, the
        like for any further directory there is (``pipelines_bytes``), and ``total_bytes``; hard links are
        counted once in each. ``quota`` has one dictionary for each limit that is set; if the limits cannot be
        understood, ``quota_error`` says why.
    """
    parts, whole = measure_parts(workspace.root_path)
    by_directory = dict.fromkeys(DIRECTORIES, 0)
    by_directory |= {name: usage.bytes for name, usage in parts.items() if not name.startswith(".")}
    found: dict[str, Any] = {f"{name}_bytes": size for name, size in by_directory.items()}
    found["total_bytes"] = whole.bytes
    try:
        # The limits that hold now, whenever the project was opened.
        stored = ProjectWorkspace.load_metadata(workspace.root_path, project_name=workspace.project_name)
        rows = assess(limits_of(stored, operation="get_storage_usage"), by_directory, whole.bytes)
    except (ConfigError, WorkspaceError) as error:
        found["quota_error"] = str(error)
    else:
        if rows:
            found["quota"] = [row.to_dict() for row in rows]
    return found
