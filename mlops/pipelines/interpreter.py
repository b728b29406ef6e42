"""A fresh interpreter beside this one, which cannot outlive it.

A fork would inherit the locks and thread pools of this process in whatever state they are, and what
``multiprocessing`` starts runs the user's script a second time.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

# The module search path comes first, so that this library is found where this process found it.
_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop());"
    "from importlib import import_module; import_module(sys.argv[1]).main(*sys.argv[2:])"
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A process that was started.

    Args:
        process: The process, the first of its own session.
        told: Descriptor of the pipe that it writes to; it reads as ended when the process has.
    """

    process: subprocess.Popen[bytes]
    told: int


@contextlib.contextmanager
def interpreter(module: str, *arguments: str) -> Iterator[Interpreter]:
    """Run a module's ``main`` in a process of its own, killed with its group at the end of the block.

    Args:
        module: Its ``main`` gets the descriptor of the pipe to write to, that of the pipe that ends with this
            process, for ``end_with``, and the arguments, all as text.
        *arguments: Further arguments.
    """
    told, tell = os.pipe()
    lifeline, ours = os.pipe()
    try:
        pipes = (tell, lifeline)
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", _BOOT, module, *map(str, pipes), *arguments, json.dumps(sys.path)],
            stdin=subprocess.DEVNULL,
            pass_fds=pipes,
            start_new_session=True,
        )
        os.close(tell)
        tell = -1
        try:
            yield Interpreter(process, told)
        finally:
            if process.poll() is None:
                _kill(process)
    finally:
        for descriptor in (told, tell, lifeline, ours):
            if descriptor >= 0:
                os.close(descriptor)


def end_with(lifeline: str) -> None:
    """End this process with its group as soon as the one that started it has ended, in whatever way.

    Args:
        lifeline: The second argument of ``main``.
    """
    threading.Thread(target=_wait_for_end, args=(int(lifeline),), daemon=True).start()


def _wait_for_end(lifeline: int) -> None:
    os.read(lifeline, 1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process with its group, which nobody else can have while the process is not waited for."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
