"""WorkspaceManager: creates, finds, changes and removes the workspaces below one base path."""

from __future__ import annotations

import contextlib
from typing import Any

from mlops.errors import (
    ConfigError,
    ConfirmationRequiredError,
    WorkspaceError,
    WorkspaceExistsError,
    WorkspaceNotFoundError,
)
from mlops.workspace import base, configuration, trash
from mlops.workspace.bootstrap import BootstrapResult, bootstrap
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.travelling import TravellingWorkspaces

__all__ = ["ProjectWorkspace", "WorkspaceError", "WorkspaceManager"]


class WorkspaceManager(TravellingWorkspaces):
    """The workspaces below one base path.

    Creating or opening a workspace is offline: no server is contacted and no tool is imported. Reading never
    creates anything.

    Args:
        base_path: The directory that holds the workspaces; by default it is found from the working directory
            (``MLOPS_BASE_PATH``, ``[tool.mlops] base-path``, or ``mlops/workspace`` in the repository).
        repo_root: A repository; its base is ``mlops/workspace`` below it.
    """

    def create_workspace(
        self,
        project_name: str,
        *,
        description: str = "",
        mlflow_experiment_id: str | None = None,
        mlflow_tracking_uri: str | None = None,
        dvc_remote_path: str | None = None,
        bentoml_tag_prefix: str | None = None,
        metadata: dict[str, Any] | None = None,
        quota: dict[str, Any] | None = None,
        force: bool = False,
    ) -> ProjectWorkspace:
        """Create a project's workspace.

        Args:
            project_name: 1 to 40 characters of ``a-z 0-9 _ -``.
            description: One line for people.
            mlflow_experiment_id: An existing experiment on the tracking server.
            mlflow_tracking_uri: A server or database URI; None for the workspace's own SQLite store.
            dvc_remote_path: A URL or path; None for ``dvc/remote`` in the workspace.
            bentoml_tag_prefix: Prefix of model names and tags; None for ``<project>.``.
            metadata: Whatever should be kept with the project.
            quota: How much it may store, such as ``{"soft": "8GB", "hard": "10GB"}``; see
                ``mlops.workspace.quota``.
            force: Reset the configuration of an existing workspace to what is given here; its data, id and
                creation time stay.

        Raises:
            InvalidProjectNameError: The name breaks the rule or collides with another project's.
            WorkspaceExistsError: It is there already and ``force`` is not set.
            WorkspaceCorruptError: It is there already and cannot be read; it is never overwritten.
            ConfigError: A setting is wrong.
        """
        operation = "create_workspace"
        root = base.project_root(self.base_path, project_name, operation=operation)
        configured: dict[str, Any] = {
            "description": description,
            "mlflow_experiment_id": mlflow_experiment_id,
            "mlflow_tracking_uri": mlflow_tracking_uri,
            "dvc_remote_path": dvc_remote_path,
            "bentoml_tag_prefix": bentoml_tag_prefix,
            "metadata": metadata,
            "quota": quota,
        }
        configuration.check(configured, project=project_name, operation=operation)
        configured["description"] = description or ""
        configured["metadata"] = dict(metadata or {})
        configured["quota"] = dict(quota or {})
        base.refuse_collision(self.base_path, project_name, operation=operation)
        workspace = ProjectWorkspace(project_name, root, **configured)
        workspace.check_serializable()
        base.prepare(self.base_path)
        with self._lock(project_name, operation):
            base.refuse_collision(self.base_path, project_name, operation=operation)
            with contextlib.suppress(WorkspaceNotFoundError):
                existing = self._load(project_name, operation)
                if not force:
                    raise WorkspaceExistsError(
                        f"Workspace already exists: {project_name!r} in {self.base_path}",
                        operation=operation,
                        workspace=project_name,
                        hint="use get_or_create_workspace, or force=True to reset its configuration",
                    )
                workspace.id, workspace.created_at = existing.id, existing.created_at
                workspace.evidently_project_id = existing.evidently_project_id
                workspace.extra = existing.extra
            workspace.ensure_directories()
            workspace.save_metadata()
        return self._remember(workspace)

    def get_or_create_workspace(self, project_name: str, **config: Any) -> ProjectWorkspace:
        """Open a workspace, or create it with this configuration.

        On an existing workspace a given ``description``, given ``metadata`` keys and a given ``quota`` are
        updated; wiring that contradicts what is stored is refused rather than ignored.

        Args:
            project_name: The project.
            **config: As for ``create_workspace``.

        Raises:
            ConfigError: The stored tracking URI, experiment, remote or prefix is another one.
            WorkspaceCorruptError: It exists and cannot be read; it is never created over.
        """
        operation = "get_or_create_workspace"
        configuration.check(config, project=project_name, operation=operation)
        try:
            workspace = self._load(project_name, operation)
        except WorkspaceNotFoundError:
            try:
                return self.create_workspace(project_name, **config)
            except WorkspaceExistsError:  # another process was faster
                workspace = self._load(project_name, operation)
        self._finish_renaming(workspace, operation)
        # A workspace that came out of git has its configuration only.
        base.prepare(self.base_path)
        workspace.ensure_directories()
        for key in configuration.WIRING:
            if config.get(key) is not None and config[key] != getattr(workspace, key):
                raise ConfigError(
                    f"Project {project_name!r} is configured with {key}={getattr(workspace, key)!r}, "
                    f"not {config[key]!r}",
                    operation=operation,
                    workspace=project_name,
                    hint=f"drop the argument, or call update_workspace_metadata({project_name!r}, {key}=...)",
                )
        changes: dict[str, Any] = {}
        if config.get("description") and config["description"] != workspace.description:
            changes["description"] = config["description"]
        given = config.get("metadata") or {}
        if any(workspace.metadata.get(key) != value for key, value in given.items()):
            changes["metadata"] = given
        if config.get("quota") and config["quota"] != workspace.quota:
            changes["quota"] = config["quota"]
        return self._update(project_name, changes, operation) if changes else self._remember(workspace)

    def update_workspace_metadata(self, project_name: str, **updates: Any) -> ProjectWorkspace:
        """Change a workspace's configuration; no update of a concurrent writer is lost.

        Args:
            project_name: The project.
            **updates: Settings by name; ``metadata`` and ``tags`` are merged key by key (a None removes the
                key), everything else is replaced, and None restores the default.

        Raises:
            ConfigError: A key is unknown or a value is wrong.
            WorkspaceNotFoundError: There is no such workspace.
        """
        return self._update(project_name, updates, "update_workspace_metadata")

    def delete_workspace(self, project_name: str, force: bool = False, *, purge: bool = False) -> None:
        """Move a workspace to the trash, from where ``restore_workspace`` brings it back.

        Args:
            project_name: The project.
            force: Must be True.
            purge: Remove it from the disk at once instead.

        Raises:
            ConfirmationRequiredError: ``force`` is not set.
            WorkspaceNotFoundError: There is no such workspace.
        """
        operation = "delete_workspace"
        root = base.project_root(self.base_path, project_name, operation=operation)
        self._require_present(project_name, root, operation)
        if not force:
            raise ConfirmationRequiredError(
                f"Deleting workspace {project_name!r} requires force=True",
                operation=operation,
                workspace=project_name,
                hint="call delete_workspace(name, force=True); it goes to the trash unless purge=True",
            )
        with self._lock(project_name, operation):
            self._require_present(project_name, root, operation)
            trash.discard(root, purge=purge)
        self.workspaces.pop(project_name, None)

    def restore_workspace(self, project_name: str) -> ProjectWorkspace:
        """Bring back the workspace of that name that was deleted last.

        Raises:
            WorkspaceNotFoundError: There is none in the trash.
            WorkspaceExistsError: The name is in use again.
        """
        operation = "restore_workspace"
        root = base.project_root(self.base_path, project_name, operation=operation)
        trash.of_name(root, operation)
        with self._lock(project_name, operation):
            base.refuse_collision(self.base_path, project_name, operation=operation)
            trash.restore(root)
        return self._remember(self._load(project_name, operation))

    def purge_workspace(self, project_name: str, *, force: bool = False) -> int:
        """Remove every deleted workspace of that name from the trash for good.

        Returns:
            How many were removed.

        Raises:
            ConfirmationRequiredError: ``force`` is not set.
            WorkspaceNotFoundError: There is none in the trash.
        """
        root = base.project_root(self.base_path, project_name, operation="purge_workspace")
        if not force:
            raise ConfirmationRequiredError(
                f"Purging workspace {project_name!r} requires force=True",
                operation="purge_workspace",
                workspace=project_name,
                hint="call purge_workspace(name, force=True); this cannot be undone",
            )
        trash.of_name(root, "purge_workspace")
        with self._lock(project_name, "purge_workspace"):
            return trash.purge(root)

    def bootstrap(
        self, projects: list[str] | None = None, *, discover: str | None = None, **config: Any
    ) -> BootstrapResult:
        """Create or open many projects in one call; see ``mlops.workspace.bootstrap``."""
        return bootstrap(self, projects, discover=discover, config=config)

    def _update(self, project_name: str, updates: dict[str, Any], operation: str) -> ProjectWorkspace:
        configuration.check(updates, project=project_name, operation=operation)
        self._load(project_name, operation)  # a missing workspace must not leave a lock file behind
        base.prepare(self.base_path)
        with self._lock(project_name, operation):
            workspace = self._load(project_name, operation)
            workspace = workspace.changed(updates)
            workspace.check_serializable()
            workspace.save_metadata()
        return self._remember(workspace)
