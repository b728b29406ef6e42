"""The file that says which reference data is current, by model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import DataIntegrityError
from mlops.integrations.evidently_monitoring.frames import TOOL

if TYPE_CHECKING:
    from mlops.workspace.model import ProjectWorkspace

POINTER_FILE: Final = "current.json"


def directory_of(workspace: ProjectWorkspace) -> Path:
    """Return where a workspace keeps its references."""
    return workspace.monitoring_path / "reference"


def read(workspace: ProjectWorkspace, *, operation: str) -> dict[str, dict[str, Any]]:
    """Return what is current: the model, or an empty name for the project's default, to what is known of it.

    Args:
        workspace: The workspace.
        operation: The calling method, for the error.

    Raises:
        DataIntegrityError: The file cannot be understood.
    """
    path = directory_of(workspace) / POINTER_FILE
    try:
        current = json.loads(path.read_bytes())["current"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise corrupt(path, str(error), workspace, operation) from error
    entries = current.values() if isinstance(current, dict) else [None]
    if not all(isinstance(entry, dict) and "hash" in entry for entry in entries):
        raise corrupt(path, "it does not say which data is current", workspace, operation)
    checked: dict[str, dict[str, Any]] = current
    return checked


def corrupt(path: Path, reason: str, workspace: ProjectWorkspace, operation: str) -> DataIntegrityError:
    """Return the error for a file of the references that cannot be used."""
    return DataIntegrityError(
        f"The reference data file {path} cannot be used: {reason}",
        tool=TOOL,
        operation=operation,
        workspace=workspace.project_name,
        details={"path": str(path)},
        hint="set the reference data again with set_reference_data, or restore the file from a backup",
    )
