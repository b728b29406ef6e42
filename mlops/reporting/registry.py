"""The unified registry: every version of every model of every project, read without importing any tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from mlops.errors import MLOpsError
from mlops.reporting.registry_entry import ModelField, RegistryEntry
from mlops.reporting.registry_sources import RegistrySources
from mlops.workspace import WorkspaceManager
from mlops.workspace.opening import resolve_for
from mlops.workspace.tools import ToolContext

__all__ = ["ModelField", "Registry", "RegistryEntry", "collect"]

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Registry:
    """Versions of models, of one project or of all.

    Args:
        entries: The versions, the newest first.
        errors: Project to why it, or something in it, could not be read; its other versions are there.
    """

    entries: tuple[RegistryEntry, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def collect(
        cls,
        manager: WorkspaceManager | None = None,
        *,
        project: str | None = None,
        model: str | None = None,
        tags: Mapping[str, str] | None = None,
        framework: str | None = None,
        alias: str | None = None,
        drifting: bool | None = None,
    ) -> Registry:
        """Return the versions of models that fit; nothing is created, and one broken project hides no other.

        Args:
            manager: The base; by default the one found from the working directory.
            project: Only this project's.
            model: Only versions of this model: its short name, or ``<project>.<name>``.
            tags: Only versions with all of these tags.
            framework: Only versions made with it, in any case of letters: its distribution
                (``scikit-learn``), that with a version (``scikit-learn==1.9.1``), or MLflow's name of it
                (``sklearn``).
            alias: Only versions that this alias points to.
            drifting: Only versions whose latest check found drift, or with False those whose latest check
                found none. A version that was never checked is neither.

        Raises:
            WorkspaceNotFoundError: There is no project of that name.
            WorkspaceCorruptError: The project of that name cannot be read.
        """
        manager = manager or WorkspaceManager()
        wanted = framework.lower() if framework is not None else None

        def fits(entry: RegistryEntry) -> bool:
            return (
                model in (None, entry.model, f"{entry.project}.{entry.model}")
                and (tags or {}).items() <= entry.tags.items()
                and wanted in (None, entry.framework.lower(), entry.made_with.lower(), entry.flavor.lower())
                and (alias is None or alias in entry.aliases)
                and drifting in (None, entry.drifting)
            )

        found: list[RegistryEntry] = []
        errors: dict[str, str] = {}
        for workspace in manager.list_workspaces() if project is None else [manager.get_workspace(project)]:
            if workspace.error:
                errors[workspace.project_name] = workspace.error
                continue
            try:
                settings = resolve_for(workspace, root=manager.location.root).settings
            except MLOpsError as error:
                errors[workspace.project_name] = str(error)
                continue
            sources = RegistrySources(ToolContext(workspace, settings))
            found += filter(fits, sources.entries())
            if sources.errors:
                errors[workspace.project_name] = "; ".join(dict.fromkeys(sources.errors))
        found.sort(key=lambda entry: (entry.created_at or _NEVER, entry.model, entry.version), reverse=True)
        return cls(tuple(found), errors)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"entries": [entry.to_dict() for entry in self.entries], "errors": dict(self.errors)}


# How other modules of this package call it.
collect = Registry.collect
