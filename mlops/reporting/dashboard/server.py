"""Serving the pages in this process until it is asked to stop."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import replace
from types import TracebackType
from typing import ClassVar, Final, Self

import uvicorn

from mlops.errors import ConfigError, MLOpsError
from mlops.reporting.dashboard.app import ToolPages, create_app, models_of, reports_of
from mlops.reporting.dashboard.security import PARAMETER, Access, is_wildcard
from mlops.workspace import WorkspaceManager

# For answers that are being sent; then the connections are cut.
GRACE_SECONDS: Final = 3
START_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.01
_WAIT_SECONDS: Final = 0.2


class DashboardServer:
    """The live page over the projects of a base, served by a thread of this process.

    Use it as a context manager, or call ``start`` and ``stop``. It handles no signal and sets no logging up,
    so that it can run beside anything.

    Args:
        manager: The base.
        host: The address to listen on.
        port: The port; None for a free one.
        token: What readers have to present; needed for addresses that other machines reach.
        names: Further host names under which readers reach it.
        tool_pages: MLflow's and Evidently's own pages.

    Raises:
        ConfigError: There is no such address, or other machines reach it and there is no token.
    """

    title: ClassVar[str] = "Dashboard"

    def __init__(
        self,
        manager: WorkspaceManager,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        token: str | None = None,
        names: tuple[str, ...] = (),
        tool_pages: ToolPages | None = None,
    ) -> None:
        self._family, address = _resolved(host)
        self._access = Access(address, port or 0, token, (host, *names))
        self._reports = reports_of(manager)
        self._models = models_of(manager)
        self._manager = manager
        self._tool_pages = tool_pages
        self._page = ""
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it answers, such as ``http://127.0.0.1:41233``; the port is known once it was started."""
        host = self._access.host
        name = socket.gethostname() if is_wildcard(host) else f"[{host}]" if ":" in host else host
        return f"http://{name}:{self._access.port}"

    @property
    def page(self) -> str:
        """The page to open; where a token is needed, it lets one browser in without it."""
        return self._page

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start to serve, and return once it answers; does nothing if it does already.

        Raises:
            ConfigError: The port is taken, or the address is not this machine's.
        """
        if self._thread is not None:
            return self
        listener = self._bind()
        self._access = replace(self._access, port=int(listener.getsockname()[1]))
        guard = create_app(
            self._manager,
            access=self._access,
            tool_pages=self._tool_pages,
            reports=self._reports,
            models=self._models,
        )
        code = "" if self._access.token is None else f"?{PARAMETER}={guard.invite()}"
        self._page = f"{self.url}/{code}"
        self._server = server = uvicorn.Server(
            uvicorn.Config(
                guard,
                access_log=False,  # it would have the token
                date_header=False,
                lifespan="off",
                log_config=None,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._thread = threading.Thread(target=_run, args=(server, listener), name="mlops-dashboard")
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise MLOpsError("The dashboard did not start", operation="dashboard")
            time.sleep(_POLL_SECONDS)
        # While the browser opens.
        threading.Thread(target=self._look, name="mlops-dashboard-first-look", daemon=True).start()
        return self

    def wait(self) -> None:
        """Wait until it ends."""
        # Once Polars is imported, as MLflow does where it is installed, Ctrl-C ends no wait without a limit.
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(_WAIT_SECONDS)

    def stop(self) -> None:
        """Stop to serve; does nothing if it does not."""
        server, self._server = self._server, None
        thread, self._thread = self._thread, None
        if server is not None and thread is not None:
            server.should_exit = True
            thread.join()

    def _look(self) -> None:
        # Whoever asks for a page is told what is wrong.
        for each in (self._reports, self._models):
            with contextlib.suppress(MLOpsError, OSError):
                each.get()

    def _bind(self) -> socket.socket:
        listener = socket.socket(self._family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._access.host, self._access.port))
            # Two sockets may be bound to one port as long as neither listens.
            listener.listen()
        except OSError as error:
            listener.close()
            raise ConfigError(
                f"Port {self._access.port} of {self._access.host} cannot be listened on: {error.strerror}",
                operation="dashboard",
                hint="choose another port, or leave it out for a free one",
            ) from error
        return listener


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    with contextlib.closing(listener):
        server.run(sockets=[listener])


def _resolved(host: str) -> tuple[socket.AddressFamily, str]:
    """Return the family and the number of an address: what a name stands for decides who reaches it."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"There is no address {host!r}",
            operation="dashboard",
            hint="leave --host out for 127.0.0.1",
        ) from error
    return family, str(address[0])
