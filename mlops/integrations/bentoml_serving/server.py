"""A handle on one running server: ask it, and stop it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from mlops.errors import IntegrationError, IntegrationUnavailableError
from mlops.integrations.bentoml_serving.payload import encode, explain, plain

# More than the launcher's own grace, which ends with a kill.
STOP_SECONDS: Final = 8.0
HEALTH_TIMEOUT_SECONDS: Final = 2.0
PREDICT_TIMEOUT_SECONDS: Final = 60.0
LOG_TAIL_LINES: Final = 25
# What BentoML logs before the traceback of a service's __init__, and how each of its log records begins.
_LOADING_FAILED: Final = "Initializing service error"
_LOG_RECORD: Final = re.compile(r"^\d{4}-\d\d-\d\dT", re.MULTILINE)


class Server:
    """A model being served by a child process of this one.

    Use it as a context manager, or call ``stop``; one that still runs when the program ends is stopped then.

    Args:
        process: The launcher that starts and ends the server's processes.
        home: The BentoML home that only this server has.
        host: The address it listens on.
        port: The port.
        tag: Tag of the Bento it serves.
        workspace: The project's name.
        log: The server's log file.
        ready_path: Where it answers once it is ready.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        home: Path,
        host: str,
        port: int,
        tag: str,
        workspace: str,
        log: Path,
        ready_path: str = "/readyz",
    ) -> None:
        self._process = process
        self._home = home
        self._owner = os.getpid()
        self._stopping = threading.Lock()
        self.host = host
        self.port = port
        self.tag = tag
        self.workspace = workspace
        self.log = log
        self._ready_path = ready_path

    @property
    def url(self) -> str:
        """Where the server answers, such as ``http://127.0.0.1:41233``."""
        return f"http://{self._address}:{self.port}"

    @property
    def pid(self) -> int:
        """The id of the process that the server's other processes end with."""
        return self._process.pid

    @property
    def _address(self) -> str:
        return "127.0.0.1" if self.host == "0.0.0.0" else self.host  # noqa: S104 - a comparison

    def __repr__(self) -> str:
        state = "running" if self.running() else "stopped"
        return f"<Server {self.tag} at {self.url}, {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def running(self) -> bool:
        """Say whether the server's process is alive; it may still be starting."""
        if self._process.returncode is not None:
            return False
        # The process is looked at but not reaped, so that its id, and the group's, is not given away.
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    def healthy(self) -> bool:
        """Say whether the server is up and its model is loaded."""
        if not self.running():
            return False
        try:
            status, _, _ = self._request("GET", self._ready_path, timeout=HEALTH_TIMEOUT_SECONDS)
        except (OSError, http.client.HTTPException):
            return False
        return status == http.client.OK

    def predict(
        self, rows: Any, *, params: Mapping[str, Any] | None = None, timeout: float = PREDICT_TIMEOUT_SECONDS
    ) -> list[Any]:
        """Return one prediction per row.

        Args:
            rows: A list of records by column name, a list of lists, a pandas DataFrame, or a NumPy array of
                shape (rows, columns).
            params: Parameters for a model whose signature has them.
            timeout: Seconds to wait for the answer.

        Raises:
            IntegrationError: The rows do not fit the model (the message names the column), or the model
                failed.
            IntegrationUnavailableError: The server does not answer, or is not running any more.
        """
        try:
            request: dict[str, Any] = {"rows": encode(rows)}
            body = json.dumps(request | ({"params": dict(params)} if params else {}), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise self._error(
                f"The rows cannot be sent: {error}",
                operation="predict",
                hint="use plain values and NumPy or pandas types",
            ) from error
        answer, _ = self._post("/predict", body, operation="predict", what="the rows", timeout=timeout)
        predictions: list[Any] = json.loads(answer)["predictions"]
        return predictions

    def call(self, route: str, *, timeout: float = PREDICT_TIMEOUT_SECONDS, **arguments: Any) -> Any:
        """Call a method of a service by its route, with plain JSON values.

        Args:
            route: The route, such as ``summarize`` or ``/v1/summarize``; by default a method's own name.
            timeout: Seconds to wait for the answer.
            arguments: The method's arguments; NumPy and pandas values are made plain.

        Returns:
            What it returned: the value of a JSON answer, text, or bytes of any other kind.

        Raises:
            IntegrationError: There is no such route, the arguments do not fit, or the method failed.
            IntegrationUnavailableError: The server does not answer, or is not running any more.
        """
        operation = "call"
        try:
            body = json.dumps({key: plain(value) for key, value in arguments.items()}, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise self._error(
                f"The arguments cannot be sent: {error}",
                operation=operation,
                hint="use plain values and NumPy or pandas types",
            ) from error
        path = "/" + route.removeprefix("/")
        answer, kind = self._post(
            path, body, operation=operation, what=f"the call of {path}", timeout=timeout
        )
        if kind == "application/json":
            return json.loads(answer)
        return answer.decode() if kind.startswith("text/") else answer

    def _post(self, path: str, body: str, *, operation: str, what: str, timeout: float) -> tuple[bytes, str]:
        """Return the answer to a request and its media type, or raise what the server says against it."""
        try:
            status, kind, answer = self._request("POST", path, body.encode(), timeout=timeout)
        except (OSError, http.client.HTTPException) as error:
            state = (
                f"does not answer ({error or type(error).__name__})" if self.running() else "is not running"
            )
            raise IntegrationUnavailableError(
                f"The server of {self.tag} at {self.url} {state}",
                tool="bentoml",
                operation=operation,
                workspace=self.workspace,
                details={"log": str(self.log)},
                hint=f"start it again with serve({self.tag!r}); its log is {self.log}",
            ) from error
        if status == http.client.OK:
            return answer, kind
        if 400 <= status < 500:
            raise self._error(
                f"{self.tag} refused {what}: {explain(answer)}",
                operation=operation,
                hint=f"compare with what it takes, at {self.url}/docs.json",
                status=status,
            )
        raise self._error(
            f"{self.tag} failed with status {status}: {explain(answer)}",
            operation=operation,
            hint=f"see the log {self.log}",
            status=status,
            log=log_tail(self.log),
        )

    def stop(self) -> None:
        """End the server and every process it started; does nothing if it has ended already."""
        if os.getpid() != self._owner:
            # A fork of the owner holds a copy of this object, but not the right to end its server.
            return
        with self._stopping:
            if self._process.returncode is not None:
                return
            if self.running():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGTERM)
                deadline = time.monotonic() + STOP_SECONDS
                while self.running() and time.monotonic() < deadline:
                    time.sleep(0.02)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._end_workers()
            self._process.wait()
            shutil.rmtree(self._home, ignore_errors=True)

    def _end_workers(self) -> None:
        # The launcher does this too; it matters when that was killed. A worker leads a group of its own, and
        # is known by the home in its environment, which no other server has.
        import psutil

        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get("BENTOML_HOME") == str(self._home):
                    process.kill()

    def _request(
        self, method: str, path: str, body: bytes | None = None, *, timeout: float
    ) -> tuple[int, str, bytes]:
        # Not through a proxy from the environment, and one connection a call, so threads share nothing.
        connection = http.client.HTTPConnection(self._address, self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.headers.get_content_type(), response.read()
        finally:
            connection.close()

    def _error(self, message: str, *, operation: str, hint: str, **details: Any) -> IntegrationError:
        return IntegrationError(
            message,
            tool="bentoml",
            operation=operation,
            workspace=self.workspace,
            details=details,
            hint=hint,
        )


def loading_failure(path: Path) -> str | None:
    """Return why a worker could not start, from the server's log, or None.

    BentoML starts such a worker again and again, so the server itself goes on.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    _, failed, rest = text.partition(_LOADING_FAILED)
    if not failed:
        return None
    traceback = _LOG_RECORD.split(rest, maxsplit=1)[0]
    reasons = [line for line in traceback.splitlines() if line and not line.startswith((" ", "Traceback"))]
    return reasons[-1] if reasons else ""


def log_tail(path: Path) -> str:
    """Return the last lines of a log file."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 16_384))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])
