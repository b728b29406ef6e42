"""Asking tracking servers for several projects at once, without waiting longer than is bearable for any."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mlops.integrations.mlflow_tracking import server
from mlops.reporting.reading.project import ProjectReading

# MLflow itself tries a request for minutes; a project with many runs takes seconds.
PATIENCE_SECONDS: Final = 30.0
_AT_ONCE: Final = 8
_POLL_SECONDS: Final = 0.02


@dataclass(slots=True)
class _Job:
    reading: ProjectReading
    done: threading.Event = field(default_factory=threading.Event)
    started: float | None = None
    error: BaseException | None = None


class Servers:
    """Projects whose tracking store is a server, each read in a thread that nobody waits for at the end.

    Args:
        patience: Seconds that reading one project may take.
    """

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._patience = patience
        self._jobs: list[_Job] = []
        self._waiting: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._workers = 0
        self._lock = threading.Lock()
        self._problems: dict[str, str | None] = {}
        self._probing = threading.Lock()

    def ask(self, reading: ProjectReading) -> None:
        """Begin to read a project's store."""
        job = _Job(reading)
        self._jobs.append(job)
        with self._lock:
            self._waiting.put(job)
            if self._workers < _AT_ONCE:
                self._start()

    def answers(self) -> Iterator[tuple[ProjectReading, bool]]:
        """Yield each project in the order in which they were asked, and whether it was read in time."""
        for job in self._jobs:
            while not job.done.wait(_POLL_SECONDS):
                if job.started is not None and time.monotonic() - job.started > self._patience:
                    # Its thread may hang for minutes, and others wait behind it.
                    with self._lock:
                        self._start()
                    break
            if job.error is not None:
                raise job.error
            yield job.reading, job.done.is_set()

    def _start(self) -> None:
        self._workers += 1
        threading.Thread(target=self._work, name="mlops-report", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                try:
                    job = self._waiting.get_nowait()
                except queue.Empty:
                    self._workers -= 1
                    return
            try:
                problem = self._problem(job.reading.context.settings.mlflow_tracking_uri)
                job.started = time.monotonic()
                if problem is None:
                    job.reading.ask_server()
                else:
                    job.reading.give_up(problem)
            except BaseException as error:  # noqa: BLE001 - raised again where the answer is waited for
                job.error = error
            finally:
                job.done.set()

    def _problem(self, uri: str | None) -> str | None:
        """Return why a server cannot be reached, or None; each is asked once for all projects it has."""
        if uri is None:
            return None
        with self._probing:
            if uri not in self._problems:
                problem = server.probe(uri)
                self._problems[uri] = None if problem is None else server.redact(problem)
            return self._problems[uri]
