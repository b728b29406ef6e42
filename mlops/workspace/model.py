"""A project's workspace: its directories, and the ``workspace.yaml`` that configures it."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from mlops import names
from mlops.errors import WorkspaceCorruptError, WorkspaceNotFoundError
from mlops.files import locked, state_directory, write_atomic

METADATA_FILE: Final = "workspace.yaml"
DIRECTORIES: Final = ("mlflow", "dvc", "monitoring", "models", "outputs")
# In the order they are written; the names of the earlier system come first.
FIELDS: Final = (
    "id",
    "project_name",
    "description",
    "mlflow_experiment_id",
    "mlflow_tracking_uri",
    "dvc_remote_path",
    "bentoml_tag_prefix",
    "evidently_project_id",
    "tags",
    "metadata",
    "quota",
    "retention",
    "schedules",
    "monitoring",
    "created_at",
    "updated_at",
)
# What None stands for where a field is never None.
_EMPTY: Final[Mapping[str, Callable[[], Any]]] = {
    "description": str,
    "metadata": dict,
    "tags": dict,
    "quota": dict,
    "retention": dict,
    "schedules": list,
    "monitoring": dict,
}


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(slots=True)
class ProjectWorkspace:
    """One project's directory and configuration.

    A setting that is None or a relative path means "inside this workspace", so a directory that was moved or
    copied keeps working and never touches the original. ``${NAME}`` references stay as written here and in
    the file; they are expanded only where a tool is opened.

    Args:
        project_name: The project's name.
        root_path: The workspace's directory: where it was found, never what a file says.
        description: One line for people.
        mlflow_experiment_id: Id of the project's experiment in its tracking store.
        mlflow_tracking_uri: A server or database URI; None for the workspace's own SQLite store.
        dvc_remote_path: A URL, or a path relative to the workspace; None for ``dvc/remote``.
        bentoml_tag_prefix: Prefix of registered models and Bento tags; None for ``<project>.``.
        evidently_project_id: Id of the Evidently project; None for the workspace's own id.
        metadata: Whatever the user wants to keep with the project.
        tags: Short text labels.
        quota: Storage limits.
        retention: Clean-up rules.
        schedules: Scheduled pipelines.
        monitoring: Thresholds of alerts and who is told; ``schema.MonitoringSection`` lists the keys.
        id: UUID of this workspace, kept when it is renamed.
        created_at: Creation time, aware.
        updated_at: Time of the last change, aware.
        extra: Keys of the file this version does not know, kept as they are.
        error: Why the file could not be read, for an entry of ``list_workspaces`` that is corrupt.
    """

    project_name: str
    root_path: Path
    _: KW_ONLY
    description: str = ""
    mlflow_experiment_id: str | None = None
    mlflow_tracking_uri: str | None = None
    dvc_remote_path: str | None = None
    bentoml_tag_prefix: str | None = None
    evidently_project_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    quota: dict[str, Any] = field(default_factory=dict)
    retention: dict[str, Any] = field(default_factory=dict)
    schedules: list[dict[str, Any]] = field(default_factory=list)
    monitoring: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)
    extra: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    def __post_init__(self) -> None:
        if not self.error:
            names.validate_project_name(self.project_name, operation="ProjectWorkspace")
        self.root_path = Path(self.root_path).absolute()
        if self.bentoml_tag_prefix is None:
            self.bentoml_tag_prefix = names.default_tag_prefix(self.project_name)
        if self.evidently_project_id is None:
            self.evidently_project_id = self.id
        if self.mlflow_experiment_id is None and self.mlflow_tracking_uri is None:
            # In a store of its own the project is MLflow's experiment 0, so code that names none lands there.
            self.mlflow_experiment_id = "0"

    @property
    def mlflow_path(self) -> Path:
        """The tracking database and the artifacts."""
        return self.root_path / "mlflow"

    @property
    def dvc_path(self) -> Path:
        """The project's own DVC repository, with its remote by default."""
        return self.root_path / "dvc"

    @property
    def monitoring_path(self) -> Path:
        """The Evidently workspace, reference data and check history."""
        return self.root_path / "monitoring"

    @property
    def models_path(self) -> Path:
        """The BentoML home: Bento models and Bentos."""
        return self.root_path / "models"

    @property
    def outputs_path(self) -> Path:
        """The user's own files."""
        return self.root_path / "outputs"

    @property
    def metadata_file(self) -> Path:
        """The configuration file, ``workspace.yaml``."""
        return self.root_path / METADATA_FILE

    @property
    def state_path(self) -> Path:
        """Where locks and staging files live, outside what is exported."""
        return state_directory(self.root_path)

    @property
    def state(self) -> str:
        """``ready``, or ``corrupt`` when the file could not be read."""
        return "corrupt" if self.error else "ready"

    @contextlib.contextmanager
    def lock(
        self, name: str = "workspace", *, timeout: float = 30.0, operation: str | None = None
    ) -> Iterator[None]:
        """Hold one of the project's locks; different names are different locks.

        Args:
            name: What is locked: ``workspace`` for the configuration, a tool's name for its store.
            timeout: Seconds to wait.
            operation: The calling method, for the error.

        Raises:
            WorkspaceLockedError: After ``timeout`` seconds.
        """
        path = lock_file(self.root_path, name)
        with locked(path, timeout=timeout, operation=operation, workspace=self.project_name):
            yield

    def ensure_directories(self) -> None:
        """Create the workspace's directories that are missing.

        Raises:
            WorkspaceCorruptError: A file stands where a directory belongs.
        """
        for directory in DIRECTORIES:
            path = self.root_path / directory
            try:
                path.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise WorkspaceCorruptError(
                    f"{path} is a file where a directory belongs",
                    operation="ensure_directories",
                    workspace=self.project_name,
                    hint="move the file away",
                ) from error

    def save_metadata(self) -> None:
        """Write ``workspace.yaml`` whole or not at all, and note the time of the change.

        Use ``WorkspaceManager.update_workspace_metadata`` where other writers are possible: this method
        replaces the file with what this object holds.

        Raises:
            WorkspaceCorruptError: This object stands for a file that could not be read.
        """
        if self.error:
            raise WorkspaceCorruptError(
                f"{self.metadata_file} could not be read, so it is not overwritten: {self.error}",
                operation="save_metadata",
                workspace=self.project_name,
                hint=f"repair {self.metadata_file}, or move it away",
            )
        from mlops.workspace.metadata import dump

        self.updated_at = now()
        self.root_path.mkdir(parents=True, exist_ok=True)
        write_atomic(self.metadata_file, dump(self))

    def require_present(self, *, operation: str) -> None:
        """Raise if the workspace was deleted or moved away, so that nothing is created in its old place.

        Args:
            operation: The calling method, for the error.

        Raises:
            WorkspaceNotFoundError: There is no ``workspace.yaml`` any more.
        """
        if not self.metadata_file.exists():
            raise WorkspaceNotFoundError(
                f"Workspace does not exist: {self.project_name!r} at {self.root_path}",
                operation=operation,
                workspace=self.project_name,
                hint="open the project again where it is now, or create it anew",
            )

    def check_serializable(self) -> None:
        """Raise ``ConfigError`` if the configuration holds a value that YAML cannot."""
        from mlops.workspace.metadata import dump

        dump(self)

    def changed(self, updates: Mapping[str, Any]) -> Self:
        """Return a copy with settings changed.

        Args:
            updates: Settings by field name. ``metadata`` and ``tags`` are merged key by key, where None
                removes a key; everything else is replaced, where None restores the default.
        """
        merged = dict(updates)
        if "mlflow_tracking_uri" in merged:
            # Experiment ids mean nothing in another store.
            merged.setdefault("mlflow_experiment_id", None)
        for name in ("metadata", "tags"):
            if merged.get(name) is not None:
                both = {**getattr(self, name), **merged[name]}
                merged[name] = {key: value for key, value in both.items() if value is not None}
        for name, value in merged.items():
            if value is None and name in _EMPTY:
                merged[name] = _EMPTY[name]()
        return replace(self, **merged)

    @classmethod
    def load_metadata(cls, root_path: Path, *, project_name: str | None = None) -> Self:
        """Read the workspace in a directory.

        Args:
            root_path: The workspace's directory.
            project_name: The name it goes by there; None for the one in the file. A directory copied to
                another name inside a base is a project of that name.

        Raises:
            WorkspaceNotFoundError: The message starts "Workspace metadata not found".
            WorkspaceCorruptError: The message starts "Failed to load workspace metadata".
        """
        from mlops.workspace.metadata import parse

        path = Path(root_path) / METADATA_FILE
        label = project_name or Path(root_path).name
        try:
            text = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise WorkspaceNotFoundError(
                f"Workspace metadata not found: {path}",
                operation="load_metadata",
                workspace=label,
                hint="create the project with WorkspaceManager.create_workspace or MLOpsClient.from_project",
            ) from None
        except OSError as error:
            raise WorkspaceCorruptError(
                f"Failed to load workspace metadata from {path}: {error}",
                operation="load_metadata",
                workspace=label,
                hint="check the file's type and permissions",
            ) from error
        return cls(root_path=Path(root_path), **parse(text, path=path, project_name=project_name))

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain JSON values, with every ``*_path`` as text."""
        values: dict[str, Any] = {name: getattr(self, name) for name in FIELDS}
        values["created_at"] = self.created_at.isoformat()
        values["updated_at"] = self.updated_at.isoformat()
        values["root_path"] = str(self.root_path)
        for directory in DIRECTORIES:
            values[f"{directory}_path"] = str(self.root_path / directory)
        values["metadata_file"] = str(self.metadata_file)
        values |= {"state": self.state, "error": self.error}
        if self.error:
            # What this instance was made with, not what the file says.
            values |= dict.fromkeys(("id", "evidently_project_id", "created_at", "updated_at"))
        return values


def lock_file(root: Path, name: str = "workspace") -> Path:
    """Return the lock file of the project at ``root``; names that collide share it."""
    return state_directory(root) / "locks" / f"{names.slug(root.name)}.{name}.lock"
