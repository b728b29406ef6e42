"""A function called in a process of its own, which can be stopped whatever it does and cannot take us along.

The process is a fresh interpreter: a fork would inherit the locks and thread pools of this one in whatever
state they are. Function and arguments travel with the user's own code in them, so that nothing of the user's
needs to be importable there, and the function's MLflow calls reach the step's run.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import select
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from mlops.errors import PipelineError
from mlops.integrations.mlflow_tracking.pickling import REFUSALS, dump_pickle

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking import MLflowTracking

CALL_FILE: Final = "call.pkl"
RESULT_FILE: Final = "result.pkl"
# The module search path comes first, so that this library is found where this process found it.
_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop());"
    "from mlops.pipelines.isolated import main; main(*sys.argv[1:])"
)


@dataclass(frozen=True, slots=True)
class Call:
    """What the process is to do.

    Args:
        fn: The function.
        args: Its positional arguments.
        kwargs: The others.
        tracking: The project's adapter; an MLflow client that the function uses is the same object.
        run_id: The run that logging reaches.
    """

    fn: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    tracking: MLflowTracking
    run_id: str


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


def call(task: Call, *, step: str, timeout: float | None) -> Any:
    """Call a function in a process of its own and return what it returns.

    Args:
        task: The call.
        step: The step, for errors.
        timeout: Seconds the function may take; starting the process does not count. After that the process
            is killed with all it has started, unless that left its session.

    Raises:
        TimeoutError: It took longer.
        PipelineError: The call cannot travel, or the process died.
        BaseException: What the function raised.
    """
    workspace = task.tracking.context.workspace
    directory = workspace.state_path / "staging" / f"{workspace.id}.{uuid.uuid4().hex}.step"
    directory.mkdir(parents=True)
    try:
        _pack(task, directory / CALL_FILE, step=step)
        _run(directory, step=step, timeout=timeout, project=task.tracking.project)
        return _unpack(directory / RESULT_FILE, step=step, project=task.tracking.project)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _pack(task: Call, path: Path, *, step: str) -> None:
    try:
        dump_pickle(task, path)
    except REFUSALS as error:
        raise PipelineError(
            f"The step {step!r} cannot run in a process of its own: {error}",
            operation="run",
            workspace=task.tracking.project,
            hint="open connections, files and locks inside the step instead of passing them in",
        ) from error


def _run(directory: Path, *, step: str, timeout: float | None, project: str) -> None:
    # One pipe says when the function begins and ends; the other ends with this process and ends the child.
    begun, begin = os.pipe()
    lifeline, ours = os.pipe()
    try:
        command = [
            sys.executable,
            "-c",
            _BOOT,
            str(directory),
            str(begin),
            str(lifeline),
            json.dumps(sys.path),
        ]
        child = subprocess.Popen(  # noqa: S603 - our own interpreter
            command, stdin=subprocess.DEVNULL, pass_fds=(begin, lifeline), start_new_session=True
        )
        os.close(begin)
        begin = -1
        try:
            os.read(begun, 1)
            # Two bytes, one when the function begins and one when it ends; or the end of the process.
            reader = select.poll()
            reader.register(begun, select.POLLIN)
            if timeout is not None and not reader.poll(timeout * 1000):
                raise TimeoutError(f"The step {step!r} was stopped after {timeout:g} s")
            child.wait()
        finally:
            if child.poll() is None:
                _kill(child)
    finally:
        for descriptor in (begun, begin, lifeline, ours):
            if descriptor >= 0:
                os.close(descriptor)
    if not (directory / RESULT_FILE).exists():
        code = child.returncode
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        raise PipelineError(
            f"The process of the step {step!r} ended {how} before the step did",
            operation="run",
            workspace=project,
            details={"exit_code": code},
            hint="look at what it wrote to standard error; SIGKILL often means that memory ran out",
        )


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End the process with its group, which nobody else can have while the process is not waited for."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _unpack(path: Path, *, step: str, project: str) -> Any:
    try:
        with path.open("rb") as stream:
            returned, value = pickle.load(stream)  # noqa: S301 - our own child wrote it
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
