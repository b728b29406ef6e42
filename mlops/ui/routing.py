"""One store object for MLflow's server, many databases behind it."""

from __future__ import annotations

from typing import Any, Final

from mlops.ui.failures import answered
from mlops.ui.stores import OpenStores

# Calls that only read, by how MLflow names them; any other may write, and so creates a missing database.
_READING: Final = ("get_", "search_", "list_", "_get_", "_search_", "_list_")


class RoutedStore:
    """Stands for a store of MLflow's and answers from the project that the current request names.

    It has no method of its own, so that whatever MLflow's server calls, now or in a later version, goes to
    the project's store, and nothing to a shared one. A request that names no project is refused.

    Args:
        stores: The projects' stores.
        part: ``tracking`` or ``registry``.
        kind: The class it passes for, because the server asks.
    """

    supports_workspaces = True
    supports_trace_archival = False

    def __init__(self, stores: OpenStores, part: str, kind: type) -> None:
        self._stores = stores
        self._part = part
        self._kind = kind

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return self._kind

    @property
    def artifact_root_uri(self) -> str:
        """That there is a place for artifacts, asked before a project is created and so of none."""
        return self._stores.projects.scope.uri

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        with answered():
            pair = self._stores.get(requested_workspace(), writing=not name.startswith(_READING))
        return getattr(getattr(pair, self._part), name)


def requested_workspace() -> str:
    """Return the workspace that the current request names.

    Raises:
        MlflowException: It names none.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.utils.workspace_context import get_request_workspace

    workspace = get_request_workspace()
    if not workspace:
        raise MlflowException.invalid_parameter_value(
            "Choose a project: set MLFLOW_WORKSPACE, call mlflow.set_workspace(...), or pick it on the page"
        )
    return str(workspace)
