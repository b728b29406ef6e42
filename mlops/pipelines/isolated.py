"""The other side of ``isolation``: what calls the function, and writes down what came of it."""

from __future__ import annotations

import contextlib
import os
import pickle
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlops.errors import MLOpsError, PipelineError
from mlops.integrations.mlflow_tracking import patches, routing
from mlops.integrations.mlflow_tracking.pickling import REFUSALS, dump_pickle
from mlops.integrations.mlflow_tracking.runs import Run, status_for
from mlops.pipelines.interpreter import end_with
from mlops.pipelines.isolation import CALL_FILE, RESULT_FILE, Call, Raised


def main(begin: str, lifeline: str, directory: str, project: str) -> None:
    """Carry out a call, and end this process.

    Args:
        begin: Descriptor of the pipe to write to when the function begins and when it ends.
        lifeline: Descriptor of the pipe that ends with the parent.
        directory: Holds the call, and gets the result.
        project: The project, for errors.
    """
    end_with(lifeline)
    carry_out(Path(directory), project=project, tell=lambda: os.write(int(begin), b"1"))


def carry_out(directory: Path, *, project: str, tell: Callable[[], object] = lambda: None) -> None:
    """Carry out a call that was posted, in this thread.

    Args:
        directory: Holds the call, and gets the result.
        project: The project, for errors.
        tell: Called when the function begins and when it ends.
    """
    # First of all: what the call holds may import MLflow, which is to be done quietly.
    patches.install(operation="run", workspace=project)
    with (directory / CALL_FILE).open("rb") as stream:
        task, route, active = pickle.load(stream)  # noqa: S301 - the caller wrote it
    returned, value = _call(task, route, active, tell)
    _write(directory, returned, value)


def _call(task: Call, route: routing.Route, active: Any, tell: Callable[[], object]) -> tuple[bool, Any]:
    try:
        with contextlib.closing(task.run.tracking), _attached(task.run, route, active):
            tell()
            try:
                return True, task.fn(*task.args, **task.kwargs)
            finally:
                tell()
    except BaseException as error:  # noqa: BLE001 - it is raised again by the caller
        text = "".join(traceback.format_exception(error))
        error.add_note(f"In the step's own process:\n{text}")
        return False, Raised.of(error)


@contextlib.contextmanager
def _attached(run: Run, route: routing.Route, active: Any) -> Iterator[None]:
    """Send this thread's MLflow calls to a run that the caller holds open, and ends."""
    tracking = run.tracking
    tracking.forget_foreign_artifacts(run.run_id)
    frame = routing.enter(route, active, run)
    try:
        yield
    except BaseException as error:
        try:
            _detach(run, frame, status_for(error))
        except MLOpsError as problem:
            error.add_note(f"Not all that was logged to {run!r} could be written: {problem}")
        raise
    else:
        _detach(run, frame, status_for(None))


def _detach(run: Run, frame: routing.Frame, status: str) -> None:
    tracking = run.tracking
    left = [each for each in routing.leave(frame) if each != run.run_id]
    try:
        tracking.flush(run.run_id, operation="run")
    finally:
        # Runs that plain MLflow code left open.
        for each in left:
            with tracking.calling("run", each) as client:
                client.set_terminated(each, status)


def _write(directory: Path, returned: bool, value: Any) -> None:
    # Under a name of its own: a cluster may have two workers carry out the same call.
    partial = directory / f"{RESULT_FILE}.{uuid.uuid4().hex}"
    try:
        dump_pickle((returned, value), partial)
    except REFUSALS as error:
        problem = PipelineError(
            f"What the step {'returned' if returned else 'raised'}, a {_type(value)},"
            f" cannot leave its process: {error}",
            operation="run",
            hint="return plain values, frames, arrays or models",
        )
        for note in value.state.get("__notes__", []) if isinstance(value, Raised) else ():
            problem.add_note(note)
        dump_pickle((False, problem), partial)
    partial.rename(directory / RESULT_FILE)


def _type(value: Any) -> str:
    return (value.kind if isinstance(value, Raised) else type(value)).__name__
