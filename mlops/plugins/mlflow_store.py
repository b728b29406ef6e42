"""MLflow's stores for ``mlops:///<workspace>``: the workspace's own database, artifacts in the workspace.

A ``sqlite:///`` URI would do for runs, but with it MLflow keeps the artifacts of every experiment that code
creates in ``./mlruns`` of the working directory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops.plugins import variables

if TYPE_CHECKING:
    from pathlib import Path

    from mlops.workspace.model import ProjectWorkspace


def tracking_store(store_uri: str, artifact_uri: str | None = None, **_: Any) -> Any:
    """Open a workspace's tracking store; MLflow calls this for the scheme ``mlops``.

    Args:
        store_uri: ``mlops:///<absolute path of the workspace>``, percent-encoded.
        artifact_uri: Where new experiments keep their artifacts; the workspace's own directory by default.

    Raises:
        ConfigError: The URI is not of that form.
        WorkspaceNotFoundError: There is no workspace; none is created.
    """
    from mlops.integrations.mlflow_tracking import store

    workspace, path = _ensured(store_uri, "tracking_store")
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    from mlops.integrations.mlflow_tracking import provenance

    root = store.artifact_root(workspace)

    class RecordingStore(SqlAlchemyStore):  # type: ignore[misc]
        def create_run(self, *args: Any, **kwargs: Any) -> Any:
            run = super().create_run(*args, **kwargs)
            provenance.attach(run, root)
            return run

    return RecordingStore(store.database_uri(path), artifact_uri or root.as_uri())


def registry_store(store_uri: str, **_: Any) -> Any:
    """Open a workspace's model registry; MLflow calls this for the scheme ``mlops``.

    Args:
        store_uri: As for ``tracking_store``.

    Raises:
        ConfigError: The URI is not of that form.
        WorkspaceNotFoundError: There is no workspace; none is created.
    """
    from mlops.integrations.mlflow_tracking import store

    path = _ensured(store_uri, "registry_store")[1]
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore(store.database_uri(path))


def open_workspace(root: Path, *, operation: str) -> ProjectWorkspace:
    """Return the workspace in a directory under the name it goes by there; nothing is created.

    Args:
        root: The workspace's directory.
        operation: The calling method, for errors.

    Raises:
        WorkspaceNotFoundError: There is none.
    """
    from mlops.errors import WorkspaceNotFoundError
    from mlops.files import STATE_DIRECTORY
    from mlops.workspace.model import ProjectWorkspace

    member = variables.membership()
    name = None
    if member is not None and member.workspace.resolve() == root.resolve():
        name = member.project
    elif (root.parent / STATE_DIRECTORY).is_dir():
        # Below a base the directory's name decides: a copied workspace is a project of its new name.
        name = root.name
    try:
        return ProjectWorkspace.load_metadata(root, project_name=name)
    except WorkspaceNotFoundError as error:
        raise WorkspaceNotFoundError(
            f"Workspace does not exist: {root}, which {variables.workspace_uri(root)} names",
            operation=operation,
            workspace=name or root.name,
            hint="create the project with: mlops init NAME; or run the code with: mlops run NAME -- ...",
        ) from error


def _ensured(store_uri: str, operation: str) -> tuple[ProjectWorkspace, Path]:
    from mlops.errors import ConfigError
    from mlops.integrations.mlflow_tracking import store
    from mlops.settings import resolve

    root = variables.workspace_in(store_uri)
    if root is None:
        raise ConfigError(
            f"{store_uri!r} is not the URI of a workspace",
            operation=operation,
            hint="use mlops:///<absolute path of the workspace>, as `mlops env NAME` prints it",
        )
    workspace = open_workspace(root, operation=operation)
    timeout = resolve().settings.lock_timeout
    return workspace, store.ensure(workspace, operation=operation, timeout=timeout)
