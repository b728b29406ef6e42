"""How one project's MLflow store is reached: its URI, its experiment and a client of it."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlops import names
from mlops.errors import DataNotFoundError, IntegrationError
from mlops.files import locked
from mlops.integrations.mlflow_tracking import routing, server, store
from mlops.integrations.mlflow_tracking.telemetry import import_mlflow
from mlops.workspace.room import require_room
from mlops.workspace.tools import ToolContext


class StoreConnection:
    """The project's store: the workspace's own SQLite file, or what the settings name.

    Args:
        context: The workspace and the settings in force for it.
    """

    def __init__(self, context: ToolContext) -> None:
        self._context = context
        self._lock = threading.RLock()
        _connections.add(self)
        self._client: Any = None
        self._client_of: tuple[int, int] | None = None
        self._experiment_id: str | None = None

    @property
    def context(self) -> ToolContext:
        """The workspace and the settings in force for it."""
        return self._context

    @property
    def project(self) -> str:
        """The project's name."""
        return self._context.workspace.project_name

    @property
    def embedded(self) -> bool:
        """Whether the store is the workspace's own SQLite file."""
        return self._context.settings.mlflow_tracking_uri is None

    @property
    def uri(self) -> str:
        """The tracking and registry URI, as ``mlflow.set_tracking_uri`` takes it."""
        configured = self._context.settings.mlflow_tracking_uri
        return configured or store.database_uri(self.database)

    @property
    def database(self) -> Path:
        """The workspace's own SQLite file; it need not exist."""
        return store.database_path(self._context.workspace)

    @property
    def artifact_root(self) -> Path:
        """The directory of the artifacts that the workspace keeps itself; it need not exist."""
        return store.artifact_root(self._context.workspace)

    @property
    def experiment_name(self) -> str:
        """The experiment's name: the project's, or on a server what the settings say."""
        configured = None if self.embedded else self._context.settings.mlflow_experiment_name
        return configured or self.project

    @property
    def model_prefix(self) -> str:
        """What the names of the project's registered models start with."""
        return self._context.settings.bentoml_tag_prefix or names.default_tag_prefix(self.project)

    @property
    def experiment_id(self) -> str:
        """The experiment's id; on a server it is found, or made, once."""
        if self.embedded:
            return store.EXPERIMENT_ID
        client = self.client(operation="experiment_id")
        with self._lock:
            if self._experiment_id is None:
                with self.translated("experiment_id"):
                    self._experiment_id = server.experiment(
                        client,
                        self.experiment_name,
                        project=self.project,
                        workspace_id=self._context.workspace.id,
                        artifact_location=self._own_artifacts(),
                        operation="experiment_id",
                    )
            return self._experiment_id

    @property
    def route(self) -> routing.Route:
        """Where plain ``mlflow.*`` calls go inside a run of this project."""
        return routing.Route(self.project, self.uri, self.experiment_id)

    def ensure(self) -> None:
        """Create the project's store if it is missing; any number of processes may call this at once.

        A store that was moved or copied here is made this workspace's own. A server is asked for the
        project's experiment, which is created if need be.

        Raises:
            WorkspaceNotFoundError: The workspace was deleted.
            IntegrationUnavailableError: The server cannot be reached.
        """
        if self.embedded:
            self._ensure_database("ensure")
        else:
            _ = self.experiment_id

    def client(self, *, operation: str = "client") -> Any:
        """Return an ``MlflowClient`` of the project's store, which is created if it is missing.

        Args:
            operation: The calling method, for errors.

        Raises:
            WorkspaceNotFoundError: The workspace was deleted.
            IntegrationUnavailableError: The server cannot be reached.
        """
        client = self._client
        # A store that was deleted and made anew, restored or moved is another file.
        if client is None or (self.embedded and store.identity(self.database) != self._client_of):
            client = self._connect(operation)
        if (root := self._own_artifacts()) is not None:
            # Otherwise an experiment that user code creates keeps its artifacts in ./mlruns.
            client._tracking_client.store.artifact_root_uri = root
        return client

    @contextlib.contextmanager
    def calling(self, operation: str, run_id: str) -> Iterator[Any]:
        """Yield the client for a write to a run, and translate what MLflow raises.

        Args:
            operation: The calling method, for errors.
            run_id: The run that is written to.
        """
        client = self.client(operation=operation)
        self.forget_foreign_artifacts(run_id)
        with self.translated(operation):
            yield client

    @contextlib.contextmanager
    def translated(self, operation: str) -> Iterator[None]:
        """Turn what MLflow raises into an error of this library's, without credentials in it.

        Args:
            operation: The calling method, for the error.

        Raises:
            IntegrationError: With MLflow's message.
        """
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            schema = "out-of-date database schema" in str(error.message)
            raise IntegrationError(
                server.redact(str(error.message)),
                tool=store.TOOL,
                operation=operation,
                workspace=self.project,
                details={"error_code": str(error.error_code)},
                hint=f"back the database up, then run: mlflow db upgrade '{server.redact(self.uri)}'"
                if schema
                else "the message is MLflow's own; correct the value it names, or check the store's health()",
            ) from error

    def own_run(self, client: Any, run_id: str, *, operation: str) -> Any:
        """Return MLflow's run object if the run is this project's.

        Args:
            client: An ``MlflowClient`` of the store.
            run_id: The run.
            operation: The calling method, for the error.

        Raises:
            DataNotFoundError: The project has no such run.
        """
        from mlflow.exceptions import MlflowException

        try:
            found = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            found = None
        mine = found is not None and (self.embedded or found.info.experiment_id == self.experiment_id)
        if not mine or found.info.lifecycle_stage != "active":
            raise self._no_run(run_id, operation)
        return found

    def require_room(self, adding_bytes: Callable[[], int], *, operation: str) -> None:
        """Raise if artifacts would take the project over its quota; a server keeps its own, without one.

        Args:
            adding_bytes: Finds out how much they are.
            operation: The calling method, for the error.

        Raises:
            QuotaExceededError: There is no room for them.
        """
        workspace = self._context.workspace
        if self._own_artifacts() is not None:
            require_room(
                workspace,
                directory=workspace.mlflow_path.name,
                adding_bytes=adding_bytes,
                operation=operation,
            )

    def forget_foreign_artifacts(self, run_id: str) -> None:
        """Drop MLflow's memory of where a run keeps its artifacts if that is not in this workspace.

        MLflow remembers it by run id for the whole process, and a copied project has the original's run ids.
        """
        if self.embedded:
            from mlflow.tracking._tracking_service.utils import _artifact_repos_cache as remembered

            repository = remembered.get(run_id)
            root = self.artifact_root.as_uri() + "/"
            if repository is not None and not str(repository.artifact_uri).startswith(root):
                remembered.pop(run_id, None)

    def forget(self) -> None:
        """Drop the client and what MLflow keeps open for this store."""
        with self._lock:
            self._client = self._client_of = self._experiment_id = None
        store.forget(self.uri)

    def _connect(self, operation: str) -> Any:
        import_mlflow(operation=operation, workspace=self.project)
        from mlflow import MlflowClient

        with self._lock:
            if self.embedded:
                path = self._ensure_database(operation)
                if self._client is not None and store.identity(path) == self._client_of:
                    return self._client
                store.forget(self.uri)
                self._client_of = store.identity(path)
            elif self._client is not None:
                return self._client
            else:
                server.require_reachable(self.uri, operation=operation, workspace=self.project)
            with self.translated(operation), self._alone_if_new():
                client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            # MLflow prints the address of a run that ends on a server, with the password in it.
            client._tracking_client._log_url = _say_nothing
            self._client = client
            return client

    @contextlib.contextmanager
    def _alone_if_new(self) -> Iterator[None]:
        """Let one process at a time make a SQLite file of the user's: MLflow breaks when two do."""
        path = None if self.embedded else server.sqlite_file(self.uri)
        if path is None or path.exists():
            yield
            return
        with locked(
            path.with_name(f".{path.name}.lock"), timeout=store.TEMPLATE_LOCK_SECONDS, workspace=self.project
        ):
            yield

    def _own_artifacts(self) -> str | None:
        """Return the artifact root that this side decides on; a server over HTTP decides for itself."""
        return None if self.uri.startswith(("http:", "https:")) else self.artifact_root.as_uri()

    def _ensure_database(self, operation: str) -> Path:
        timeout = self._context.settings.lock_timeout
        return store.ensure(self._context.workspace, operation=operation, timeout=timeout)

    def _no_run(self, run_id: str, operation: str) -> DataNotFoundError:
        return DataNotFoundError(
            f"The project {self.project!r} has no run {run_id!r}",
            tool=store.TOOL,
            operation=operation,
            workspace=self.project,
            hint="see list_runs() for the ids of this project's runs",
        )


_connections: weakref.WeakSet[StoreConnection] = weakref.WeakSet()


def _after_fork() -> None:
    for connection in list(_connections):
        # Another thread of the parent may have held it.
        connection._lock = threading.RLock()
    store.leave_connections()


os.register_at_fork(after_in_child=_after_fork)


def _say_nothing(run_id: str) -> None:
    """Take the place of MLflow's message about a run that has ended."""
