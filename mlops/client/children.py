"""Child processes: started with everything inherited, signals passed on, exit codes as a shell gives them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

import psutil

from mlops.errors import ConfigError

FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Deaths that somebody asked for, unlike a crash.
_STOPS: Final = (*FORWARDED, signal.SIGKILL, signal.SIGQUIT)
# What a shell adds to a signal's number, and returns for a command it cannot run or find.
SIGNAL_EXIT: Final = 128
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
# Worker pools end a moment after the process that used them.
GRACE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child process ended.

    Args:
        exit_code: 0 to 255; 128 and the signal's number if one ended it.
        stopped: Whether somebody stopped it: by a signal passed on to it, or one of those that stop.
        signalled_at: When the first signal was passed on, in milliseconds since the epoch; None if none was.
        group: The process group it led, where processes that it started may go on; None if it led none.
    """

    exit_code: int
    stopped: bool
    signalled_at: int | None
    group: int | None = None


def supervise(command: Sequence[str], environ: Mapping[str, str]) -> Ended:
    """Run a command to its end; called in another thread than the main one, it passes no signals on.

    Standard input, output and error, and every other inherited descriptor, are the child's own. It leads a
    process group, to which SIGINT, SIGTERM and SIGHUP are passed on. Only where a terminal is in the
    foreground the child stays in this process's group: the terminal itself sends Ctrl-C to all of it there,
    and a child in another group could not read from it. A signal that is ignored stays ignored.

    Args:
        command: The program and its arguments.
        environ: The child's whole environment.

    Raises:
        ConfigError: The program is not there (``details["exit_code"]`` is 127) or cannot be run (126).
    """
    own_group = not _in_foreground()
    child = _Child(own_group)
    with _handling(child.signalled):
        child.start(command, environ)
        _, status = os.waitpid(child.pid, 0)
        child.alive = False
    code = os.waitstatus_to_exitcode(status)
    exit_code = code if code >= 0 else SIGNAL_EXIT - code
    asked = child.signalled_at is not None and exit_code != 0
    group = child.pid if own_group else None
    return Ended(exit_code, asked or -code in _STOPS, child.signalled_at, group)


def is_over(group: int, *, within: float = GRACE_SECONDS) -> bool:
    """Say whether no process of a group is left, or none soon.

    Args:
        group: The process group.
        within: Seconds to wait for those that are just ending.
    """
    deadline = time.monotonic() + within
    while _lives(group):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


class _Child:
    def __init__(self, own_group: bool) -> None:
        self.own_group = own_group
        self.pid = 0
        self.alive = False
        self.signalled_at: int | None = None
        self._early: list[int] = []

    def start(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        options: dict[str, Any] = {"setpgroup": 0} if self.own_group else {}
        # Python ignores these itself, and an ignored signal would stay ignored in the child.
        reset = [s for s in (signal.SIGPIPE, signal.SIGXFSZ) if signal.getsignal(s) == signal.SIG_IGN]
        program = _find(command[0], environ)
        try:
            self.pid = os.posix_spawn(program, list(command), dict(environ), setsigdef=reset, **options)
        except OSError as error:
            raise _cannot_run(command[0], error) from error
        self.alive = True
        for number in self._early:
            self._send(number)

    def signalled(self, number: int, frame: FrameType | None) -> None:
        if self.signalled_at is None:
            self.signalled_at = int(time.time() * 1000)
        if self.alive:
            self._send(number)
        elif not self.pid:
            self._early.append(number)

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.own_group:
                os.killpg(self.pid, number)
            elif number != signal.SIGINT:
                # Ctrl-C reaches the child from the terminal; twice would cut its cleaning up short.
                os.kill(self.pid, number)


def _find(program: str, environ: Mapping[str, str]) -> str:
    if os.sep in program:
        return program
    found = shutil.which(program, path=environ.get("PATH", os.defpath))
    if found is None:
        raise _cannot_run(program, FileNotFoundError("there is no such command on PATH"))
    return found


def _cannot_run(program: str, error: OSError) -> ConfigError:
    missing = isinstance(error, FileNotFoundError)
    return ConfigError(
        f"The command {program!r} cannot be run: {error.strerror or error}",
        operation="run",
        details={"exit_code": NOT_FOUND if missing else NOT_EXECUTABLE},
        hint="check the spelling, and that its environment is activated"
        if missing
        else f"make it executable, or name its interpreter: python {program}",
    )


@contextlib.contextmanager
def _handling(handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        # Signals reach the main thread only, which may be at work on something else.
        yield
        return
    before = {number: signal.getsignal(number) for number in FORWARDED}
    handled = [number for number, present in before.items() if present != signal.SIG_IGN]
    for number in handled:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])


def _in_foreground() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # In a container nobody may collect the dead, and they keep their group.
    return any(_belongs(process, group) for process in psutil.process_iter(["status"]))


def _belongs(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE
    except ProcessLookupError:
        return False
