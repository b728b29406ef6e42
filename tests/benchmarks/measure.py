"""Timing helpers: medians of repeated runs, and the ratio of two of them."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """What the bare tool takes over what we take, in seconds, with the bound we promise.

    Memory and sizes are in thousands of their unit, as seconds are of milliseconds.
    """

    name: str
    bare: float
    ours: float
    bound: float | None = None
    unit: str = "ms"

    @property
    def value(self) -> float:
        return self.bare / self.ours

    @property
    def holds(self) -> bool:
        return self.bound is None or self.value >= self.bound


def interleaved(
    bare: Callable[[], object], ours: Callable[[], object], *, repeats: int
) -> tuple[float, float]:
    """Return the median seconds of both, run in turn so that the machine's mood hits both alike."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for index, function in enumerate((bare, ours)):
            start = time.perf_counter()
            function()
            taken[index].append(time.perf_counter() - start)
    return statistics.median(taken[0]), statistics.median(taken[1])


def process(code: str, *arguments: str) -> Callable[[], None]:
    """Return a function that runs code in a fresh interpreter."""

    def run() -> None:
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)

    return run
