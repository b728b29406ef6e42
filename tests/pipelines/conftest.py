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
def interrupt_when() -> Iterator[Callable[[Callable[[], bool]], None]]:
    """Return what presses Ctrl-C as soon as something is true."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # a shell ignores it for what it starts in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def press(condition: Callable[[], bool]) -> None:
        while not condition():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    yield lambda condition: threading.Thread(target=press, args=(condition,), daemon=True).start()
    if before is not signal.default_int_handler:
        signal.signal(signal.SIGINT, before)
