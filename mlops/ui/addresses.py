"""The addresses of single projects and runs in MLflow's and Evidently's own pages."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from mlops.errors import MLOpsError
from mlops.ui.evidently_shelf import identifier
from mlops.ui.projects import workspace_slug
from mlops.ui.running import find
from mlops.workspace import WorkspaceManager


class Addresses:
    """Where the tools' own pages show a project, if they run.

    Args:
        manager: The base.
        mlflow: Where ``mlops ui mlflow`` answers; by default it is looked for on this machine.
        evidently: Where ``mlops ui evidently`` answers; by default likewise.
    """

    def __init__(
        self, manager: WorkspaceManager, *, mlflow: str | None = None, evidently: str | None = None
    ) -> None:
        self._manager = manager
        self._given = {"mlflow": mlflow, "evidently": evidently}

    def mlflow(self, project: str | None = None, *, run_id: str | None = None) -> str | None:
        """Return the address of MLflow's page of all projects, of one or of a run; None if it does not run.

        Args:
            project: The project.
            run_id: A run of it.
        """
        url = self._url("mlflow", project)
        if url is None or project is None:
            return url and f"{url}/#/"
        part = "experiments" if run_id is None else f"experiments/0/runs/{quote(run_id, safe='')}"
        return f"{url}/#/{part}?{urlencode({'workspace': workspace_slug(project)})}"

    def evidently(self, project: str | None = None) -> str | None:
        """Return the address of Evidently's page of all projects or of one; None if it does not run.

        Args:
            project: The project.
        """
        url = self._url("evidently", project)
        if url is None or project is None:
            return url and f"{url}/"
        try:
            return f"{url}/projects/{identifier(self._manager.get_workspace(project))}"
        except MLOpsError:
            # A project that cannot be read has no page of its own there, but is told of on that of all.
            return f"{url}/"

    def _url(self, tool: str, project: str | None) -> str | None:
        given = self._given[tool]
        return given.rstrip("/") if given else find(tool, self._manager.base_path, project)
