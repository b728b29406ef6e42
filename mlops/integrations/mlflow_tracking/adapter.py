"""The MLflow adapter: one project's tracking store, runs and models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.errors import NoActiveRunError
from mlops.integrations.mlflow_tracking import metric_rows, routing
from mlops.integrations.mlflow_tracking.inspection import StoreInspection
from mlops.integrations.mlflow_tracking.metrics import MetricBuffer, Point
from mlops.integrations.mlflow_tracking.recording import Recorder
from mlops.integrations.mlflow_tracking.runs import Run, RunBlock
from mlops.workspace.model import ProjectWorkspace
from mlops.workspace.tools import ToolContext

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.models import Models


class MLflowTracking(StoreInspection, Recorder):
    """MLflow for one project.

    Constructing it is offline, imports nothing of MLflow and writes nothing.

    Args:
        context: The workspace and the settings in force for it.
    """

    def __init__(self, context: ToolContext) -> None:
        super().__init__(context)
        self._models: Models | None = None
        self._metrics = MetricBuffer(self._write_points, store=lambda: self.uri)

    def __reduce__(self) -> tuple[type[MLflowTracking], tuple[ToolContext]]:
        # A worker process opens the same project anew.
        return (MLflowTracking, (self.context,))

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
        """The innermost run of this project that is open in the calling thread or task, or None."""
        for handle in routing.handles():
            if isinstance(handle, Run) and (handle.tracking is self or self._is_same(handle.tracking)):
                return handle
        return None

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
        if self._metrics.pending(run_id):
            with self.translated(operation):
                self._metrics.flush(run_id)

    def buffer(self, run_id: str, values: Sequence[tuple[str, float, int]], *, operation: str) -> None:
        """Take metric values of a run, to be written in the background.

        Args:
            run_id: The run.
            values: Key, value and step of each.
            operation: The calling method, for errors.

        Raises:
            IntegrationError: An earlier batch could not be written; both are kept and tried again.
        """
        error = self._metrics.add(run_id, values)
        if error is not None:
            with self.translated(operation):
                raise error

    def forget_run(self, run_id: str, *, unwritten: bool) -> int:
        """Forget a run that has ended.

        Args:
            run_id: The run.
            unwritten: Drop what could not be written too; otherwise a run with such values is kept.

        Returns:
            How many values were dropped.
        """
        return self._metrics.drop(run_id, unwritten=unwritten)

    def discard_pending(self) -> None:
        """Drop everything buffered for the store, which is about to be replaced."""
        self._metrics.discard()

    def export(self, destination: Path, *, include_data: bool = True) -> None:
        """Write a consistent copy of the store into an existing empty directory.

        Args:
            destination: Gets the database and the artifacts; of a server, a list of the project's runs.
            include_data: Makes no difference: data versions are DVC's.

        Raises:
            ArchiveError: The copy cannot be written.
        """
        from mlops.integrations.mlflow_tracking import archive

        self.flush_store("export")
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

    def adopt(self, former: ProjectWorkspace, *, moved: bool) -> None:
        """Give locations, the experiment and registered models the present workspace's path and names.

        Args:
            former: The workspace the store was made by.
            moved: Rename the experiment and the models on a server too, which a copy leaves alone.
        """
        from mlops.integrations.mlflow_tracking import renaming

        renaming.adopt(self, former, moved=moved)

    def in_use(self) -> Iterator[str]:
        """Say which runs are open in processes that are alive on this machine."""
        from mlops.integrations.mlflow_tracking.abandoned import open_runs
        from mlops.integrations.mlflow_tracking.processes import ProcessState

        for run in open_runs(self):
            if run.process is ProcessState.ALIVE:
                yield f"the run {run.run_name} ({run.run_id}) is open in process {run.pid}"

    def close(self) -> None:
        """Write buffered metrics and forget open handles; the adapter can be used again.

        Raises:
            IntegrationError: Metrics could not be written.
        """
        try:
            self.flush_store("close")
        finally:
            self.forget()

    def _is_same(self, other: MLflowTracking) -> bool:
        # A step of a pipeline may use another client of the project than the one that runs the pipeline.
        return (other.project, other.uri) == (self.project, self.uri)

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
        if self.embedded and metric_rows.write(self.database, run_id, points):
            return
        if len(points) == 1:
            # A batch of one costs MLflow twice as much: it also looks for parameters and tags.
            (point,) = points
            client.log_metric(run_id, point.key, point.value, point.timestamp, point.step)
            return
        from mlflow.entities import Metric

        client.log_batch(run_id, metrics=[Metric(p.key, p.value, p.timestamp, p.step) for p in points])
