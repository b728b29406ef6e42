"""Commands that go on until Ctrl-C end when asked, whatever was imported meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

COMMAND = """
import threading
from mlops.cli import stopping
wait = stopping.on_signal()
import polars
print("begun", flush=True)
wait()
print("asked", flush=True)
working = threading.Thread(target=threading.Event().wait)
working.start()
working.join()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_seen_and_the_second_ends_the_process(number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", COMMAND], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for expected in ("begun\n", "asked\n"):
        assert process.stdout.readline() == expected
        process.send_signal(number)
    assert process.communicate(timeout=60) == ("", None)
    assert process.returncode == 128 + number


def test_what_ignored_ctrl_c_goes_on_to() -> None:
    begun = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    process = subprocess.Popen([sys.executable, "-c", begun + COMMAND], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for expected in ("begun\n", "asked\n"):
        assert process.stdout.readline() == expected
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
