"""WorkspaceManager: creates, finds, changes and removes the workspaces below one base path."""

from __future__ import annotations

import contextlib
import difflib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlops import names, settings
from mlops.errors import (
    ConfigError,
    ConfirmationRequiredError,
    WorkspaceCorruptError,
    WorkspaceError,
    WorkspaceExistsError,
    WorkspaceNotFoundError,
)
from mlops.files import locked, measure
from mlops.workspace import base, configuration, trash
from mlops.workspace.bootstrap import BootstrapResult, bootstrap
from mlops.workspace.model import DIRECTORIES, ProjectWorkspace, lock_file

__all__ = ["ProjectWorkspace", "WorkspaceError", "WorkspaceManager"]

logger = logging.getLogger(__name__)


class WorkspaceManager:
    """The workspaces below one base path.

    Creating or opening a workspace is offline: no server is contacted and no tool is imported. Reading never
    creates anything.

    Args:
        base_path: The directory that holds the workspaces; by default it is found from the working directory
            (``MLOPS_BASE_PATH``, ``[tool.mlops] base-path``, or ``mlops/workspace`` in the repository).
        repo_root: A repository; its base is ``mlops/workspace`` below it.
    """

    def __init__(self, base_path: Path | str | None = None, repo_root: Path | str | None = None) -> None:
        self.location = settings.find_base(base_path=base_path, repo_root=repo_root)
        self.workspaces: dict[str, ProjectWorkspace] = {}

    @property
    def base_path(self) -> Path:
        """The directory that holds the workspaces; it is created with the first of them."""
        return self.location.path

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
        }
        configuration.check(configured, project=project_name, operation=operation)
        configured["description"] = description or ""
        configured["metadata"] = dict(metadata or {})
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

    def get_workspace(self, project_name: str) -> ProjectWorkspace:
        """Open an existing workspace.

        Raises:
            WorkspaceNotFoundError: There is none of that name.
            WorkspaceCorruptError: Its file cannot be read.
        """
        return self._remember(self._load(project_name, "get_workspace"))

    def get_or_create_workspace(self, project_name: str, **config: Any) -> ProjectWorkspace:
        """Open a workspace, or create it with this configuration.

        On an existing workspace a given ``description`` and given ``metadata`` keys are updated; wiring that
        contradicts what is stored is refused rather than ignored.

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
        return self._update(project_name, changes, operation) if changes else self._remember(workspace)

    def list_workspaces(self) -> list[ProjectWorkspace]:
        """Return every workspace, sorted by name.

        One whose file cannot be read is listed too, with ``state == "corrupt"`` and the reason in ``error``.
        """
        found: list[ProjectWorkspace] = []
        for root in base.project_directories(self.base_path):
            try:
                found.append(self._remember(ProjectWorkspace.load_metadata(root, project_name=root.name)))
            except WorkspaceNotFoundError:  # removed since the directory was listed
                continue
            except WorkspaceCorruptError as error:
                logger.warning("%s", error)
                self.workspaces.pop(root.name, None)
                found.append(ProjectWorkspace(root.name, root, error=str(error)))
        return found

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

    def get_workspace_status(self, project_name: str) -> dict[str, Any]:
        """Return a workspace's configuration with what each of its directories holds.

        ``directory_stats`` has ``<directory>_exists``, ``<directory>_files`` and ``<directory>_bytes`` (hard
        links counted once per directory); ``total_bytes`` is the whole workspace, hard links counted once.
        A workspace whose file cannot be read has ``state`` "corrupt" and the reason in ``error``.

        Raises:
            WorkspaceNotFoundError: There is no such workspace.
        """
        operation = "get_workspace_status"
        try:
            workspace = self._remember(self._load(project_name, operation))
        except WorkspaceCorruptError as error:
            root = base.project_root(self.base_path, project_name, operation=operation)
            workspace = ProjectWorkspace(project_name, root, error=str(error))
        return _status(workspace)

    def get_all_workspaces_status(self) -> list[dict[str, Any]]:
        """Return ``get_workspace_status`` of every workspace, sorted by name; corrupt ones included."""
        return [_status(workspace) for workspace in self.list_workspaces()]

    def _load(self, project_name: str, operation: str) -> ProjectWorkspace:
        root = base.project_root(self.base_path, project_name, operation=operation)
        try:
            return ProjectWorkspace.load_metadata(root, project_name=project_name)
        except WorkspaceNotFoundError:
            raise self._not_found(project_name, operation) from None
        except WorkspaceCorruptError as error:
            error.operation = operation
            raise

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

    def _remember(self, workspace: ProjectWorkspace) -> ProjectWorkspace:
        self.workspaces[workspace.project_name] = workspace
        return workspace

    def _require_present(self, project_name: str, root: Path, operation: str) -> None:
        if not (root / "workspace.yaml").exists():
            raise self._not_found(project_name, operation)

    def _not_found(self, project_name: str, operation: str) -> WorkspaceNotFoundError:
        known = [root.name for root in base.project_directories(self.base_path)]
        near = difflib.get_close_matches(project_name, known, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        return WorkspaceNotFoundError(
            f"Workspace does not exist: {project_name!r} in {self.base_path}{meant}",
            operation=operation,
            workspace=project_name,
            details={"known": known},
            hint=f"create it with create_workspace({project_name!r}), or pass another base_path",
        )

    @contextlib.contextmanager
    def _lock(self, project_name: str, operation: str) -> Iterator[None]:
        timeout = settings.resolve().settings.lock_timeout
        path = lock_file(self.base_path / names.validate_project_name(project_name))
        with locked(path, timeout=timeout, operation=operation, workspace=project_name):
            yield


def _status(workspace: ProjectWorkspace) -> dict[str, Any]:
    statistics: dict[str, Any] = {}
    for directory in DIRECTORIES:
        path = workspace.root_path / directory
        usage = measure(path)
        statistics[f"{directory}_exists"] = path.is_dir()
        statistics[f"{directory}_files"] = usage.files
        statistics[f"{directory}_bytes"] = usage.bytes
    total = measure(workspace.root_path).bytes
    return {**workspace.to_dict(), "directory_stats": statistics, "total_bytes": total}
