"""A run: opened by ``start_run``, closed with the status its block earned, and the handle in between."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import IntegrationError, MLOpsError
from mlops.integrations.mlflow_tracking import patches, processes, provenance, routing
from mlops.integrations.mlflow_tracking.recording import Recorder
from mlops.integrations.mlflow_tracking.run_record import PARENT_TAG
from mlops.integrations.mlflow_tracking.store import PROJECT_TAG, TOOL

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.adapter import MLflowTracking

logger = logging.getLogger(__name__)

FINISHED: Final = "FINISHED"
FAILED: Final = "FAILED"
KILLED: Final = "KILLED"
NOTE_TAG: Final = "mlflow.note.content"
NAME_TAG: Final = "mlflow.runName"


def translated(tracking: MLflowTracking, operation: str) -> AbstractContextManager[None]:
    """Turn what MLflow raises inside the block into an error of this library's; see the adapter's method."""
    return tracking.translated(operation)


class Run(Recorder):
    """A run of one project; log to it from any thread.

    Args:
        tracking: The project's adapter.
        info: MLflow's ``RunInfo`` of the time it was started.
    """

    __slots__ = ("_info", "_tracking")

    def __init__(self, tracking: MLflowTracking, info: Any) -> None:
        self._tracking = tracking
        self._info = info

    @property
    def info(self) -> Any:
        """MLflow's ``RunInfo``, as it was when the run was started."""
        return self._info

    @property
    def run_id(self) -> str:
        """The run's id."""
        return str(self._info.run_id)

    @property
    def run_name(self) -> str:
        """The run's name; MLflow makes one up if none is given."""
        return str(self._info.run_name)

    @property
    def tracking(self) -> MLflowTracking:
        """The adapter of the run's project."""
        return self._tracking

    def __repr__(self) -> str:
        return f"Run(project={self._tracking.project!r}, run_id={self.run_id!r}, run_name={self.run_name!r})"

    def _recording_run(self, operation: str) -> Run:
        return self


class RunBlock:
    """The context manager that ``start_run`` returns.

    Args:
        tracking: The project's adapter.
        run_name: Name of a new run.
        run_id: A run to continue.
        nested: Whether it may be a child of the run that is open.
        tags: Tags to set.
        description: Text shown on the run's page.
        params: Parameters to log.
    """

    def __init__(
        self,
        tracking: MLflowTracking,
        *,
        run_name: str | None,
        run_id: str | None,
        nested: bool,
        tags: Mapping[str, Any] | None,
        description: str | None,
        params: Mapping[str, Any] | None,
    ) -> None:
        self._tracking = tracking
        self._run_name = run_name
        self._run_id = run_id
        self._nested = nested
        self._tags = {str(key): str(value) for key, value in (tags or {}).items()}
        if description is not None:
            self._tags[NOTE_TAG] = description
        self._params = dict(params or {})
        self._run: Run | None = None
        self._frame: routing.Frame | None = None
        self._process = 0

    def __enter__(self) -> Run:
        tracking = self._tracking
        if self._run is not None:
            raise IntegrationError(
                f"This start_run() block of {tracking.project} is already in use",
                tool=TOOL,
                operation="start_run",
                workspace=tracking.project,
                hint="call start_run() again for another run",
            )
        client = tracking.client(operation="start_run")
        patches.install(operation="start_run", workspace=tracking.project)
        from mlflow.tracking.fluent import ActiveRun

        route = tracking.route
        above = routing.top_run(route)
        parent_id = above.info.run_id if above is not None else None
        if parent_id is None and (mine := tracking.active_run) is not None:
            parent_id = mine.run_id
        if parent_id is not None and not self._nested:
            raise IntegrationError(
                f"The run {parent_id} of {tracking.project} is already open here",
                tool=TOOL,
                operation="start_run",
                workspace=tracking.project,
                hint="end its block first, or make this one its child: start_run(nested=True)",
            )
        with tracking.translated("start_run"):
            found = self._resume(client) if self._run_id is not None else self._create(client, parent_id)
        run = Run(tracking, found.info)
        try:
            tracking.forget_foreign_artifacts(run.run_id)
            self._process = os.getpid()
            self._run = run
            self._frame = routing.enter(route, ActiveRun(found), run)
        except BaseException as error:
            self._terminate([run.run_id], status_for(error))
            raise
        if self._params:
            try:
                run.log_params(self._params)
            except BaseException as error:
                self._close(error)
                raise
        return run

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close(error)

    def _create(self, client: Any, parent_id: str | None) -> Any:
        from mlflow.tracking.context.registry import resolve_tags

        tags = dict(self._tags)
        if parent_id is not None:
            tags[PARENT_TAG] = parent_id
        if self._run_name:
            tags[NAME_TAG] = self._run_name
        tags[PROJECT_TAG] = self._tracking.project
        tags |= processes.own_tags()
        with routing.starting(self._tracking.route):
            tags = resolve_tags(tags)
        run = client.create_run(self._tracking.experiment_id, tags=tags, run_name=self._run_name or None)
        provenance.attach(run, self._tracking.artifact_root, client=client)
        return run

    def _resume(self, client: Any) -> Any:
        found = self._tracking.own_run(client, str(self._run_id), operation="start_run")
        from mlflow.entities import RunTag

        tags = self._tags | processes.own_tags()
        client.log_batch(found.info.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        if processes.CLOSED_TAG in found.data.tags:
            client.delete_tag(found.info.run_id, processes.CLOSED_TAG)
        client.update_run(found.info.run_id, status="RUNNING", name=self._run_name or None)
        return client.get_run(found.info.run_id)

    def _close(self, error: BaseException | None) -> None:
        run, frame = self._run, self._frame
        if run is None or frame is None:
            return
        self._frame = None
        left = routing.leave(frame)
        if os.getpid() != self._process:
            # A forked child leaves the block too; the run is its parent's to end.
            return
        status = status_for(error)
        try:
            self._end(run, left, status)
        except MLOpsError as problem:
            if error is None:
                raise
            # The user's exception is what matters; this one rides along.
            error.add_note(f"The MLflow run {run.run_id} could not be ended properly: {problem}")
            logger.exception("The MLflow run %s could not be ended", run.run_id)
        except BaseException as interruption:
            # Ctrl-C while the last metrics are written: the run must not stay open for that.
            self._terminate({run.run_id, *left}, status_for(interruption))
            raise

    def _terminate(self, run_ids: Iterable[str], status: str) -> None:
        client = self._tracking.client(operation="start_run")
        with self._tracking.translated("start_run"):
            for run_id in run_ids:
                client.set_terminated(run_id, status)

    def _end(self, run: Run, left: list[str], status: str) -> None:
        tracking = self._tracking
        problems: list[MLOpsError] = []
        try:
            tracking.flush(run.run_id, operation="start_run")
        except MLOpsError as error:
            lost = tracking.forget_run(run.run_id, unwritten=True)
            error.add_note(f"{lost} metrics of the run {run.run_id} were not written.")
            problems.append(error)
            status = FAILED if status == FINISHED else status
        else:
            # What a thread that is still at work has logged meanwhile is written in the background.
            tracking.forget_run(run.run_id, unwritten=False)
        try:
            ended_inside = run.run_id not in left
            self._terminate([*left, run.run_id] if ended_inside and status != FINISHED else left, status)
        except MLOpsError as error:
            problems.append(error)
        if problems:
            for further in problems[1:]:
                problems[0].add_note(f"Also: {further}")
            raise problems[0]


def status_for(error: BaseException | None) -> str:
    """Return the status a run earns when its block ends this way."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return FINISHED
    if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)):
        return KILLED
    return FAILED
