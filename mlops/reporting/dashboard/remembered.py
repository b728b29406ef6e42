"""A value that is collected anew when it is too old, by one thread at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# Young enough to be called live, old enough that a person who clicks through pages waits once.
MAX_AGE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    value: T
    started: float


class Remembered(Generic[T]):
    """What ``collect`` returned last, if it is young enough.

    ``get`` may be called from many threads: one of them collects, and the others wait for what it brings.

    Args:
        collect: Returns the value.
        max_age: Seconds after which a value is collected again.
    """

    def __init__(self, collect: Callable[[], T], *, max_age: float = MAX_AGE_SECONDS) -> None:
        self._collect = collect
        self._max_age = max_age
        self._lock = threading.Lock()
        self._kept: _Kept[T] | None = None

    def get(self, *, since: float | None = None) -> T:
        """Return the value, at most ``max_age`` seconds old.

        Args:
            since: A moment of ``time.monotonic``: what was begun before it is collected again.

        Raises:
            Exception: What ``collect`` raises; nothing is kept then.
        """
        oldest = max(time.monotonic() - self._max_age, since or 0.0)
        kept = self._kept
        if kept is not None and kept.started >= oldest:
            return kept.value
        with self._lock:
            # Another thread may have collected it while this one waited.
            kept = self._kept
            if kept is None or kept.started < oldest:
                started = time.monotonic()
                self._kept = kept = _Kept(self._collect(), started)
            return kept.value

    @property
    def age(self) -> float | None:
        """Seconds since the value was begun to be collected, or None if there is none yet."""
        kept = self._kept
        return None if kept is None else time.monotonic() - kept.started
