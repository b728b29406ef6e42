from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlops import MLOpsClient


@pytest.fixture
def client(base: Path) -> Iterator[MLOpsClient]:
    with MLOpsClient("churn", base_path=base) as opened:
        yield opened


@pytest.fixture
def interrupt_when() -> Callable[[Callable[[], bool]], None]:
    """Return what presses Ctrl-C as soon as something is true."""

    def press(condition: Callable[[], bool]) -> None:
        while not condition():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    return lambda condition: threading.Thread(target=press, args=(condition,), daemon=True).start()
