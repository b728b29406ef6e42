"""The MLflow adapter: one project's tracking store, runs and models."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from mlops import names
from mlops.errors import DataNotFoundError, IntegrationError, NoActiveRunError
from mlops.files import Usage, measure
from mlops.integrations.mlflow_tracking import queries, routing, server, store
from mlops.integrations.mlflow_tracking.metrics import MetricBuffer, Point
from mlops.integrations.mlflow_tracking.recording import Recorder
from mlops.integrations.mlflow_tracking.runs import Run, RunBlock, translated
from mlops.integrations.mlflow_tracking.telemetry import import_mlflow
from mlops.workspace.tools import Link, ToolContext, ToolHealth, ToolState, installed_version

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.models import Models

_LAST_RUN_FIELDS: Final = (
    "run_id",
    "run_name",
    "pipeline_name",
    "status",
    "start_time",
    "end_time",
    "duration",
)


class MLflowTracking(Recorder):
    """MLflow for one project.

    Args:
        context: The workspace and the settings in force for it.
    """

    tool: ClassVar[str] = store.TOOL

    def __init__(self, context: ToolContext) -> None:
        self._context = context
        self._lock = threading.RLock()
        self._client: Any = None
        self._client_of: tuple[int, int] | None = None
        self._experiment_id: str | None = None
        self._models: Models | None = None
        self.metrics = MetricBuffer(self._write_points)

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
        """The directory of the workspace's own artifacts; it need not exist."""
        return store.artifact_root(self._context.workspace)

    @property
    def experiment_name(self) -> str:
        """The experiment's name: the project's, or on a server what the settings say."""
        configured = None if self.embedded else self._context.settings.mlflow_experiment_name
        return configured or self.project

    @property
    def experiment_id(self) -> str:
        """The experiment's id; on a server it is found, or made, once."""
        if self.embedded:
            return store.EXPERIMENT_ID
        client = self.client(operation="experiment_id")
        with self._lock:
            if self._experiment_id is None:
                with translated(self, "experiment_id"):
                    self._experiment_id = server.experiment(
                        client,
                        self.experiment_name,
                        project=self.project,
                        workspace_id=self._context.workspace.id,
                        operation="experiment_id",
                    )
            return self._experiment_id

    @property
    def route(self) -> routing.Route:
        """Where plain ``mlflow.*`` calls go inside a run of this project."""
        return routing.Route(self.project, self.uri, self.experiment_id)

    @property
    def models(self) -> Models:
        """The project's logged and registered models."""
        with self._lock:
            if self._models is None:
                from mlops.integrations.mlflow_tracking.models import Models

                self._models = Models(self)
            return self._models

    @property
    def active_run(self) -> Run | None:
        """The innermost run of this adapter that is open in the calling thread or task, or None."""
        for handle in routing.handles():
            if handle.tracking is self:
                run: Run = handle
                return run
        return None

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
        if self.embedded:
            # A store that was deleted and made anew, restored or moved is another file.
            present = store.identity(self.database)
            if self._client is not None and present is not None and present == self._client_of:
                return self._client
        elif self._client is not None:
            return self._client
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
            with translated(self, operation):
                client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
                if self.embedded:
                    # Otherwise an experiment that user code creates keeps its artifacts in ./mlruns.
                    client._tracking_client.store.artifact_root_uri = self.artifact_root.as_uri()
            self._client = client
            return client

    def start_run(
        self,
        run_name: str | None = None,
        *,
        run_id: str | None = None,
        nested: bool = False,
        tags: Mapping[str, Any] | None = None,
        description: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> RunBlock:
        """Open a run for a ``with`` block, inside which plain ``mlflow.*`` calls land in this project.

        The run ends FINISHED; FAILED when the block raises; KILLED on Ctrl-C, a non-zero exit or the
        cancellation of a task. The exception passes through unchanged.

        Args:
            run_name: Name of a new run; MLflow makes one up by default. Renames a run that is continued.
            run_id: A run to continue instead of starting one.
            nested: Allow a run inside a run; the outer one is its parent.
            tags: Tags to set.
            description: Text shown on the run's page.
            params: Parameters to log.

        Raises:
            IntegrationError: On entering, if a run is open here and ``nested`` is false.
            DataNotFoundError: On entering, if ``run_id`` is not a run of this project.
        """
        return RunBlock(
            self,
            run_name=run_name,
            run_id=run_id,
            nested=nested,
            tags=tags,
            description=description,
            params=params,
        )

    def flush(self, run_id: str | None = None, *, operation: str = "flush") -> None:
        """Write buffered metrics now.

        Args:
            run_id: Only this run's; None for all.
            operation: The calling method, for errors.

        Raises:
            IntegrationError: They could not be written; they are kept and tried again.
        """
        with translated(self, operation):
            self.metrics.flush(run_id)

    def buffer(self, run_id: str, values: Sequence[tuple[str, float, int]]) -> None:
        """Take metric values of a run, to be written in the background.

        Args:
            run_id: The run.
            values: Key, value and step of each.

        Raises:
            IntegrationError: An earlier batch could not be written; nothing is lost, both are tried again.
        """
        try:
            self.metrics.add(run_id, values)
        except IntegrationError:
            raise
        except Exception:
            with translated(self, "log_metric"):
                raise

    @contextlib.contextmanager
    def calling(self, operation: str, run_id: str) -> Iterator[Any]:
        """Yield the client for a write to a run, and translate what MLflow raises."""
        client = self.client(operation=operation)
        self.forget_foreign_artifacts(run_id)
        with translated(self, operation):
            yield client

    def own_run(self, client: Any, run_id: str, *, operation: str) -> Any:
        """Return MLflow's run object if the run is this project's.

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
        if found is not None and (self.embedded or found.info.experiment_id == self.experiment_id):
            return found
        raise self._no_run(run_id, operation)

    def forget_foreign_artifacts(self, run_id: str) -> None:
        """Drop MLflow's memory of where a run keeps its artifacts if that is not in this workspace.

        MLflow remembers it by run id for the whole process, and a copied project has the original's run ids.
        """
        if self.embedded:
            from mlflow.tracking._tracking_service.utils import _artifact_repos_cache as remembered

            repository = remembered.get(run_id)
            if repository is not None and not str(repository.artifact_uri).startswith(
                self.artifact_root.as_uri() + "/"
            ):
                remembered.pop(run_id, None)

    def list_runs(self, *, pipeline_name: str | None = None, limit: int | None = 100) -> list[dict[str, Any]]:
        """Return the project's runs, newest first.

        Args:
            pipeline_name: Only runs of this pipeline.
            limit: At most so many; None for all.

        Returns:
            Dictionaries with ``run_id``, ``run_name``, ``pipeline_name`` (or None), ``status``,
            ``start_time`` and ``end_time`` (aware), ``duration`` (seconds, or None while it runs), ``params``,
            ``metrics`` (the latest values) and ``tags``.

        Raises:
            IntegrationError: ``limit`` is not a whole number of at least 0.
        """
        if limit is not None and (not isinstance(limit, int) or limit < 0):
            raise IntegrationError(
                f"limit must be a whole number of at least 0, or None for all, not {limit!r}",
                tool=self.tool,
                operation="list_runs",
                workspace=self.project,
                hint="pass limit=100",
            )
        with self._reading("list_runs") as reader:
            return [] if reader is None else reader.runs(pipeline=pipeline_name, limit=limit)

    def get_run(self, run_id: str) -> dict[str, Any]:
        """Return one run of the project, as in ``list_runs``.

        Raises:
            DataNotFoundError: The project has no such run.
        """
        with self._reading("get_run") as reader:
            found = None if reader is None else reader.run(run_id)
        if found is None:
            raise self._no_run(run_id, "get_run")
        return found

    def count_runs(self) -> dict[str, int]:
        """Return the number of runs by status, for the statuses that occur; exact, never capped."""
        with self._reading("count_runs") as reader:
            return {} if reader is None else reader.counts()

    def datasets(self, run_id: str) -> list[dict[str, Any]]:
        """Return the datasets a run used, with ``name``, ``digest``, ``source``, ``context`` and ``tags``."""
        with self._reading("datasets") as reader:
            return [] if reader is None else [use for _, use in reader.datasets(run_id)]

    def health(self) -> ToolHealth:
        """Say whether runs can be logged now; nothing is created, and a dead server costs seconds at most."""
        version = installed_version(store.TOOL)
        location = server.redact(self.uri)
        if version is None:
            return ToolHealth(
                self.tool, ToolState.NOT_INSTALLED, location, error="the package 'mlflow' is not installed"
            )
        if not self.embedded:
            problem = server.probe(self.uri)
            state = ToolState.UNAVAILABLE if problem else ToolState.READY
            return ToolHealth(
                self.tool, state, location, version, server.redact(problem) if problem else None
            )
        if not self.database.exists():
            return ToolHealth(self.tool, ToolState.NOT_CREATED, location, version)
        try:
            queries.known_schema(self.database)
            queries.SqliteReader(self.database).experiments()
        except (sqlite3.Error, TypeError) as error:
            problem = f"the database {self.database} cannot be read: {error}"
            return ToolHealth(self.tool, ToolState.UNAVAILABLE, location, version, problem)
        return ToolHealth(self.tool, ToolState.READY, location, version)

    def summary(self) -> dict[str, Any]:
        """Return what the project holds: exact counts of runs, experiments, models and artifact files."""
        artifacts = measure(self.artifact_root) if self.embedded else Usage()
        with self._reading("summary") as reader:
            counts = {} if reader is None else reader.counts()
            last = [] if reader is None else reader.runs(pipeline=None, limit=1)
            return {
                "runs": sum(counts.values()),
                "runs_by_status": counts,
                "experiments": 0 if reader is None else reader.experiments(),
                "models": 0 if reader is None else len(reader.models()),
                "model_versions": 0 if reader is None else len(reader.versions()),
                "last_run": _plain(last[0]) if last else None,
                "artifacts": {"files": artifacts.files, "bytes": artifacts.bytes},
            }

    def usage(self) -> Usage:
        """Return what the workspace's own store costs on disk; a server's costs are not this workspace's."""
        return measure(self._context.workspace.mlflow_path)

    def links(self) -> Iterator[Link]:
        """Yield data to run, from recorded datasets, and run to model, from the registry."""
        with self._reading("links") as reader:
            uses = [] if reader is None else reader.datasets(None)
            versions = [] if reader is None else reader.versions()
        for run_id, use in uses:
            facts = {"name": use["name"], "context": use["context"]}
            yield Link(f"data:{use['digest']}", f"run:{run_id}", "input-of", facts)
        for row in versions:
            if row.run_id:
                yield Link(
                    f"run:{row.run_id}", f"model:{row.name}:{row.version}", "produced", {"source": row.source}
                )

    def export(self, destination: Path) -> None:
        """Write a consistent copy of the store into an existing empty directory.

        Args:
            destination: Gets the database and the artifacts; of a server, a list of the project's runs.

        Raises:
            ArchiveError: The copy cannot be written.
        """
        from mlops.integrations.mlflow_tracking import archive

        self.flush(operation="export")
        archive.export(self, Path(destination))

    def restore(self, source: Path) -> None:
        """Replace the store by an exported copy, re-pointing the locations stored in it.

        Args:
            source: What ``export`` wrote.

        Raises:
            ArchiveError: It is not a copy of a store; the present one is left as it is.
        """
        from mlops.integrations.mlflow_tracking import archive

        archive.restore(self, Path(source))

    def discard_pending(self) -> None:
        """Forget buffered metrics, for a store that is about to be replaced."""
        self.metrics.discard()

    def close(self) -> None:
        """Write buffered metrics and forget open handles; the adapter can be used again.

        Raises:
            IntegrationError: Metrics could not be written.
        """
        try:
            if self.metrics.pending():
                self.flush(operation="close")
        finally:
            with self._lock:
                self._client = self._client_of = self._experiment_id = None
            store.forget(self.uri)

    def _recording_run(self, operation: str) -> Run:
        run = self.active_run
        if run is None:
            raise NoActiveRunError(
                f"{operation} was called on {self.project!r} while no run of it is open here",
                tool=self.tool,
                operation=operation,
                workspace=self.project,
                hint="log inside a run: `with client.start_run() as run:`; "
                "a thread started inside it logs through the handle: `run.log_metric(...)`",
            )
        return run

    def _write_points(self, run_id: str, points: Sequence[Point]) -> None:
        client = self.client(operation="log_metric")
        from mlflow.entities import Metric

        client.log_batch(run_id, metrics=[Metric(p.key, p.value, p.timestamp, p.step) for p in points])

    def _ensure_database(self, operation: str) -> Path:
        return store.ensure(
            self._context.workspace, operation=operation, timeout=self._context.settings.lock_timeout
        )

    @contextlib.contextmanager
    def _reading(self, operation: str) -> Iterator[queries.Reader | None]:
        """Yield a reader of the project's store, or None where there is no store yet."""
        if self.metrics.pending():
            self.flush(operation=operation)
        local = self.database if self.embedded else server.sqlite_file(self.uri)
        if local is not None and not local.exists():
            yield None
            return
        prefix = (
            ""
            if self.embedded
            else self._context.settings.bentoml_tag_prefix or names.default_tag_prefix(self.project)
        )
        try:
            if local is not None and queries.known_schema(local):
                experiment = None if self.embedded else self.experiment_name
                yield queries.SqliteReader(local, experiment=experiment, prefix=prefix)
                return
        except (sqlite3.Error, TypeError) as error:
            raise store.unreadable(
                local or self.database, error, operation=operation, workspace=self.project
            ) from error
        experiment_id = None if self.embedded else self.experiment_id
        with translated(self, operation):
            yield queries.ApiReader(
                lambda: self.client(operation=operation), experiment_id=experiment_id, prefix=prefix
            )

    def _no_run(self, run_id: str, operation: str) -> DataNotFoundError:
        return DataNotFoundError(
            f"The project {self.project!r} has no run {run_id!r}",
            tool=self.tool,
            operation=operation,
            workspace=self.project,
            hint="see list_runs() for the ids of this project's runs",
        )


def _plain(run: dict[str, Any]) -> dict[str, Any]:
    values = {name: run[name] for name in _LAST_RUN_FIELDS}
    for name in ("start_time", "end_time"):
        values[name] = values[name].isoformat() if values[name] else None
    return values
