"""The MLflow UI over the projects of a base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from mlops.ui.process import UIProcess, without
from mlops.ui.projects import workspace_slug

# These would point the server at another store. What concerns the server itself, such as
# MLFLOW_SERVER_ALLOWED_HOSTS, is the user's to set.
_FOREIGN: Final = ("MLFLOW_", "_MLFLOW_", "PROMETHEUS_MULTIPROC_DIR")
_KEPT: Final = ("MLFLOW_SERVER_", "MLFLOW_S3_")
_SETTINGS: Final = {
    "MLFLOW_ENABLE_WORKSPACES": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    # No connection outlives its request: however many projects are looked at, no file of an idle one is open,
    # and a database that was replaced is never read again.
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


class MLflowUI(UIProcess):
    """MLflow's pages over the projects of a base: every project is an entry of the workspace picker.

    Each project is served from its own database and artifact directory. The server is one child process that
    listens on 127.0.0.1 only and ends with this one, however this one ends. Use it as a context manager, or
    call ``start`` and ``stop``.

    A plain MLflow client can be pointed at it with ``MLFLOW_TRACKING_URI=<url>`` and
    ``MLFLOW_WORKSPACE=<project, with - for _>``; of a UI for one project the second is not needed.

    Args:
        manager: The base.
        project: Show this project only; None for all, those created later included.
        port: The port; None for a free one.
    """

    tool: ClassVar[str] = "mlflow"
    title: ClassVar[str] = "MLflow UI"
    module: ClassVar[str] = "mlops.ui.child"
    health_path: ClassVar[str] = "/health"

    @property
    def page(self) -> str:
        """The page to open in a browser: the one project's, or the picker."""
        query = f"?workspace={workspace_slug(self._project)}" if self._project else ""
        return f"{self.url}/#/{'experiments' if query else ''}{query}"

    def environment(self) -> Mapping[str, str]:
        """Return the variables of the server's process."""
        return {**without(_FOREIGN, kept=_KEPT), **_SETTINGS}
