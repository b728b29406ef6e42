"""The other side of ``isolation``: the process that calls one function and writes down what came of it."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from mlops.errors import PipelineError
from mlops.integrations.mlflow_tracking.pickling import REFUSALS, dump_pickle
from mlops.pipelines.isolation import CALL_FILE, RESULT_FILE, Call, Raised


def main(directory: str, begin: str, lifeline: str) -> None:
    """Call the function, and end this process.

    Args:
        directory: Holds the call, and gets the result.
        begin: Descriptor of the pipe to write to when the function begins and when it ends.
        lifeline: Descriptor of the pipe that ends with the parent.
    """
    threading.Thread(target=_die_with_parent, args=(int(lifeline),), daemon=True).start()
    with (Path(directory) / CALL_FILE).open("rb") as stream:
        task: Call = pickle.load(stream)  # noqa: S301 - the parent wrote it
    returned, value = _call(task, int(begin))
    _write(Path(directory), returned, value)


def _call(task: Call, begin: int) -> tuple[bool, Any]:
    try:
        with contextlib.closing(task.tracking), task.tracking.start_run(run_id=task.run_id):
            os.write(begin, b"1")
            try:
                return True, task.fn(*task.args, **task.kwargs)
            finally:
                os.write(begin, b"1")
    except BaseException as error:  # noqa: BLE001 - it is raised again in the parent
        text = "".join(traceback.format_exception(error))
        error.add_note(f"In the step's own process:\n{text}")
        return False, Raised.of(error)


def _write(directory: Path, returned: bool, value: Any) -> None:
    partial = directory / f"{RESULT_FILE}.tmp"
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


def _die_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(os.getpgrp(), signal.SIGKILL)
    sys.exit(1)
