"""Which pipelines a project has, whether they ever ran or not."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Final

from mlops.files import write_atomic
from mlops.workspace.model import ProjectWorkspace

DIRECTORY: Final = "pipelines"
_DEFINITIONS: Final = "definitions"


def register(workspace: ProjectWorkspace, name: str, *, description: str = "", operation: str) -> None:
    """Note that the project has a pipeline; of several processes that do so at once one is enough.

    Args:
        workspace: The project.
        name: The pipeline, a name that was checked.
        description: One line for people.
        operation: The calling method, for errors.

    Raises:
        WorkspaceNotFoundError: The workspace was deleted.
    """
    workspace.require_present(operation=operation)
    path = workspace.root_path / DIRECTORY / _DEFINITIONS / f"{name}.json"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"name": name, "description": description, "created_at": datetime.now(UTC).isoformat()}
    write_atomic(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def names(workspace: ProjectWorkspace) -> list[str]:
    """Return the project's pipelines, sorted."""
    try:
        with os.scandir(workspace.root_path / DIRECTORY / _DEFINITIONS) as entries:
            found = [entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(n.removesuffix(".json") for n in found if n.endswith(".json") and not n.startswith("."))
