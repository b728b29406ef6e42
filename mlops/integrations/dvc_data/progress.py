"""Reporting progress in bytes to a function of the caller's, whose own errors pass through unchanged."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Progress = Callable[[int, int], None]
ResultT = TypeVar("ResultT")


class CallbackError(Exception):
    """Carries what the caller's function raised past the handling of our own errors."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class Meter:
    """Counts bytes for one call of a public method.

    The total may grow while more work becomes known; the count never goes back and never passes the total.

    Args:
        progress: Called as ``progress(done, total)``, from whatever thread moves the bytes; or None.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress
        self._done = self._total = 0
        self._lock = threading.Lock()
        self._failure: BaseException | None = None

    def expect(self, count: int) -> None:
        """Add bytes to the total."""
        with self._lock:
            self._total += count

    def advance(self, count: int) -> None:
        """Count bytes as done and tell the caller.

        Raises:
            CallbackError: The caller's function raised.
        """
        with self._lock:
            self._done += count
            self._total = max(self._total, self._done)
            if self._progress is None or self._failure is not None:
                return
            try:
                self._progress(self._done, self._total)
            except BaseException as error:
                self._failure = error
                raise CallbackError(error) from error

    def finish(self) -> None:
        """Count all as done: what turned out not to be needed, or was done before.

        Raises:
            CallbackError: The caller's function raised, perhaps in a thread that could not let it pass.
        """
        self.check()
        self.advance(self._total - self._done)

    def check(self) -> None:
        """Raise what the caller's function raised in another thread.

        Raises:
            CallbackError: It did.
        """
        if self._failure is not None:
            raise CallbackError(self._failure) from self._failure


def metered(progress: Progress | None, work: Callable[[Meter], ResultT]) -> ResultT:
    """Do work that reports progress, and let what the caller's function raises pass as it is.

    Args:
        progress: The caller's function, or None.
        work: Called with the meter.
    """
    meter = Meter(progress)
    try:
        result = work(meter)
        meter.finish()
    except CallbackError as failure:
        error = failure.error
    else:
        return result
    raise error
