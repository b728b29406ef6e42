"""The thread that writes what is buffered, and the moments at which it has to be written without it."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mlops.integrations.mlflow_tracking.metrics import MetricBuffer

logger = logging.getLogger(__name__)

# A batch takes milliseconds; a store that hangs must not keep the program from forking.
_FORK_SECONDS: Final = 5.0


class Flusher:
    """One daemon thread for all buffers of the process, started when the first metric is logged."""

    def __init__(self) -> None:
        self._all: weakref.WeakSet[MetricBuffer] = weakref.WeakSet()
        # Strong references: what is not yet written must survive its adapter.
        self._dirty: set[MetricBuffer] = set()
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._urgent = False
        self._held: list[MetricBuffer] = []

    def watch(self, buffer: MetricBuffer) -> None:
        """Note a buffer, so that a forked child starts with an empty one."""
        with self._condition:
            self._all.add(buffer)

    def wake(self, buffer: MetricBuffer, *, now: bool) -> None:
        """Have a buffer written when it is due.

        Args:
            buffer: One that holds something.
            now: It is full.
        """
        with self._condition:
            self._dirty.add(buffer)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="mlops-metrics", daemon=True)
                self._thread.start()
                self._flush_when_this_worker_ends()
            self._urgent = self._urgent or now
            self._condition.notify()

    @property
    def busy(self) -> bool:
        """Whether any buffer may hold something."""
        return bool(self._dirty)

    def waiting(self, store: str) -> list[MetricBuffer]:
        """Return the buffers that hold values for a store."""
        with self._condition:
            dirty = list(self._dirty)
        return [buffer for buffer in dirty if buffer.store() == store and buffer.pending()]

    def at_exit(self) -> None:
        """Write everything; what cannot be written is reported, as nobody is left to raise to."""
        with self._condition:
            buffers = list(self._dirty)
        for buffer in buffers:
            for error in buffer.flush_in_background():
                logger.error("%d metrics could not be written before exit: %s", buffer.pending(), error)

    def before_fork(self) -> None:
        """Hold every buffer's writer until the fork is done."""
        deadline = time.monotonic() + _FORK_SECONDS
        self._held = [buffer for buffer in list(self._all) if buffer.before_fork(deadline)]

    def after_fork_in_parent(self) -> None:
        """Let the writers go on."""
        for buffer in self._held:
            buffer.after_fork_in_parent()
        self._held = []

    def after_fork_in_child(self) -> None:
        """Start anew: the parent writes what it had buffered, and its thread does not exist here."""
        self._condition = threading.Condition()
        self._thread = None
        self._urgent = False
        self._dirty = set()
        self._held = []
        for buffer in list(self._all):
            buffer.after_fork()

    def _flush_when_this_worker_ends(self) -> None:
        # A process that multiprocessing started ends without calling what atexit has.
        process: Any = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None:
            from multiprocessing.util import Finalize

            Finalize(None, self.at_exit, exitpriority=0)

    def _run(self) -> None:
        while True:
            with self._condition:
                self._dirty = {buffer for buffer in self._dirty if buffer.pending()}
                waits = {buffer: buffer.due_in() for buffer in self._dirty}
                soonest = min(waits.values(), default=None)
                if not self._urgent and (soonest is None or soonest > 0):
                    self._condition.wait(soonest)
                    continue
                self._urgent = False
            for buffer, wait in waits.items():
                if wait <= 0:
                    buffer.flush_in_background()
            waits.clear()


flusher = Flusher()
atexit.register(flusher.at_exit)


os.register_at_fork(
    before=flusher.before_fork,
    after_in_parent=flusher.after_fork_in_parent,
    after_in_child=flusher.after_fork_in_child,
)
