"""A function called in a process of its own, which can be stopped whatever it does and cannot take us along.

Function and arguments travel through a directory of the project's staging area with the user's own code in
them, so that nothing of the user's needs to be importable where they arrive, and the function's MLflow calls
reach the step's run.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import PipelineError
from mlops.integrations.mlflow_tracking import routing
from mlops.integrations.mlflow_tracking.pickling import REFUSALS, dump_pickle
from mlops.pipelines.interpreter import interpreter
from mlops.workspace import scratch
from mlops.workspace.model import ProjectWorkspace

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import Run

CALL_FILE: Final = "call.pkl"
RESULT_FILE: Final = "result.pkl"
# How long a process goes on after its caller has lost interest, at most.
_POLL_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Call:
    """What is to be called.

    Args:
        fn: The function.
        args: Its positional arguments.
        kwargs: The others.
        run: The run that logging reaches, open in the calling context.
    """

    fn: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    run: Run

    @property
    def project(self) -> str:
        """The project's name."""
        return self.run.tracking.project


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception on its way between processes, as it is.

    By itself an exception is made anew of ``args``, which fails or says something else where its class takes
    other arguments than it passes on.

    Args:
        kind: Its class.
        args: Its ``args``.
        state: Its attributes, notes included.
    """

    kind: type[BaseException]
    args: tuple[Any, ...]
    state: dict[str, Any]

    @classmethod
    def of(cls, error: BaseException) -> Raised | BaseException:
        """Return what to send for an exception: itself where its class knows how it travels."""
        kind = type(error)
        plain = isinstance(kind.__init__, FunctionType) and kind.__reduce__ is BaseException.__reduce__
        return cls(kind, error.args, dict(vars(error))) if plain else error

    def restored(self) -> BaseException:
        """Return the exception."""
        error = self.kind.__new__(self.kind, *self.args)
        vars(error).update(self.state)
        return error


def call(task: Call, *, step: str, timeout: float | None, stopped: Callable[[], bool]) -> Any:
    """Call a function in a process of its own and return what it returns.

    Args:
        task: The call.
        step: The step, for errors.
        timeout: Seconds the function may take; starting the process does not count. After that the process
            is killed with all it has started, unless that left its session.
        stopped: Whether nobody wants the result any more; asked while waiting.

    Raises:
        TimeoutError: It took longer.
        PipelineError: The call cannot travel, or the process died.
        KeyboardInterrupt: Nobody wants the result.
        BaseException: What the function raised.
    """
    with posted(task, step=step) as directory:
        carry_out(directory, step=step, timeout=timeout, project=task.project, stopped=stopped)
        return result(directory, step=step, project=task.project)


@contextlib.contextmanager
def posted(task: Call, *, step: str) -> Iterator[Path]:
    """Yield a directory that holds a call, to be carried out by whatever process, until the end of the block.

    Args:
        task: The call.
        step: The step, for errors.

    Raises:
        PipelineError: The call cannot travel.
    """
    tracking = task.run.tracking
    # What is buffered here must not be written behind what the other process logs.
    tracking.flush(task.run.run_id)
    with staged(tracking.context.workspace, "step") as directory:
        try:
            dump_pickle((task, tracking.route, routing.top_run(tracking.route)), directory / CALL_FILE)
        except REFUSALS as error:
            raise PipelineError(
                f"The step {step!r} cannot run in a process of its own: {error}",
                operation="run",
                workspace=task.project,
                hint="open connections, files and locks inside the step instead of passing them in",
            ) from error
        yield directory


@contextlib.contextmanager
def staged(workspace: ProjectWorkspace, suffix: str) -> Iterator[Path]:
    """Yield a new directory of the project's staging area, held until the block ends and gone after it."""
    directory = workspace.state_path / "staging" / f"{workspace.id}.{uuid.uuid4().hex}.{suffix}"
    directory.mkdir(parents=True)
    held = scratch.hold(directory)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(held)


def carry_out(
    directory: Path, *, step: str, timeout: float | None, project: str, stopped: Callable[[], bool]
) -> None:
    """Carry out a call that was posted, in a process of its own.

    Args:
        directory: The call; it gets the result.
        step: The step, for errors.
        timeout: As for ``call``.
        project: The project, for errors.
        stopped: As for ``call``.

    Raises:
        TimeoutError: It took longer.
        PipelineError: The process died.
        KeyboardInterrupt: Nobody wants the result.
    """
    with interpreter("mlops.pipelines.isolated", str(directory), project) as child:
        # It writes one byte when the function begins and one when it ends; or the pipe ends with it.
        _wait(child.told, stopped)
        os.read(child.told, 1)
        if not _wait(child.told, stopped, timeout):
            raise TimeoutError(f"The step {step!r} was stopped after {timeout:g} s")
        child.process.wait()
        code = child.process.returncode
    if not (directory / RESULT_FILE).exists():
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        raise PipelineError(
            f"The process of the step {step!r} ended {how} before the step did",
            operation="run",
            workspace=project,
            details={"exit_code": code},
            hint="look at what it wrote to standard error; SIGKILL often means that memory ran out",
        )


def result(directory: Path, *, step: str, project: str) -> Any:
    """Return what a call that was carried out returned.

    Args:
        directory: The call.
        step: The step, for errors.
        project: The project, for errors.

    Raises:
        PipelineError: It cannot be read in this process.
        BaseException: What the function raised.
    """
    try:
        with (directory / RESULT_FILE).open("rb") as stream:
            returned, value = pickle.load(stream)  # noqa: S301 - whoever carried it out wrote it
    except (*REFUSALS, pickle.UnpicklingError, ImportError) as error:
        raise PipelineError(
            f"What the step {step!r} returned cannot be read here: {error}",
            operation="run",
            workspace=project,
            hint="return plain values, frames, arrays or models",
        ) from error
    if not returned:
        raise value.restored() if isinstance(value, Raised) else value
    return value


def _wait(descriptor: int, stopped: Callable[[], bool], timeout: float | None = None) -> bool:
    """Wait until there is something to read; say whether it came in time."""
    reader = select.poll()
    reader.register(descriptor, select.POLLIN)
    until = None if timeout is None else time.monotonic() + timeout
    while not stopped():
        left = _POLL_SECONDS if until is None else min(until - time.monotonic(), _POLL_SECONDS)
        if reader.poll(max(left, 0) * 1000):
            return True
        if left <= 0:
            return False
    raise KeyboardInterrupt
