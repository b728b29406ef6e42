"""One open project: its workspace, its settings and one adapter per tool."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

from mlops.workspace import links as link_log
from mlops.workspace import tools
from mlops.workspace.manager import WorkspaceManager
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.opening import open_project

if TYPE_CHECKING:
    from mlops.integrations.bentoml_serving import BentoServing
    from mlops.integrations.dvc_data import DVCData
    from mlops.integrations.evidently_monitoring import EvidentlyMonitoring
    from mlops.integrations.mlflow_tracking import MLflowTracking
    from mlops.pipelines.pipeline import Pipeline

_TRACKING: Final = "mlops.integrations.mlflow_tracking.adapter"


class ProjectSession:
    """An open project; ``MLOpsClient`` adds the verbs.

    Args:
        project_name: The project, created on first use.
        manager: The base it belongs to.
        description: One line for people.
        workspace_path: Exactly this directory instead of one below the base.
        overrides: Settings that win over every other layer.
    """

    def __init__(
        self,
        project_name: str,
        *,
        manager: WorkspaceManager,
        description: str | None,
        workspace_path: Path | None,
        overrides: Mapping[str, Any],
    ) -> None:
        self.manager = manager
        self._context = open_project(
            manager, project_name, description=description, overrides=overrides, directory=workspace_path
        )
        self.workspace: ProjectWorkspace = self._context.workspace
        self.settings = self._context.settings
        self.project_name: str = self.workspace.project_name
        self._adapters: dict[str, tools.ToolAdapter] = {}
        self._adapters_lock = threading.Lock()
        self._pipelines: dict[str, Pipeline] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.project_name!r}, workspace_path={str(self.workspace_path)!r})"

    @property
    def workspace_path(self) -> Path:
        """The workspace's directory."""
        return self.workspace.root_path

    @property
    def tracking(self) -> MLflowTracking:
        """MLflow: runs, metrics, artifacts and registered models."""
        return cast("MLflowTracking", self.adapter("mlflow"))

    @property
    def data(self) -> DVCData:
        """DVC: versions of files and directories."""
        return cast("DVCData", self.adapter("dvc"))

    @property
    def serving(self) -> BentoServing:
        """BentoML: packaged models and running services."""
        return cast("BentoServing", self.adapter("bentoml"))

    @property
    def monitoring(self) -> EvidentlyMonitoring:
        """Evidently: reference data, drift and performance checks."""
        return cast("EvidentlyMonitoring", self.adapter("evidently"))

    def adapter(self, tool: str) -> tools.ToolAdapter:
        """Return the project's adapter of a tool, built on first use.

        Raises:
            IntegrationError: There is no such tool, or its adapter cannot be imported.
        """
        with self._adapters_lock:
            if tool not in self._adapters:
                self._adapters[tool] = tools.create(tool, self._context)
            return self._adapters[tool]

    def environment(self, *, inherit: bool = True) -> dict[str, str]:
        """Return the environment in which code that knows nothing of projects works in this one.

        ``subprocess.run(command, env=client.environment())`` is what ``mlops run`` does, without the clean-up
        of runs that the command leaves open. Plain MLflow, BentoML and DVC (remote ``project``) use the
        project's stores, and ``MLOPS_EVIDENTLY_WORKSPACE`` is the path for Evidently. A server's URI has the
        credentials the settings give it.

        Args:
            inherit: Put it over a copy of ``os.environ``, without what would lead elsewhere; otherwise only
                what the project sets is returned.

        Raises:
            WorkspaceNotFoundError: The workspace was deleted.
        """
        from mlops.client.environment import project_environment

        project = project_environment(self._context)
        return project.over(os.environ) if inherit else dict(project.variables)

    def _record(self, links: Iterable[tools.Link], *, operation: str) -> None:
        """Write links into the project's log."""
        link_log.record(self.workspace, links, operation=operation)

    @property
    def _loaded_tracking(self) -> MLflowTracking | None:
        """The tracking adapter if this process has used one: only then can a run of the project be open."""
        return self.tracking if _TRACKING in sys.modules else None

    def close(self) -> None:
        """Write out what is buffered and let go of every open store; the client can be used again."""
        with self._adapters_lock:
            for adapter in self._adapters.values():
                adapter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
