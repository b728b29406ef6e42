"""How many snapshots a project keeps: ``retention: {snapshots: 500, days: 90}`` in workspace.yaml.

A snapshot is what Evidently's pages show of a check; the numbers of every check stay in the history.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mlops.errors import IntegrationError
from mlops.files import sync_directory
from mlops.integrations.evidently_monitoring.frames import TOOL
from mlops.workspace.model import now

if TYPE_CHECKING:
    from mlops.workspace.model import ProjectWorkspace


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept of the snapshots; without either limit, all are.

    Args:
        snapshots: At most so many, the newest.
        days: At most so old. The newest stays however old it is.
    """

    snapshots: int | None = None
    days: float | None = None

    @classmethod
    def of(cls, workspace: ProjectWorkspace, *, operation: str) -> Self:
        """Read a workspace's rules.

        Args:
            workspace: The workspace.
            operation: The calling method, for the error.

        Raises:
            ConfigError: A key is unknown, or a limit is not a positive number.
        """
        if not workspace.retention:
            return cls()
        from mlops.workspace.schema import retention_section

        rules = retention_section(workspace.retention, project=workspace.project_name, operation=operation)
        return cls(rules.snapshots, rules.days)

    def expired(self, directory: Path) -> list[str]:
        """Return the ids of the snapshots that are not to be kept, the oldest first.

        Args:
            directory: The project's ``snapshots`` directory.
        """
        if self.snapshots is None and self.days is None:
            return []
        # Their names are UUIDs of version 7, which sort by time.
        names = sorted(path.stem for path in directory.glob("*.json") if _is_time_ordered(path.stem))
        kept = names[-self.snapshots :] if self.snapshots is not None else names
        if self.days is not None:
            oldest = int((now() - timedelta(days=self.days)).timestamp() * 1000)
            kept = [name for name in kept if uuid.UUID(name).int >> 80 >= oldest] or names[-1:]
        return names[: len(names) - len(kept)]

    def thin(self, directory: Path, workspace: ProjectWorkspace, *, operation: str) -> int:
        """Remove the snapshots that are not to be kept, the oldest first, and return how many.

        Each is gone as a whole at once; one that another process has removed does not count.

        Args:
            directory: The project's ``snapshots`` directory.
            workspace: The workspace, for the error.
            operation: The calling method, for the error.

        Raises:
            IntegrationError: One cannot be removed.
        """
        removed = 0
        for name in self.expired(directory):
            snapshot, links = files(directory, name)
            try:
                snapshot.unlink()
                links.unlink(missing_ok=True)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise IntegrationError(
                    f"The check is stored, but the old snapshot {name} cannot be removed: {error}",
                    tool=TOOL,
                    operation=operation,
                    workspace=workspace.project_name,
                    hint=f"check the permissions of {directory}",
                ) from error
            removed += 1
        if removed:
            sync_directory(directory)
        return removed


def files(directory: Path, snapshot_id: str) -> tuple[Path, Path]:
    """Return a snapshot's file, and the one with what Evidently knows of its data, which need not exist."""
    return directory / f"{snapshot_id}.json", directory / f"{snapshot_id}.links.json"


def _is_time_ordered(name: str) -> bool:
    try:
        return uuid.UUID(name).version == 7
    except ValueError:
        return False
