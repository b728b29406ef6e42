"""MLOpsClient: everything one project can do, in one object."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from mlops import settings
from mlops.client.data import DataVerbs
from mlops.client.lineage import LineageVerbs
from mlops.client.models import ModelVerbs
from mlops.client.pipelines import PipelineVerbs
from mlops.client.queries import QueryVerbs
from mlops.client.reproduction import ReproductionVerbs
from mlops.client.runs import RunVerbs
from mlops.client.watching import WatchVerbs
from mlops.workspace.manager import WorkspaceManager


class MLOpsClient(
    RunVerbs,
    DataVerbs,
    ModelVerbs,
    WatchVerbs,
    PipelineVerbs,
    LineageVerbs,
    ReproductionVerbs,
    QueryVerbs,
):
    """One project with its MLflow experiment, DVC remote, BentoML models and Evidently workspace.

    Opening a project is offline and imports none of the tools; each is loaded when it is first used.

    Args:
        project_name: The project, created on first use.
        repo_root: A repository; its base is ``mlops/workspace`` below it.
        base_path: The directory that holds the workspaces, instead of the one found from here.
        workspace_path: Exactly this directory for the workspace, instead of one below a base.
        workspace_manager: The manager to use instead of one made from the paths above.
        description: One line for people.
        **overrides: Settings that win over every other layer, such as ``mlflow_tracking_uri``; a workspace
            created by this call keeps them.

    Attributes:
        project_name: The project's name.
        workspace: Its workspace.
        settings: The settings in force for this client.
    """

    def __init__(
        self,
        project_name: str,
        *,
        repo_root: Path | str | None = None,
        base_path: Path | str | None = None,
        workspace_path: Path | str | None = None,
        workspace_manager: WorkspaceManager | None = None,
        description: str | None = None,
        **overrides: Any,
    ) -> None:
        super().__init__(
            project_name,
            manager=workspace_manager or WorkspaceManager(base_path, repo_root),
            description=description,
            workspace_path=Path(workspace_path) if workspace_path is not None else None,
            overrides=overrides,
        )

    @classmethod
    def from_project(
        cls,
        project_name: str | None = None,
        *,
        repo_root: Path | str | None = None,
        base_path: Path | str | None = None,
        description: str | None = None,
        **overrides: Any,
    ) -> Self:
        """Open a project, creating its workspace on first use.

        Args:
            project_name: The project; by default the one that ``MLOPS_PROJECT`` or the nearest pyproject.toml
                names.
            repo_root: A repository; its base is ``mlops/workspace`` below it.
            base_path: The directory that holds the workspaces.
            description: One line for people.
            **overrides: Settings that win over every other layer.

        Raises:
            InvalidProjectNameError: The name breaks the rule or collides with another project's.
            WorkspaceCorruptError: The workspace exists and cannot be read.
            ConfigError: No name was given and none is configured, or a setting is wrong.
        """
        name = settings.find_project_name() if project_name is None else project_name
        return cls(name, repo_root=repo_root, base_path=base_path, description=description, **overrides)


def create_client(name: str, repo_root: Path | str | None = None) -> MLOpsClient:
    """Open a project, creating its workspace on first use; short for ``MLOpsClient.from_project``."""
    return MLOpsClient.from_project(name, repo_root=repo_root)
