"""Buffered metrics: a call costs microseconds, and a background thread writes batches.

A single metric costs MLflow milliseconds on SQLite and tens of them over a network, a thousand in one batch
hardly more. What is buffered is written by size, by age, when the run ends however it ends, before any read
through this library, and when the interpreter exits.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import posixpath
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mlops.errors import IntegrationError
from mlops.integrations.mlflow_tracking.flushing import flusher

# MLflow accepts at most this many metrics in one call (mlflow/utils/validation.py, MAX_METRICS_PER_BATCH).
BATCH_SIZE: Final = 1000
# How long a metric waits in memory before it is written, in seconds. Together with the write itself this
# stays below the second that a killed process may lose.
MAX_AGE_SECONDS: Final = 0.5
# Points that may wait. A loop that logs faster than the store takes them then writes them itself, instead of
# filling the memory and losing more than a second of them when it is killed.
MAX_WAITING: Final = 10 * BATCH_SIZE
_MAX_STEP: Final = 2**63 - 1
# The limits of mlflow/utils/validation.py: checked at the call, because a name that is refused only when its
# batch is written would hold back the metrics around it.
MAX_KEY_LENGTH: Final = 250
_KEY: Final = re.compile(r"\A[/\w.\- :]+\Z")


@dataclass(frozen=True, slots=True)
class Point:
    """One metric value.

    Args:
        key: The metric's name.
        value: The value; NaN and infinities are allowed.
        timestamp: Milliseconds since the epoch.
        step: The training step.
    """

    key: str
    value: float
    timestamp: int
    step: int


@dataclass(slots=True)
class _Pending:
    points: list[Point] = field(default_factory=list)
    error: Exception | None = None
    # Last time stamp and step by key: MLflow keeps one row per key, time, step and value.
    last: dict[str, tuple[int, int]] = field(default_factory=dict)


Writer = Callable[[str, Sequence[Point]], None]


def name(key: object, *, operation: str, workspace: str) -> str:
    """Return a metric's name if MLflow will accept it.

    Raises:
        IntegrationError: With the rule.
    """
    if isinstance(key, str) and _acceptable(key):
        return key
    raise IntegrationError(
        f"Invalid metric name {key!r:.300}: use letters, digits, '_', '-', '.', ':', '/' and spaces, "
        f"at most {MAX_KEY_LENGTH} characters, and nothing that reads as another path ('..', '//')",
        tool="mlflow",
        operation=operation,
        workspace=workspace,
        hint="rename the metric",
    )


@functools.lru_cache(maxsize=4096)
def _acceptable(key: str) -> bool:
    normal = posixpath.normpath(key)
    return (
        len(key) <= MAX_KEY_LENGTH
        and _KEY.match(key) is not None
        and normal == key
        and normal != "."
        and not normal.startswith(("..", "/"))
    )


def number(key: object, value: Any, *, operation: str, workspace: str) -> float:
    """Return a metric's value as a float.

    Python and NumPy numbers, one-element tensors and anything else with a float value are accepted.

    Raises:
        IntegrationError: It is no number; the message names the key.
    """
    if type(value) is float:
        return value
    usable = hasattr(type(value), "__float__") and not getattr(value, "ndim", 0)
    if usable and not isinstance(value, (str, bytes)):
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            pass
    raise IntegrationError(
        f"The metric {key!r} must be a number, not {type(value).__name__} ({value!r:.60})",
        tool="mlflow",
        operation=operation,
        workspace=workspace,
        hint="pass a float; for text use log_param or set_tag, for an array log one value per step",
    )


def whole(key: object, step: Any, *, operation: str, workspace: str) -> int:
    """Return a metric's step as an integer, 0 for None.

    Raises:
        IntegrationError: It is no whole number of 64 bits.
    """
    if step is None:
        return 0
    with contextlib.suppress(TypeError):
        index = operator.index(step)
        if abs(index) <= _MAX_STEP:
            return index
    raise IntegrationError(
        f"The step of the metric {key!r} must be a whole number, not {step!r:.60}",
        tool="mlflow",
        operation=operation,
        workspace=workspace,
        hint="pass step=int(...)",
    )


class MetricBuffer:
    """The metrics of one project's runs that are not yet written.

    Args:
        write: Writes at most 1000 points of one run; what it raises is kept for the next call.
        store: Returns the URI of the store it writes to, for ``waiting``.
    """

    def __init__(self, write: Writer, *, store: Callable[[], str]) -> None:
        self._write = write
        self.store = store
        self._runs: dict[str, _Pending] = {}
        self._lock = threading.Lock()
        # Batches of one run stay in order, and a flush returns only after a batch under way is written.
        self._writing = threading.RLock()
        self._oldest: float | None = None
        flusher.watch(self)

    def add(self, run_id: str, values: Sequence[tuple[str, float, int]]) -> Exception | None:
        """Buffer values of one run.

        Args:
            run_id: The run.
            values: Key, value and step of each.

        Returns:
            What went wrong when an earlier batch of this run was written in the background, once. The new
            values and that batch are kept and tried again.
        """
        now = int(time.time() * 1000)
        with self._lock:
            pending = self._runs.get(run_id)
            if pending is None:
                pending = self._runs[run_id] = _Pending()
            for key, value, step in values:
                stamp = now
                before = pending.last.get(key)
                if before is not None and before[1] == step and before[0] >= now:
                    # Equal values logged within a millisecond would otherwise become one row.
                    stamp = before[0] + 1
                pending.last[key] = (stamp, step)
                pending.points.append(Point(key, value, stamp, step))
            count = len(pending.points)
            full = count >= BATCH_SIZE
            waiting = self._oldest is not None
            if not waiting:
                self._oldest = time.monotonic()
            error, pending.error = pending.error, None
        if full or not waiting:
            flusher.wake(self, now=full)
        if count >= MAX_WAITING and error is None:
            self._flush(run_id, keep=True)
        return error

    def flush(self, run_id: str | None = None) -> None:
        """Write what is buffered, of one run or of all.

        Raises:
            Exception: What the writer raised; the points are kept.
        """
        errors = self._flush(run_id)
        if errors:
            raise errors[0]

    def flush_in_background(self) -> list[Exception]:
        """Write what is buffered; errors are returned, and kept for the next call that logs to the run."""
        return self._flush(None, keep=True)

    def drop(self, run_id: str, *, unwritten: bool) -> int:
        """Forget a run that has ended, and return how many points that were never written went with it.

        Args:
            run_id: The run.
            unwritten: Drop such points; otherwise a run that has any is kept.
        """
        with self._lock:
            pending = self._runs.get(run_id)
            if pending is None or (pending.points and not unwritten):
                return 0
            del self._runs[run_id]
            self._settle()
            return len(pending.points)

    def discard(self) -> None:
        """Forget everything, after a batch under way is written."""
        with self._writing, self._lock:
            self._runs.clear()
            self._oldest = None

    def pending(self, run_id: str | None = None) -> int:
        """Return how many points are not yet written."""
        with self._lock:
            return sum(len(p.points) for key, p in self._runs.items() if run_id in (None, key))

    def due_in(self) -> float:
        """Return the seconds until the oldest point must be written."""
        oldest = self._oldest
        if oldest is None:
            return MAX_AGE_SECONDS
        with self._lock:
            if any(len(p.points) >= BATCH_SIZE and p.error is None for p in self._runs.values()):
                return 0.0
        return max(0.0, oldest + MAX_AGE_SECONDS - time.monotonic())

    def before_fork(self, deadline: float) -> bool:
        """Wait until no batch is being written, and keep it so until ``after_fork_in_parent``.

        A child forked in the middle of one would inherit the locks that its writer holds, for ever.

        Args:
            deadline: When to give up, by the monotonic clock.

        Returns:
            Whether that is so now.
        """
        return self._writing.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def after_fork_in_parent(self) -> None:
        """Let batches be written again."""
        self._writing.release()

    def after_fork(self) -> None:
        """Forget everything in a child process: the parent writes it."""
        self._lock = threading.Lock()
        self._writing = threading.RLock()
        self._runs = {}
        self._oldest = None

    def _flush(self, run_id: str | None, *, keep: bool = False) -> list[Exception]:
        errors: list[Exception] = []
        with self._writing:
            with self._lock:
                if run_id is None:
                    self._oldest = None
                runs = [key for key, p in self._runs.items() if p.points and run_id in (None, key)]
            for key in runs:
                try:
                    self._write_run(key)
                except Exception as error:  # noqa: BLE001 - handed to the caller or kept for the next call
                    errors.append(error)
                    with self._lock:
                        pending = self._runs.get(key) if keep else None
                        if pending is not None:
                            pending.error = error
            with self._lock:
                self._settle()
        return errors

    def _write_run(self, run_id: str) -> None:
        """Write what is there now; a thread that goes on logging must not keep the caller here."""
        with self._lock:
            pending = self._runs.get(run_id)
            left = len(pending.points) if pending else 0
        while pending is not None and left > 0:
            with self._lock:
                batch = pending.points[: min(left, BATCH_SIZE)]
            self._write(run_id, batch)
            left -= len(batch)
            with self._lock:
                del pending.points[: len(batch)]

    def _settle(self) -> None:
        """Note whether anything waits; the next point wakes the thread only if nothing did."""
        if not any(pending.points for pending in self._runs.values()):
            self._oldest = None
        elif self._oldest is None:
            self._oldest = time.monotonic()


def waiting(store: str) -> list[MetricBuffer]:
    """Return the buffers of this process that hold values for a store.

    Args:
        store: The store's URI.
    """
    return flusher.waiting(store)
