"""How commands that go on until Ctrl-C are ended: what they are doing is finished, unless asked twice."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

_POLL_SECONDS: Final = 0.2


def on_signal() -> Callable[[], None]:
    """Return what waits for Ctrl-C or SIGTERM; from now on, the second of them ends the process."""
    asked = threading.Event()

    # Polars, which MLflow imports where it is installed, has Ctrl-C go on with a wait that it interrupts.
    def stop(number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            # What goes on does so in threads, which only the end of the process ends.
            os._exit(128 + number)
        asked.set()
        signal.siginterrupt(number, True)

    def wait() -> None:
        while not asked.wait(_POLL_SECONDS):
            pass

    for number in (signal.SIGINT, signal.SIGTERM):
        # What a shell started in the background ignores Ctrl-C, and goes on to.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    return wait
