"""The entries of MLflow's workspace picker: listed, created, described and deleted as projects."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from mlops.errors import ConfigError, ConfirmationRequiredError
from mlops.ui.failures import answered
from mlops.ui.projects import Entry, Projects, workspace_slug

if TYPE_CHECKING:
    from mlops.workspace.model import ProjectWorkspace


def provider_class() -> Any:
    """Return the provider's class, which needs MLflow's base class."""
    from mlflow.entities import Workspace
    from mlflow.store.workspace.abstract_store import AbstractStore

    def shown(entry: Entry) -> Any:
        return Workspace(name=entry.slug, description=entry.description, default_artifact_root=None)

    class ProjectProvider(AbstractStore):  # type: ignore[misc]
        """The projects of a base as MLflow workspaces.

        Args:
            projects: The projects.
        """

        def __init__(self, projects: Projects) -> None:
            self._projects = projects

        def list_workspaces(self) -> list[Any]:
            """Return every project that exists now."""
            with answered():
                return [shown(entry) for entry in self._projects.entries()]

        def get_workspace(self, workspace_name: str) -> Any:
            """Return one project."""
            with answered():
                return shown(self._projects.entry(workspace_name))

        def get_default_workspace(self) -> Any:
            """Return the only project of a UI that shows one; otherwise every request must name its own."""
            project = self._projects.scope.project
            if project is None:
                # How a provider tells MLflow that it has no default.
                raise NotImplementedError
            return self.get_workspace(workspace_slug(project))

        def create_workspace(self, workspace: Any) -> Any:
            """Create a project."""
            with answered():
                return shown(create(self._projects, workspace.name, workspace.description, places(workspace)))

        def update_workspace(self, workspace: Any) -> Any:
            """Change a project's description."""
            with answered():
                return shown(
                    describe(self._projects, workspace.name, workspace.description, places(workspace))
                )

        def delete_workspace(self, workspace_name: str, mode: Any = None) -> None:
            """Move an empty project to the trash; one that holds anything is refused, whatever the mode."""
            with answered():
                delete(self._projects, workspace_name)

    return ProjectProvider


def places(workspace: Any) -> list[str]:
    """Return the storage places that a request chooses, by MLflow's names for them."""
    chosen = ("default_artifact_root", "trace_archival_location", "trace_archival_retention")
    return [name for name in chosen if getattr(workspace, name, None)]


def create(projects: Projects, name: str, description: str | None, chosen: list[str]) -> Entry:
    """Create a project and return its entry.

    Raises:
        ConfigError: This UI shows one project only, or the request chooses a storage place.
        InvalidProjectNameError: The name breaks the rule or collides with another project's.
        WorkspaceExistsError: It is there already.
    """
    if projects.scope.project is not None:
        raise ConfigError(
            f"This page shows the project {projects.scope.project!r} only, so none can be created here",
            operation="create_workspace",
            workspace=name,
            hint=f"run: mlops init {name}",
        )
    _refuse_places(chosen, name, "create_workspace")
    projects.manager.create_workspace(name, description=description or "")
    return projects.entry(workspace_slug(name))


def describe(projects: Projects, slug: str, description: str | None, chosen: list[str]) -> Entry:
    """Change a project's description and return its entry.

    Args:
        projects: The projects.
        slug: The entry's name.
        description: The new text; the note that the picker shows behind it is not made part of it. None
            leaves it.
        chosen: Storage places the request chooses.

    Raises:
        ConfigError: The request chooses a storage place.
        WorkspaceNotFoundError: There is no such project.
    """
    _refuse_places(chosen, slug, "update_workspace")
    entry = projects.entry(slug)
    if description is not None:
        own = description.removesuffix(entry.note).rstrip()
        projects.manager.update_workspace_metadata(entry.workspace.project_name, description=own)
    return projects.entry(slug)


def delete(projects: Projects, slug: str) -> None:
    """Move a project to the trash if it holds nothing.

    Raises:
        ConfirmationRequiredError: It holds something; nothing was changed.
        WorkspaceNotFoundError: There is no such project.
    """
    entry = projects.entry(slug)
    project = entry.workspace.project_name
    held = entry.note or _contents(entry.workspace)
    if held:
        raise ConfirmationRequiredError(
            f"Project {project!r} is not empty: {held}",
            operation="delete_workspace",
            workspace=project,
            hint=f"to move it to the trash with all it holds, run: mlops delete {project} --force",
        )
    projects.manager.delete_workspace(project, force=True)


def _contents(workspace: ProjectWorkspace) -> str:
    from mlops.files import measure

    held = [f"{name}/" for name in ("dvc", "monitoring", "models", "outputs")]
    found = [name for name in held if measure(workspace.root_path / name).files]
    if runs := _tracked(workspace):
        found.insert(0, runs)
    return ", ".join(found)


def _tracked(workspace: ProjectWorkspace) -> str:
    from mlops.files import measure
    from mlops.integrations.mlflow_tracking import store

    counted = {
        "runs": "SELECT count(*) FROM runs",
        "experiments": "SELECT count(*) FROM experiments WHERE experiment_id <> 0",
        "logged models": "SELECT count(*) FROM logged_models",
        "registered models": "SELECT count(*) FROM registered_models",
        "traces": "SELECT count(*) FROM trace_info",
        "evaluation datasets": "SELECT count(*) FROM evaluation_datasets",
    }
    path = store.database_path(workspace)
    found = []
    if path.exists():
        try:
            with store.reading(path) as connection:
                for what, query in counted.items():
                    (number,) = connection.execute(query).fetchone()
                    if number:
                        found.append(f"{number} {what}")
        except sqlite3.Error as error:
            raise store.unreadable(
                path, error, operation="delete_workspace", workspace=workspace.project_name
            ) from error
    files = measure(store.artifact_root(workspace)).files
    if files:
        found.append(f"{files} artifact files")
    return ", ".join(found)


def _refuse_places(chosen: list[str], name: str, operation: str) -> None:
    if chosen:
        raise ConfigError(
            f"{chosen[0]} cannot be chosen: everything a project owns is kept in its workspace",
            operation=operation,
            workspace=name,
            hint="leave the field empty",
        )
