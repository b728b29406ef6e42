"""Starting and stopping a server of web pages over the projects of a base, in a process of its own."""

from __future__ import annotations

import abc
import atexit
import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Final, Self

from mlops.errors import IntegrationError, IntegrationUnavailableError
from mlops.ui.running import announce
from mlops.ui.scope import Scope
from mlops.workspace.tools import require

if TYPE_CHECKING:
    from mlops.workspace import WorkspaceManager

HOST: Final = "127.0.0.1"
# Importing a tool's server takes 5 to 10 s, on a loaded or cold machine half a minute.
START_SECONDS: Final = 120.0
# More than the child's own grace.
STOP_SECONDS: Final = 6.0
POLL_SECONDS: Final = 0.1
LOG_TAIL_LINES: Final = 40

_started: Final[weakref.WeakSet[UIProcess]] = weakref.WeakSet()


class UIProcess(abc.ABC):
    """A tool's pages over the projects of a base.

    The server is one child process that listens on 127.0.0.1 only and ends with this one, however this one
    ends. Use it as a context manager, or call ``start`` and ``stop``.

    Args:
        manager: The base.
        project: Show this project only; None for all, those created later included.
        port: The port; None for a free one.
    """

    tool: ClassVar[str]
    title: ClassVar[str]
    module: ClassVar[str]
    health_path: ClassVar[str]

    def __init__(
        self, manager: WorkspaceManager, project: str | None = None, port: int | None = None
    ) -> None:
        self._manager = manager
        self._project = project
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._home: Path | None = None
        self._announced: Path | None = None
        self._bound: int | None = None
        self._owner = os.getpid()
        self._lock = threading.RLock()

    @property
    def url(self) -> str:
        """Where it answers, such as ``http://127.0.0.1:41233``.

        Raises:
            IntegrationUnavailableError: It was not started.
        """
        if self._bound is None:
            raise self._error(f"The {self.title} is not running", "call start()", "url")
        return f"http://{HOST}:{self._bound}"

    @property
    @abc.abstractmethod
    def page(self) -> str:
        """The page to open in a browser: the one project's, or that of all."""

    @abc.abstractmethod
    def environment(self) -> Mapping[str, str]:
        """Return the variables of the server's process."""

    @property
    def pid(self) -> int | None:
        """The id of the server's process, or None."""
        return None if self._process is None else self._process.pid

    @property
    def log(self) -> Path | None:
        """The server's log while it runs, or None."""
        return None if self._home is None else self._home / "server.log"

    def __repr__(self) -> str:
        state = f"at {self.url}" if self.running() else "stopped"
        return f"<{type(self).__name__} of {self._project or self._manager.base_path}, {state}>"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def running(self) -> bool:
        """Say whether the server's process is alive; it may still be starting."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, timeout: float = START_SECONDS) -> Self:
        """Start the server and wait until it answers; does nothing if it runs.

        Args:
            timeout: Seconds to wait.

        Raises:
            WorkspaceNotFoundError: There is no such project.
            IntegrationNotInstalledError: The tool is not installed.
            IntegrationError: The server ended before it answered; the message has the end of its log.
            IntegrationUnavailableError: The port is taken, or the server did not answer in time.
        """
        with self._lock:
            if self.running():
                return self
            self.stop()
            if self._project is not None:
                self._manager.get_workspace(self._project)
            self._require()
            with contextlib.closing(self._bind()) as listener:
                self._spawn(listener)
            _started.add(self)
            try:
                self._wait(time.monotonic() + timeout, timeout)
                self._announced = announce(
                    tool=self.tool, url=self.url, base=self._manager.base_path, project=self._project
                )
            except BaseException:
                self.stop()
                raise
            return self

    def stop(self) -> None:
        """End the server; does nothing if it does not run."""
        if os.getpid() != self._owner:
            # A fork of the owner holds a copy of this object, but not the right to end its server.
            return
        with self._lock:
            process, self._process, self._bound = self._process, None, None
            home, self._home = self._home, None
            announced, self._announced = self._announced, None
            if announced is not None:
                announced.unlink(missing_ok=True)
            _started.discard(self)
            if process is not None:
                _end(process)
            if home is not None:
                shutil.rmtree(home, ignore_errors=True)

    def wait(self) -> None:
        """Wait until the server ends.

        Raises:
            IntegrationError: It ended by itself; the message has the end of its log.
        """
        while self.running():
            time.sleep(POLL_SECONDS)
        if self._process is not None:
            raise self._ended("wait")

    def _bind(self) -> socket.socket:
        # Bound here and inherited: nobody can take the port in between, and a taken one is known at once.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, self._port or 0))
            # Two sockets may be bound to one port as long as neither listens.
            listener.listen()
        except (OSError, OverflowError) as error:
            listener.close()
            raise self._error(
                f"Port {self._port} of {HOST} cannot be used: {error}",
                "choose another port, or leave it out for a free one",
                "start",
            ) from error
        return listener

    def _spawn(self, listener: socket.socket) -> None:
        self._home = home = Path(tempfile.mkdtemp(prefix="mlops-ui-"))
        (home / "tmp").mkdir()
        self._bound = int(listener.getsockname()[1])
        location = self._manager.location
        scope = Scope(location.path.resolve(), location.root.resolve(), self._project)
        child = (str(os.getpid()), str(listener.fileno()), str(home), scope.uri)
        with (home / "server.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", self.module, *child],
                cwd=home,
                env={**self.environment(), "TMPDIR": str(home / "tmp")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C at the terminal is for this process, which then stops the server.
                start_new_session=True,
                pass_fds=(listener.fileno(),),
            )

    def _wait(self, deadline: float, timeout: float) -> None:
        while self.running():
            if _healthy(int(self._bound or 0), self.health_path):
                return
            if time.monotonic() > deadline:
                raise self._error(
                    f"The {self.title} did not answer within {timeout:g} s. "
                    f"The end of its log:\n{self._tail()}",
                    "pass a longer timeout to start()",
                    "start",
                )
            time.sleep(POLL_SECONDS)
        raise self._ended("start")

    def _ended(self, operation: str) -> IntegrationError:
        code = None if self._process is None else self._process.returncode
        return IntegrationError(
            f"The {self.title} ended with code {code}. The end of its log:\n{self._tail()}",
            tool=self.tool,
            operation=operation,
            workspace=self._project,
            hint="the log names the cause; try `mlops version` if it is about a package",
        )

    def _tail(self) -> str:
        if self.log is None or not self.log.exists():
            return ""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:])

    def _error(self, message: str, hint: str, operation: str) -> IntegrationUnavailableError:
        return IntegrationUnavailableError(
            message, tool=self.tool, operation=operation, workspace=self._project, hint=hint
        )

    def _require(self) -> None:
        from importlib.util import find_spec

        if find_spec(self.tool) is None:
            require(self.tool, tool=self.tool, operation="start", workspace=self._project or "")


def without(prefixes: tuple[str, ...], *, kept: tuple[str, ...] = ()) -> dict[str, str]:
    """Return this process's variables but for some.

    Args:
        prefixes: What the names of those to leave out start with.
        kept: What the names of exceptions start with.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if (kept and name.startswith(kept)) or not name.startswith(prefixes)
    }


def _healthy(port: int, path: str) -> bool:
    # Not through a proxy from the environment.
    connection = http.client.HTTPConnection(HOST, port, timeout=2.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    # The group holds only what the server started, and outlives it only if that hangs.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@atexit.register
def _stop_all() -> None:
    for ui in list(_started):
        ui.stop()
