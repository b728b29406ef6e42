"""What MLflow's server asks for by the scheme ``mlops-base``: stores, workspaces and artifacts.

MLflow loads this module in every process that imports it, in the middle of its own import: nothing of MLflow
may be imported here before a function is called.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mlops.ui.stores import OpenStores

_open: Final[dict[str, OpenStores]] = {}
_lock: Final = threading.Lock()


def tracking_store(store_uri: str, artifact_uri: str | None = None, **_: Any) -> Any:
    """Return a tracking store that answers from the database of the project a request names.

    Args:
        store_uri: A ``mlops-base:`` URI.
        artifact_uri: Not used: every project has its own.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    from mlops.ui.routing import RoutedStore

    return RoutedStore(stores(store_uri), "tracking", SqlAlchemyStore)


def registry_store(store_uri: str, **_: Any) -> Any:
    """Return a model registry that answers from the database of the project a request names.

    Args:
        store_uri: A ``mlops-base:`` URI.
    """
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    from mlops.ui.routing import RoutedStore

    return RoutedStore(stores(store_uri), "registry", SqlAlchemyStore)


def workspace_provider(workspace_uri: str, **_: Any) -> Any:
    """Return the workspaces of MLflow's picker, which are the projects.

    Args:
        workspace_uri: A ``mlops-base:`` URI.
    """
    from mlops.ui.provider import provider_class

    return provider_class()(stores(workspace_uri).projects)


def artifact_repository(artifact_uri: str, *_: Any, **__: Any) -> Any:
    """Return where the server keeps artifacts that are sent through it: each in its own project.

    Args:
        artifact_uri: A ``mlops-base:`` URI.
    """
    from mlops.ui.artifacts import repository_class

    return repository_class()(artifact_uri, stores(artifact_uri).projects)


def stores(uri: str) -> OpenStores:
    """Return the open stores of a URI, which all of the server's parts share."""
    from mlops.ui.projects import Projects
    from mlops.ui.scope import Scope
    from mlops.ui.stores import OpenStores

    with _lock:
        if uri not in _open:
            _open[uri] = OpenStores(Projects(Scope.parse(uri)))
        return _open[uri]
