"""What the tests schedule: importable by name in other processes too."""

from __future__ import annotations

import os
import time
from pathlib import Path

from mlops import Pipeline


def number() -> int:
    return 20


def double(number: int) -> int:
    return 2 * number


unbound = Pipeline("unbound").add_step(number).add_step(double)


def build() -> Pipeline:
    return Pipeline("built").add_step(number)


def fail() -> None:
    raise RuntimeError("no data today")


def mark() -> None:
    """Append a line with this process to the file that the environment names."""
    with Path(os.environ["MARK"]).open("a") as stream:
        stream.write(f"{os.getpid()} {time.time()}\n")


def slow() -> None:
    mark()
    time.sleep(3)
