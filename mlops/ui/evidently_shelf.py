"""Which Evidently projects there are in the workspaces of a base, and where their files lie."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.errors import MLOpsError
from mlops.integrations.evidently_monitoring import project
from mlops.ui.projects import Entry, Projects
from mlops.workspace import base
from mlops.workspace.model import ProjectWorkspace


@dataclass(frozen=True, slots=True)
class Volume:
    """One Evidently project as the pages show it.

    Args:
        id: Its id there, a UUID in lower case.
        name: Its name there.
        description: What is written under the name, or None.
        path: Its directory; None if nothing can be read, or nothing is there yet.
    """

    id: str
    name: str
    description: str | None = None
    path: Path | None = None


def volumes(projects: Projects) -> list[Volume]:
    """Return the Evidently projects of every workspace that exists now; no file of theirs keeps any back.

    Args:
        projects: The projects to show.
    """
    found: dict[str, Volume] = {}
    for entry in projects.entries():
        for volume in _of_entry(entry, projects.scope.base):
            # Of a workspace that was copied by hand, both have the id until the copy is used.
            own = volume.id if volume.id not in found else _made_up(volume.name)
            found[own] = Volume(own, volume.name, volume.description, volume.path)
    return list(found.values())


def identifier(workspace: ProjectWorkspace) -> str:
    """Return the id under which a workspace's own Evidently project is shown."""
    directories = list(project.project_directories(workspace.monitoring_path))
    own = project.project_path(workspace)
    if own in directories or not directories:
        return project.project_id(workspace)
    return directories[0].name.lower()


def _of_entry(entry: Entry, base_path: Path) -> Iterator[Volume]:
    workspace = entry.workspace
    name, own = workspace.project_name, _own_id(workspace)
    try:
        base.project_root(base_path, name, operation="volumes")
    except MLOpsError as error:
        yield Volume(_made_up(name), name, f"[cannot be opened: {error}]")
        return
    note = f"[cannot be opened: {entry.problem}]" if entry.problem else ""
    description = " ".join(filter(None, (workspace.description, note))) or None
    try:
        directories = list(project.project_directories(workspace.monitoring_path))
    except OSError as error:
        yield Volume(own, name, f"[cannot be opened: {error}]")
        return
    if not directories:
        yield Volume(own, name, description or "[no checks yet]")
    for directory in directories:
        label, problem = name, None
        if len(directories) > 1 and directory.name.lower() != own:
            label = f"{name} / {directory.name}"
        try:
            values: Any = json.loads((directory / project.PROJECT_FILE).read_bytes())
            if len(directories) > 1 and directory.name.lower() != own:
                label = f"{name} / {values['name']}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            # Its snapshots do not depend on that file.
            problem = f"[{project.PROJECT_FILE} cannot be read: {error}]"
        text = " ".join(filter(None, (description, problem))) or None
        yield Volume(directory.name.lower(), label, text, directory)


def _own_id(workspace: ProjectWorkspace) -> str:
    # Of a workspace whose file cannot be read, the id is not known.
    return _made_up(workspace.project_name) if workspace.error else project.project_id(workspace)


def _made_up(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"mlops-ui:{name}"))
