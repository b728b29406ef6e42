"""Project and ProjectManager: many tenants below one directory, each with pipelines, runs and artifacts.

They are a second way to look at workspaces, not a second store: a ``Project`` is the workspace of that name,
and whatever ``MLOpsClient``, the command line or plain MLflow put there is in it.

Projects are kept apart by their directories. That keeps one client's things out of another's reports and
code; it is no protection against a person who may read the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from mlops.client import MLOpsClient, model_metrics
from mlops.errors import ConfirmationRequiredError, WorkspaceExistsError, WorkspaceNotFoundError
from mlops.workspace.manager import WorkspaceManager
from mlops.workspace.model import ProjectWorkspace

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking
    from mlops.pipelines.pipeline import Pipeline

_BYTES_PER_MB: Final = 1_000_000


class Project:
    """One project, created on first use.

    Args:
        name: 1 to 40 characters of ``a-z 0-9 _ -``.
        description: One line for people; if given, it replaces what is stored.
        projects_dir: The directory that holds the projects; by default the base that is found from here, as
            by ``WorkspaceManager``.

    Attributes:
        client: The project's ``MLOpsClient``, with everything a project can do.

    Raises:
        InvalidProjectNameError: The name breaks the rule or collides with another project's.
        WorkspaceCorruptError: The project exists and cannot be read.
    """

    def __init__(self, name: str, description: str = "", projects_dir: Path | str | None = None) -> None:
        self.client = MLOpsClient(
            name, workspace_manager=WorkspaceManager(projects_dir), description=description or None
        )

    @classmethod
    def _existing(cls, name: str, manager: WorkspaceManager) -> Self:
        project = cls.__new__(cls)
        project.client = MLOpsClient(name, workspace_manager=manager)
        return project

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, projects_dir={str(self.client.manager.base_path)!r})"

    @property
    def name(self) -> str:
        """The project's name."""
        return self.client.project_name

    @property
    def description(self) -> str:
        """One line for people, as it is stored now."""
        return self._stored().description

    @property
    def metadata_store(self) -> MLflowTracking:
        """Where the project's runs are recorded: its MLflow store."""
        return self.client.tracking

    @property
    def runs_dir(self) -> Path:
        """The directory with the MLflow store and the files of the runs; it lies in the workspace."""
        return self.client.workspace.mlflow_path

    def create_pipeline(self, name: str, **options: Any) -> Pipeline:
        """Return a new, empty pipeline of this project; the project lists it from now on.

        Args:
            name: ASCII letters, digits, ``_``, ``.`` and ``-``.
            **options: As for ``MLOpsClient.create_pipeline``.

        Raises:
            PipelineError: The name or an option is wrong.
        """
        return self.client.create_pipeline(name, **options)

    def get_pipelines(self) -> list[str]:
        """Return the names of the project's pipelines, sorted."""
        return self.client.get_pipelines()

    def list_runs(self, pipeline_name: str | None = None, limit: int | None = 100) -> list[dict[str, Any]]:
        """Return the project's runs, newest first; a run of a pipeline is one, without those of its steps.

        Args:
            pipeline_name: Only the runs of this pipeline.
            limit: At most so many; None for all.
        """
        return self.client.list_runs(pipeline_name, limit)

    def get_artifacts(
        self, artifact_type: str | None = None, limit: int | None = 100
    ) -> list[dict[str, Any]]:
        """Return what the project produced, newest first, as ``MLOpsClient.get_artifacts`` does.

        Args:
            artifact_type: Only this type, such as ``model``.
            limit: At most so many; None for all.
        """
        return self.client.get_artifacts(artifact_type, limit)

    def get_stats(self) -> dict[str, Any]:
        """Return exact counts.

        Returns:
            ``created_at``, ``total_pipelines``, ``total_runs``, ``completed_runs``, ``failed_runs``,
            ``total_artifacts``, ``artifacts_by_type``, ``total_models`` and more.
        """
        return self.client.get_stats()

    def get_storage_usage(self) -> float:
        """Return what the project takes on disk, in MB of 1,000,000 bytes, hard links counted once.

        ``client.get_storage_usage()`` has the bytes of each tool.
        """
        return float(self.client.get_storage_usage()["total_bytes"]) / _BYTES_PER_MB

    def export_metadata(self, path: Path | str) -> Path:
        """Write everything known about the project as one JSON file; ``MetadataExport`` reads it back.

        Args:
            path: The file to write, whole or not at all.

        Returns:
            The file's absolute path.
        """
        return self.client.export_metadata(path)

    def add_tag(self, key: str, value: str | None) -> None:
        """Put a label on the project, or change it; no label that another process adds meanwhile is lost.

        Args:
            key: The label's name.
            value: Its text; None removes the label.

        Raises:
            ConfigError: One of them is not text.
        """
        self.client.manager.update_workspace_metadata(self.name, tags={key: value})

    def get_tags(self) -> dict[str, str]:
        """Return the project's labels as they are stored now."""
        return dict(self._stored().tags)

    def log_model_metrics(
        self,
        model_name: str,
        metrics: Mapping[str, float],
        run_id: str | None = None,
        environment: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Record values that were measured of a model, such as its accuracy in production.

        Args:
            model_name: The model's short name; it need not be registered.
            metrics: Numbers by name.
            run_id: The run that measured them.
            environment: Where they were measured, such as ``production``.
            tags: Text by name.

        Raises:
            InvalidModelNameError: The model's name breaks the rule.
            IntegrationError: A value is no number.
            DataNotFoundError: The project has no such run.
            ConfigError: There are no values, or a tag is not text.
        """
        model_metrics.record(
            self.client, model_name, metrics, run_id=run_id, environment=environment, tags=tags
        )

    def list_model_metrics(
        self, model_name: str | None = None, environment: str | None = None, limit: int | None = 100
    ) -> list[dict[str, Any]]:
        """Return what ``log_model_metrics`` recorded, newest first.

        Args:
            model_name: Only this model's.
            environment: Only those measured there.
            limit: At most so many; None for all.

        Returns:
            Dictionaries with ``model_name``, ``metrics``, ``run_id``, ``environment``, ``tags`` and
            ``created_at`` (aware).
        """
        return model_metrics.recorded(
            self.client.workspace, model_name=model_name, environment=environment, limit=limit
        )

    def _stored(self) -> ProjectWorkspace:
        return self.client.manager.get_workspace(self.name)


class ProjectManager:
    """The projects below one directory.

    Args:
        projects_dir: The directory; by default the base that is found from here, as by ``WorkspaceManager``.
    """

    def __init__(self, projects_dir: Path | str | None = None) -> None:
        self._manager = WorkspaceManager(projects_dir)

    @property
    def projects_dir(self) -> Path:
        """The directory that holds the projects; it is created with the first of them."""
        return self._manager.base_path

    def create_project(self, name: str, description: str = "") -> Project:
        """Create a project.

        Args:
            name: 1 to 40 characters of ``a-z 0-9 _ -``.
            description: One line for people.

        Raises:
            WorkspaceExistsError: It is there already.
            InvalidProjectNameError: The name breaks the rule or collides with another project's.
        """
        try:
            self._manager.create_workspace(name, description=description)
        except WorkspaceExistsError:
            raise WorkspaceExistsError(
                f"Project already exists: {name!r} in {self.projects_dir}",
                operation="create_project",
                workspace=name,
                hint=f"open it with get_project({name!r}) or Project({name!r})",
            ) from None
        return Project._existing(name, self._manager)

    def get_project(self, name: str) -> Project | None:
        """Return a project, or None if there is none of that name; nothing is created.

        Raises:
            InvalidProjectNameError: No project can have that name.
            WorkspaceCorruptError: It exists and cannot be read.
        """
        try:
            self._manager.get_workspace(name)
        except WorkspaceNotFoundError:
            return None
        return Project._existing(name, self._manager)

    def list_projects(self) -> list[dict[str, Any]]:
        """Return every project, sorted by name, those that cannot be read included.

        Returns:
            Dictionaries with ``name``, ``description``, ``created_at`` (ISO 8601, or None if it cannot be
            read), ``state`` (``ready`` or ``corrupt``), ``tags``, and for a corrupt one the reason in
            ``error``.
        """
        return [_described(workspace) for workspace in self._manager.list_workspaces()]

    def delete_project(self, name: str, confirm: bool = False) -> None:
        """Move a project to the trash; ``mlops restore`` brings it back.

        Args:
            name: The project.
            confirm: Must be True.

        Raises:
            ConfirmationRequiredError: ``confirm`` is not set.
            WorkspaceNotFoundError: There is no such project.
        """
        try:
            self._manager.delete_workspace(name, force=confirm)
        except ConfirmationRequiredError:
            raise ConfirmationRequiredError(
                f"Deleting project {name!r} requires confirm=True",
                operation="delete_project",
                workspace=name,
                hint="call delete_project(name, confirm=True); `mlops restore` undoes it",
            ) from None


def _described(workspace: ProjectWorkspace) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": workspace.project_name,
        "description": workspace.description,
        "created_at": None if workspace.error else workspace.created_at.isoformat(),
        "state": workspace.state,
        "tags": dict(workspace.tags),
    }
    return values | {"error": workspace.error} if workspace.error else values
