"""Keeps one server alive no longer than its owner: run as a script, with the standard library only.

Usage: launcher.py OWNER_PID WATCHED_DIRECTORY HOME COMMAND...

It ends the server, workers included, when it is asked to, when the owner is gone however that died, when the
watched directory is gone because the workspace was deleted or moved, and when the server's main process is
gone and would leave its workers behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from types import FrameType

POLL_SECONDS = 0.25
# BentoML stops within about a second; a worker in a long prediction is given a little more.
GRACE_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1


def _die_with_launcher() -> None:
    # Linux only: should this launcher itself be killed, the kernel asks the server to stop.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def main(arguments: list[str]) -> int:
    """Run the server until one of the reasons to stop comes up, and return its exit code."""
    owner, watched, home, *command = arguments
    asked = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    # An interrupt typed at the owner's terminal does not come here: this is another session.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_launcher)  # noqa: S603 - from our own command line
    while server.poll() is None and not asked:
        if os.getppid() != int(owner) or not os.path.isdir(watched):  # noqa: PTH112
            break
        time.sleep(POLL_SECONDS)
    if server.poll() is None:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(GRACE_SECONDS)
    code = server.poll()
    if code is None:
        # Before its workers, which it would start again.
        server.kill()
        server.wait()
    while others := _processes_of(home):
        for process in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.02)
    shutil.rmtree(home, ignore_errors=True)
    return code if code is not None and code >= 0 else 1


def _processes_of(home: str) -> list[int]:
    """Return the other processes with this server's own home in their environment.

    BentoML's workers lead process groups of their own and outlive their parent if that is killed, so neither
    a group nor a parent finds them. Only Linux shows a process's environment here.
    """
    mark = f"BENTOML_HOME={home}".encode()
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():  # noqa: PTH112, PTH208
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as stream:  # noqa: PTH123
                if mark in stream.read().split(b"\0"):
                    found.append(int(name))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
