"""Which process a run belongs to, and whether that process still exists.

A process that is killed cannot end its runs; they stay RUNNING until something notices that nobody is at work
on them. So each run carries the process that runs it: the host, the process id and when the process started,
because ids are given again.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

HOST_TAG: Final = "mlops.host"
PID_TAG: Final = "mlops.pid"
STARTED_TAG: Final = "mlops.process_started"
# On a run that did not end by itself: who ended it.
CLOSED_TAG: Final = "mlops.closed_by"
# A process's start is derived from the clock, which may be set meanwhile. A process id comes back after
# thousands of others at the earliest, so that a second more or less does not matter.
_SAME_START_SECONDS: Final = 5.0
# The inode of a Linux machine's first process namespace (PROC_PID_INIT_INO); containers have others.
_FIRST_NAMESPACE: Final = "pid:[4026531836]"


class ProcessState(StrEnum):
    """What can be said from here about the process of a run."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


def own_tags() -> dict[str, str]:
    """Return the tags that name the calling process."""
    import psutil

    pid = os.getpid()
    return {HOST_TAG: host(), PID_TAG: str(pid), STARTED_TAG: f"{psutil.Process(pid).create_time():.2f}"}


def host() -> str:
    """Return what tells this machine or container from others, where process ids mean nothing."""
    name = socket.gethostname()
    namespace = _FIRST_NAMESPACE
    with contextlib.suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").readlink())
    return name if namespace == _FIRST_NAMESPACE else f"{name} {namespace}"


def state(tags: Mapping[str, str]) -> ProcessState:
    """Say whether the process that a run's tags name exists.

    Args:
        tags: The run's tags; without those of a process, or with those of another host, the state is unknown.
    """
    import psutil

    try:
        pid, started = int(tags[PID_TAG]), float(tags[STARTED_TAG])
    except (KeyError, ValueError):
        return ProcessState.UNKNOWN
    if tags.get(HOST_TAG) != host():
        return ProcessState.UNKNOWN
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            same = abs(process.create_time() - started) < _SAME_START_SECONDS
            # Killed, and its parent has not asked for it yet.
            ended = process.status() == psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ProcessState.GONE
    except psutil.AccessDenied:
        return ProcessState.UNKNOWN
    return ProcessState.ALIVE if same and not ended else ProcessState.GONE
