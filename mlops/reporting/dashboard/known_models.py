"""The registry of all projects, of which only those that changed are read again."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mlops.errors import MLOpsError, WorkspaceNotFoundError
from mlops.reporting.dashboard.opened import open_context
from mlops.reporting.memory import FRESH_NANOSECONDS, MOST_PATHS
from mlops.reporting.reading import storage
from mlops.reporting.reading.serving import urls_by_tag
from mlops.reporting.registry import Registry, RegistryEntry
from mlops.reporting.registry_sources import RegistrySources
from mlops.workspace import WorkspaceManager, base
from mlops.workspace.model import ProjectWorkspace

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Kept:
    registry: Registry
    state: bytes
    paths: list[str]


class KnownModels:
    """The versions of all models of a base.

    What was read of a project is kept as long as no file of it has another time, size or inode; where models
    are served now is asked each time. One thread at a time may collect.

    Args:
        manager: The base.
    """

    def __init__(self, manager: WorkspaceManager) -> None:
        self._manager = manager
        self._kept: dict[str, _Kept] = {}

    def collect(self) -> Registry:
        """Return what ``Registry.collect`` returns of all projects."""
        entries: list[RegistryEntry] = []
        errors: dict[str, str] = {}
        roots = {root.name: root for root in base.project_directories(self._manager.base_path)}
        for name in self._kept.keys() - roots.keys():
            del self._kept[name]
        for name, root in roots.items():
            try:
                found = self._of(root)
            except WorkspaceNotFoundError:
                continue  # it was removed meanwhile
            except MLOpsError as error:
                errors[name] = str(error)
                continue
            entries += _served(found.entries, ProjectWorkspace(name, root))
            errors |= found.errors
        entries.sort(key=lambda each: (each.created_at or _NEVER, each.model, each.version), reverse=True)
        return Registry(tuple(entries), errors)

    def _of(self, root: Path) -> Registry:
        kept = self._kept.pop(root.name, None)
        if kept is None or storage.state_of(root, kept.paths) != kept.state:
            began = time.time_ns()
            context = open_context(self._manager, root.name)
            try:
                walk = storage.walk(root)
            except FileNotFoundError as error:
                raise WorkspaceNotFoundError(f"Workspace does not exist: {root.name}") from error
            sources = RegistrySources(context)
            entries = tuple(sources.entries())
            errors = "; ".join(dict.fromkeys(sources.errors))
            found = Registry(entries, {root.name: errors} if errors else {})
            # What a server has may change without a trace here, and so may what changed just now.
            lasting = context.settings.mlflow_tracking_uri is None and not walk.linked
            if not lasting or walk.changed_at > began - FRESH_NANOSECONDS or len(walk.paths) > MOST_PATHS:
                return found
            kept = _Kept(found, walk.state, walk.paths)
        self._kept[root.name] = kept
        return kept.registry


def _served(entries: tuple[RegistryEntry, ...], workspace: ProjectWorkspace) -> list[RegistryEntry]:
    urls = urls_by_tag(workspace) if any(entry.bento for entry in entries) else {}
    return [replace(entry, serving=urls.get(entry.bento or "", ())) for entry in entries]
